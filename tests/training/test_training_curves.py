"""What the figure of a training run shows. Run: pytest tests/training/test_training_curves.py"""

import pytest

from c3.training.publish.training_curves import plot_training_curves

LOGGED = {"loss": 2.0, "grad_norm": 1.0, "learning_rate": 0.02}


@pytest.mark.parametrize("evaluated", [False, True])
def test_axes(evaluated, tmp_path):
    """Of runs without evaluations the learning rate, of others the precision."""
    history = [LOGGED | {"step": step, "stage": stage} for stage in ("first", "second") for step in (10, 20)]
    if evaluated:
        history.append({"step": 20, "stage": "second", "eval_precision_4x": 0.5})
    plot_training_curves(history, tmp_path / "curves.svg")
    drawn = (tmp_path / "curves.svg").read_text(encoding="utf-8")
    assert ("<!-- free-running precision (validation) -->" in drawn) is evaluated
    assert ("<!-- learning rate -->" in drawn) is not evaluated
    assert "<!-- training loss (nats per token) -->" in drawn and "<!-- 40 -->" in drawn
