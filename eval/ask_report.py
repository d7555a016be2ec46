"""The report of the suite `ask`: right answers by task, ratio and length, what each way costs, the needle heat map."""

import statistics

from .baselines.asked_text import LATENTS, RAW
from .metrics import bootstrap_interval
from .questions.needles import NEEDLE_TASKS
from .report import asked_ratio, describe, distinct, markdown_table, new_figure, percent, save_figure, select

MEASURED = (
    "An answer is right if it names all that was asked for, in any order, and nothing else; case and punctuation "
    "around are not compared. In brackets: 95 % bootstrap interval over texts."
)
WAYS_ARE = (
    "`latents`: the text's. `raw-text`: all of its tokens. `head`, `tail`, `both-ends`: as many of its tokens as there "
    "are latents. `bm25`: as many, of the sentences that BM25 ranks first for the question. `mean-pooling`: as many "
    "means of the encoder's states. `no-text`: the question alone. An empty cell, and one `of` fewer questions: the "
    "others were left out, see above."
)
# Where answers stand in the texts of a corpus, and the rows of the heat map: each holds the needles nearest to it.
DEPTHS = [0.0, 0.25, 0.5, 0.75, 1.0]
TITLES = {
    "exact_match": "Right answers",
    "found": "Share of the answers that what was said holds, as RULER counts",
    "f1": "F1 over words, as SQuAD counts",
}


def report(result):
    rows = result["examples"]
    parts = ["## Ask", describe(result, measured=MEASURED), *_not_asked(rows), WAYS_ARE]
    for name, title in TITLES.items():
        parts += [f"### {title}", score_table(rows, name)]
    parts += [f"### Cost, on {result['options']['device']}, {result['hardware']}", COST, cost_table(rows)]
    for length in sorted(distinct(rows, "length")):
        parts += [f"### {TITLES['exact_match']} by task, {length} tokens", task_table(select(rows, length=length))]
    return "\n\n".join(parts)


def _not_asked(rows):
    """A sentence for each way, length and ratio whose rows did not fit."""
    found = {}
    for row in rows:
        if row["too_long"]:
            found.setdefault((row["method"], row["length"]), {}).setdefault(row["setting"], []).append(row["too_long"])
    return [
        f"Left out: {method} at {length} tokens, {', '.join(by_ratio)}: {sum(map(len, by_ratio.values()))} questions, "
        f"as {next(iter(by_ratio.values()))[0]}."
        for (method, length), by_ratio in found.items()
    ]


def mean_and_interval(rows, name):
    """
    Mean of a score and its 95 % bootstrap interval over texts, `tuple[float, float, float]`, or None where nothing was
    asked: questions about the same text count as one value.
    """
    by_text = {}
    for row in rows:
        if row["scores"][name] is not None:
            by_text.setdefault(row["text_id"], []).append(row["scores"][name])
    means = list(map(statistics.fmean, by_text.values()))
    return (statistics.fmean(means), *bootstrap_interval(means)) if means else None


def _cells(rows, methods, name):
    """A score of each way, and of how many questions it is where it was not asked all of them."""
    cells = []
    for method in methods:
        of_method = select(rows, method=method)
        asked = [row for row in of_method if row["too_long"] is None]
        found = mean_and_interval(asked, name)
        cell = "" if found is None else f"{percent(found[0])} [{found[1]:.0%}, {found[2]:.0%}]"
        cells.append(f"{cell} of {len(asked)}" if 0 < len(asked) < len(of_method) else cell)
    return cells


def score_table(rows, name):
    """A score over all tasks: a row for each length and ratio, a column for each way."""
    methods, table = distinct(rows, "method"), []
    for length in sorted(distinct(rows, "length")):
        for setting in _settings(rows):
            if chosen := select(rows, length=length, setting=setting):
                of_latents = select(chosen, method=LATENTS)
                vectors = statistics.fmean(row["latents"] for row in of_latents)
                table.append([length, setting, len(of_latents), f"{vectors:.0f}", *_cells(chosen, methods, name)])
    return markdown_table(["text, tokens", "ratio", "questions", "vectors", *methods], table)


def task_table(rows):
    """Right answers: a row for each task and ratio, a column for each way."""
    methods, table = distinct(rows, "method"), []
    for task in distinct(rows, "task"):
        for setting in _settings(rows):
            if chosen := select(rows, task=task, setting=setting):
                count = len(select(chosen, method=LATENTS))
                table.append([task, setting, count, *_cells(chosen, methods, "exact_match")])
    return markdown_table(["task", "ratio", "questions", *methods], table)


COST = (
    "Milliseconds to the first token, and in parentheses those before, until the latents are made or the ids are "
    "there: medians of a few questions, one row at a time, each run a second time. Then the cache of what is read, "
    "with the question."
)


