"""Answers over HTTP are those of `C3Model.generate`, in OpenAI's form, whole and streamed. pytest tests/serving"""

import asyncio
import copy

import pytest

from adapted_models import save_with_prompt_adapter
from c3 import C3Model
from c3.generation_c3 import DEFAULT_NEW_TOKENS
from c3.serving import prompts
from c3.serving.answers import StoppedText
from c3.serving.canary import check_canary
from c3.serving.transformers_backend import TransformersBackend
from serving_requests import (
    CHAT,
    COMPLETIONS,
    CONTEXTS,
    PASSAGE,
    add_text,
    assert_refused,
    context_part,
    events,
    message,
)

QUESTION = "When was it so? "


@pytest.fixture(scope="module")
def name(client):
    return add_text(client, ratio=3)


def test_a_prompt_about_a_context(client, model, name, latents):
    body = {"model": client.get("/v1/models").json()["data"][0]["id"], "prompt": QUESTION, "contexts": [name]}
    answer = client.post(COMPLETIONS, json=body | {"max_tokens": 9})
    expected = model.generate(latents, QUESTION, max_new_tokens=9)
    assert answer.status_code == 200 and answer.json()["choices"] == [
        {"index": 0, "text": expected, "logprobs": None, "finish_reason": "length"}
    ]
    asked = latents.num_latents + len(model.processor.encode(QUESTION))
    assert answer.json()["usage"] == {
        "prompt_tokens": asked,
        "completion_tokens": 9,
        "total_tokens": asked + 9,
        "prompt_tokens_details": {"latent_tokens": latents.num_latents, "compressed_text_tokens": latents.text_tokens},
    }
    assert answer.json()["object"] == "text_completion" and answer.json()["id"].startswith("cmpl-")
    # Several are read together, in order; none at all is a plain prompt.
    other = add_text(client, "Short. 短い。")
    more = model.compress("Short. 短い。", exact=True)
    both = client.post(COMPLETIONS, json=body | {"contexts": [other, name], "max_tokens": 9}).json()
    assert both["choices"][0]["text"] == model.generate([more, latents], QUESTION, max_new_tokens=9) != expected
    plain = client.post(COMPLETIONS, json={"prompt": QUESTION, "max_tokens": 9}).json()
    ids = model.processor.encode(QUESTION)
    assert plain["usage"]["prompt_tokens"] == len(ids) and not plain["usage"]["prompt_tokens_details"]["latent_tokens"]


def test_answers_with_a_prompt_adapter(serve, make_model, tmp_path):
    """As `generate`, whole and streamed, in the adapter's layout; the text comes back without it."""
    save_with_prompt_adapter(make_model(), tmp_path / "checkpoint")
    asked = C3Model.from_pretrained(tmp_path / "checkpoint")
    latents = asked.compress(PASSAGE, ratio=3, exact=True)
    expected = asked.generate(latents, QUESTION, max_new_tokens=9)
    with serve(tmp_path / "contexts", of=asked) as client:
        check_canary(asked, TransformersBackend(asked))
        name = add_text(client, ratio=3)
        body = {"prompt": QUESTION, "contexts": [name], "max_tokens": 9}
        assert client.post(COMPLETIONS, json=body).json()["choices"][0]["text"] == expected
        pieces = [each["choices"][0]["text"] for each in events(client.post(COMPLETIONS, json=body | {"stream": True}))]
        assert "".join(pieces) == expected
        assert client.get(f"{CONTEXTS}/{name}/text").text == PASSAGE
        assert not client.get("/v1/models").json()["data"][0]["only_gives_texts_back"]


def test_messages_that_hold_contexts(client, model, name, latents):
    said = [{"role": "system", "content": "Be brief."}, message("Read: ", context_part(name), QUESTION)]
    answer = client.post(CHAT, json={"messages": said, "max_completion_tokens": 9})
    held = [said[0], message("Read: ", {"type": "context", "latents": latents}, QUESTION)]
    expected = model.generate(held, max_new_tokens=9)
    (choice,) = answer.json()["choices"]
    assert choice["message"] == {"role": "assistant", "content": expected}
    assert answer.json()["object"] == "chat.completion" and answer.json()["usage"]["completion_tokens"] == 9


def test_a_context_that_is_deleted_while_it_is_asked_about(serve, model, latents, tmp_path):
    """The answer goes on to its end; the next request hears of it."""

    class Deleting(TransformersBackend):
        async def answer(self, *asked):
            async for token in super().answer(*asked):
                if not deleted:
                    deleted.append(await asyncio.to_thread(client.delete, f"{CONTEXTS}/{name}"))
                yield token

    deleted = []
    with serve(tmp_path, Deleting(model)) as client:
        name = add_text(client, ratio=3)
        body = {"prompt": QUESTION, "contexts": [name], "max_tokens": 9, "stream": True}
        pieces = [chunk["choices"][0]["text"] for chunk in events(client.post(COMPLETIONS, json=body))]
        assert deleted[0].status_code == 200
        assert "".join(pieces) == model.generate(latents, QUESTION, max_new_tokens=9)
        assert_refused(client.post(COMPLETIONS, json=body), 404)


