"""generate and chat: prompts, the text itself, keywords, and models that were trained to give texts back only."""

import re
from fractions import Fraction

import numpy as np
import pytest
import torch
from transformers import GenerationConfig, TextIteratorStreamer, TextStreamer

from tiny_models import TEXTS

LONG = " ".join(TEXTS)
MESSAGES = [{"role": "user", "content": " What <|endoftext|> is it? "}]
# Trims, as many do, and marks turns with the tokenizer's special token.
CHAT_TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {{ m.content | trim }}<|endoftext|>{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


@pytest.fixture
def with_chat_template(monkeypatch):
    def add(model, template=CHAT_TEMPLATE):
        monkeypatch.setattr(model.processor.tokenizer, "chat_template", template)

    return add


def prompt_inputs(model, latents, prompt):
    return model.processor.decoder_inputs([model.processor.row(spans, prompt) for spans in latents.spans])


def first_letters(text):
    return re.search("[!-~]", text)[0]


# ------------------------------------------------------------------------------------------------------ the text itself


def test_the_text_itself_is_what_expand_gives(model):
    """However it is asked for, and whatever decodes it: every window by itself, to its own length."""
    latents = model.compress([LONG, *TEXTS])
    assert latents.window_counts.max() > 1
    expected = model.expand(latents)
    asks = [None, model.config.reconstruction_prompt, [model.config.reconstruction_prompt] * 4]
    assert all(model.generate(latents, prompt) == expected for prompt in asks)
    greedy = {"do_sample": False, "num_beams": 1}
    for settings in (greedy, {"max_new_tokens": 1000}, {"generation_config": GenerationConfig(**greedy)}):
        assert model.generate(latents, **settings) == expected
    assert model.generate(latents[0], max_new_tokens=None, stop_strings=None) == expected[0]


def test_generate_defaults_to_the_reconstruction_prompt(model):
    latents = model.compress(["one window", "another"])
    lengths = latents.text_lengths.tolist()
    expanded, generated = model.expand(latents), model.generate(latents, do_sample=False, eos_token_id=[])
    assert [len(model.processor.encode(each)) > 0 for each in generated] == [True, True]
    longest = max(range(2), key=lambda i: lengths[i])
    assert generated[longest][:4] == expanded[longest][:4]


def test_a_part_of_the_text_itself(model):
    latents = model.compress([LONG, TEXTS[0]])
    expanded = model.expand(latents, method="greedy", return_scores=True)
    tokens = [[token for window in text.windows for token in window.ids] for text in expanded]
    assert latents.text_lengths.max() < 40
    assert model.generate(latents, max_new_tokens=40) == [model.processor.decode(each[:40]) for each in tokens]
    # A text ends where one of its windows is stopped.
    whole = model.expand(latents[0])
    stop = first_letters(whole)
    stopped = model.generate(latents[0], stop_strings=[stop])
    assert whole.startswith(stopped) and stop in stopped[-8:] and len(stopped) < len(whole)
    output = model.generate(latents[0], return_dict_in_generate=True)
    assert len(output.sequences) == latents[0].num_windows


def test_several_sequences_of_the_text_itself(uniform):
    latents = uniform.compress([LONG, TEXTS[0]])
    texts = uniform.generate(latents, num_beams=2, num_return_sequences=2)
    assert len(texts) == 4 and texts[0] != texts[1]
    assert texts[:2] == uniform.generate(latents[0], num_beams=2, num_return_sequences=2)
    torch.manual_seed(0)
    assert uniform.generate(latents, do_sample=True) != uniform.expand(latents)


def test_streamers_of_the_text_itself(uniform):
    one = uniform.compress("one window")
    streamer = TextIteratorStreamer(uniform.processor.tokenizer, skip_special_tokens=True)
    assert uniform.generate(one, streamer=streamer) == "".join(streamer) == uniform.expand(one)
    with pytest.raises(ValueError, match=r"are . windows, .* use expand\(latents, stream=True\)"):
        uniform.generate(uniform.compress(LONG), streamer=TextStreamer(uniform.processor.tokenizer))


@pytest.mark.parametrize("layout", ["appended", "uniform"])
def test_a_model_that_only_repeats(layout, make_model, monkeypatch):
    """Asked for the text it gives what `expand` gives; whatever else it is asked it refuses, before any work."""
    model = make_model(layout, reconstruction_only=True)
    latents = model.compress(LONG)
    expected = model.expand(latents)
    assert model.generate(latents) == model.chat(LONG) == expected
    assert model.chat(LONG, model.config.reconstruction_prompt, max_new_tokens=4096, do_sample=False) == expected
    monkeypatch.setattr(type(model), "encode_context", None)
    for prompt in ("What is it about?", "", [model.config.reconstruction_prompt + "x"], MESSAGES):
        if prompt is MESSAGES:
            monkeypatch.setattr(model.processor.tokenizer, "chat_template", CHAT_TEMPLATE)
        for ask in (lambda prompt: model.generate(latents, prompt), lambda prompt: model.chat(LONG, prompt)):
            with pytest.raises(ValueError, match=r"cannot answer .* give texts back and nothing else .*Use expand"):
                ask(prompt)
    with pytest.raises(ValueError, match=r"no latents: .* model.expand\(model.compress\(text\)\)"):
        model.generate(torch.tensor([[5, 6]]))
    monkeypatch.setattr(model.config, "reconstruction_only", False)
    assert isinstance(model.generate(latents, "", max_new_tokens=2), str)


def test_what_an_adapter_was_trained_for_its_base_does_not_know(make_model):
    from c3.training.optim.lora import LoraSettings, add_lora

    adapted = add_lora(make_model("uniform", reconstruction_only=True), LoraSettings(r=2))
    assert isinstance(adapted.generate(adapted.compress("text"), "Go on: ", max_new_tokens=2), str)


# ---------------------------------------------------------------------------------------------------- transformers' own


def test_generate_takes_what_transformers_takes(uniform):
    latents = uniform.compress(TEXTS)
    beams = uniform.generate(latents, "Go on: ", num_beams=3, max_new_tokens=6, num_return_sequences=2)
    assert len(beams) == 6
    torch.manual_seed(0)
    assert len(uniform.generate(latents, ["a", "b", "c"], do_sample=True, top_p=0.9, max_new_tokens=6)) == 3
    output = uniform.generate(latents, "x", max_new_tokens=3, return_dict_in_generate=True, output_scores=True)
    assert output.sequences.shape[0] == 3 and len(output.scores) <= 3
    greedy = {"max_new_tokens": 8, "do_sample": False}
    cached = uniform.generate(latents, "Who?", **greedy)
    assert cached == uniform.generate(latents, "Who?", use_cache=False, **greedy)
    stop = first_letters(cached[0])
    stopped = uniform.generate(latents[0], "Who?", stop_strings=[stop], **greedy)
    assert cached[0].startswith(stopped) and stop in stopped and len(stopped) < len(cached[0])
    streamer = TextIteratorStreamer(uniform.processor.tokenizer, skip_special_tokens=True)
    text = uniform.generate(latents[0], "Who?", streamer=streamer, **greedy)
    assert "".join(streamer) == text == cached[0]


def test_generate_takes_numbers_whoever_made_them(uniform):
    latents = uniform.compress("x")

    def sampled(**options):
        torch.manual_seed(0)
        return uniform.generate(latents, "a", do_sample=True, **options)

    expected = sampled(temperature=0.5, top_k=5, max_new_tokens=4)
    for number in (np.float32, Fraction, torch.tensor):
        assert sampled(temperature=number(0.5), top_k=np.int64(5), max_new_tokens=torch.tensor(4)) == expected
    torch.manual_seed(0)
    options = {"temperature": np.float32(0.5), "top_k": np.int64(5), "max_new_tokens": 4}
    assert uniform.chat("x", "a", do_sample=True, **options) == expected.strip()
    for name in ("temperature", "max_new_tokens"):
        with pytest.raises(ValueError, match=f"{name} must be a number, not True"):
            uniform.generate(latents, "a", **{name: True})


def test_generate_batch_equals_single(model):
    latents = model.compress([LONG, *TEXTS])
    together = model.generate(latents, "Go on: ", max_new_tokens=8, do_sample=False)
    assert together == [model.generate(text, "Go on: ", max_new_tokens=8, do_sample=False) for text in latents]


def test_token_ids_fall_through_to_transformers(model):
    ids = torch.tensor([[5, 6, 7]])
    expected = model.decoder.generate(ids, max_new_tokens=5, do_sample=False)
    assert torch.equal(model.generate(ids, max_new_tokens=5, do_sample=False), expected)
    assert torch.equal(model.generate(input_ids=ids, max_new_tokens=5, do_sample=False), expected)


def test_ids_with_a_context_fall_through_too(model):
    batch = model.processor("one window", labels=False)
    ids = model.generate(**batch, max_new_tokens=5, do_sample=False)
    again = {name: each for name, each in batch.items() if not name.startswith("context_")}
    context = {name: each for name, each in batch.items() if name.startswith("context_")}
    latents = model.encode_context(**context)
    assert torch.equal(ids, model.generate(latents, **again, max_new_tokens=5, do_sample=False))


def test_answers_come_without_the_space_that_the_template_ends_with(make_model):
    """But the text itself, which has no such space before it, keeps its own."""
    model = make_model(prompt_template="{latents}{prompt} ")
    (word,) = model.processor.encode(" the")
    others = [token for token in range(len(model.processor.tokenizer)) if token != word]
    options, said = {"suppress_tokens": others, "max_new_tokens": 3}, "the the the"
    latents = model.compress(TEXTS[:2])
    assert model.generate(latents, "Who?", **options) == [said] * 2
    assert model.generate(latents[0], ["Who?", "When?"], **options) == [said] * 2
    assert model.generate(latents[0], "Who?", compress_every=2, ratio=2, **options) == said
    output = model.generate(latents[0], "Who?", return_dict_in_generate=True, **options)
    assert model.processor.decode_answer(output.sequences[0]) == said
    assert model.generate(latents[0], **options) == f" {said}"


def test_bad_prompts(uniform):
    latents = uniform.compress(TEXTS)
    with pytest.raises(ValueError, match="There are 2 prompts for 3 texts"):
        uniform.generate(latents, ["a", "b"])
    with pytest.raises(ValueError, match="A prompt needs latents"):
        uniform.generate(torch.tensor([[5]]), "a")
    with pytest.raises(ValueError, match="need input_ids with their placeholders"):
        uniform.generate(torch.zeros(3, 32))


# ------------------------------------------------------------------------------------------------------------ keywords


@pytest.mark.parametrize("call", ["generate", "chat"])
def test_keywords(call, model):
    """Both calls take the same, given by themselves or in a generation config."""
    source = model.compress("one window") if call == "generate" else "one window"

    def ask(**kwargs):
        return getattr(model, call)(source, "Go on: ", **{"do_sample": False} | kwargs)

    answer = ask(max_new_tokens=24)
    prompt = prompt_inputs(model, model.compress("one window"), "Go on: ")
    length = prompt["input_ids"].shape[1]
    assert ask(max_length=length + 24) == answer
    assert ask(generation_config=GenerationConfig(max_new_tokens=24, do_sample=False)) == answer
    assert ask(max_new_tokens=None, max_length=length + 24, stop_strings=None) == answer
    stop = first_letters(answer)
    for settings in ({"stop_strings": [stop]}, {"generation_config": GenerationConfig(stop_strings=stop)}):
        assert len(ask(max_new_tokens=24, **settings)) < len(answer)
    output = ask(max_new_tokens=24, return_dict_in_generate=True, output_scores=True)
    assert output.sequences.shape[0] == 1 and len(output.scores) == 24
    assert len(ask(max_new_tokens=24, do_sample=True, num_return_sequences=3)) == 3
    streamer = TextIteratorStreamer(model.processor.tokenizer, skip_special_tokens=True)
    text = ask(max_new_tokens=24, streamer=streamer)
    assert text == answer and "".join(streamer).strip() == answer.strip()


def test_the_models_own_settings_hold(uniform, monkeypatch):
    latents = uniform.compress("one window")
    monkeypatch.setattr(uniform.generation_config, "max_new_tokens", 3)
    output = uniform.generate(latents, "x", return_dict_in_generate=True, eos_token_id=[])
    assert output.sequences.shape[1] == 3
    # Of the text itself there is as much as there was.
    assert uniform.generate(latents, do_sample=False) == uniform.expand(latents)


@pytest.mark.parametrize(
    "kwargs,error,message",
    [
        ({"max_length": 3}, ValueError, "max_length=3 leaves no room: latents and prompt count too, and are "),
        ({"max_new_tokens": 0}, ValueError, "max_new_tokens must be an integer of 1 or more, not 0"),
        ({"max_new_tokens": "5"}, ValueError, "max_new_tokens must be an integer of 1 or more, not '5'"),
        ({"assistant_model": object()}, ValueError, "assistant_model: what drafts reads token ids, not latents"),
        ({"assistant_early_exit": 1}, ValueError, "assistant_early_exit: what drafts reads token ids"),
        ({"guidance_scale": 2.0}, ValueError, "guidance_scale: .* give negative_prompt_ids"),
        ({"input_ids": torch.tensor([[5]])}, TypeError, "input_ids is made of latents and prompt"),
        ({"attention_mask": torch.tensor([[1]])}, TypeError, "attention_mask is made of latents and prompt"),
        ({"generation_config": {"max_new_tokens": 2}}, TypeError, "must be a GenerationConfig, not dict"),
        ({"max_new_token": 5}, ValueError, "max_new_token"),
    ],
)
def test_keywords_that_cannot_be(kwargs, error, message, uniform, monkeypatch):
    latents = uniform.compress("a text")
    if "max_length" not in kwargs:  # known before the text is compressed, or the latents are checked
        monkeypatch.setattr(type(uniform), "encode_windows", None)
    for ask in (lambda: uniform.generate(latents, "x", **kwargs), lambda: uniform.chat("a text", "x", **kwargs)):
        with pytest.raises(error, match=message):
            ask()
    if "assistant" in next(iter(kwargs)):
        batch = uniform.processor("a text", labels=False)
        with pytest.raises(error, match=message):
            uniform.generate(**batch, **kwargs)


# ------------------------------------------------------------------------------------------------------------- prompts


def test_chat_messages(model, with_chat_template):
    """By the chat template: its special tokens are special, those written in a message are text."""
    with_chat_template(model)
    processor = model.processor
    end, encode = processor.tokenizer.eos_token_id, processor.encode
    messages = [{"role": "system", "content": "Be brief."}, *MESSAGES]
    expected = [*encode("system: "), *encode("Be brief."), end]
    expected += [*encode("user: "), *encode(MESSAGES[0]["content"]), end, *encode("assistant: ")]
    assert processor.encode_prompt(messages) == expected
    latents = model.compress([LONG, "a text"])
    asked = model.generate(latents, messages, max_new_tokens=4)
    assert asked == model.generate(latents, [messages, tuple(messages)], max_new_tokens=4)
    one = model.generate(latents[1], messages, max_new_tokens=4, do_sample=False)
    assert one.strip() == model.chat("a text", messages, max_new_tokens=4)
    assert prompt_inputs(model, latents[0], messages)["input_ids"][0].tolist()[-len(expected) :] == expected


@pytest.mark.parametrize(
    "prompt,error,message",
    [
        (5, TypeError, "prompt must be a string, chat messages or a list of one for each text, not int"),
        (b"a", TypeError, "prompt must be a string, chat messages or .*, not bytes"),
        ({"role": "user", "content": "a"}, TypeError, "prompt must be a string, chat messages or .*, not dict"),
        ([5], TypeError, "must be a string or chat messages, not int"),
        ([None], TypeError, "must be a string or chat messages, not NoneType"),
        ([["a"]], TypeError, "must be a string or chat messages, not list"),
        ([], ValueError, "There are 0 prompts for 1 texts"),
        ("\ud800", ValueError, r"prompt is not valid Unicode: a lone surrogate U\+D800"),
        ([{"role": "user"}], ValueError, "must have a role and a content, both strings, not {'role': 'user'}"),
        ([{"role": "user", "content": ["a"]}], ValueError, "must have a role and a content, both strings"),
        ([{"role": "user", "content": ""}], ValueError, "the user's message is empty"),
        (MESSAGES, ValueError, "has no chat template: give the prompt as a string"),
    ],
)
def test_prompts_that_cannot_be(prompt, error, message, uniform):
    latents = uniform.compress("a text")
    for ask in (lambda: uniform.generate(latents, prompt), lambda: uniform.chat("a text", prompt)):
        with pytest.raises(error, match=message):
            ask()


def test_prompts_that_do_not_go_together(uniform):
    latents = uniform.compress(["a", "b"])
    with pytest.raises(ValueError, match="Some of the prompts ask for the text itself"):
        uniform.generate(latents, [uniform.config.reconstruction_prompt, "Go on: "])


def test_one_template_of_a_conversation_is_enough(make_model, with_chat_template):
    model = make_model("appended", prompt_template="{latents}{prompt}<|endoftext|>")
    with_chat_template(model)
    with pytest.raises(ValueError, match="prompt_template is a conversation already: give the prompt as a string"):
        model.chat("a text", MESSAGES)
