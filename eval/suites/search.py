"""
Latents without corrections: does what came back, encoded again, tell right windows from wrong ones; how much does a
search find that greedy decoding misses; and do the decoder's margins tell wrong characters?
"""

import time
from functools import partial

import numpy as np
import torch

from c3.corrections_c3 import special_ids
from c3.eval.baselines.c3 import compress_examples
from c3.eval.harness import Suite, described
from c3.eval.metrics import all_scores
from c3.eval.page_data import windows_of_page
from c3.eval.published import C3_PUBLISHED, RATIO_PUBLISHED
from c3.eval.report import (
    describe,
    distinct,
    markdown_table,
    mean,
    new_figure,
    number,
    percent,
    precision_with_interval,
    save_figure,
    select,
)
from c3.eval.uncertainty import area_under_curve, character_margins, wrong_characters
from c3.eval.words import check_segmenter
from c3.expanded_text_c3 import ExpandedText, ExpandedWindow
from c3.search_decoding_c3 import BEAMS_LIMIT, FIRST_BEAMS, MOST_BEAMS, batches, beam_texts
from c3.support.arguments import whole_number
from c3.text_pieces_c3 import with_texts

from . import pages

GREEDY, BEAMS, SEARCH = "greedy", f"{FIRST_BEAMS} beams", "search"
# Margins are counted in steps of this size, in logits, up to so many steps.
STEP, STEPS = 0.05, 400
# What the paper's authors publish near these ratios, by latents and bucket of tokens.
PUBLISHED = {"20x": (64, "1200-1300"), "30x": (32, "900-1000"), "40x": (32, "1200-1300")}


def add_arguments(parser):
    pages.add_arguments(parser)
    parser.set_defaults(ratios=[16.0, 20.0, 25.0, 30.0, 40.0])
    about = f"of the search, at most (default {MOST_BEAMS})"
    parser.add_argument("--beams", type=whole_number(1, BEAMS_LIMIT), default=MOST_BEAMS, help=about)


def methods(args, model, examples):
    check_segmenter(example.page.text for example in examples)
    ways = {
        # Its time is that of a user who does not ask for more than the text.
        GREEDY: {"expand": partial(_expanded, check=True, return_scores=True), "timed": _expanded},
        BEAMS: {"expand": _likeliest_beams},
        SEARCH: {"expand": partial(_expanded, check=True, method="search", beams=args.beams)},
    }
    return {name: partial(measure, **way) for name, way in ways.items()}, {}


def measure(model, examples, options, expand, timed=None):
    """
    What comes back of each text by `expand`, and how long that takes, or `timed` where it is given, as fields of its
    row.
    """
    return [
        _measure(model, example, latents, options, expand, timed)
        for example, latents in zip(examples, compress_examples(model, examples, options), strict=True)
    ]


def _measure(model, example, latents, options, expand, timed):
    start = time.perf_counter()
    found = (timed or expand)(model, latents, options)
    seconds = time.perf_counter() - start
    (expanded,) = expand(model, latents, options) if timed else found
    ids = windows_of_page(example.page, example.latents, model, options.window)
    windows = [
        [window.ids == each, window.comes_back, window.distance and round(window.distance, 5)]
        for window, each in zip(expanded.windows, ids, strict=True)
    ]
    margins = None
    if expanded.windows[0].margins is not None:
        margins = count_margins(character_margins(expanded), wrong_characters(example.page.text, expanded.text))
    return {
        "seconds": seconds,
        "scores": all_scores(example.page.text, expanded.text),
        "windows": windows,
        "margins": margins,
        "output": expanded.text,
    }


def _expanded(model, latents, options, **how):
    return [model.expand(latents, batch_size=options.batch_size, show_progress=False, **how)]


def _likeliest_beams(model, latents, options):
    """The likeliest of the beams, in their own order; nothing is encoded again."""
    suppressed, found = torch.tensor(special_ids(model.processor), dtype=torch.long), []
    windows = list(zip(latents.spans[0], latents.windows(), strict=True))
    for some in batches(windows, options.batch_size):
        spans, values = zip(*some, strict=True)
        found += [ExpandedWindow(texts[0]) for texts in beam_texts(model, spans, values, FIRST_BEAMS, suppressed)]
    return [ExpandedText(list(with_texts(model.processor, found, len(found))))]


def count_margins(margins, is_wrong):
    """How many right and how many wrong characters have each margin, in steps: two sparse `dict[str, int]`."""
    steps = np.minimum(margins / STEP, STEPS).astype(int)
    counts = [np.bincount(steps[is_wrong == wrong], minlength=1) for wrong in (False, True)]
    return [{str(step): int(n) for step, n in enumerate(each) if n} for each in counts]


