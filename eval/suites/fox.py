"""
The protocol of C3's paper (arXiv 2511.15244, section 4): pages of 600-1300 Qwen tokens in seven buckets, at 32, 64 and
100 latents a page, greedy. A model with windows shares the latents of a page among its windows.
"""

import statistics

from c3.eval.fox_data import is_fox
from c3.eval.harness import Example, Suite
from c3.eval.page_data import count_page
from c3.eval.published import C3_PUBLISHED, DEEPSEEK_OCR_PUBLISHED, RATIO_PUBLISHED
from c3.eval.report import (
    asked_latents,
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
from c3.support.arguments import whole_number

EDGES = range(600, 1400, 100)
RATIO_OF = ("counted_tokens", "own_tokens")


def bucket(tokens):
    """`"600-700"` … `"1200-1300"`; a bucket has its lower end, the last one both; None outside."""
    for low, high in zip(EDGES, EDGES[1:], strict=False):
        if low <= tokens < high or tokens == high == EDGES[-1]:
            return f"{low}-{high}"
    return None


def add_arguments(parser):
    parser.add_argument("--latents", nargs="+", type=whole_number(1), default=[32, 64, 100], help="of a page, in all")


def prepare(args, pages, model, counter, window):
    if counter is None:
        raise ValueError("the suite fox counts the tokens of a page with --count-with, Qwen's tokenizer in the paper")
    pages = [count_page(page, model, counter, window) for page in pages]
    outside = [page.id for page in pages if bucket(page.counted_tokens) is None]
    inside = [page for page in pages if bucket(page.counted_tokens)]
    left_out = []
    if outside:
        left_out.append(f"{len(outside)} pages outside {EDGES[0]}-{EDGES[-1]} tokens ({', '.join(outside)})")
    if not inside:
        raise ValueError(
            f"none of the {len(pages)} pages has {EDGES[0]}-{EDGES[-1]} tokens of the --count-with tokenizer"
        )
    examples = []
    for latents in sorted(set(args.latents)):
        raised = [page.id for page in inside if page.min_windows > latents]
        if raised:
            left_out.append(
                f"nothing, but {len(raised)} pages have more windows than {latents} and so a latent for each"
                f" ({', '.join(raised)})"
            )
        for page in inside:
            group = f"{language(page.text)} {bucket(page.counted_tokens)}"
            total = max(page.min_windows, min(page.own_tokens, latents))
            examples.append(Example(page, group, f"{latents} latents", total))
    return examples, left_out


def report(result):
    title = "Fox" if is_fox(result) else "The protocol of Fox on other pages: **not Fox**"
    rows = result["examples"]
    parts = [
        f"## {title}",
        describe(result),
        _how_read(result),
        *bucket_tables(rows),
        "Published on the Fox benchmark, and not measured here: C3 with Qwen2.5-1.5B and Qwen2.5-3B, DeepSeek-OCR with "
        "as many vision tokens of a page's image (at 64 and 100 alone), and the ratio of both, as the authors of C3 "
        "print them, arXiv 2511.15244, tables 1 and 2.",
        "### All metrics",
        method_table(with_language(rows), by="language"),
    ]
    return "\n\n".join(parts)


def _how_read(result):
    window, rows = result["options"]["window"], result["examples"]
    if window is None:
        pages = f"{mean(rows, 'num_windows'):.1f} pages on average"
        return f"The texts are drawn anew, each on {pages}: a benchmark's own pictures are not used."
    windows = f"{mean(rows, 'min_windows'):.1f} of at most {window} own tokens, on average"
    return f"A page's latents are shared among its windows ({windows}): the number is that of the whole page."


def with_language(rows):
    return [row | {"language": row["group"].split()[0]} for row in rows]


def bucket_tables(rows):
    """The paper's tables, `list[str]`: ratio and precision by bucket, what the authors published beside each."""
    parts = []
    for setting in distinct(rows, "setting"):
        latents = asked_latents(setting)
        for lang in ("en", "zh"):
            table = _bucket_rows(select(rows, setting=setting), latents, lang)
            if table:
                header = ["counted tokens", "pages", "ratio", "own ratio", *distinct(rows, "method")]
                if lang == "en":
                    header.insert(3, "ratio, published on Fox")
                    header += ["C3, published on Fox", "DeepSeek-OCR, published on Fox"]
                heading = f"{setting} a page" if latents else setting
                parts += [f"### {heading}, {lang}", markdown_table(header, table)]
    return parts


def _bucket_rows(rows, latents, lang):
    table = []
    for low, high in zip(EDGES, EDGES[1:], strict=False):
        name = f"{low}-{high}"
        found = select(rows, group=f"{lang} {name}")
        if not found:
            continue
        first = select(found, method=found[0]["method"])
        ratios = [number(statistics.fmean(_ratio(row, name) for row in first)) for name in RATIO_OF]
        ours = [precision_with_interval(select(found, method=method)) for method in distinct(rows, "method")]
        published = []
        if lang == "en":
            ratios.insert(1, number(RATIO_PUBLISHED.get((latents, name))))
            published = [percent(each.get((latents, name))) for each in (C3_PUBLISHED, DEEPSEEK_OCR_PUBLISHED)]
        table.append([name, len(first), *ratios, *ours, *published])
    return table


def _ratio(row, name):
    """Tokens for each latent that a method has of a page, or, where it keeps none, for each that was asked for."""
    asked = asked_latents(row["setting"])
    return row[name] / (row["latents"] or max(row["min_windows"], min(row["own_tokens"], asked)))


def draw(result, path):
    """Precision by ratio: a point for each page, one panel for each method."""
    rows = result["examples"]
    methods = distinct(rows, "method")
    figure, panels = new_figure(1, len(methods), figsize=(5 * len(methods), 4), sharey=True, squeeze=False)
    for axes, method in zip(panels[0], methods, strict=True):
        for setting in distinct(rows, "setting"):
            chosen = select(rows, method=method, setting=setting)
            ratios = [_ratio(row, "counted_tokens") for row in chosen]
            axes.scatter(ratios, [row["scores"]["precision"] for row in chosen], s=12, label=setting)
        axes.set(title=method, xlabel="counted tokens per latent", ylabel="precision", ylim=(0, 1.02))
        axes.legend()
    figure.suptitle("Fox" if is_fox(result) else "pages that are not Fox")
    figure.tight_layout()
    save_figure(figure, path)


SUITE = Suite(
    summary="the paper's protocol: pages of 600-1300 Qwen tokens at 32, 64 and 100 latents",
    add_arguments=add_arguments,
    prepare=prepare,
    report=report,
    draw=draw,
    default_count_with="Qwen/Qwen2.5-1.5B",
    takes_page_readers=True,
)
