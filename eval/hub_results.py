"""
What the Hub reads of whole pages: `model-index` in the metadata of README.md, and entries of `.eval_results/*.yaml`.

Both have one result for each file of pages and each ratio, and both name the pages as ours: they are neither Fox nor a
dataset of the Hub. An entry needs the id of one all the same; ours has no owner before it, so it takes nobody's name.
"""

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, ModelCard, eval_result_entries_to_yaml

from c3.eval.suites.pages import below_ratio

from .page_data import describe_pages
from .report import distinct, mean, select

# Beside README.md.
FILE = ".eval_results/pages.yaml"
TASK = "Reconstruction of a compressed text"


def precision_result(**described):
    """An `EvalResult` of free-running precision: takes the names of the dataset and the metric, and the value."""
    return EvalResult(task_type="text-generation", task_name=TASK, metric_type="free_running_precision", **described)


def with_model_index(text, measured, path):
    """
    A model card with results in its metadata; the other metadata, `model_name` among them, are kept.

    Args:
        text (`str`): the whole card.
        measured (`dict[str, dict]`): results of the suite `pages` by name.
        path (`Path`): the card's, for error messages.

    Raises: `ValueError` for a card without a `model_name`.
    """
    card = ModelCard(text) if text.startswith("---") else None
    if card is None or not getattr(card.data, "model_name", None):
        raise ValueError(f"{path} has no `model_name` in its metadata, the lines between two `---` at its start")
    card.data.eval_results = [
        precision_result(
            dataset_type=name,
            dataset_name=f"{describe_pages(result)}, not Fox",
            metric_name=f"free-running precision at {_reached(rows)}, {_unit(result)} per latent",
            metric_value=_value(rows),
        )
        for name, result, rows in _by_ratio(measured)
    ]
    return str(card)


def eval_entries(measured):
    """The same results as `list[EvalResultEntry]`; nothing is said of a source, a date or a verification."""
    return [
        EvalResultEntry(
            dataset_id=f"c3-own-{name.replace('_', '-')}",
            task_id=f"reconstruction_{rows[0]['setting']}",
            value=_value(rows),
            notes=_notes(result, rows),
        )
        for name, result, rows in _by_ratio(measured)
    ]


def entries_as_yaml(entries):
    return yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=True, width=120)


def _by_ratio(measured):
    """Yields (name, result, rows of the model at one ratio)."""
    for name, result in measured.items():
        rows = select(result["examples"], method="c3")
        for setting in distinct(rows, "setting"):
            yield name, result, select(rows, setting=setting)


def _notes(result, rows):
    options, sums = result["options"], " and ".join(each["sha256"][:16] for each in result["data"])
    return (
        f"Our own choice, {describe_pages(result)}, sha256 {sums}: not Fox, no "
        "dataset of the Hub, no registered benchmark. Mean free-running precision, 1 - normalised edit distance over "
        f"characters, at {_reached(rows)}: {mean(rows, 'counted_ratio'):.2f} {_unit(result)} per latent on "
        "average. Measured "
        f"with this repository's c3 eval pages, {options['dtype']} on {options['device']}; weights "
        f"{result['model']['weights_fingerprint']}."
    )


def _reached(rows):
    """A ratio, `str`, and what is named by it where pages have more latents than that, one for every window."""
    setting, below = rows[0]["setting"], len(below_ratio(rows))
    return f"{setting} asked, not reached by {below} pages" if below else setting


def _value(rows):
    return round(mean(rows, "scores", "precision"), 4)


def _unit(result):
    return f"{result['counted_with']['name']} tokens" if result["counted_with"] else "own tokens"
