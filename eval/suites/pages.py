"""
Free-running reconstruction of whole pages at several compression ratios: the tables of the README and the model card.

A ratio counts tokens of the `--count-with` tokenizer, Qwen2.5's for a comparison with C3 (arXiv 2511.15244). It is a
floor: a page of T counted tokens gets floor(T / ratio) latents in all, so never fewer tokens per latent than asked for.
The one exception, a page that needs more because every window has a latent, is named in the report.
"""

import statistics

from c3.eval.fox_data import is_fox
from c3.eval.harness import Example, Suite
from c3.eval.metrics import bootstrap_interval
from c3.eval.page_data import count_page, describe_pages, wanted_latents
from c3.eval.published import C3_PUBLISHED, DEEPSEEK_OCR_PUBLISHED, RATIO_PUBLISHED
from c3.eval.report import (
    asked_ratio,
    describe,
    distinct,
    markdown_table,
    mean,
    method_table,
    new_figure,
    number,
    percent,
    precision_with_interval,
    save_figure,
    select,
)
from c3.eval.text_kinds import language
from c3.support.arguments import compression_ratio


def add_arguments(parser):
    parser.add_argument("--ratios", nargs="+", type=compression_ratio, default=[4.0, 8.0, 16.0, 20.0, 40.0])


def prepare(args, pages, model, counter, window):
    counted = [count_page(page, model, counter, window) for page in pages]
    examples = [
        Example(page, language(page.text), f"{ratio:g}x", wanted_latents(page, ratio))
        for ratio in sorted(set(args.ratios))
        for page in counted
    ]
    return examples, []


def report(result):
    rows = result["examples"]
    parts = ["## Whole pages", describe(result), *ratio_tables(rows), "### All metrics", method_table(rows)]
    return "\n\n".join(parts)


def ratio_tables(rows):
    """
    What came back at each ratio, `list[str]`: a table for each method and language, with a heading where there are
    several, and under it a sentence for each ratio that pages did not reach.
    """
    header = ["ratio asked", "reached: mean (min)", "in own tokens: mean", "precision [95 % CI]", "median", "min"]
    header += ["exact", "token F1", "bytes kept / of text"]
    parts, curves = [], _curves(rows)
    for method, group, by_setting in curves:
        parts += [f"### {method}, {group}"] if len(curves) > 1 else []
        parts.append(markdown_table(header, [_ratio_row(setting, each) for setting, each in by_setting.items()]))
        for setting, each in by_setting.items():
            if below := below_ratio(each):
                names = "all of them" if 1 < len(below) == len(each) else ", ".join(below)
                parts.append(f"Below {setting}, as every window has a latent: {len(below)} pages ({names}).")
    return parts


def _curves(rows):
    """Rows of each method and language by ratio: `list[tuple[str, str, dict[str, list[dict]]]]`."""
    curves = []
    for method in distinct(rows, "method"):
        for group in distinct(rows, "group"):
            if chosen := select(rows, method=method, group=group):
                settings = distinct(chosen, "setting")
                curves.append((method, group, {setting: select(chosen, setting=setting) for setting in settings}))
    return curves


def _ratio_row(setting, rows):
    scores = [row["scores"]["precision"] for row in rows]
    reached = [row["counted_ratio"] for row in rows if row["counted_ratio"] is not None]
    return [
        setting,
        f"{statistics.fmean(reached):.2f} ({min(reached):.2f})" if reached else "",
        number(mean(rows, "own_ratio"), 2),
        precision_with_interval(rows, digits=2),
        percent(statistics.median(scores), 2),
        percent(min(scores), 2),
        percent(mean(rows, "scores", "exact_match")),
        percent(mean(rows, "scores", "token_f1"), 2),
        f"{mean(rows, 'kept_bytes'):.0f} / {mean(rows, 'text_bytes'):.0f}",
    ]


def below_ratio(rows):
    """Ids of the pages that have more latents than the ratio asks for, one for every window."""
    asked = [(row, asked_ratio(row["setting"])) for row in rows]
    return [row["id"] for row, ratio in asked if ratio and row["counted_ratio"] and row["counted_ratio"] < ratio]


def draw(result, path):
    draw_together([result], path)


def draw_together(results, path):
    """Mean precision by ratio, with its 95 % band, of one or several results, and what was published on Fox."""
    figure, axes = new_figure(figsize=(8, 4.5))
    for result in results:
        curves = [curve for curve in _curves(result["examples"]) if _has_ratios(curve)]
        pages = describe_pages(result) + ("" if is_fox(result) else ", not Fox")
        for method, group, by_setting in curves:
            reached = [mean(rows, "counted_ratio") for rows in by_setting.values()]
            scores = [[row["scores"]["precision"] for row in rows] for rows in by_setting.values()]
            label = f"{method}, {group}: {pages}" if len(curves) > 1 else pages
            axes.plot(reached, list(map(statistics.fmean, scores)), marker=".", label=label)
            low, high = zip(*map(bootstrap_interval, scores), strict=True)
            axes.fill_between(reached, low, high, alpha=0.2, linewidth=0)
    for label, marker, published in (
        ("C3, 4.5 B parameters, on Fox: published by its authors", "x", C3_PUBLISHED),
        ("DeepSeek-OCR on Fox: published by C3's authors", "+", DEEPSEEK_OCR_PUBLISHED),
    ):
        points = [(RATIO_PUBLISHED[key], value) for key, value in published.items()]
        axes.scatter(*zip(*points, strict=True), marker=marker, color="grey", label=label)
    axes.set(xlabel="counted tokens per latent (mean of the pages)", ylabel="precision", ylim=(0, 1.02))
    axes.legend()
    figure.tight_layout()
    save_figure(figure, path)


def _has_ratios(curve):
    """Whether a method keeps latents or tokens: an archive has no place on an axis of ratios."""
    _, _, by_setting = curve
    return all(mean(rows, "counted_ratio") is not None for rows in by_setting.values())


SUITE = Suite(
    summary="whole pages at several compression ratios",
    add_arguments=add_arguments,
    prepare=prepare,
    report=report,
    draw=draw,
    takes_page_readers=True,
)
