"""
A ratio that follows the content: `compress(ratio=…, min_fidelity=…)` against one ratio for all windows, on kinds of
text from prose to UUIDs.
"""

import warnings
from functools import partial

from c3 import CompressionWarning
from c3.eval.harness import Example, Suite, described
from c3.eval.metrics import precision
from c3.eval.page_data import Page, count_page
from c3.eval.report import describe, distinct, markdown_table, mean, new_figure, number, percent, save_figure, select
from c3.eval.text_kinds import CHINESE_KINDS, GENERATED_KINDS, LIST_KINDS, language, pieces, text_of_length
from c3.support.arguments import compression_ratio, fidelity, whole_number

KINDS = ["English", *CHINESE_KINDS, "code", "tables of numbers", *LIST_KINDS]
FIXED = "one ratio"
# One ratio for all windows: from the one asked for down to the lowest, each so many times lower than the one before.
STEP, LOWEST = 1.1, 4


def add_arguments(parser):
    about = "the highest ratio, in the model's own tokens (default 40)"
    parser.add_argument("--ratio", type=compression_ratio, default=40.0, help=about)
    about = "share of a window's tokens that are to need no correction (default 0.95 0.99)"
    parser.add_argument("--fidelities", nargs="+", type=fidelity, default=[0.95, 0.99], help=about)
    parser.add_argument("--samples", type=whole_number(1), default=4, help="texts of each kind (default 4)")
    parser.add_argument("--length", type=whole_number(1), default=1000, help="own tokens of a text (default 1000)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="default all")


def prepare(args, pages, model, counter, window):
    by_language = {"en": [], "zh": []}
    for page in pages:
        by_language[language(page.text)].append(page.text)
    tokenizer, examples, left_out = model.processor.tokenizer, [], []
    for kind in args.kinds:
        of_kind = by_language["zh" if kind in CHINESE_KINDS else "en"]
        if kind not in GENERATED_KINDS | LIST_KINDS and not of_kind:
            left_out.append(f"{kind}: there are no {'Chinese' if kind in CHINESE_KINDS else 'English'} pages in --data")
            continue
        short = 0
        for sample in range(args.samples):
            text = text_of_length(tokenizer, pieces(kind, sample, args.samples, of_kind, tokenizer), args.length)
            if text is None:
                short += 1
                continue
            page = count_page(Page(f"{kind}/{sample}", "", text), model, counter, window)
            latents = max(page.min_windows, int(page.own_tokens / args.ratio))
            examples.append(Example(page, kind, f"{args.ratio:g}x", latents))
        if short:
            left_out.append(f"{kind}: {short} texts, for which the pages are too short")
    if not examples:
        raise ValueError("no text of any kind could be made: " + "; ".join(left_out))
    return examples, left_out


# ------------------------------------------------------------------------------------------------------- measurements


def methods(args, model, examples):
    fidelities = sorted(set(args.fidelities))
    ways = {adaptive_to(each): partial(measure_adaptive, ratio=args.ratio, least=each) for each in fidelities}
    return ways | {FIXED: partial(measure_fixed, ratios=ratios_below(args.ratio), fidelities=fidelities)}, {}


def adaptive_to(least):
    """The name of a method."""
    return f"fidelity of at least {least:g}"


def ratios_below(ratio):
    """The ratios to try, falling, `list[float]`."""
    found = [ratio]
    while found[-1] > LOWEST:
        found.append(max(LOWEST, found[-1] / STEP))
    return found


def measure_adaptive(model, examples, options, ratio, least):
    """What each text becomes where every window is to have such a fidelity, as fields of its row."""
    found = []
    for example in examples:
        latents = _compressed(model, example, options, ratio=ratio, min_fidelity=least)
        output = model.expand(latents, batch_size=options.batch_size, show_progress=False)
        found.append({**_counts(latents, [least]), "precision": precision(example.page.text, output)})
    return found


def measure_fixed(model, examples, options, ratios, fidelities):
    """What each text becomes at each of some ratios, `{"steps": list[dict]}`."""
    return [
        {
            "steps": [
                _counts(_compressed(model, example, options, ratio=ratio, measure=True), fidelities) for ratio in ratios
            ]
        }
        for example in examples
    ]


def _compressed(model, example, options, **how):
    with warnings.catch_warnings():
        # Of windows that do not reach the fidelity, and of high ratios: the tables say more.
        warnings.simplefilter("ignore", CompressionWarning)
        return model.compress(
            example.page.text, window=options.window, batch_size=options.batch_size, show_progress=False, **how
        )


def _counts(latents, fidelities):
    windows = latents.window_fidelities
    return {
        "latents": latents.num_latents,
        "num_windows": latents.num_windows,
        "fidelity": latents.fidelity,
        "holding": {f"{least:g}": sum(each >= least for each in windows) for least in fidelities},
    }


def row(method, example, measured):
    return {**described(method, example, measured.get("latents")), **measured}


# ------------------------------------------------------------------------------------------------------------- report


def report(result):
    """Markdown."""
    about = "Precision is 1 - normalised edit distance over characters."
    return "\n\n".join(
        ["## Adaptive ratio", describe(result, "free-running", about), about_the_table(result), adaptive_table(result)]
    )


def about_the_table(result):
    """What is compared, as a paragraph."""
    options = result["options"]
    return (
        f"Texts of {options['length']} tokens, {options['samples']} of a kind; ratios in the model's own tokens, all "
        "tokens of a kind by all latents. Fidelity is the share of tokens that need no correction. Adaptive: each "
        f"window has as few latents as reach the fidelity asked for, down to one for {options['ratio']:g} tokens. One "
        "ratio: all windows have that one; the highest at which the mean fidelity is that of the adaptive latents, and "
        "the highest at which as large a share of the windows reaches the fidelity asked for; in brackets how many "
        f"times as high the adaptive ratio is. They are read off ratios from {options['ratio']:g} to {LOWEST}, each "
        f"{STEP} times lower than the one before, linearly between two."
    )


def adaptive_table(result):
    """What is reached by an adaptive ratio and by one ratio, for each kind of text and fidelity."""
    header = ["text", "fidelity asked", "ratio reached", "fidelity", "windows that reach it", "precision"]
    header += ["one ratio: equal fidelity", "one ratio: as many windows"]
    table = []
    for group in distinct(result["examples"], "group"):
        steps = fixed_steps(result, group)
        for least in sorted(result["options"]["fidelities"]):
            name = f"{least:g}"
            rows = select(result["examples"], group=group, method=adaptive_to(least))
            reached = together(rows, [row["own_tokens"] for row in rows])
            cells = [number(reached["ratio"]), percent(reached["fidelity"], 2), percent(reached[name])]
            cells.append(percent(mean(rows, "precision"), 2))
            for measure in ("fidelity", name):
                fixed = highest_ratio(steps, measure, reached[measure])
                cells.append(f"{fixed:.1f} ({reached['ratio'] / fixed:.2f})" if fixed else f"below {LOWEST}")
            table.append([group, name, *cells])
    return markdown_table(header, table)


def fixed_steps(result, group):
    """What all texts of a kind become at each of the ratios tried, see `together`."""
    rows = select(result["examples"], group=group, method=FIXED)
    tokens = [row["own_tokens"] for row in rows]
    return [together(step, tokens) for step in zip(*(row["steps"] for row in rows), strict=True)]


def together(texts, tokens):
    """
    Ratio, fidelity and, by each fidelity's name, the share of windows that reach it, of all texts of a kind, `dict`;
    `tokens` (`list[int]`) are those of each text.
    """
    right = sum(each["fidelity"] * count for each, count in zip(texts, tokens, strict=True))
    windows = sum(each["num_windows"] for each in texts)
    return {
        "ratio": sum(tokens) / sum(each["latents"] for each in texts),
        "fidelity": right / sum(tokens),
        **{name: sum(each["holding"][name] for each in texts) / windows for name in texts[0]["holding"]},
    }


def highest_ratio(steps, name, wanted):
    """
    The highest ratio at which a measure is no less than what is wanted, `float`; None where it is less at all.

    Args:
        steps (`list[dict]`): what was measured, at falling ratios; it is read linearly between two.
        name (`str`), wanted (`float`): the measure, and its least value.
    """
    higher = None
    for step in steps:
        if step[name] >= wanted:
            if higher is None:
                return step["ratio"]
            share = (step[name] - wanted) / (step[name] - higher[name])
            return step["ratio"] + share * (higher["ratio"] - step["ratio"])
        higher = step
    return None


def draw(result, path):
    """Fidelity by ratio: a line for each kind of text at one ratio, and stars where it is adaptive."""
    figure, axes = new_figure(figsize=(8, 4.5))
    for index, group in enumerate(distinct(result["examples"], "group")):
        steps, colour = fixed_steps(result, group), f"C{index}"
        axes.plot([each["ratio"] for each in steps], [each["fidelity"] for each in steps], color=colour, label=group)
        for least in result["options"]["fidelities"]:
            rows = select(result["examples"], group=group, method=adaptive_to(least))
            reached = together(rows, [row["own_tokens"] for row in rows])
            axes.scatter([reached["ratio"]], [reached["fidelity"]], color=colour, marker="*", s=60)
    axes.set(xlabel="the model's own tokens per latent; stars: adaptive", ylabel="fidelity")
    axes.legend(fontsize="small")
    figure.tight_layout()
    save_figure(figure, path)


SUITE = Suite(
    summary="a ratio that follows the content against one for all windows, on kinds of text",
    add_arguments=add_arguments,
    prepare=prepare,
    report=report,
    draw=draw,
    methods=methods,
    row=row,
    needs_data=False,
)
