"""
Accuracy by relative position in the text: the "sequential forgetting" of C3's paper (arXiv 2511.15244, figure 5) as a
measurement, for texts of one window and for long texts of many.
"""

from itertools import product

from c3.eval.alignment import accuracy_by_position
from c3.eval.harness import Example, Suite
from c3.eval.metrics import bootstrap_interval
from c3.eval.page_data import Page, count_page, wanted_latents
from c3.eval.report import (
    describe,
    distinct,
    markdown_table,
    method_table,
    new_figure,
    precision_with_interval,
    save_figure,
)
from c3.eval.report import select as select_rows
from c3.eval.text_kinds import cut_tokens, language
from c3.support.arguments import compression_ratio, whole_number

BINS = 20


def add_arguments(parser):
    parser.add_argument("--ratios", nargs="+", type=compression_ratio, default=[8.0, 16.0, 20.0])
    parser.add_argument("--lengths", nargs="+", type=whole_number(1), default=[1, 10], help="of the texts, in windows")
    parser.add_argument(
        "--samples", type=whole_number(1), default=24, help="texts of each length, at most (default 24)"
    )


def prepare(args, pages, model, counter, window):
    tokenizer = model.processor.tokenizer
    by_language = {}
    for page in pages:
        by_language.setdefault(language(page.text), []).append(page)
    examples, left_out = [], []
    for lang, length in product(sorted(by_language), sorted(set(args.lengths))):
        texts = _cut(by_language[lang], tokenizer, length * window, args.samples)
        if len(texts) < args.samples:
            missing = f"{args.samples - len(texts)} of {args.samples} texts of {length} windows"
            left_out.append(f"{missing}: the pages in {lang} have no more text")
        group = f"{lang}, {length} window" + "s" * (length > 1)
        counted = [count_page(page, model, counter, window) for page in texts]
        for ratio in sorted(set(args.ratios)):
            setting = f"{ratio:g}x"
            examples += [Example(page, group, setting, wanted_latents(page, ratio)) for page in counted]
    if not examples:
        raise ValueError(f"the pages hold no text of {min(args.lengths)} windows ({window} tokens each)")
    return examples, left_out


def _cut(pages, tokenizer, length, most):
    """Pages of `length` tokens each, cut from whole pages one after the other, no page in two of them."""
    texts, held, ids = [], "", []
    for page in pages:
        held, ids = f"{held}\n{page.text}" if held else page.text, [*ids, page.id]
        start = cut_tokens(tokenizer, held, length) if len(held.encode()) >= length else None
        if start is not None:
            texts.append(Page("+".join(ids) if len(ids) < 3 else f"{ids[0]}…{ids[-1]}", page.source, start))
            held, ids = "", []
        if len(texts) == most:
            break
    return texts


def measure(text, output):
    return {"accuracy_by_position": accuracy_by_position(text, output, BINS)}


def curve(rows):
    """Mean accuracy of each bin over texts, with its 95 % bootstrap interval: `list[tuple[float, float, float]]`."""
    points = []
    for each in zip(*(row["accuracy_by_position"] for row in rows), strict=True):
        values = [value for value in each if value is not None]
        points.append((sum(values) / len(values), *bootstrap_interval(values, resamples=2000)) if values else None)
    return points


def report(result):
    rows = result["examples"]
    parts = ["## Forgetting", describe(result)]
    parts.append("Share of characters kept, aligned by edit operations, by relative position in the text.")
    return "\n\n".join([*parts, position_table(rows), "### All metrics", method_table(rows)])


def position_table(rows):
    """Share of characters kept in tenths of the text, as Markdown."""
    header = [
        "method",
        "text",
        "ratio",
        "texts",
        "precision",
        "first tenth",
        "second",
        "middle",
        "ninth",
        "last tenth",
    ]
    table = []
    for method, group, setting, chosen in _curves(rows):
        points = curve(chosen)
        cells = [_percent(points[i : i + 2]) for i in (0, 2, BINS // 2 - 1, BINS - 4, BINS - 2)]
        table.append([method, group, setting, len(chosen), precision_with_interval(chosen), *cells])
    return markdown_table(header, table)


def _percent(points):
    values = [point[0] for point in points if point]
    return f"{sum(values) / len(values):.1%}" if values else ""


def _curves(rows):
    for method in distinct(rows, "method"):
        for group in distinct(rows, "group"):
            for setting in distinct(rows, "setting"):
                chosen = select_rows(rows, method=method, group=group, setting=setting)
                if chosen:
                    yield method, group, setting, chosen


def draw(result, path):
    """A panel for each language and length, a line with its band for each method and ratio."""
    rows = result["examples"]
    groups, methods = distinct(rows, "group"), distinct(rows, "method")
    figure, panels = new_figure(1, len(groups), figsize=(5 * len(groups), 4), sharey=True, squeeze=False)
    for axes, group in zip(panels[0], groups, strict=True):
        for method, _, setting, chosen in _curves(select_rows(rows, group=group)):
            points = [((i + 0.5) / BINS, *point) for i, point in enumerate(curve(chosen)) if point]
            where, middle, low, high = zip(*points, strict=True)
            label = setting if len(methods) == 1 else f"{method} {setting}"
            axes.plot(where, middle, label=label)
            axes.fill_between(where, low, high, alpha=0.2, linewidth=0)
        axes.set(
            title=group, xlabel="relative position in the text", ylabel="characters kept", xlim=(0, 1), ylim=(0, 1.02)
        )
        axes.legend()
    figure.tight_layout()
    save_figure(figure, path)


SUITE = Suite(
    summary="accuracy by relative position in the text, for one window and for many",
    add_arguments=add_arguments,
    prepare=prepare,
    report=report,
    draw=draw,
    measure=measure,
)