def cost_table(rows):
    """Time to first token and bytes of the cache: a row for each length and ratio, a column for each way."""
    methods, table = distinct(rows, "method"), []
    for length in sorted(distinct(rows, "length")):
        for setting in _settings(rows):
            chosen = select(rows, length=length, setting=setting)
            if chosen:
                table.append([length, setting, *(_cost(select(chosen, method=method)) for method in methods)])
    return markdown_table(["text, tokens", "ratio", *methods], table)


def _cost(rows):
    asked = [row for row in rows if row["too_long"] is None]
    if not asked:
        return ""
    timed = [row for row in asked if row["seconds_to_first_token"] is not None]
    medians = [
        1000 * statistics.median(row[name] for row in timed) if timed else None
        for name in ("seconds_to_first_token", "seconds_before")
    ]
    times = f"{medians[0]:.1f} ({medians[1]:.1f}) ms, " if timed else ""
    return times + f"{statistics.median(row['cache_bytes'] for row in asked) / 1e6:.2f} MB"


def _settings(rows):
    return sorted(distinct(rows, "setting"), key=asked_ratio)


# ------------------------------------------------------------------------------------------------------------ figures


def draw(result, path):
    """
    Right answers by ratio, a panel for each length, without ways that were not asked all questions; and, of needles,
    `path`_depths, depth by length.
    """
    rows = result["examples"]
    methods, lengths = distinct(rows, "method"), sorted(distinct(rows, "length"))
    size = {"figsize": (2 + 4 * len(lengths), 4), "layout": "constrained"}
    figure, panels = new_figure(1, len(lengths), sharey=True, squeeze=False, **size)
    for axes, length in zip(panels[0], lengths, strict=True):
        for number, method in enumerate(methods):
            of_method = select(rows, length=length, method=method)
            by_ratio = {asked_ratio(each): select(of_method, setting=each) for each in _settings(of_method)}
            points = [
                (ratio, *mean_and_interval(chosen, "exact_match"))
                for ratio, chosen in by_ratio.items()
                if all(row["too_long"] is None for row in chosen)
            ]
            ratios, middle, low, high = zip(*points, strict=True) if points else ((), (), (), ())
            style = {"color": f"C{number}", "linewidth": 2.5 if method == LATENTS else 1, "label": method}
            axes.plot(ratios, middle, marker=".", **style)
            axes.fill_between(ratios, low, high, color=f"C{number}", alpha=0.1, linewidth=0)
        ticks = list(map(asked_ratio, _settings(rows)))
        axes.set(title=f"{length} tokens", xlabel="ratio", xscale="log", ylim=(-0.02, 1.02))
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
    panels[0][0].set(ylabel="right answers")
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside right upper", fontsize="small")
    save_figure(figure, path)
    needles = [row for row in rows if row["task"] in NEEDLE_TASKS and row["depth"] is not None]
    if needles:
        draw_depths(needles, f"{path}_depths", result["options"]["depths"] or DEPTHS)


def draw_depths(rows, path, depths):
    """Right answers of needles by depth and length: a panel for the raw text, and one for the latents at each ratio."""
    settings, lengths, depths = _settings(rows), sorted(distinct(rows, "length")), sorted(set(depths))
    chosen = {f"latents, {setting}": select(rows, method=LATENTS, setting=setting) for setting in settings}
    if raw := select(rows, method=RAW, setting=settings[0]):
        chosen = {"raw text": raw} | chosen
    figure, panels = new_figure(
        1, len(chosen), figsize=(1.5 + 2.4 * len(chosen), 3.6), sharey=True, squeeze=False, layout="constrained"
    )
    for axes, (title, of_panel) in zip(panels[0], chosen.items(), strict=True):
        cells = depth_cells(of_panel, lengths, depths)
        image = axes.imshow(cells, vmin=0, vmax=1, cmap="RdYlGn", aspect="auto")
        for y, line in enumerate(cells):
            for x, value in enumerate(line):
                if value == value:
                    axes.text(x, y, f"{100 * value:.0f}", ha="center", va="center", fontsize="small")
        axes.set(title=title, xlabel="tokens")
        axes.set_xticks(range(len(lengths)), lengths, rotation=45)
        axes.set_yticks(range(len(depths)), [f"{100 * each:g} %" for each in depths])
    panels[0][0].set(ylabel="depth of the needle")
    figure.colorbar(image, ax=panels[0].tolist(), label="right answers")
    save_figure(figure, path)


def depth_cells(rows, lengths, depths):
    """Share of right answers, `list[list[float]]`, depths by lengths; NaN where nothing was asked."""
    cells = [[[] for _ in lengths] for _ in depths]
    for row in rows:
        if row["scores"]["exact_match"] is not None:
            nearest = min(range(len(depths)), key=lambda place: abs(depths[place] - row["depth"]))
            cells[nearest][lengths.index(row["length"])].append(row["scores"]["exact_match"])
    return [[statistics.fmean(values) if values else float("nan") for values in line] for line in cells]
