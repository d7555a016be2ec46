"""Several prompts about one text, which is read once. Run: pytest tests/test_prompt_batches.py"""

import pytest
import torch
from transformers import GenerationConfig, TextStreamer

from c3.prompt_batches_c3 import batches_about_one_text
from c3.window_decoding_c3 import prompt_embeds
from tiny_models import LONG, TEXTS

PROMPTS = ["Who?", "What is it about, and who was there when it was written? ", "b", "Why was it so?", "When?"]
GREEDY = {"do_sample": False, "max_new_tokens": 6}
SLIDING = {"decoder": "mistral", "decoder_options": {"sliding_window": 7}}


@pytest.fixture(
    scope="module",
    params=[
        ("appended", {"prompt_template": "a {latents} b {prompt}"}),
        ("uniform", {}),
        ("uniform", {"prompt_positions": "among_text"}),
        ("uniform", SLIDING),
    ],
    ids=["appended", "uniform", "among_text", "sliding"],
)
def any_model(request, make_model):
    layout, options = request.param
    return make_model(layout, **options)


def one_by_one(model, latents, prompts=PROMPTS, **options):
    return [model.generate(latents, prompt, **GREEDY | options) for prompt in prompts]


def lengths_read(model, monkeypatch):
    """A list to which the decoder adds of each pass how many positions it computes."""
    lengths, forward = [], model.decoder.forward

    def counting(*args, **kwargs):
        lengths.append(kwargs["inputs_embeds"].shape[1])
        return forward(*args, **kwargs)

    monkeypatch.setattr(model.decoder, "forward", counting)
    return lengths


def test_answers_are_those_to_each_prompt_alone(any_model, monkeypatch):
    latents = any_model.compress(LONG)
    assert latents.num_windows > 3
    expected = one_by_one(any_model, latents)
    assert len(set(expected)) > 2
    read = lengths_read(any_model, monkeypatch)
    for batch_size in (None, 1, 2, 16):
        read.clear()
        assert any_model.generate(latents, PROMPTS, batch_size=batch_size, **GREEDY) == expected
        assert sum(length >= latents.num_latents for length in read) == 1


def test_whatever_else_is_asked_for(model):
    latents = model.compress(LONG, exact=True)
    raw = {"raw_below": 1.01}
    assert model.generate(latents, PROMPTS, **raw, **GREEDY) == one_by_one(model, latents, **raw)
    beams = {"num_beams": 3, "num_return_sequences": 2}
    expected = [text for texts in one_by_one(model, latents, **beams) for text in texts]
    assert model.generate(latents, PROMPTS, batch_size=2, **beams, **GREEDY) == expected
    config = GenerationConfig(**GREEDY)
    assert model.generate(latents, PROMPTS, generation_config=config) == one_by_one(model, latents)
    torch.manual_seed(0)
    sampled = model.generate(latents, PROMPTS, do_sample=True, max_new_tokens=6, num_return_sequences=2)
    assert len(sampled) == 2 * len(PROMPTS) and len(set(sampled)) > len(PROMPTS)


def test_where_it_cannot_be_read_once(model, monkeypatch):
    """The same answers: without a cache, from one of another kind, after an empty prompt, as transformers' output."""
    latents = model.compress(LONG)
    expected = one_by_one(model, latents)
    monkeypatch.setattr("c3.generation_c3.batches_about_one_text", None)
    for options in (
        {"use_cache": False},
        {"cache_implementation": "static"},
    ):
        assert model.generate(latents, PROMPTS, **options, **GREEDY) == expected
    output = model.generate(latents, PROMPTS, return_dict_in_generate=True, **GREEDY)
    assert [model.processor.decode(ids) for ids in output.sequences] == expected
    assert model.generate(latents, ["", "Who?"], **GREEDY) == [model.generate(latents, "", **GREEDY), expected[0]]


def test_a_list_comes_back_for_a_list(uniform):
    one = uniform.compress("one window")
    alone = uniform.generate(one, "Who?", **GREEDY)
    assert uniform.generate(one, ["Who?"], **GREEDY) == [alone]
    assert uniform.generate(one, ("Who?", "Why?"), **GREEDY)[0] == alone
    assert uniform.generate(uniform.compress(["one window"]), ["Who?", "Why?"], **GREEDY)[0] == alone
    answers = uniform.chat("one window", ["Who?", "Why?"], max_new_tokens=6)
    assert answers == [uniform.chat("one window", each, max_new_tokens=6) for each in ("Who?", "Why?")]


def test_texts_in_batches(model):
    """Each with its own prompt."""
    latents = model.compress([LONG, *TEXTS])
    expected = model.generate(latents, PROMPTS[:4], **GREEDY)
    assert expected == [model.generate(text, prompt, **GREEDY) for text, prompt in zip(latents, PROMPTS, strict=False)]
    assert model.generate(latents, PROMPTS[:4], batch_size=3, **GREEDY) == expected


@torch.no_grad()
def test_what_follows_the_shared_beginning(any_model):
    """Gets the scores that it gets in whole rows, and leaves the cache of the next batch as it is."""
    latents = any_model.compress(LONG)
    rows = [any_model.processor.row(latents.spans[0], prompt) for prompt in PROMPTS]
    places = []
    for batch, inputs in batches_about_one_text(any_model, rows, latents.values, batch_size=3):
        whole = prompt_embeds(any_model, [rows[place] for place in batch], torch.cat([latents.values] * len(batch)))
        seen = inputs["past_key_values"].get_seq_length()
        assert seen >= latents.num_latents
        after = {name: inputs[name][:, seen:] for name in ("inputs_embeds", "position_ids")}
        after |= {name: inputs[name] for name in ("attention_mask", "past_key_values")}
        expected = any_model(**whole, logits_to_keep=1).logits
        torch.testing.assert_close(any_model(**after, logits_to_keep=1).logits, expected, rtol=1e-3, atol=1e-3)
        places += batch
    assert sorted(places) == [0, 1, 2, 3, 4] != places


@pytest.mark.parametrize(
    "prompts,options,error,message",
    [
        (PROMPTS, {"batch_size": 0}, ValueError, "batch_size must be an integer of 1 or more, not 0"),
        (None, {"batch_size": 2}, ValueError, "batch_size is for prompts: leave it out, or use expand"),
        (PROMPTS, {"batch_size": 2, "return_dict_in_generate": True}, ValueError, "return_dict_in_generate is for one"),
        (PROMPTS, {"batch_size": 1, "streamer": object()}, ValueError, "streamer is for one batch: leave batch_size"),
        (["Who?", 5], {}, TypeError, "must be a string or chat messages, not int"),
        (["repeat the text: "] * 2, {}, ValueError, "Some of the prompts ask for the text itself"),
    ],
)
def test_what_cannot_be(prompts, options, error, message, uniform, monkeypatch):
    latents = uniform.compress("a text")
    monkeypatch.setattr(type(uniform), "embed_prompt", None)
    with pytest.raises(error, match=message):
        uniform.generate(latents, prompts, **options)


def test_a_streamer_says_one_answer(uniform, capsys):
    latents = uniform.compress(LONG)
    streamer = TextStreamer(uniform.processor.tokenizer, skip_special_tokens=True)
    assert uniform.generate(latents, ["Who?"], streamer=streamer, **GREEDY) == [capsys.readouterr().out.rstrip("\n")]
    with pytest.raises(ValueError, match="batch size 1"):
        uniform.generate(latents, PROMPTS, streamer=streamer, **GREEDY)
