"""The model card of a trained model: README.md, with what was measured in its metadata too."""

import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from huggingface_hub import ModelCard, ModelCardData

from c3.eval.hub_results import precision_result
from c3.support.environment import library_versions
from c3.support.without_secrets import hub_ids, without_secrets

NOT_MEASURED = "not measured"
PRECISION = re.compile(r"eval_(?:(?P<task>.+)_)?precision_(?P<ratio>\d+(?:\.\d+)?)x")


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """
    What a card says of a model and of the run that made it.

    Args:
        model_id (`str`): what `AutoModel.from_pretrained` loads it by: its Hub id, or else its folder.
        revision (`str`, *optional*): its branch on the Hub.
        recipe (`dict`): the recipe as it was run. Of local files only the names are published, of tokens nothing.
        log_history (`list[dict]`): `Trainer.state.log_history`, with `loss`, `step`, `eval_precision_4x` and so on.
        parameters (`dict[str, int]`): number of parameters by part, `total` among them.
        step (`int`): the optimizer step whose weights these are; figures of later evaluations are not theirs.
        train_data, validation_data (`list`): the sources, as in the recipe.
        tokens (`int`, *optional*): text tokens seen in training, all processes together.
        seconds (`float`, *optional*): wall time of training, all starts together.
        hardware (`str`): what it was trained on, see `run_environment.describe_hardware`.
        versions (`dict[str, str]`): of the libraries, by default those that are installed.
        license (`str`, *optional*): the Hub's identifier of a licence, such as `apache-2.0`.
        languages (`list[str]`): ISO 639 codes.
        base_models (`list[str]`): Hub ids of the models that training started from.
        adapter (`str`, *optional*): of a run with LoRA, whether the adapter is "separate" from its base or "merged".
    """

    model_id: str
    recipe: dict
    log_history: list
    parameters: dict
    step: int
    train_data: list
    hardware: str
    revision: str | None = None
    validation_data: list = field(default_factory=list)
    tokens: int | None = None
    seconds: float | None = None
    versions: dict = field(default_factory=library_versions)
    license: str | None = None
    languages: list = field(default_factory=list)
    base_models: list = field(default_factory=list)
    adapter: str | None = None

    @property
    def name(self):
        """The model's own name, without its owner or the folders above it."""
        return Path(self.model_id).name


def write_model_card(folder, model, figures=(), logs=()):
    """
    Writes README.md for a trained model, and copies its figures and logs beside it.

    Args:
        folder (`str` or `PathLike`): of the finished model.
        model ([`TrainedModel`]): what to say.
        figures (list of `str` or `PathLike`): pictures, shown in the card.
        logs (list of `str` or `PathLike`): further files, linked there.

    Returns: `Path` of the card.

    Raises:
        FileNotFoundError: a figure or a log that is not there.
    """
    folder = Path(folder)
    copies = [[_copy_into(folder, Path(file)) for file in files] for files in (figures, logs)]
    card = ModelCard(f"---\n{_metadata(model).to_yaml()}\n---\n\n{_body(model, *copies)}")
    card.save(folder / "README.md")
    return folder / "README.md"


def measured_precision(log_history, step):
    """
    The last evaluation at or before a step.

    Args:
        log_history (`list[dict]`): `Trainer.state.log_history`.
        step (`int`): of the weights that are published.

    Returns: `tuple` of the evaluation's step, or None where there was none, and `dict[tuple[str, float], float]`: the
        free-running precision by task (the empty string for reconstruction) and ratio.
    """
    measured = {}
    for entry in log_history:
        found = {match: entry[key] for key in entry if (match := PRECISION.fullmatch(key))}
        if found and entry["step"] <= step:
            values = {(match["task"] or "", float(match["ratio"])): value for match, value in found.items()}
            measured.setdefault(entry["step"], {}).update(values)
    last = max(measured, default=None)
    return last, dict(sorted(measured.get(last, {}).items()))


def _metadata(model):
    step, precision = measured_precision(model.log_history, model.step)
    datasets = hub_ids(model.validation_data)
    results = [
        precision_result(
            # The Hub wants an id here, and a file has none.
            dataset_type=datasets[0] if len(datasets) == 1 else "validation",
            dataset_name=", ".join(_names(model.validation_data)) or "validation data of the recipe",
            metric_name=_metric_name(task, ratio),
            metric_value=value,
        )
        for (task, ratio), value in precision.items()
        # There is no room here to say that other weights were measured; the text says it.
        if step == model.step
    ]
    return ModelCardData(
        model_name=model.name,
        library_name="transformers",
        license=model.license,
        language=model.languages or None,
        base_model=model.base_models or None,
        # Of two models, encoder and decoder, the Hub would infer that they were merged.
        base_model_relation=_relation(model) if model.base_models else None,
        datasets=hub_ids(model.train_data) or None,
        tags=["c3", "context-compression", "custom_code"],
        eval_results=results or None,
    )


def _relation(model):
    return "adapter" if model.adapter == "separate" else "finetune"


