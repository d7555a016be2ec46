"""The figure at the end of a training run: loss, free-running precision and gradient norm by step.

Without evaluations the learning rate stands in the place of the precision.
"""


def plot_training_curves(history, path):
    """
    Args:
        history (`list[dict]`): `Trainer.state.log_history`, of several stages with their names as `stage`.
        path (`str` or `PathLike`): where the picture goes; its ending chooses the format.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, middle, last) = plt.subplots(1, 3, figsize=(16, 4))
    history = _one_after_another(history)
    _plot(left, history, "loss", "training loss (nats per token)")
    names = sorted({name for entry in history for name in entry if "_precision_" in name}, key=_ratio)
    for name in names:
        middle.plot(*zip(*_points(history, name), strict=True), marker=".", label=f"{_ratio(name):g}x")
    if names:
        middle.set(xlabel="step", ylabel="free-running precision (validation)", ylim=(0, 1.01))
        middle.legend(title="own tokens per latent")
    else:
        _plot(middle, history, "learning_rate", "learning rate", scale="linear")
    _plot(last, history, "grad_norm", "gradient norm")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _plot(axes, history, key, label, scale="log"):
    points = _points(history, key)
    if points:
        axes.plot(*zip(*points, strict=True))
    axes.set(xlabel="step", ylabel=label, yscale=scale)


def _points(history, key):
    return [(entry["step"], entry[key]) for entry in history if key in entry]


def _one_after_another(history):
    """The entries with steps counted through all stages."""
    counted, before, last, stage = [], 0, 0, None
    for entry in history:
        if entry.get("stage") != stage:
            before, stage = before + last, entry.get("stage")
        last = entry["step"]
        counted.append(entry | {"step": before + last})
    return counted


def _ratio(name):
    return float(name.rsplit("_", 1)[1].removesuffix("x"))
