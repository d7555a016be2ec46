"""Chat messages that hold latents. Run: pytest tests/test_conversations.py"""

from dataclasses import replace

import pytest
import torch
from transformers import GenerationMixin

from c3.conversations_c3 import conversation_pieces
from c3.decoder_rows_c3 import LatentSpan, TextSegment
from c3.window_decoding_c3 import prompt_embeds
from tiny_models import LONG, TEXTS

# Marks turns with the tokenizer's special token.
CHAT_TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {{ m.content | trim }}<|endoftext|>{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
GREEDY = {"do_sample": False, "max_new_tokens": 6}


def context(latents):
    return {"type": "context", "latents": latents}


def text(words):
    return {"type": "text", "text": words}


def user(*parts):
    return {"role": "user", "content": list(parts)}


@pytest.fixture
def with_template(monkeypatch):
    def add(model, template=CHAT_TEMPLATE):
        monkeypatch.setattr(model.processor.tokenizer, "chat_template", template)
        return model

    return add


def test_a_row_by_hand(model, with_template):
    """Two contexts of several windows, a system message and an earlier answer; special tokens in texts are text."""
    processor = with_template(model).processor
    first, second = model.compress(LONG), model.compress(TEXTS[0])
    messages = [
        {"role": "system", "content": "Be brief."},
        user(text(" Of <|endoftext|>:"), context(first), text("Who?")),
        {"role": "assistant", "content": "He."},
        user(context(second), text("And here? ")),
    ]
    encode, end = processor.encode, processor.tokenizer.eos_token_id
    assert end not in encode("<|endoftext|>")
    row = [
        TextSegment([*encode("system: "), *encode("Be brief."), end, *encode("user: "), *encode(" Of <|endoftext|>:")]),
        *first.spans[0],
        TextSegment([*encode("Who?"), end, *encode("assistant: "), *encode("He."), end, *encode("user: ")]),
        *second.spans[0],
        TextSegment([*encode("And here? "), end, *encode("assistant: ")]),
    ]
    made = processor.decoder_inputs([processor.conversation_row(messages, [*first.spans, *second.spans])])
    expected = processor.decoder_inputs([row])
    assert all(torch.equal(made[name], expected[name]) for name in ("input_ids", "attention_mask", "position_ids"))
    assert made["position_ids"].tolist() == [[*range(made["input_ids"].shape[1])]]

    inputs = prompt_embeds(model, [row], torch.cat([first.values, second.values]))
    ids = GenerationMixin.generate(model, **inputs, **GREEDY)
    answer = model.generate(messages, **GREEDY)
    assert answer == processor.decode(ids[0]) == model.generate(prompt=tuple(messages), **GREEDY)
    swapped = [messages[0], user(*messages[1]["content"][:1], context(second), text("Who?")), *messages[2:]]
    assert model.generate(swapped, **GREEDY) != answer


def test_as_latents_before_a_prompt(model, with_template):
    """Where the template puts nothing before the context."""
    with_template(model, "{% for m in messages %}{{ m.content }}<|endoftext|>{% endfor %}assistant: ")
    latents = model.compress(LONG, exact=True)
    messages = [user(context(latents), text("Who?"))]
    asked = [{"role": "user", "content": "Who?"}]
    for options in ({}, {"num_beams": 2, "num_return_sequences": 2}, {"raw_below": 1.01}):
        assert model.generate(messages, **options, **GREEDY) == model.generate(latents, asked, **options, **GREEDY)
    output = model.generate(messages, return_dict_in_generate=True, **GREEDY)
    assert model.processor.decode(output.sequences[0]) == model.generate(latents, asked, **GREEDY)
    # Parts of text are messages too, where latents stand before them; several of these are read once.
    parts = [[user(text("Who?"))], [user(text("Why"), text("?"))]]
    assert model.generate(latents, parts, **GREEDY)[0] == model.generate(latents, asked, **GREEDY)


@pytest.mark.parametrize("layout", ["appended", "uniform"])
def test_a_template_that_is_a_conversation(layout, make_model, with_template):
    """As the authors': messages with the same words are the same row, with its special tokens around latents."""
    end = "<|endoftext|>"
    turns = "user: {latents}{prompt}" + end + "assistant:"
    model = make_model(layout, prompt_template=turns.replace("{latents}", f"{end}{{latents}}{end}{end}"))
    # A space at the end of the prompt template would be the answer's.
    with_template(model, CHAT_TEMPLATE.replace("assistant: ", "assistant:"))
    first, second = model.compress(LONG, exact=True), model.compress(TEXTS[0])
    for options in ({}, {"raw_below": 1.01}):
        expected = model.generate(first, "Who?", **options, **GREEDY)
        assert model.generate([user(context(first), text("Who?"))], **options, **GREEDY) == expected
    messages = [user(context(first), text(" or "), context(second)), {"role": "assistant", "content": "b"}]
    row = model.processor.conversation_row(messages, [*first.spans, *second.spans])
    ids = model.processor.decoder_inputs([row])["input_ids"][0].tolist()
    place, end = model.processor.latent_token_id, model.processor.tokenizer.eos_token_id
    encode = model.processor.encode
    around = [[end, *[place] * each.num_latents, end, end] for each in (first, second)]
    said = [*encode("user: "), *around[0], *encode(" or "), *around[1], end, *encode("assistant: "), *encode("b"), end]
    assert ids == [*said, *encode("assistant:")]
    # Without latents, messages would be a conversation within the template's.
    with pytest.raises(ValueError, match="is a conversation already: give the prompt as a string, or messages that"):
        model.generate(first, [user(text("Who?"))])


def test_several_conversations(model, with_template):
    """As one by one, each with its own contexts, however many, in batches or not."""
    with_template(model)
    first, second = model.compress(LONG, exact=True), model.compress(TEXTS[0], exact=True)
    conversations = [
        [user(context(first), text("Who?"))],
        [user(context(second), text("and"), context(first), text("When?")), {"role": "assistant", "content": "b"}],
        [user(context(second), text("Why?"))],
    ]
    for options in ({}, {"raw_below": 1.01}):
        expected = [model.generate(each, **options, **GREEDY) for each in conversations]
        assert len(set(expected)) > 1
        for batch_size in (None, 2):
            assert model.generate(conversations, batch_size=batch_size, **options, **GREEDY) == expected
    assert model.generate(prompt=conversations[:1], raw_below=1.01, **GREEDY) == expected[:1]
    with pytest.raises(ValueError, match="A prompt needs latents from compress"):
        model.generate([conversations[0], [user(text("Who?"))]])
    with pytest.raises(ValueError, match="streamer is for one batch"):
        model.generate(conversations, batch_size=2, streamer=object())


@pytest.mark.parametrize(
    "content,message",
    [
        (lambda one, two: "Who?", "A prompt needs latents from compress: give them first, or as parts"),
        (lambda one, two: [text("Who?")], "A prompt needs latents from compress: give them first, or as parts"),
        (lambda one, two: [context(two), text("Who?")], r"must be one text, not 2: give latents\[i\]"),
        (lambda one, two: [context(one), text("")], "the user's message is empty"),
        (lambda one, two: [context(one), text("\ud800")], r"a lone surrogate U\+D800"),
        (lambda one, two: [context(one), {"type": "image"}], "must have a role and a content, .* a list of parts"),
        (lambda one, two: [context(one), "Who?"], "must have a role and a content, .* a list of parts"),
        (lambda one, two: [{"type": "context"}], "must have a role and a content, .* a list of parts"),
        (lambda one, two: [], "must have a role and a content"),
        (lambda one, two: [context(foreign(one))], "these latents were made by 'another'"),
    ],
)
def test_messages_that_cannot_be(content, message, uniform, with_template, monkeypatch):
    with_template(uniform)
    one, two = uniform.compress("a text"), uniform.compress(["a", "b"])
    messages = [{"role": "user", "content": content(one, two)}]
    monkeypatch.setattr(type(uniform), "embed_prompt", None)
    with pytest.raises(ValueError, match=message):
        uniform.generate(messages)


def foreign(latents):
    other = replace(latents.provenance, model_name="another", weights_fingerprint="0" * 16)
    return replace(latents, provenance=other)


def test_calls_that_cannot_be(uniform, with_template, monkeypatch):
    latents = uniform.compress("a text")
    messages = [user(context(latents), text("Who?"))]
    with pytest.raises(ValueError, match="has no chat template: give the prompt as a string"):
        uniform.generate(messages)
    with_template(uniform)
    assert uniform.generate([user(context(foreign(latents)))], allow_mismatch=True, **GREEDY)
    with pytest.raises(ValueError, match="hold what is asked too: leave prompt out"):
        uniform.generate(messages, "Who?")
    with pytest.raises(ValueError, match=r"These messages hold latents: .* model.generate\(messages\)"):
        uniform.generate(latents, messages)
    with pytest.raises(TypeError, match="latents must be C3Latents, as compress returns them, not str"):
        uniform.generate([user(context("a text"))])
    with pytest.raises(ValueError, match=r"make them with compress\(text, exact=True\)"):
        uniform.generate(messages, raw_below=0.9)
    with pytest.raises(TypeError, match="input_ids is made of latents and prompt"):
        uniform.generate(messages, input_ids=torch.tensor([[5]]))
    monkeypatch.setattr(uniform.config, "reconstruction_only", True)
    with pytest.raises(ValueError, match="cannot answer .* give texts back and nothing else"):
        uniform.generate(messages)


@pytest.mark.parametrize(
    "body", ["{% if m.role == 'user' %}{{ m.content }}{% endif %}", "{{ m.content }}{{ m.content }}"]
)
def test_templates_that_lose_or_repeat_a_context(body, uniform, with_template):
    with_template(uniform, "{% for m in messages %}" + body + "{% endfor %}")
    parts = [context(object()), text("Who?")]
    with pytest.raises(ValueError, match="does not lay out every context once and in order"):
        conversation_pieces(uniform.processor.tokenizer, [{"role": "system", "content": parts}, user(*parts)])


def test_parts_of_the_same_latents(uniform, with_template):
    """One object in two places is two contexts."""
    latents = with_template(uniform).compress("a text")
    messages = [user(context(latents), text("and"), context(latents))]
    row = uniform.processor.conversation_row(messages, latents.spans * 2)
    assert sum(isinstance(each, LatentSpan) for each in row) == 2 * latents.num_windows
    assert isinstance(uniform.generate(messages, **GREEDY), str)
