"""Quantized weights, of the whole model: projector and fingerprint know no more of them than that they are packed."""

import copy

import pytest
import torch
from torch.ao.quantization import default_dynamic_qconfig, float_qparams_weight_only_qconfig, quantize_dynamic

from tiny_models import TEXTS


def by_torch(model, **dtype):
    return quantize_dynamic(model, {torch.nn.Linear}, **dtype)


def embeddings_by_torch(model):
    kinds = {torch.nn.Linear: default_dynamic_qconfig, torch.nn.Embedding: float_qparams_weight_only_qconfig}
    return quantize_dynamic(model, kinds)


def by_torchao(model):
    torchao = pytest.importorskip("torchao.quantization")
    model = copy.deepcopy(model)
    torchao.quantize_(model, torchao.Int8WeightOnlyConfig())
    return model


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated")
@pytest.mark.parametrize("projector", ["linear", "mlp"])
@pytest.mark.parametrize("quantize", [by_torch, embeddings_by_torch, by_torchao])
def test_int8(quantize, projector, make_model):
    plain = make_model(projector=projector)
    model = quantize(plain)
    latents, expected = model.compress(TEXTS[0], dtype="float32"), plain.compress(TEXTS[0], dtype="float32")
    difference = (latents.values - expected.values).norm() / expected.values.norm()
    assert 0 < difference < 0.2 and model.compress(TEXTS[0]).dtype == torch.bfloat16
    for method in ("greedy", "parallel"):
        assert isinstance(model.expand(latents, method=method), str)
    assert isinstance(model.generate(latents, "x", max_new_tokens=3), str)
    assert isinstance(model.chat("text", max_new_tokens=3), str)


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated")
@pytest.mark.parametrize("quantize", [by_torch, by_torchao])
def test_packed_weights_count_in_the_fingerprint(quantize, make_model):
    plain = make_model()
    prints = [plain.latent_provenance().weights_fingerprint]
    for factor in (1, 1, 1.5):
        plain.decoder.lm_head.weight.data.mul_(factor)
        model = quantize(plain)
        prints.append(model.latent_provenance().weights_fingerprint)
        assert model.latent_provenance().weights_fingerprint == prints[-1]
    assert prints[1] == prints[2] and len(set(prints)) == 3
    # Another packed weight in the place of one.
    if quantize is by_torch:
        weight, bias = model.projector.linear_1._weight_bias()
        model.projector.linear_1.set_weight_bias(weight, bias + 1)
        assert model.latent_provenance().weights_fingerprint not in prints
