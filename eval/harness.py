"""
What suites and methods have in common: an example goes through a method, its output is scored, and a row remembers it.

A suite (`suites/`) makes examples from pages; a method (`baselines/`) turns a batch of them into reconstructions. Both
are looked up by name, and neither knows of the other.
"""

from collections.abc import Callable
from dataclasses import dataclass

from .metrics import all_scores
from .page_data import Page, own_ratio

BYTES_PER_NUMBER = 2  # of what is kept as vectors: bfloat16, whatever the model runs in


@dataclass(frozen=True)
class Example:
    """
    A text that is to become `latents` latents, or None where the method knows how many: `group` and `setting` are the
    row and the column of a table.
    """

    page: Page
    group: str
    setting: str
    latents: int | None

    def key(self, method):
        return method, self.setting, self.group, self.page.id


@dataclass(frozen=True)
class Options:
    """
    What a method may depend on beside the model: tokens of a window (None where texts are read whole), windows at once,
    steps of a search.
    """

    window: int | None
    batch_size: int
    steps: int


@dataclass(frozen=True)
class Reconstruction:
    """
    What came back, and what it took: bytes kept of the text, the number of latents (or of tokens, where a method keeps
    those; None where a method keeps neither), and the number of windows, or pages, that share the latents.
    """

    output: str
    num_bytes: int
    latents: int | None
    num_windows: int | None = None


@dataclass(frozen=True)
class Suite:
    """
    Args:
        summary (`str`): one line for `--help`.
        add_arguments: adds the suite's own options to an `argparse.ArgumentParser`.
        prepare: `(args, pages, model, counter, window) -> (list[Example], list[str])`, the second one line for each
            kind of thing that was left out. Raises `ValueError` where nothing is left.
        report: `(result) -> str`, Markdown.
        draw: `(result, path without ending) -> None`, writes the figure as PNG and SVG.
        measure: `(text, output) -> dict`, further fields of a row.
        methods: `(args, model, examples) -> (dict, dict)`: the suite's own methods by name, in place of those of
            `baselines/`, and what more the numbers depend on, for the head of the result file.
        row: `(method, example, output) -> dict`, the row of what such a method makes of an example; by default
            `result_row`.
        default_count_with: Hub id of the tokenizer of the ratios; None for the model's own.
        needs_data: whether there is nothing to measure without pages.
        takes_page_readers: whether those of `baselines/` can be measured: what it prepares and reports needs no C3
            model, nor a number of latents that was asked for.
    """

    summary: str
    add_arguments: Callable
    prepare: Callable
    report: Callable
    draw: Callable
    measure: Callable | None = None
    methods: Callable | None = None
    row: Callable | None = None
    default_count_with: str | None = None
    needs_data: bool = True
    takes_page_readers: bool = False


def leave_out_impossible(model, examples, window):
    """
    Examples that the model can make so many latents for, and a line for each setting about the others: a model of the
    appended layout has no more latents in a window than it was trained with, and a kind of context that reads no ids
    may refuse a text of which its encoder could not read everything from so few (`ContextModality.check_plan`).

    Returns: `tuple[list[Example], list[str]]`.

    Raises: `ValueError` where nothing is left.
    """
    if model.config.latent_position_layout == "uniform" and model.processor.modality.reads_ids(model.processor):
        return examples, []
    possible, others = [], {}
    for example in examples:
        try:
            model.processor.plan(example.page.text, ratio=own_ratio(example.page, example.latents), window=window)
            possible.append(example)
        except ValueError as error:
            others.setdefault(example.setting, []).append((example.page.id, str(error)))
    lines = [
        f"{setting}: {len(found)} texts ({', '.join(name for name, _ in found)}), as {found[0][1]}"
        for setting, found in others.items()
    ]
    if not possible:
        raise ValueError("no text can be measured: " + "; ".join(lines))
    return possible, lines


def chunks(examples, max_windows):
    """Cuts a list of examples, in order, into lists of at most so many windows together, or of a single example."""
    chunk, num_windows = [], 0
    for example in examples:
        if chunk and num_windows + example.page.min_windows > max_windows:
            yield chunk
            chunk, num_windows = [], 0
        chunk.append(example)
        num_windows += example.page.min_windows
    if chunk:
        yield chunk


def described(method, example, latents):
    """What an entry in the result file says of its example, whatever is measured; `latents` are None where none are."""
    page = example.page
    return {
        "method": method,
        "setting": example.setting,
        "group": example.group,
        "id": page.id,
        **({"source": page.source} if page.source else {}),
        "counted_tokens": page.counted_tokens,
        "own_tokens": page.own_tokens,
        "min_windows": page.min_windows,
        "latents": latents,
        "counted_ratio": latents and page.counted_tokens / latents,
        "own_ratio": latents and page.own_tokens / latents,
    }


def result_row(method, example, reconstruction, measure=None):
    """One example's entry in the result file."""
    page = example.page
    return {
        **described(method, example, reconstruction.latents),
        "num_windows": reconstruction.num_windows,
        "text_bytes": len(page.text.encode()),
        "kept_bytes": reconstruction.num_bytes,
        "scores": all_scores(page.text, reconstruction.output),
        **(measure(page.text, reconstruction.output) if measure else {}),
        "output": reconstruction.output,
    }
