"""Several windows in a row of the encoder's batch against each in its own. Run: pytest tests/test_packing.py"""

import pytest
import torch

from c3.packing_c3 import LITTLE_PADDING, count_within, pack_rows
from c3.training.data.collator import C3Collator
from tiny_models import window_example

CONTEXTS = [list(range(5, 5 + length)) for length in (12, 3, 7, 2, 12, 5, 1)]
LATENTS = [3, 1, 2, 1, 4, 2, 1]


@pytest.mark.parametrize(
    "lengths", [[80] * 3 + [18] * 3 + [60] * 4, [7], [64] * 5, list(range(1, 60)), [68, 68, 67, 20, 33, 33]]
)
def test_rows_hold_every_window_once(lengths):
    rows = pack_rows(lengths)
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    longest = max(sum(lengths[index] for index in row) for row in rows)
    assert longest <= 4 * max(lengths)
    assert len(rows) * longest <= len(lengths) * max(lengths)


def test_rows_of_mixed_lengths_have_little_padding():
    """With as many windows as a training batch has; of equal lengths none is packed."""
    lengths = torch.randint(8, 80, (60,), generator=torch.Generator().manual_seed(0)).tolist()
    rows = pack_rows(lengths)
    area = len(rows) * max(sum(lengths[index] for index in row) for row in rows)
    assert 1 - sum(lengths) / area < 2 * LITTLE_PADDING < 0.4 < 1 - sum(lengths) / (len(lengths) * max(lengths))
    assert pack_rows([64] * 60) == [[index] for index in range(60)]


def test_counting_within_windows():
    windows = torch.tensor([[0, 2, 2, 2, 1, 1], [0, 0, 0, 3, 3, 3]])
    marks = torch.tensor([[0, 1, 0, 1, 1, 1], [0, 0, 0, 0, 1, 1]]).bool()
    so_far, whole = count_within(marks, windows)
    assert so_far.tolist() == [[0, 1, 1, 2, 1, 2], [0, 0, 0, 0, 1, 2]]
    assert whole.tolist() == [[0, 2, 2, 2, 2, 2], [0, 0, 0, 2, 2, 2]]


def inputs(model, pack):
    return model.processor.context_inputs(CONTEXTS, LATENTS, pack=pack)


@pytest.mark.parametrize("attention", ["sdpa", "eager", "cpu_matmul"])
@pytest.mark.parametrize("layout", ["uniform", "appended"])
@pytest.mark.parametrize("backbone", ["qwen2", "llama"])
def test_latents_and_gradients_are_those_of_windows_alone(attention, layout, backbone, make_model):
    import c3.training.devices.cpu_attention  # noqa: F401  registers cpu_matmul

    model = make_model(layout, encoder=backbone)
    model.set_attn_implementation(attention)
    found = {}
    for pack in (False, True):
        batch = inputs(model, pack)
        model.zero_grad()
        latents = model.encode_context(**batch)
        latents.square().sum().backward()
        found[pack] = latents, [each.grad.clone() for each in model.encoder.parameters() if each.grad is not None]
    assert len(inputs(model, True)["context_input_ids"]) < len(CONTEXTS)
    assert len(found[True][0]) == sum(LATENTS)
    torch.testing.assert_close(found[True][0], found[False][0])
    for ours, theirs in zip(found[True][1], found[False][1], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=2e-4)


def test_a_window_does_not_see_its_neighbours(make_model):
    model = make_model("uniform")
    batch = inputs(model, True)
    with torch.no_grad():
        before = model.encode_context(**batch)
        ids, windows = batch["context_input_ids"], batch["context_attention_mask"]
        changed = (windows == 1) & (ids != model.config.query_token_id)
        after = model.encode_context(ids.masked_fill(changed, 4), windows)
    assert not torch.allclose(before[: LATENTS[0]], after[: LATENTS[0]])
    assert torch.equal(before[LATENTS[0] :], after[LATENTS[0] :])


def test_what_cannot_be_packed(make_model, monkeypatch):
    """Mean pooling takes rows for windows, and FlashAttention no mask: said, not computed wrongly."""
    model = make_model("uniform")
    assert model.takes_packed_windows
    batch = inputs(model, True)
    with pytest.raises(ValueError, match="Packed windows need pooling by queries"):
        model.encode_context(**batch, pooling="mean")
    monkeypatch.setattr(model.encoder.config, "_attn_implementation_internal", "flash_attention_2")
    assert not model.takes_packed_windows
    with pytest.raises(ValueError, match="whose attention is not FlashAttention; give each window a row"):
        model.encode_context(**batch)


def test_the_loss_of_a_packed_batch(make_model):
    model = make_model("uniform")
    examples = [
        window_example(model.processor, ids, n, [False] * len(ids)) for ids, n in zip(CONTEXTS, LATENTS, strict=True)
    ]
    batches = [C3Collator(model.processor, pack=pack)(examples) for pack in (False, True)]
    assert len(batches[1]["context_input_ids"]) < len(batches[0]["context_input_ids"])
    with torch.no_grad():
        losses = [model(**batch).loss for batch in batches]
    torch.testing.assert_close(*losses)
