"""The figure at the end of a training run: loss and free-running precision by step."""


def plot_training_curves(history, path):
    """
    Args:
        history (`list[dict]`): `Trainer.state.log_history`.
        path (`str` or `PathLike`): where the picture goes; its ending chooses the format.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
    losses = [(entry["step"], entry["loss"]) for entry in history if "loss" in entry]
    if losses:
        left.plot(*zip(*losses, strict=True))
    left.set(xlabel="step", ylabel="training loss (nats per token)", yscale="log")
    names = sorted({name for entry in history for name in entry if "_precision_" in name}, key=_ratio)
    for name in names:
        points = [(entry["step"], entry[name]) for entry in history if name in entry]
        right.plot(*zip(*points, strict=True), marker=".", label=f"{_ratio(name):g}x")
    right.set(xlabel="step", ylabel="free-running precision (validation)", ylim=(0, 1.01))
    if names:
        right.legend(title="ratio, own tokens")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _ratio(name):
    return float(name.rsplit("_", 1)[1].removesuffix("x"))
