"""Tables and figure of the comparison of ways to make latents, from what `c3.training.like_for_like` measured."""

import statistics

from .report import distinct, markdown_table, new_figure, save_figure, select


def spread(values, digits=1):
    """Mean of the seeds and, in brackets, the lowest and the highest, in per cent."""
    low, high = min(values), max(values)
    return f"{statistics.fmean(values):.{digits}%} ({low:.{digits}%} to {high:.{digits}%})"


def report(result):
    """The result as Markdown."""
    return "\n\n".join(["## Like for like", *tables(result)])


def tables(result):
    """What was measured, `list[str]`: paragraphs, headings and tables."""
    runs, layouts = result["runs"], list(result["comparison"])
    first = runs[0]
    parts = [
        f"{first['steps']} steps of about {first['tokens'] // first['steps']} tokens each, "
        f"{len(result['seeds'])} seeds; free-running, ratios in the models' own tokens. Precision is 1 - normalised "
        "edit distance over characters: the mean over the seeds, and in brackets the lowest and the highest.",
    ]
    for name, described in (
        ("validation", f"{first['validation'][next(iter(first['validation']))]['texts']} windows of validation text"),
        ("pages", " and ".join(f"{each['n_pages']} whole pages of {each['name']}" for each in result["data"])),
    ):
        header = ["latents", "seeds", *(f"{ratio:g}x" for ratio in result["ratios"])]
        header += [f"exact at {ratio:g}x" for ratio in result["ratios"]]
        table = []
        for layout in distinct(runs, "layout"):
            chosen = select(runs, layout=layout)
            cells = [
                spread([each[name][f"{ratio:g}"][score] for each in chosen])
                for score in ("precision", "exact_share")
                for ratio in result["ratios"]
            ]
            table.append([layout, len(chosen), *cells])
        parts += [f"### {described}", markdown_table(header, table)]
    parts += [*_by_kind(result), *_before_other_ratios(result)]
    header = ["latents", "seed", "parameters", "tokens", "seconds", "last training loss"]
    table = [
        [each["layout"], each["seed"], each["parameters"], each["tokens"], f"{each['seconds']:.0f}", _last_loss(each)]
        for each in sorted(runs, key=lambda each: (layouts.index(each["layout"]), each["seed"]))
    ]
    parts += ["### Runs", markdown_table(header, table)]
    parts.append("Seconds are of the clock, with the evaluations while training.")
    return parts


def _by_kind(result):
    """A heading, a paragraph and a table of precision by kind of text; nothing of results that have no kinds."""
    runs = result["runs"]
    if "kinds" not in runs[0]:
        return []
    kinds = list(runs[0]["kinds"])
    table = []
    for ratio in result["ratios"]:
        for layout in distinct(runs, "layout"):
            chosen = select(runs, layout=layout)
            scores = [[each["kinds"][kind][f"{ratio:g}"]["precision"] for each in chosen] for kind in kinds]
            table.append([f"{ratio:g}x", layout, chosen[0]["parameters_before_decoder"], *map(spread, scores)])
    about = "Parameters are those before the decoder, without the embeddings that it shares with an encoder of text."
    return [
        "### Kinds of text, a window each",
        about,
        markdown_table(["ratio", "latents", "parameters", *kinds], table),
    ]


def _before_other_ratios(result):
    """A heading and a table of the last evaluation before the curriculum goes on from its first, single ratio."""
    first = result["recipe"]["curriculum"][0]
    ratio, boundary = f"{first['ratios'][0]:g}", first["until"] * result["runs"][0]["steps"]
    reached = [point["step"] for point in result["runs"][0]["curve"] if point["step"] <= boundary]
    if len(set(first["ratios"])) > 1 or not reached or ratio not in result["runs"][0]["curve"][0]["precision"]:
        return []
    table = []
    for layout in distinct(result["runs"], "layout"):
        points = [
            point
            for each in select(result["runs"], layout=layout)
            for point in each["curve"]
            if point["step"] == reached[-1]
        ]
        table.append([layout, len(points), spread([point["precision"][ratio] for point in points])])
    heading = (
        f"### At step {reached[-1]}, when only {ratio}x had been trained: "
        f"{result['recipe']['evaluation']['windows']} windows of validation text"
    )
    return [heading, markdown_table(["latents", "seeds", f"{ratio}x"], table)]


def _last_loss(each):
    return f"{each['losses'][-1][1]:.3f}" if each["losses"] else ""


def draw(result, path):
    """
    Free-running precision: above by step, a panel for each ratio, a colour for each layout, a thin line for each seed;
    below by kind of text, a dot for each seed, where there are kinds.
    """
    rows = 2 if "kinds" in result["runs"][0] else 1
    columns = len(result["ratios"])
    figure, panels = new_figure(rows, columns, figsize=(6 * columns, 4 * rows), sharey=True, squeeze=False)
    for place, ratio in enumerate(result["ratios"]):
        _draw_curves(panels[0][place], result, ratio)
        if rows == 2:
            _draw_kinds(panels[1][place], result, ratio)
    panels[0][0].set(ylabel="free-running precision (validation)")
    panels[0][0].legend()
    if rows == 2:
        panels[1][0].set(ylabel="free-running precision, at the end")
    figure.tight_layout()
    save_figure(figure, path)


def _draw_curves(axes, result, ratio):
    for colour, layout in enumerate(result["comparison"]):
        curves = [
            {point["step"]: point["precision"][f"{ratio:g}"] for point in each["curve"]}
            for each in select(result["runs"], layout=layout)
        ]
        if not curves:
            continue
        for curve in curves:
            axes.plot(list(curve), list(curve.values()), color=f"C{colour}", linewidth=0.7, alpha=0.6)
        steps = sorted(set.intersection(*map(set, curves)))
        means = [statistics.fmean(curve[step] for curve in curves) for step in steps]
        axes.plot(steps, means, color=f"C{colour}", linewidth=2, label=layout)
    axes.set(title=f"{ratio:g}x", xlabel="step", ylim=(0, 1.02))


def _draw_kinds(axes, result, ratio):
    kinds, layouts = list(result["runs"][0]["kinds"]), list(result["comparison"])
    width = 0.8 / len(layouts)
    for number, layout in enumerate(layouts):
        chosen = select(result["runs"], layout=layout)
        if not chosen:
            continue
        places = [place - 0.4 + (number + 0.5) * width for place in range(len(kinds))]
        scores = [[each["kinds"][kind][f"{ratio:g}"]["precision"] for each in chosen] for kind in kinds]
        axes.bar(places, list(map(statistics.fmean, scores)), width, color=f"C{number}", alpha=0.6)
        for place, values in zip(places, scores, strict=True):
            axes.plot([place] * len(values), values, ".", color=f"C{number}", markersize=4)
    axes.set(title=f"{ratio:g}x, {result['validation_windows']} texts of each kind", ylim=(0, 1.02))
    axes.set_xticks(range(len(kinds)), kinds)
