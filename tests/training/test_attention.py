"""Attention by batched matrix products against transformers' own. Run: pytest tests/training/test_attention.py"""

from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import Trainer

from c3.training.devices.cpu_attention import cpu_matmul_attention
from c3.training.run.trainer import C3Trainer
from tiny_models import TEXTS


def make_inputs(dtype=torch.float32, heads=4, key_heads=4, queries=6, keys=6, width=8):
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, heads, queries, width), (2, key_heads, keys, width), (2, key_heads, keys, width))
    return [torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in shapes]


def causal_mask(queries, keys, padding=0):
    """Lowest float32 where a query may not look, as transformers makes it; the second row starts with padding."""
    allowed = torch.ones(2, 1, queries, keys, dtype=torch.bool).tril(keys - queries)
    allowed[1, ..., :padding] = False
    return torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)


MODULE = SimpleNamespace(training=False)


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"key_heads": 2},
        {"key_heads": 1, "queries": 3, "keys": 7},
        {"queries": 1, "keys": 5},
    ],
    ids=["self", "grouped", "cached", "one query"],
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.03)])
def test_equals_sdpa(shape, dtype, tolerance):
    """Values and gradients, in the dtype of the inputs and a mask in float32."""
    results = []
    for function in (cpu_matmul_attention, None):
        query, key, value = make_inputs(dtype, **shape)
        mask = causal_mask(query.shape[2], key.shape[2])
        if function is None:
            groups = query.shape[1] // key.shape[1]
            wide = (each.repeat_interleave(groups, dim=1) for each in (key, value))
            output = scaled_dot_product_attention(query, *wide, attn_mask=mask.to(dtype), scale=0.3).transpose(1, 2)
        else:
            output, weights = function(MODULE, query, key, value, mask, scaling=0.3)
            assert weights is None and output.dtype == dtype and output.is_contiguous()
        output.float().square().sum().backward()
        results.append([output.detach(), query.grad, key.grad, value.grad])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_rows_that_are_all_padding_stay_finite(dtype):
    query, key, value = make_inputs(dtype)
    output, _ = cpu_matmul_attention(MODULE, query, key, value, causal_mask(6, 6, padding=4))
    assert torch.isfinite(output).all()
    with torch.autocast("cpu", torch.bfloat16):
        output, _ = cpu_matmul_attention(MODULE, query, key, value, causal_mask(6, 6, padding=4))
    assert torch.isfinite(output).all()


def test_padding_is_not_looked_at():
    query, key, value = make_inputs()
    mask = causal_mask(6, 6, padding=2)
    before, _ = cpu_matmul_attention(MODULE, query, key, value, mask)
    with torch.no_grad():
        key[1, :, :2] += 100
        value[1, :, :2] += 100
    after, _ = cpu_matmul_attention(MODULE, query, key, value, mask)
    assert torch.equal(before[1, 2:], after[1, 2:])


def test_without_a_mask_and_default_scaling():
    query, key, value = make_inputs()
    output, _ = cpu_matmul_attention(MODULE, query, key, value, None)
    torch.testing.assert_close(output, scaled_dot_product_attention(query, key, value).transpose(1, 2))


def test_dropout_only_in_training():
    query, key, value = make_inputs()
    outputs = [
        cpu_matmul_attention(SimpleNamespace(training=training), query, key, value, causal_mask(6, 6), dropout=0.5)[0]
        for training in (False, False, True)
    ]
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


@pytest.mark.parametrize("layout", ["appended", "uniform"])
def test_a_model_with_it_equals_sdpa(layout, make_model):
    """Padded batches of several windows, forward and free-running."""
    results = []
    for implementation in ("sdpa", "cpu_matmul"):
        model = make_model(layout)
        model.set_attn_implementation(implementation)
        assert model.decoder.config._attn_implementation == implementation
        batch = model.processor(TEXTS)
        with torch.no_grad():
            output = model(**batch)
        kept = batch["attention_mask"].bool()
        results.append((output.loss, output.logits[kept], model.expand(model.compress(TEXTS))))
    for ours, theirs in zip(*[result[:2] for result in results], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert results[0][2] == results[1][2]


def test_attention_of_cudnn_is_left_out_while_training(monkeypatch):
    """Its gradients of rows with padding are no numbers on some GPUs. Also after an error it is back."""
    enabled = []

    def train(*args, **kwargs):
        enabled.append(torch.backends.cuda.cudnn_sdp_enabled())
        raise RuntimeError("a run that ends")

    monkeypatch.setattr(Trainer, "train", train)
    before = torch.backends.cuda.cudnn_sdp_enabled()
    with pytest.raises(RuntimeError, match="a run that ends"):
        object.__new__(C3Trainer).train()
    assert before and enabled == [False] and torch.backends.cuda.cudnn_sdp_enabled()
