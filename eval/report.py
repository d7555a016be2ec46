"""What the suites' reports share: groups of rows, Markdown tables, and figures in two formats."""

import statistics

from c3.support.errors import pip_install

from .metrics import bootstrap_interval


def select(rows, **wanted):
    """The rows in which every named field has the wanted value."""
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def distinct(rows, field):
    """Values of a field in the order in which they come."""
    return list(dict.fromkeys(row[field] for row in rows))


def mean(rows, *path):
    """Mean over rows of a field, or of a field in a field; None where no row has a number there."""
    values = []
    for row in rows:
        for name in path:
            row = row[name]
        if row is not None:
            values.append(row)
    return statistics.fmean(values) if values else None


def asked_ratio(setting):
    """The ratio that a setting such as `"8x"` names; None where it names none."""
    return float(setting[:-1]) if setting.endswith("x") else None


def asked_latents(setting):
    """The number of latents that a setting such as `"64 latents"` names; None where it names none."""
    number, _, unit = setting.partition(" ")
    return int(number) if unit == "latents" else None


def precision_with_interval(rows, by=None, digits=1):
    """
    Mean precision and its 95 % bootstrap interval over texts, as Markdown. `by` is `(row) -> key`: rows of one key are
    of one text, and their mean counts as one value.
    """
    scores = {}
    for index, row in enumerate(rows):
        scores.setdefault(by(row) if by else index, []).append(row["scores"]["precision"])
    means = [statistics.fmean(each) for each in scores.values()]
    low, high = bootstrap_interval(means)
    return f"{statistics.fmean(means):.{digits}%} [{low:.{digits}%}, {high:.{digits}%}]"


def percent(value, digits=1):
    return "" if value is None else f"{value:.{digits}%}"


def number(value, digits=1):
    return "" if value is None else f"{value:.{digits}f}"


def markdown_table(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


PRECISION = (
    "Precision is 1 - normalised edit distance over characters; in brackets its 95 % bootstrap interval over texts."
)


def ratio_unit(result):
    """What the counted ratios of a result count, `str`."""
    counter = result["counted_with"]
    return f"tokens of {counter['name']}" if counter else "the model's own tokens"


def describe(result, manner="greedy and free-running", measured=PRECISION):
    """The first lines of a report: model, data, tokenizer of the ratios, what was measured, what was left out."""
    model, files = result["model"], ", ".join(each["name"] for each in result["data"]) or "none, all texts generated"
    revision = f", revision {model['revision']}" if model.get("revision") else ""
    lines = [
        f"Suite `{result['suite']}`, model {model['model_name']} (weights {model['weights_fingerprint']}{revision}), "
        f"{manner}; pages: {files}; ratios count {ratio_unit(result)}. {measured}"
    ]
    if "pages" in model:
        lines.append(
            f"Drawn and asked for with {', '.join(f'{name} {value}' for name, value in model['pages'].items())}."
        )
    lines += [f"Left out: {line}." for line in result["left_out"]]
    return "\n\n".join(lines)


def method_table(rows, by="group"):
    """Every method beside the others: all metrics, ratios, and bytes kept for a text."""
    metrics = list(rows[0]["scores"])
    header = ["method", "setting", by, "texts", "ratio", "own ratio", "bytes kept / of text", *metrics]
    table = []
    for method in distinct(rows, "method"):
        for setting in distinct(rows, "setting"):
            for value in distinct(rows, by):
                chosen = select(rows, method=method, setting=setting, **{by: value})
                if chosen:
                    kept = f"{mean(chosen, 'kept_bytes'):.0f} / {mean(chosen, 'text_bytes'):.0f}"
                    ratios = [number(mean(chosen, name)) for name in ("counted_ratio", "own_ratio")]
                    scores = [f"{mean(chosen, 'scores', name):.4f}" for name in metrics]
                    table.append([method, setting, value, len(chosen), *ratios, kept, *scores])
    return markdown_table(header, table)


def save_figure(figure, path):
    """Writes `path`.png and `path`.svg, the same bytes for the same numbers, and closes the figure."""
    import matplotlib
    import matplotlib.pyplot as plt

    with matplotlib.rc_context({"svg.hashsalt": "c3"}):
        figure.savefig(f"{path}.png", dpi=120)
        figure.savefig(f"{path}.svg", metadata={"Date": None})
    plt.close(figure)


def new_figure(*args, **kwargs):
    """As `matplotlib.pyplot.subplots`, without a screen."""
    check_figures()
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt.subplots(*args, **kwargs)


def check_figures():
    """Raises `ValueError` where matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ValueError(f"figures need matplotlib: {pip_install('eval')}") from None