def _body(model, figures, logs):
    sections = [
        f"# {model.name}",
        "A C3 model, Context Cascade Compression ([arXiv 2511.15244](https://arxiv.org/abs/2511.15244)): it turns a "
        "text into a few latent vectors and gives the text back. This card was written by the training run.",
        "## Use",
        _usage(model),
        "## Measured",
        _measured(model),
        "## Parameters",
        _table(("part", "parameters"), [(part, f"{count:,}") for part, count in model.parameters.items()]),
        "## Training",
        _table(("", ""), _training_rows(model)),
        "Training data:",
        "\n".join(f"- `{name}`" for name in _names(model.train_data)),
        *[f"![{Path(name).stem.replace('_', ' ')}]({name})" for name in figures],
        *(["Logs: " + ", ".join(f"[{name}]({name})" for name in logs)] if logs else []),
        "The recipe as it was run (of local files only the names):",
        f"```yaml\n{_yaml(without_secrets(model.recipe))}```",
    ]
    return "\n\n".join(sections) + "\n"


def _usage(model):
    revision, code = "" if model.revision is None else f', revision="{model.revision}"', "beside this card."
    pinned = 'give `revision="<commit>"`, the 40 digits of a commit of this repository that you have looked at'
    if model.adapter == "separate" and "init_from_pair" in model.recipe:
        code = "beside this card; what they load beside the adapter are its two models, and peft (`pip install peft`)."
    elif model.adapter == "separate":
        # `revision` would be the base's too.
        revision = "" if model.revision is None else f', adapter_kwargs={{"revision": "{model.revision}"}}'
        code = "beside the model that this adapter goes on, which is loaded with it; this needs `pip install peft`."
        pinned = 'load that model by itself with `revision="<commit>"`, and put the adapter on it'
    _, precision = measured_precision(model.log_history, model.step)
    ratios = [ratio for task, ratio in precision if not task]
    # The lowest ratio that was measured is the one at which the text comes back best.
    ratio = f", ratio={min(ratios):g}" if ratios else ""
    return f"""```python
from transformers import AutoModel

model = AutoModel.from_pretrained("{model.model_id}"{revision}, trust_remote_code=True)
latents = model.compress("It was the best of times, it was the worst of times, it was the age of wisdom."{ratio})
print(latents.values.shape)
print(model.expand(latents))
```

`trust_remote_code=True` runs the `*_c3.py` files that lie {code} With the `c3-latent` package installed,
`import c3` makes it needless. To run what you have looked at and nothing later, {pinned}."""


def _measured(model):
    step, precision = measured_precision(model.log_history, model.step)
    if step is None:
        return f"Precision: **{NOT_MEASURED}**. The run had no evaluation."
    when = "these weights" if step == model.step else f"the weights of step {step}, not these of step {model.step}"
    if model.adapter == "merged":
        when += ", before the adapter was merged into its base, which rounds"
    data = ", ".join(f"`{name}`" for name in _names(model.validation_data))
    rows = [
        (f"{ratio:g}x", *([task or "reconstruction"] if _has_tasks(precision) else []), f"{value:.4f}")
        for (task, ratio), value in precision.items()
    ]
    heads = ("tokens per latent", *(["task"] if _has_tasks(precision) else []), "precision")
    return (
        "Free-running precision: text to latents to text, the decoder reading only its own greedy output, never the "
        "original (teacher forcing flatters). Precision is 1 - normalised edit distance over characters, averaged over "
        f"texts of the recipe's validation data{f' ({data})' if data else ''}. The ratio counts the model's own tokens "
        f"per latent, so it is not comparable with one that counts another tokenizer's. Measured on {when}.\n\n"
        + _table(heads, rows)
    )


def _has_tasks(precision):
    return any(task for task, _ in precision)


def _training_rows(model):
    losses = [(entry["step"], entry["loss"]) for entry in model.log_history if "loss" in entry]
    losses = [(step, loss) for step, loss in losses if step <= model.step]
    return [
        ("steps", f"{model.step:,}"),
        ("text tokens", NOT_MEASURED if model.tokens is None else f"{model.tokens:,}"),
        ("training loss, last logged", f"{losses[-1][1]:.4f} nats per token" if losses else NOT_MEASURED),
        ("wall time", NOT_MEASURED if model.seconds is None else _duration(model.seconds)),
        ("hardware", model.hardware),
        ("software", ", ".join(f"{name} {version}" for name, version in model.versions.items())),
    ]


def _duration(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def _metric_name(task, ratio):
    return f"free-running precision at {ratio:g}x, own tokens per latent" + (f" ({task})" if task else "")


def _names(sources):
    """One line for each data source: a file's name, a Hub id, or the keys and values of the recipe."""
    public = [without_secrets(source) for source in sources]
    return [each if isinstance(each, str) else json.dumps(each, ensure_ascii=False) for each in public]


def _yaml(recipe):
    # Lists of plain values on one line, as recipes write them.
    return yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)


def _table(heads, rows):
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _copy_into(folder, file):
    """Copies a file into a folder, unless it lies there, and returns its name."""
    if file.resolve() != (folder / file.name).resolve():
        shutil.copyfile(file, folder / file.name)
    return file.name
