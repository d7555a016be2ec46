"""Norms that are trained in full beside adapters. Run: pytest tests/training/test_trained_norms.py"""

import pytest
import torch

from c3.training.optim.lora import LoraSettings, _norms, add_lora


def test_norms_of_the_adapted_parts(make_model):
    """Of Qwen3 those of queries and keys among them, which say how sharp attention is."""
    for part in ("encoder", "decoder"):
        model = add_lora(make_model(), LoraSettings(parts=part, train_queries=False, train_norms=True))
        names = (
            name.removeprefix("base_model.model.") for name, each in model.named_parameters() if each.requires_grad
        )
        norms = {name.replace("modules_to_save.default.", "") for name in names if "norm" in name}
        assert norms == {
            name for name, _ in make_model().named_parameters() if name.startswith(part) and "norm" in name
        }


def test_norms_that_processes_share(make_model):
    """ZeRO-3 leaves parameters empty, with their shapes elsewhere; and some norms have no weights."""
    model = make_model()
    norms = _norms(model, ["decoder"])
    for parameter in model.parameters():
        parameter.ds_shape = parameter.shape
        parameter.data = torch.empty(0)
    assert _norms(model, ["decoder"]) == norms != []
    with pytest.raises(ValueError, match="lora.train_norms: norms of the projector have no weights: leave it out"):
        _norms(model, ["projector"])