def test_without_a_limit(client, model, name, latents, monkeypatch):
    """As many as `generate` gives by default, where there is room."""
    assert prompts.DEFAULT_NEW_TOKENS == DEFAULT_NEW_TOKENS == 256
    body = {"prompt": QUESTION, "contexts": [name]}
    monkeypatch.setattr(prompts, "DEFAULT_NEW_TOKENS", 12)
    answer = client.post(COMPLETIONS, json=body).json()
    assert answer["choices"][0]["text"] == model.generate(latents, QUESTION, max_new_tokens=12)
    room = 512 - answer["usage"]["prompt_tokens"]
    refused = client.post(COMPLETIONS, json=body | {"max_tokens": room + 1})
    assert f"room for {room} tokens" in assert_refused(refused, 400)["message"]
    long = client.post(COMPLETIONS, json={"prompt": "€" * 168}).json()["usage"]
    assert (long["prompt_tokens"], long["completion_tokens"]) == (504, 8)


@pytest.mark.parametrize("is_chat", [False, True])
def test_streamed_pieces_are_the_whole(client, name, is_chat):
    body = {"messages": [message(context_part(name), QUESTION)]} if is_chat else {"prompt": QUESTION}
    body |= {} if is_chat else {"contexts": [name]}
    address = CHAT if is_chat else COMPLETIONS
    whole = client.post(address, json=body | {"max_tokens": 24}).json()
    streamed = client.post(
        address, json=body | {"max_tokens": 24, "stream": True, "stream_options": {"include_usage": True}}
    )
    assert streamed.headers["content-type"].startswith("text/event-stream")
    *chunks, usage = events(streamed)
    assert usage["choices"] == [] and usage["usage"] == whole["usage"] and len(chunks) > 5
    said = [each["choices"][0] for each in chunks]
    pieces = [each["delta"].get("content", "") if is_chat else each["text"] for each in said]
    expected = whole["choices"][0]["message"]["content"] if is_chat else whole["choices"][0]["text"]
    assert "".join(pieces) == expected and len({each["id"] for each in chunks}) == 1
    assert [each["finish_reason"] for each in said] == [None] * (len(said) - 1) + ["length"]
    if is_chat:
        assert said[0]["delta"] == {"role": "assistant", "content": ""} and said[-1]["delta"] == {}
        assert {each["object"] for each in chunks} == {"chat.completion.chunk"}


def test_stop_strings_end_an_answer_and_are_no_part_of_it(client, name):
    body = {"prompt": QUESTION, "contexts": [name], "max_tokens": 40}
    text = client.post(COMPLETIONS, json=body).json()["choices"][0]["text"]
    stop = text[10:13]  # may lie in several tokens
    before = text[: text.index(stop)]
    for asked in (stop, ["never so", stop]):
        (choice,) = client.post(COMPLETIONS, json=body | {"stop": asked}).json()["choices"]
        assert (choice["text"], choice["finish_reason"]) == (before, "stop")
    chunks = events(client.post(COMPLETIONS, json=body | {"stop": stop, "stream": True}))
    assert "".join(each["choices"][0]["text"] for each in chunks) == before
    # What only begins like one comes at the end.
    (choice,) = client.post(COMPLETIONS, json=body | {"stop": text[-2:] + "no such end"}).json()["choices"]
    assert (choice["text"], choice["finish_reason"]) == (text, "length")


@pytest.mark.parametrize(
    ("tokens", "stops", "said"),
    [
        ([" the best"], [], "the best"),
        ([" ", "the best"], [], "the best"),
        (["the best"], [], "the best"),
        ([" 短い"], [], "短い"),
        (["  ", "a"], [], " a"),
        ([" "], [], ""),
        ([" the best"], ["best"], "the "),
        ([" the"], ["the"], ""),
    ],
)
def test_a_space_that_the_template_ends_with_is_no_part_of_an_answer(tokens, stops, said, model):
    """Nor of what is compared with stop strings; token by token as `generate` has it."""
    processor = copy.copy(model.processor)
    ids = [token for each in tokens for token in processor.encode(each)]
    for template, expected in ((processor.prompt_template, "".join(tokens)), ("{latents}{prompt} ", said)):
        processor.prompt_template = template
        text = StoppedText(processor, stops)
        pieces = [text.add(token) for token in ids] + [text.end()]
        if stops:
            expected = expected.partition(stops[0])[0]
        else:
            assert processor.decode_answer(ids) == expected
        assert "".join(pieces) == expected and text.is_stopped == bool(stops)


def test_seeds_say_what_is_drawn(client, name):
    body = {"prompt": QUESTION, "contexts": [name], "max_tokens": 16, "temperature": 1.5}

    def text(**fields):
        return client.post(COMPLETIONS, json=body | fields).json()["choices"][0]["text"]

    assert text(seed=1) == text(seed=1) != text(seed=2)
    assert text(temperature=0, seed=1) == text(temperature=0) == text(top_p=1e-9, seed=3)
    assert len({text() for _ in range(3)}) == 3


def test_models_and_health(client, model):
    (about,) = client.get("/v1/models").json()["data"]
    assert about["max_positions"] == 512 and about["only_gives_texts_back"] is False
    assert client.get(f"/v1/models/{about['id']}").json() == about
    assert client.get("/health", headers={"Authorization": ""}).json() == {"status": "ok"}