def row(method, example, measured):
    return {**described(method, example, example.latents), **measured}


def report(result):
    parts = ["## Search", describe(result, "by each method")]
    for group in distinct(result["examples"], "group"):
        rows = select(result["examples"], group=group)
        parts += [f"### {group}", method_table(rows), "### The check", check_table(rows)]
        parts += ["### Margins", margin_table(rows)]
    return "\n\n".join(parts)


def method_table(rows):
    """What comes back by each way of decoding, beside what the paper's authors publish near the ratio."""
    header = ["ratio asked", "ratio", "method", "precision [95 % CI]", "texts exact", "windows right", "seconds a text"]
    header += ["C3, published on Fox near it"]
    table = []
    for setting in distinct(rows, "setting"):
        for method in distinct(rows, "method"):
            chosen = select(rows, setting=setting, method=method)
            right = [window[0] for each in chosen for window in each["windows"]]
            cells = [number(mean(chosen, "counted_ratio")), method, precision_with_interval(chosen)]
            cells += [percent(mean(chosen, "scores", "exact_match")), percent(sum(right) / len(right))]
            key = PUBLISHED.get(setting)
            published = f"{C3_PUBLISHED[key]:.1%} at {RATIO_PUBLISHED[key]}x" if key else ""
            table.append([setting, *cells, number(mean(chosen, "seconds")), published])
    return markdown_table(header, table)


def check_table(rows):
    """
    How often the check is wrong, and how far right and wrong windows are, by ratio and in all: of greedy decoding, and
    of the search, which picks what is near.
    """
    header = ["ratio asked", "method", "windows", "right", "right, said to be wrong", "wrong, said to be right"]
    header += ["farthest right one", "nearest wrong one"]
    table = []
    checked = [each for each in rows if each["method"] != BEAMS]
    for setting in [*distinct(checked, "setting"), "all"]:
        for method in distinct(checked, "method"):
            chosen = select(checked, method=method)
            windows = [w for each in chosen if setting in ("all", each["setting"]) for w in each["windows"]]
            right, wrong = [w for w in windows if w[0]], [w for w in windows if not w[0]]
            cells = [len(windows), len(right), sum(not w[1] for w in right), sum(w[1] for w in wrong)]
            cells.append(number(max((w[2] for w in right), default=None), 4))
            cells.append(number(min((w[2] for w in wrong), default=None), 4))
            table.append([setting, method, *cells])
    return markdown_table(header, table)


def margin_table(rows):
    """How well the margins of greedy decoding find wrong characters, by ratio."""
    header = ["ratio asked", "characters", "wrong", "area under the ROC curve"]
    table = []
    for setting in distinct(rows, "setting"):
        counts = [each["margins"] for each in select(rows, setting=setting, method=GREEDY)]
        steps, wrong = [], []
        for is_wrong in (False, True):
            for each in counts:
                for step, count in each[is_wrong].items():
                    steps += [int(step)] * count
                    wrong += [is_wrong] * count
        area = area_under_curve(-np.array(steps), np.array(wrong))
        table.append([setting, len(steps), sum(wrong), number(area, 3) if any(wrong) else ""])
    return markdown_table(header, table)


def draw(result, path):
    """Precision by ratio, a line for each method."""
    figure, axes = new_figure(figsize=(7, 4.5))
    for group in distinct(result["examples"], "group"):
        for method in distinct(result["examples"], "method"):
            rows = select(result["examples"], group=group, method=method)
            settings = [select(rows, setting=setting) for setting in distinct(rows, "setting")]
            points = [(mean(each, "counted_ratio"), mean(each, "scores", "precision")) for each in settings]
            axes.plot(*zip(*points, strict=True), marker=".", label=f"{method}, {group}")
    points = [(RATIO_PUBLISHED[key], value) for key, value in C3_PUBLISHED.items() if key[0] < 100]
    axes.scatter(*zip(*points, strict=True), marker="x", color="grey", label="C3, 4.5 B parameters, published on Fox")
    axes.set(xlabel="counted tokens per latent (mean of the pages)", ylabel="precision", ylim=(0, 1.02))
    axes.legend(fontsize="small")
    figure.tight_layout()
    save_figure(figure, path)


SUITE = Suite(
    summary="greedy decoding, beams and the search; whether the check and the margins tell what is wrong",
    add_arguments=add_arguments,
    prepare=pages.prepare,
    report=report,
    draw=draw,
    methods=methods,
    row=row,
)
