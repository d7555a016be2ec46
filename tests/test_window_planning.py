"""Where texts are cut and how many latents their windows get: what is asked for, and what is said when it cannot be."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from c3 import C3Model, C3Processor, CompressionWarning
from c3.training.data.tokenizer import train_tokenizer
from tiny_models import LONG, TEXTS, token_ids


def test_windows_and_lengths(model):
    latents = model.compress([LONG, "short"])
    tokens = len(token_ids(model.processor.tokenizer, LONG))
    assert latents[0].text_tokens == tokens
    assert latents.window_counts[1] == 1 and latents.text_lengths.max() <= 32
    if model.config.latent_position_layout == "appended":
        assert latents[0].num_windows == -(-tokens // 32)
        assert set(latents.latent_lengths.tolist()) == {8}
    else:
        assert latents[0].num_latents == -(-tokens * 8 // 32)
        assert not (latents.text_lengths % latents.latent_lengths).any()


def test_ratio_is_met_over_the_whole_text(uniform):
    tokens = len(token_ids(uniform.processor.tokenizer, LONG))
    for ratio in (1, 1.5, 4, 7.3, 16, 30):
        latents = uniform.compress(LONG, ratio=ratio)
        assert latents.num_latents == int(tokens / ratio)
        assert latents.text_tokens == tokens


@pytest.mark.parametrize("two", [False, True])
def test_no_ratio_is_a_trap(two, make_model, tokenizer):
    """What is not given as it was asked for is given as well as the model can, and said."""
    model = make_model("uniform", window=32, default_window=16, num_latents=4, ratio_range=[4, 12])
    if two:
        model.processor = C3Processor.from_config(model.config, tokenizer, tokenizer)
    best = model.compress(LONG, ratio=4)
    asked = {
        "1": {"ratio": 1},
        "3.9": {"ratio": 3.9},
        "2": {"num_latents": 8},
        "3.56": {"num_latents": 9, "window": 32},
    }
    for number, amount in asked.items():
        with pytest.warns(CompressionWarning, match=f"^4.* tokens per latent: {number} were asked for, but this"):
            latents = model.compress([LONG, TEXTS[0]], **amount)
        expected = model.compress([LONG, TEXTS[0]], ratio=4, window=amount.get("window"))
        assert torch.equal(latents.values, expected.values)
    with pytest.warns(
        CompressionWarning, match="1000 were asked for, but every window of at most 16 tokens has a late"
    ):
        assert model.compress(LONG, ratio=1000).num_latents == best.num_windows
    with pytest.warns(CompressionWarning, match="^1.* tokens per latent: .* good for at most 12, so that"):
        model.compress(LONG, ratio=14)


def test_every_text_and_window_counts_in_what_is_said(make_model):
    model = make_model("uniform", window=32, default_window=16, num_latents=4, ratio_range=[4, 12])
    with pytest.warns(CompressionWarning, match=r"^1 tokens per latent: 100 were asked for, .* has a latent\.$"):
        model.compress("x", ratio=100)
    with pytest.warns(CompressionWarning, match="^1 to 1[2-6].* tokens per latent: .* good for at most 12, so"):
        model.compress(["x", LONG], ratio=15)
    with pytest.warns(CompressionWarning, match="^2 tokens per latent: every window has a latent, but .* from 4"):
        model.compress(LONG[:200], window=2)


def test_windows_and_ratios_are_the_models(make_model, tmp_path):
    """Also where the processor's file is from before it had them."""
    model = make_model("uniform", window=32, default_window=16, num_latents=4, ratio_range=[4, 12])
    model.save_pretrained(tmp_path)
    path = tmp_path / "processor_config.json"
    fields = json.loads(path.read_text())
    assert fields.pop("default_window") == 16 and fields.pop("ratio_range") == [4, 12]
    path.write_text(json.dumps(fields))
    for options, longest in ({}, 16), ({"default_window": 8}, 8):
        loaded = C3Model.from_pretrained(tmp_path, **options)
        assert loaded.compress(LONG).text_lengths.max() == longest
        with pytest.warns(CompressionWarning, match="best from 4 on"):
            assert loaded.compress(LONG, ratio=1).ratio >= 4


