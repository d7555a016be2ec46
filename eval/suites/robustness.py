"""
Precision on kinds of text from English to noise, from one token to ten windows: if a language prior did the work, as
critics of latent compression say, shuffled words and random strings would not come back.
"""

from c3.eval.harness import Example, Suite
from c3.eval.page_data import Page, count_page, wanted_latents
from c3.eval.report import (
    asked_ratio,
    describe,
    distinct,
    markdown_table,
    mean,
    method_table,
    new_figure,
    precision_with_interval,
    save_figure,
    select,
)
from c3.eval.text_kinds import (
    CHINESE_KINDS,
    GENERATED_KINDS,
    PAGE_KINDS,
    RANDOM_TOKENS,
    cut_tokens,
    language,
    pieces,
    text_of_length,
)
from c3.support.arguments import compression_ratio, whole_number

KINDS = [*PAGE_KINDS, *CHINESE_KINDS, *GENERATED_KINDS, RANDOM_TOKENS]
MOST_WINDOWS = 10


def add_arguments(parser):
    parser.add_argument("--ratios", nargs="+", type=compression_ratio, default=[8.0])
    parser.add_argument("--samples", type=whole_number(1), default=4, help="texts of each kind and length (default 4)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="default all")


def lengths(window):
    """Lengths in tokens: from one token, by an eighth and a half of a window, to ten windows."""
    return sorted({1, max(1, window // 8), max(1, window // 2), window, 2 * window, MOST_WINDOWS * window})


def prepare(args, pages, model, counter, window):
    tokenizer = model.processor.tokenizer
    by_language = {"en": [], "zh": []}
    for page in pages:
        by_language[language(page.text)].append(page.text)
    texts, left_out = [], []
    for kind in args.kinds:
        of_kind = by_language["zh" if kind in CHINESE_KINDS else "en"]
        if (kind in CHINESE_KINDS or kind in PAGE_KINDS) and not of_kind:
            left_out.append(f"{kind}: there are no {'Chinese' if kind in CHINESE_KINDS else 'English'} pages in --data")
            continue
        short = 0
        for sample in range(args.samples):
            for length, text in _nested(kind, sample, args.samples, of_kind, tokenizer, lengths(window)):
                if text is None:
                    short += 1
                else:
                    page = Page(f"{kind}/{length}/{sample}", "", text)
                    texts.append((kind, length, count_page(page, model, counter, window)))
        if short:
            left_out.append(f"{kind}: {short} texts, for which the pages are too short")
    if not texts:
        raise ValueError("no text of any kind could be made: " + "; ".join(left_out))
    examples = [
        Example(page, f"{kind}, {length}", f"{ratio:g}x", wanted_latents(page, ratio))
        for ratio in sorted(set(args.ratios))
        for kind, length, page in texts
    ]
    return examples, left_out


def _nested(kind, sample, num_samples, pages, tokenizer, wanted):
    """Yields (length, text): the start of one long text at every length, None where that is too long for the pages."""
    longest = None
    for length in sorted(wanted, reverse=True):
        if longest is None:
            longest = text = text_of_length(tokenizer, pieces(kind, sample, num_samples, pages, tokenizer), length)
        else:
            text = cut_tokens(tokenizer, longest, length)
        yield length, text


def report(result):
    rows = result["examples"]
    about = (
        "Columns: length in the model's own tokens, about; mean precision. The last one is over the lengths that have "
        "as many tokens for each latent as the ratio says, which shorter texts, of one latent, have not; its interval "
        "is over the texts, of which the lengths are starts."
    )
    parts = ["## Robustness", describe(result), about, *kind_tables(rows)]
    return "\n\n".join([*parts, "### All metrics", method_table(with_kind(rows), by="kind")])


def with_kind(rows):
    return [row | dict(zip(("kind", "length"), row["group"].split(", "), strict=True)) for row in rows]


def kind_tables(rows):
    """Precision by kind and length, `list[str]`: a heading and a table for each method and ratio."""
    rows, parts = with_kind(rows), []
    sizes = sorted(distinct(rows, "length"), key=int)
    for method in distinct(rows, "method"):
        for setting in distinct(rows, "setting"):
            chosen = select(rows, method=method, setting=setting)
            table = []
            for kind in distinct(chosen, "kind"):
                of_kind = select(chosen, kind=kind)
                cells = [_cell(select(of_kind, length=size)) for size in sizes]
                table.append([kind, *cells, _at_the_ratio(of_kind, setting)])
            header = ["kind of text", *sizes, f"at {setting}"]
            parts += [f"### {method}, {setting}", markdown_table(header, table)]
    return parts


def _at_the_ratio(rows, setting):
    """Precision of the texts that are long enough for the ratio, each kind's samples one value."""
    rows = [row for row in rows if row["counted_ratio"] and row["counted_ratio"] >= asked_ratio(setting)]
    return precision_with_interval(rows, by=lambda row: row["id"].rpartition("/")[-1]) if rows else ""


def _cell(rows):
    value = mean(rows, "scores", "precision") if rows else None
    return "" if value is None else f"{value:.1%}"


def draw(result, path):
    """Precision by length, a line for each kind; one panel for each method and ratio."""
    rows = with_kind(result["examples"])
    panels = [(method, setting) for method in distinct(rows, "method") for setting in distinct(rows, "setting")]
    figure, axes = new_figure(1, len(panels), figsize=(8 * len(panels), 5), sharey=True, squeeze=False)
    for each, (method, setting) in zip(axes[0], panels, strict=True):
        for index, kind in enumerate(distinct(rows, "kind")):
            chosen = select(rows, method=method, setting=setting, kind=kind)
            sizes = sorted({int(row["length"]) for row in chosen})
            values = [mean(select(chosen, length=str(size)), "scores", "precision") for size in sizes]
            each.plot(sizes, values, marker=".", linestyle=("-", "--", ":")[index // 10 % 3], label=kind)
        each.set(title=f"{method}, {setting}", xscale="log", ylim=(0, 1.02))
        each.set(xlabel="length (the model's own tokens)", ylabel="precision")
    axes[0][-1].legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    figure.tight_layout()
    save_figure(figure, path)


SUITE = Suite(
    summary="kinds of text from English to random characters, from one token to ten windows",
    add_arguments=add_arguments,
    prepare=prepare,
    report=report,
    draw=draw,
    needs_data=False,
)
