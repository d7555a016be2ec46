"""
What it costs that the very text comes back, and how well fidelity, which is known when a text is compressed, tells what
comes back without corrections.
"""

import statistics
import time
from contextlib import contextmanager

import numpy as np

from c3 import InexactTextError
from c3.corrections_c3 import unpack
from c3.eval.harness import Suite, described
from c3.eval.metrics import precision
from c3.eval.page_data import own_ratio, windows_of_page
from c3.eval.report import describe, distinct, markdown_table, mean, new_figure, number, percent, save_figure, select

from . import pages

SUMS = ("stored_tokens", "own_tokens", "correction_bytes", "latent_bytes", "windows_as_ids", "num_windows")


def add_arguments(parser):
    pages.add_arguments(parser)
    parser.set_defaults(ratios=[4.0, 8.0, 16.0, 20.0, 30.0, 40.0])


def methods(args, model, examples):
    return {"exact": measure_exactness}, {}


def measure_exactness(model, examples, options):
    """What each text costs and what comes back of it, with corrections and without, as fields of its row."""
    _measure(model, examples[0], options)  # warms up
    return [_measure(model, example, options) for example in examples]


def _measure(model, example, options):
    page, seconds = example.page, {}
    asked = {"ratio": own_ratio(page, example.latents), "window": options.window}
    quiet = {"batch_size": options.batch_size, "show_progress": False}
    with _timed(seconds, "compress"):
        plain = model.compress(page.text, **asked, **quiet)
    with _timed(seconds, "compress_exact"):
        latents = model.compress(page.text, **asked, **quiet, exact=True)
    with _timed(seconds, "expand"):
        free = model.expand(plain, **quiet, return_scores=True)
    with _timed(seconds, "expand_exact"):
        try:
            is_exact = model.expand(latents, **quiet, return_scores=True).text == page.text
        except InexactTextError:
            is_exact = False
    lengths = latents.text_lengths.tolist()
    stored = [len(each) for each in unpack(latents.corrections[0], lengths).windows]
    ids = windows_of_page(page, example.latents, model, options.window)
    right = [window.ids == each for window, each in zip(free.windows, ids, strict=True)]
    return {
        "num_windows": latents.num_windows,
        "latent_bytes": latents.nbytes,
        "correction_bytes": len(latents.corrections[0]),
        "text_bytes": len(page.text.encode()),
        "stored_tokens": sum(stored),
        "windows_as_ids": sum(count == length for count, length in zip(stored, lengths, strict=True)),
        "exact": is_exact,
        "fidelity": latents.fidelity,
        "free_precision": precision(page.text, free.text),
        "windows": [[round(each, 4), same] for each, same in zip(latents.window_fidelities, right, strict=True)],
        "seconds": seconds,
    }


@contextmanager
def _timed(seconds, name):
    start = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start


def row(method, example, measured):
    return {**described(method, example, example.latents), **measured}


def report(result):
    about = "Precision is 1 - normalised edit distance over characters, free-running, without the corrections."
    parts = ["## Exact", describe(result, "with corrections and without", about)]
    for group in distinct(result["examples"], "group"):
        rows = select(result["examples"], group=group)
        parts += [f"### {group}", cost_table(rows)]
        if lost := [f"{each['id']} at {each['setting']}" for each in rows if not each["exact"]]:
            parts.append(f"**Did not come back exactly: {', '.join(lost)}.**")
        parts += ["### Time", time_table(rows), "### Fidelity", fidelity_table(rows)]
    return "\n\n".join(parts)


def cost_table(rows):
    """What the corrections are, by ratio: `rows` of one language."""
    header = ["ratio asked", "own ratio", "texts", "exact", "corrections per 1000 tokens", "their bytes a text"]
    header += ["in % of the latents'", "windows kept as ids", "precision without them"]
    table = []
    for setting in distinct(rows, "setting"):
        chosen = select(rows, setting=setting)
        sums = {name: sum(each[name] for each in chosen) for name in SUMS}
        cells = [number(mean(chosen, "own_ratio"), 1), len(chosen), percent(mean(chosen, "exact"))]
        cells.append(number(1000 * sums["stored_tokens"] / sums["own_tokens"]))
        cells.append(number(mean(chosen, "correction_bytes"), 0))
        cells.append(percent(sums["correction_bytes"] / sums["latent_bytes"], 2))
        cells.append(percent(sums["windows_as_ids"] / sums["num_windows"]))
        table.append([setting, *cells, percent(mean(chosen, "free_precision"), 2)])
    return markdown_table(header, table)


def time_table(rows):
    """Seconds a text with corrections and without, by ratio, and the medians of their quotients."""
    header = ["ratio asked", "compress, s", "exactly, s", "times as long", "expand, s", "exactly, s", "times as long"]
    table = []
    for setting in distinct(rows, "setting"):
        seconds = [each["seconds"] for each in select(rows, setting=setting)]
        cells = []
        for name in ("compress", "expand"):
            exactly = f"{name}_exact"
            cells += [number(statistics.fmean(each[key] for each in seconds), 2) for key in (name, exactly)]
            cells.append(number(statistics.median(each[exactly] / each[name] for each in seconds), 2))
        table.append([setting, *cells])
    return markdown_table(header, table)


def fidelity_table(rows):
    """How well fidelity tells what comes back without corrections, by ratio: of texts, and of windows."""
    header = ["ratio asked", "fidelity, mean", "precision, mean", "correlation over texts"]
    header += ["windows of fidelity 1", "of these right", "other windows", "of these right"]
    table = []
    for setting in distinct(rows, "setting"):
        chosen = select(rows, setting=setting)
        windows = [window for each in chosen for window in each["windows"]]
        cells = []
        for some in ([w for w in windows if w[0] == 1], [w for w in windows if w[0] < 1]):
            cells += [len(some), percent(statistics.fmean(same for _, same in some)) if some else ""]
        values = [[each[name] for each in chosen] for name in ("fidelity", "free_precision")]
        means = [percent(statistics.fmean(each), 2) for each in values]
        table.append([setting, *means, _correlation(*values), *cells])
    return markdown_table(header, table)


def _correlation(first, second):
    """Pearson's, as text; empty where one of them does not vary."""
    if len(first) < 3 or len(set(first)) < 2 or len(set(second)) < 2:
        return ""
    return number(float(np.corrcoef(first, second)[0, 1]), 2)


def draw(result, path):
    """Precision without corrections by fidelity, a point for each text."""
    figure, axes = new_figure(figsize=(7, 4.5))
    for group in distinct(result["examples"], "group"):
        rows = select(result["examples"], group=group)
        for setting in distinct(rows, "setting"):
            chosen = select(rows, setting=setting)
            points = [each["fidelity"] for each in chosen], [each["free_precision"] for each in chosen]
            axes.scatter(*points, s=12, label=f"{group}, {setting}")
    axes.set(xlabel="fidelity (share of tokens that need no correction)", ylabel="precision without corrections")
    axes.legend(fontsize="small")
    figure.tight_layout()
    save_figure(figure, path)


SUITE = Suite(
    summary="what exact texts cost, and what fidelity tells of free-running ones",
    add_arguments=add_arguments,
    prepare=pages.prepare,
    report=report,
    draw=draw,
    methods=methods,
    row=row,
)
