"""Settings that must not change what is learned. Run: pytest tests/training/test_equal_training.py"""

import functools
import shutil
from pathlib import Path

import pytest
from transformers.models.qwen3.modeling_qwen3 import Qwen3MLP

from c3.training.run.stages import train
from tiny_models import history

OPTIONS = ["training.max_steps=3", "training.save_strategy=no", "training.eval_strategy=no"]
OPTIONS += ["evaluation={}", "validation_data=[]"]


@pytest.fixture
def losses_of(load_training):
    """`losses_of(name, *overrides)`: the losses of a run from the same start."""

    def losses(name, *overrides):
        recipe = load_training(name, *OPTIONS, *overrides)
        train(recipe)
        found = history(Path(recipe.output_dir))
        assert len(found) == 3
        return found

    return losses


@pytest.fixture
def layer_calls(monkeypatch):
    """A list that grows with every pass through a layer; its own `forward` must stay, which is what is checkpointed."""
    calls, forward = [], Qwen3MLP.forward

    @functools.wraps(forward)
    def counted(self, *args, **kwargs):
        calls.append(self)
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(Qwen3MLP, "forward", counted)
    return calls


@pytest.mark.parametrize("name", ["gradient_checkpointing", "activation_checkpointing"])
def test_checkpointing(name, losses_of, layer_calls):
    """Every layer is computed a second time for the backward pass."""
    plain = losses_of("plain")
    once = len(layer_calls)
    assert losses_of(name, f"training.{name}=true") == pytest.approx(plain, rel=1e-6)
    assert len(layer_calls) == 3 * once > 0


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_compiled_backbones(losses_of):
    assert losses_of("compiled", "torch_compile=true") == pytest.approx(losses_of("eager"), rel=1e-4)
