"""
A ratio that follows the content: `compress(ratio=…, min_fidelity=…)` against one ratio for all windows, on kinds of
text from prose to UUIDs.
"""

from functools import partial

from c3.eval.harness import Example, Suite, described
from c3.eval.metrics import precision
from c3.eval.page_data import Page, count_page
from c3.eval.report import describe, distinct, markdown_table, mean, new_figure, number, percent, save_figure, select
from c3.eval.text_kinds import CHINESE_KINDS, GENERATED_KINDS, language, pieces, text_of_length
from c3.support.arguments import compression_ratio, fidelity, whole_number

KINDS = ["English", *CHINESE_KINDS, *(kind for kind in GENERATED_KINDS if kind != "random characters")]
FIXED = "one ratio"
# One ratio for all windows, tokens per latent: those that are tried beside the one that is asked for.
LADDER = (36, 32, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 5, 4)


def add_arguments(parser):
    about = "the highest ratio, in the model's own tokens (default 40)"
    parser.add_argument("--ratio", type=compression_ratio, default=40.0, help=about)
    about = "share of a window's tokens that are to need no correction (default 0.95 0.99)"
    parser.add_argument("--fidelities", nargs="+", type=fidelity, default=[0.95, 0.99], help=about)
    parser.add_argument("--samples", type=whole_number(1), default=2, help="texts of each kind (default 2)")
    parser.add_argument("--length", type=whole_number(1), default=1000, help="own tokens of a text (default 1000)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="default all")


def prepare(args, pages, model, counter, window):
    by_language = {"en": [], "zh": []}
    for page in pages:
        by_language[language(page.text)].append(page.text)
    examples, left_out = [], []
    for kind in args.kinds:
        of_kind = by_language["zh" if kind in CHINESE_KINDS else "en"]
        if kind not in GENERATED_KINDS and not of_kind:
            left_out.append(f"{kind}: there are no such pages in --data")
            continue
        for sample in range(args.samples):
            tokenizer = model.processor.tokenizer
            text = text_of_length(tokenizer, pieces(kind, sample, args.samples, of_kind, tokenizer), args.length)
            if text is None:
                left_out.append(f"{kind}: a text, for which the pages are too short")
                continue
            page = count_page(Page(f"{kind}/{sample}", "", text), model, counter, window)
            examples.append(Example(page, kind, f"{args.ratio:g}x", max(1, int(page.own_tokens / args.ratio))))
    if not examples:
        raise ValueError("no text of any kind could be made: " + "; ".join(left_out))
    return examples, left_out


def methods(args, model, examples):
    ways = {name_of(each): partial(measure_adaptive, ratio=args.ratio, least=each) for each in sorted(args.fidelities)}
    ladder = [args.ratio, *(ratio for ratio in LADDER if ratio < args.ratio)]
    return ways | {FIXED: partial(measure_fixed, ratios=ladder, fidelities=sorted(args.fidelities))}, {}


def name_of(least):
    return f"fidelity of at least {least:g}"


def measure_adaptive(model, examples, options, ratio, least):
    """What each text becomes where every window is to have such a fidelity, as fields of its row."""
    return [_measure(model, each, options, [least], ratio=ratio, min_fidelity=least) for each in examples]


def measure_fixed(model, examples, options, ratios, fidelities):
    """What each text becomes at each of some ratios, `{"steps": list[dict]}`."""
    return [
        {"steps": [_measure(model, each, options, fidelities, ratio=ratio, measure=True) for ratio in ratios]}
        for each in examples
    ]


def _measure(model, example, options, fidelities, **how):
    quiet = {"batch_size": options.batch_size, "show_progress": False}
    latents = model.compress(example.page.text, window=options.window, **how, **quiet)
    windows = latents.window_fidelities
    return {
        "ratio": latents.ratio,
        "fidelity": latents.fidelity,
        "holds": {f"{least:g}": sum(each >= least for each in windows) / len(windows) for least in fidelities},
        "precision": precision(example.page.text, model.expand(latents, **quiet)),
    }


def row(method, example, measured):
    return {**described(method, example, example.latents), **measured}


def report(result):
    about = (
        "Ratios count the model's own tokens, fidelity is the share of tokens that need no correction, precision is 1 "
        "- normalised edit distance over characters. Beside each: the highest of the ratios "
        f"{', '.join(f'{each:g}' for each in LADDER)} and the one asked for that, given to all windows of all texts of "
        "the kind, has as high a mean fidelity; and the highest at which as large a share of the windows reaches it."
    )
    return "\n\n".join(["## Adaptive ratio", describe(result, "free-running", about), adaptive_table(result)])


def adaptive_table(result):
    """What is reached by an adaptive ratio and by one ratio, for each kind of text and fidelity."""
    header = ["text", "fidelity asked", "ratio reached", "fidelity", "windows that have it", "precision"]
    header += ["one ratio of equal fidelity", "one ratio, as many windows"]
    table = []
    for group in distinct(result["examples"], "group"):
        fixed = select(result["examples"], group=group, method=FIXED)
        steps = [_together(each) for each in zip(*(text["steps"] for text in fixed), strict=True)]
        for least in sorted(result["options"]["fidelities"]):
            reached = _together(select(result["examples"], group=group, method=name_of(least)))
            holds = f"{least:g}"
            cells = [number(reached["ratio"]), percent(reached["fidelity"], 2), percent(reached["holds"][holds])]
            cells.append(percent(reached["precision"], 2))
            for is_as_good in (
                lambda step: step["fidelity"] >= reached["fidelity"],  # noqa: B023  used at once
                lambda step: step["holds"][holds] >= reached["holds"][holds],  # noqa: B023
            ):
                good = [step["ratio"] for step in steps if is_as_good(step)]
                cells.append(number(max(good)) if good else "none")
            table.append([group, holds, *cells])
    return markdown_table(header, table)


def _together(measured):
    """The means over texts, which are equally long."""
    means = {name: mean(measured, name) for name in ("ratio", "fidelity", "precision")}
    return means | {"holds": {name: mean(measured, "holds", name) for name in measured[0]["holds"]}}


def draw(result, path):
    """Fidelity by ratio: a line for each kind of text at one ratio, and points where it is adaptive."""
    figure, axes = new_figure(figsize=(8, 4.5))
    for index, group in enumerate(distinct(result["examples"], "group")):
        fixed = select(result["examples"], group=group, method=FIXED)
        steps = [_together(each) for each in zip(*(text["steps"] for text in fixed), strict=True)]
        colour = f"C{index}"
        axes.plot([s["ratio"] for s in steps], [s["fidelity"] for s in steps], color=colour, label=group)
        for least in result["options"]["fidelities"]:
            reached = _together(select(result["examples"], group=group, method=name_of(least)))
            axes.scatter([reached["ratio"]], [reached["fidelity"]], color=colour, marker="*", s=60)
    axes.set(xlabel="own tokens per latent; stars: adaptive", ylabel="fidelity")
    axes.legend(fontsize="small")
    figure.tight_layout()
    save_figure(figure, path)


SUITE = Suite(
    summary="a ratio that follows the content, against one for all windows, on kinds of text",
    add_arguments=add_arguments,
    prepare=prepare,
    report=report,
    draw=draw,
    methods=methods,
    row=row,
    needs_data=False,
)
