"""Which of liger-kernel's layers a model gets. Run: pytest tests/training/test_liger.py"""

import sys
from types import MethodType, ModuleType

import pytest
import torch

from c3.training.checks import RecipeError
from c3.training.devices.liger import apply_liger_kernel
from tiny_models import TEXTS


@pytest.fixture
def calls(monkeypatch):
    """Puts a stand-in in the package's place; `[(model, keywords)]` of what was asked of it."""
    calls = []

    def apply_to_instance(model, **keywords):
        calls.append((model, keywords))
        # As the package does by default: the forward of a causal language model, which a bare backbone has no use for.
        if keywords.get("fused_linear_cross_entropy", True):
            model.forward = MethodType(lambda self, **inputs: self.lm_head, model)

    monkey_patch = ModuleType("liger_kernel.transformers.monkey_patch")
    monkey_patch.MODEL_TYPE_TO_APPLY_LIGER_FN = {"qwen2": None, "qwen3": None}
    monkey_patch._apply_liger_kernel_to_instance = apply_to_instance
    for name in ("liger_kernel", "liger_kernel.transformers"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, monkey_patch.__name__, monkey_patch)
    return calls


def test_both_backbones_keep_their_forward(make_model, calls):
    model = make_model(encoder="qwen2", decoder="qwen3")
    batch = model.processor(TEXTS)
    with torch.no_grad():
        expected = model(**batch).loss
        apply_liger_kernel(model)
        assert torch.equal(model(**batch).loss, expected)
    assert [each for each, _ in calls] == [model.encoder, model.decoder]
    for _, keywords in calls:
        assert keywords == {"cross_entropy": False, "fused_linear_cross_entropy": False}


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_backbone_that_the_package_does_not_know(part, make_model, calls):
    model = make_model(**{part: "llama"})
    with pytest.raises(RecipeError, match=f"liger_kernel: the package has no layers for the {part}, a llama; set"):
        apply_liger_kernel(model)
    assert not calls