def test_what_can_be_given_is_given_in_silence(make_model, recwarn):
    model = make_model("uniform", window=32, default_window=16, num_latents=4, ratio_range=[4, 12])
    for amount in ({}, {"ratio": 4}, {"ratio": 12}, {"num_latents": 2}, {"num_latents": 8, "window": 32}):
        for text in (LONG, TEXTS[0], "x"):
            model.compress(text, **amount)
    # A short text is never above what the model is good for.
    model.compress("x", num_latents=1)
    assert not [each for each in recwarn if each.category is CompressionWarning]


def test_the_default_window_is_not_the_longest(make_model):
    model = make_model("uniform", window=32, default_window=16, num_latents=4)
    assert model.compress(LONG).text_lengths.max() == 16
    longer = model.compress(LONG, window=32)
    assert longer.text_lengths.max() > 16
    # The default is a ratio, whatever the window.
    tokens = len(token_ids(model.processor.tokenizer, LONG))
    assert longer.num_latents == model.compress(LONG).num_latents == -(-tokens // 4)


def test_appended_layout_gives_every_window_its_latents(make_model):
    latents = make_model("appended").compress([LONG, "short"], num_latents=5)
    assert set(latents.latent_lengths.tolist()) == {5}


def test_uniform_layout_scales_with_the_window(uniform):
    assert uniform.compress("x", num_latents=8).latent_lengths.tolist() == [1]
    tokens = len(token_ids(uniform.processor.tokenizer, LONG))
    assert uniform.compress(LONG, num_latents=16, window=20).num_latents == -(-tokens * 16 // 20)


def test_appended_layout_refuses_more_latents_than_trained(make_model):
    model = make_model("appended")
    with pytest.raises(ValueError, match="above the 8 that this model was trained with"):
        model.compress(LONG, num_latents=9)
    with pytest.raises(ValueError, match="ratio=2 needs 16 latents in a window"):
        model.compress(LONG, ratio=2)


def test_windows_of_two_tokenizers_count_the_decoders_tokens(make_model, tokenizer):
    model = make_model("uniform")
    # The encoder's tokenizer knows the word as one token, the decoder's does not.
    word = "supercalifragilistic"
    model.processor = C3Processor.from_config(model.config, tokenizer, train_tokenizer([word * 40] * 9, vocab_size=320))
    latents = model.compress(word * 20, ratio=4)
    assert latents.text_tokens == len(tokenizer(word * 20)["input_ids"]) and latents.text_lengths.max() == 32
    assert latents.num_latents == latents.text_tokens // 4 and latents.ratio == pytest.approx(4, rel=0.02)
    assert len(model.processor.encode_context(word * 20)) < latents.text_tokens / 4
    plan = model.processor.plan(word * 20, ratio=4)
    assert plan.windows.lengths == latents.text_lengths.tolist()
    assert plan.num_latents == latents.latent_lengths.tolist()
    assert isinstance(model.expand(latents), str)
    forged = replace(latents, text_lengths=latents.text_lengths.index_fill(0, torch.tensor([0]), 33))
    with pytest.raises(ValueError, match="window 0 has 33 text tokens, but .* have 1 to 32"):
        model.expand(forged)


def test_training_windows_of_two_tokenizers_keep_to_the_window(make_model, tokenizer):
    """Bytes that make no character are left out: as replacement characters they would be three tokens each."""
    processor = C3Processor.from_config(make_model().config, tokenizer, tokenizer)
    cut, before, after = processor.encode("👍")[1:], processor.encode("be"), processor.encode("fore")
    window = processor.window_of([*before, *cut, tokenizer.eos_token_id, *after, *cut])
    assert window.text_ids == processor.encode("before") == window.context
    assert processor.window_of(cut).text_ids and processor.window_of([tokenizer.eos_token_id]).text_ids  # never empty
    random = np.random.default_rng(0)
    single = np.array([i for token, i in tokenizer.get_vocab().items() if len(token) == 1])
    assert all(len(processor.window_of(random.choice(single, 32).tolist()).text_ids) <= 32 for _ in range(50))
