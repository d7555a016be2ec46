"""Places that are found where a batch is made: read off the device no more. Run: pytest tests/test_placeholders.py"""

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from c3 import C3Model
from c3.attention_masks_c3 import mask_with_padding, mask_without_padding
from c3.placeholders_c3 import Placeholders
from c3.training.data.collator import C3Collator
from tiny_models import window_example

# Operations that wait for a GPU, as torch names them.
WAITS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::_unique2", "aten::masked_select"}


def batch_of(model, lengths, latents, pack=False):
    """A training batch of windows of so many tokens and latents."""
    examples = [
        window_example(model.processor, list(range(5, 5 + length)), n, [False] * length)
        for length, n in zip(lengths, latents, strict=True)
    ]
    return C3Collator(model.processor, pack=pack)(examples)


def step(model, batch):
    """The loss of a batch, gradients by their parameters, and the operations of the step that wait for a device."""
    model.zero_grad()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        loss = model(**batch).loss
        loss.backward()
    gradients = {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}
    return loss.detach(), gradients, [each.name for each in profiler.events() if each.name in WAITS]


@pytest.mark.parametrize(
    ("layout", "encoder", "decoder", "reads"),
    [("uniform", "qwen3", "qwen3", 0), ("appended", "qwen2", "qwen2", 0), ("uniform", "qwen3", "llama", 1)],
)
def test_a_step_waits_for_nothing(layout, encoder, decoder, reads, make_model):
    """
    Of windows of one length, as nearly all of training are; with the same loss and gradients as without places. Where
    a config has no `layer_types` transformers still looks for padding.
    """
    model = make_model(layout, encoder, decoder, attn_implementation="sdpa").train()
    batch = batch_of(model, [16] * 4, [4] * 4)
    loss, gradients, waits = step(model, batch)
    assert len(waits) == reads
    plain = {name: each for name, each in batch.items() if not name.endswith("_places")}
    their_loss, theirs, their_waits = step(model, plain)
    assert len(their_waits) > reads + 4 and torch.equal(loss, their_loss) and gradients.keys() == theirs.keys()
    for name, each in gradients.items():
        torch.testing.assert_close(each, theirs[name], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("pack", [False, True], ids=["padded", "packed"])
def test_rows_with_padding(pack, make_model):
    """
    They are as without places, too; transformers reads whether the encoder's rows have padding, but for packed ones,
    which nothing is read of.
    """
    model = make_model("uniform", attn_implementation="sdpa").train()
    batch = batch_of(model, [30, 9, 4, 5, 3], [6, 3, 2, 2, 1], pack)
    assert batch["context_places"].packed is pack and batch["latent_places"].padded
    loss, gradients, waits = step(model, batch)
    plain = {name: each for name, each in batch.items() if not name.endswith("_places")}
    their_loss, theirs, their_waits = step(model, plain)
    assert len(waits) == (0 if pack else 2) < len(their_waits)
    torch.testing.assert_close(loss, their_loss)
    for name, each in gradients.items():
        torch.testing.assert_close(each, theirs[name], rtol=1e-4, atol=1e-6)


def test_what_is_found():
    ids = torch.tensor([[0, 9, 9, 5], [9, 5, 5, 9]])
    places = Placeholders.find(ids, torch.ones_like(ids), 9)
    assert places.index.tolist() == [1, 2, 4, 7] and (places.padded, places.packed, places.most) == (False, False, 2)
    # Rows of several windows: theirs come in the order of the windows' numbers.
    packed = Placeholders.find(ids, torch.tensor([[0, 3, 3, 3], [1, 1, 2, 2]]), 9)
    assert packed.index.tolist() == [4, 7, 1, 2] and (packed.padded, packed.packed, packed.most) == (True, True, 2)
    assert Placeholders.find(ids, torch.ones_like(ids), 7).most == 0
    states = torch.arange(8.0).view(2, 4, 1)
    assert packed.take(states).flatten().tolist() == [4, 7, 1, 2]
    assert packed.put(states, -packed.take(states)).flatten().tolist() == [0, -1, -2, 3, -4, 5, 6, -7]
    assert packed.to("cpu", non_blocking=True) == packed != places


def test_another_way_to_attend_gets_its_mask(make_model):
    """None is made, and thrown away, for what reads none."""
    for attention in ("eager", "sdpa"):
        model = make_model("uniform", attn_implementation=attention).train()
        with_padding = batch_of(model, [16, 9], [4, 2])
        plain = {name: each for name, each in with_padding.items() if not name.endswith("_places")}
        torch.testing.assert_close(model(**with_padding).loss, model(**plain).loss)
        mask, embeds = plain["attention_mask"], torch.zeros(*plain["attention_mask"].shape, 32)
        made = [each(model.decoder.config, embeds, mask) for each in (mask_with_padding, mask_without_padding)]
        assert [each is mask for each in made] == [attention == "eager"] * 2


def test_packed_windows_that_slide(make_model):
    """They see as far as they do alone."""
    processor, config = (made := make_model("uniform")).processor, made.config
    slides = {"use_sliding_window": True, "sliding_window": 6, "layer_types": ["sliding_attention"] * 2}
    for name, value in slides.items():
        setattr(config.encoder_config, name, value)
    model = C3Model(config).eval()
    contexts, counts = [list(range(5, 5 + n)) for n in (30, 9, 4, 5, 3)], [6, 3, 2, 2, 1]
    rows = [processor.context_inputs(contexts, counts, pack) for pack in (False, True)]
    assert len(rows[1]["context_input_ids"]) < len(contexts)
    alone, packed = (model.encode_context(**each) for each in rows)
    torch.testing.assert_close(packed, alone, rtol=1e-4, atol=1e-5)


def test_too_few_latents(make_model):
    model = make_model("uniform")
    batch = batch_of(model, [16, 16], [4, 4])
    latents = model.encode_context(**{name: each for name, each in batch.items() if name.startswith("context_")})
    with pytest.raises(ValueError, match="input_ids hold 8 latent placeholders for 7 latents"):
        model.embed_prompt(batch["input_ids"], latents[:7], batch["latent_places"])
