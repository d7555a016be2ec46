"""Requests that cannot be served are answered with a 4xx and a reason in OpenAI's form. Run: pytest tests/serving"""

import json
import random

import pytest

from c3.serving.contexts import Contexts
from c3.serving.keys import Keys
from serving_requests import CHAT, COMPLETIONS, CONTEXTS, PASSAGE, add_text, assert_refused, context_part, mutated

JSON = {"Content-Type": "application/json"}
HELLO = [{"role": "user", "content": "Hello"}]
NO_ID = "ctx-" + "0" * 32
# By what the reason says: the address, and a body: of an object as JSON, of others as they are.
PROMPT = {
    "is missing": {},
    "prompt must be a string": {"prompt": 7},
    "prompt must be a string, not ['a'": {"prompt": ["a", "b"]},
    "prompt must be a string, not [1": {"prompt": [1, 2]},
    "prompt must be a string, not {": {"prompt": {"text": "a"}},
    "prompt is missing": {"prompt": None},
    "There is nothing to answer": {"prompt": ""},
    "no model 'gpt-4'": {"prompt": "a", "model": "gpt-4"},
    "model must be a string": {"prompt": "a", "model": 4},
    "max_tokens must be an integer": {"prompt": "a", "max_tokens": 0},
    "not -1": {"prompt": "a", "max_tokens": -1},
    "not 1.5": {"prompt": "a", "max_tokens": 1.5},
    "not True": {"prompt": "a", "max_tokens": True},
    "not '5'": {"prompt": "a", "max_tokens": "5"},
    "has room for": {"prompt": "a", "max_tokens": 2**40},
    "not 100000": {"prompt": "a", "max_tokens": 10**30},
    "take 9001 positions": {"prompt": "word " * 3000},
    "These are 900000 characters": {"prompt": "a" * 900_000},
    "is no JSON: nested": b'{"prompt": ' + b"[" * 970 + b"1" + b"]" * 970 + b"}",
    "nested too deeply.": b'{"prompt": ' + b"[" * 65 + b"]" * 65 + b"}",
    "temperature must be a number": {"prompt": "a", "temperature": "hot"},
    "from 0 to 2": {"prompt": "a", "temperature": 2.5},
    "not -0.1": {"prompt": "a", "temperature": -0.1},
    "top_p must be a number": {"prompt": "a", "top_p": []},
    "above 0 and at most 1": {"prompt": "a", "top_p": 0},
    "not 1.1": {"prompt": "a", "top_p": 1.1},
    "seed must be an integer": {"prompt": "a", "seed": "x"},
    "stop must be a string": {"prompt": "a", "stop": 3},
    "list of at most 4": {"prompt": "a", "stop": list("abcde")},
    "each of 1 to": {"prompt": "a", "stop": [""]},
    "stream must be true or false": {"prompt": "a", "stream": "yes"},
    "stream_options are for": {"prompt": "a", "stream_options": {"include_usage": True}},
    "'other' is not supported": {"prompt": "a", "stream": True, "stream_options": {"other": 1}},
    "n=2 is not": {"prompt": "a", "n": 2},
    "n=True is not": {"prompt": "a", "n": True},
    "best_of=3": {"prompt": "a", "best_of": 3},
    "echo=True": {"prompt": "a", "echo": True},
    "logprobs=5": {"prompt": "a", "logprobs": 5},
    "presence_penalty=0.5": {"prompt": "a", "presence_penalty": 0.5},
    "frequency_penalty=1": {"prompt": "a", "frequency_penalty": 1},
    "logit_bias={'5'": {"prompt": "a", "logit_bias": {"5": 100}},
    "'suffix' is not supported": {"prompt": "a", "suffix": "b"},
    "'top_k' is not supported": {"prompt": "a", "top_k": 5},
    "'\\x1b[2J' is not supported": {"prompt": "a", "\x1b[2J": 5},
    "contexts must be a list": {"prompt": "a", "contexts": NO_ID},
    "must be one that /v1/contexts gave, not '..": {"prompt": "a", "contexts": ["../../etc/passwd"]},
    "must be one that /v1/contexts gave, not None": {"prompt": "a", "contexts": [None]},
    "at most 1000 ids": {"prompt": "a", "contexts": [NO_ID] * 1001},
    "This context is not there": {"prompt": "a", "contexts": [NO_ID]},
    "asks for the text itself": {"prompt": "repeat the text: "},
    "lone surrogate": b'{"prompt": "\\ud800"}',
    "is no JSON": b"{",
    "is no JSON: 'NaN": b'{"prompt": "a", "temperature": NaN}',
    "twice": b'{"prompt": "a", "prompt": "b"}',
    "is no JSON: \"'utf-8": b'{"prompt": "\xff"}',
    "nested too deeply": b'{"prompt": ' + b"[" * 200_000,
    "must be a JSON object, not list": b"[]",
    "must be a JSON object, not NoneType": b"null",
    "is no JSON: 'Exceeds": b'{"prompt": "a", "seed": ' + b"9" * 10_000 + b"}",
}
MESSAGES = {
    "messages is missing": {},
    "messages must be a list": {"messages": "Hello"},
    "1 to 1000 messages, not 0": {"messages": []},
    "1 to 1000 messages, not 1001": {"messages": HELLO * 1001},
    "messages[0] must be an object": {"messages": ["Hello"]},
    "role must be one of": {"messages": [{"role": "tool", "content": "a"}]},
    "role must be one of system, user, assistant, not None": {"messages": [{"content": "a"}]},
    "messages[0]: role must be a string": {"messages": [{"role": 1, "content": "a"}]},
    "content is missing": {"messages": [{"role": "user"}]},
    "'name' is not supported": {"messages": [{"role": "user", "content": "a", "name": "b"}]},
    "content must be a string or a list of parts, not 5": {"messages": [{"role": "user", "content": 5}]},
    "list of parts, not []": {"messages": [{"role": "user", "content": []}]},
    "type must be text or context, not 'image_url'": {
        "messages": [{"role": "user", "content": [{"type": "image_url"}]}]
    },
    "type must be text or context, not None": {"messages": [{"role": "user", "content": [{"text": "a"}]}]},
    "text is missing": {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
    "id is missing": {"messages": [{"role": "user", "content": [{"type": "context"}]}]},
    "'latents' is not": {"messages": [{"role": "user", "content": [{"type": "context", "latents": [[1.0]]}]}]},
    "gave, not 'ctx-1'": {"messages": [{"role": "user", "content": [context_part("ctx-1")]}]},
    "not there": {"messages": [{"role": "user", "content": [context_part(NO_ID)]}]},
    "message is empty": {"messages": [{"role": "user", "content": ""}]},
    "at character 1": b'{"messages": [{"role": "user", "content": "a\\ud800"}]}',
    "differ: give one": {"messages": HELLO, "max_tokens": 1, "max_completion_tokens": 2},
    "tools=[{": {"messages": HELLO, "tools": [{"type": "function"}]},
    "response_format={'type'": {"messages": HELLO, "response_format": {"type": "json_object"}},
    "'prompt' is not supported": {"messages": HELLO, "prompt": "a"},
    "'top_logprobs' is not supported": {"messages": HELLO, "top_logprobs": 3},
}
TEXTS = {
    "text is missing": {},
    "text must be a string": {"text": 5},
    "text must be a string, not ['a'": {"text": ["a", "b"]},
    "text is empty": {"text": ""},
    "ratio must be a number": {"text": "a", "ratio": "8x"},
    "from 1 to": {"text": "a", "ratio": 0.5},
    "num_latents must be an integer": {"text": "a", "num_latents": 0},
    "above the window": {"text": "a", "num_latents": 999},
    "both given": {"text": "a", "ratio": 2, "num_latents": 2},
    "'window' is not supported": {"text": "a", "window": 8},
    "no model 'other'": {"text": "a", "model": "other"},
    "lone surrogate": b'{"text": "a\\udfff"}',
}


def cases():
    for address, bodies in ((COMPLETIONS, PROMPT), (CHAT, MESSAGES), (CONTEXTS, TEXTS)):
        for reason, body in bodies.items():
            yield pytest.param(address, body, reason, id=f"{address} {reason}")


@pytest.mark.parametrize(("address", "body", "reason"), list(cases()))
def test_bodies(client, address, body, reason):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert reason in assert_refused(client.post(address, content=data, headers=JSON))["message"]


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "text/plain"}, JSON | {"Content-Encoding": "gzip"}])
@pytest.mark.parametrize("address", [COMPLETIONS, CHAT, CONTEXTS])
def test_media_types(client, address, headers):
    """What a foreign web page could send without asking, among others."""
    assert_refused(client.post(address, content=b'{"prompt": "a"}', headers=headers), 415)


def test_addresses_and_methods(client):
    assert_refused(client.get("/v1/nothing"), 404)
    assert_refused(client.get("/v1/models/another"), 404)
    assert_refused(client.get(COMPLETIONS), 405)
    assert_refused(client.put(CONTEXTS), 405)
    for name in (NO_ID, "ctx-1", "%2e%2e%2fowner", NO_ID.upper(), "a" * 5000):
        for answer in (client.get(f"{CONTEXTS}/{name}"), client.delete(f"{CONTEXTS}/{name}")):
            assert_refused(answer, 404, 405)
    assert client.get("/docs").status_code == client.get("/openapi.json").status_code == 404


def test_sizes(client):
    """By what the header says, before anything is read, and while it is read where that says nothing."""
    long = b" " * (1 << 20) + b"{}"
    read = []

    def pieces():
        for _ in range(100):
            read.append(1)
            yield b" " * (1 << 19)

    for address in (COMPLETIONS, CHAT, CONTEXTS):
        assert assert_refused(client.post(address, content=long, headers=JSON), 413)["code"] == "body_too_long"
    assert_refused(client.post(CHAT, content=pieces(), headers=JSON), 413)
    assert_refused(client.post(CHAT, content=b"{}", headers=JSON | {"Content-Length": "-5"}), 400)
    sent = {"Content-Type": "application/octet-stream"}
    assert_refused(client.post(CONTEXTS, content=long, headers=sent), 413)


def test_texts_that_are_long(serve, tmp_path):
    """Before they are tokenized."""
    client = serve(tmp_path, most_characters=len(PASSAGE))
    assert add_text(client, PASSAGE)
    error = assert_refused(client.post(CONTEXTS, json={"text": PASSAGE + "!"}), 413)
    assert error["code"] == "text_too_long" and str(len(PASSAGE)) in error["message"]


def test_keys(client):
    for headers in ({"Authorization": ""}, {"Authorization": "Bearer"}, {"Authorization": "Basic one"}):
        for address in (COMPLETIONS, CHAT, CONTEXTS):
            answer = client.post(address, content=b"{", headers=headers)  # before the body is looked at
            assert assert_refused(answer, 401)["code"] == "missing_api_key"
    for key in ("three", "one,two", "on", "onee", "ONE", "é"):
        answer = client.get("/v1/models", headers={"Authorization": f"Bearer {key}".encode()})
        assert assert_refused(answer, 401)["code"] == "invalid_api_key"
    for address in ("/v1/models/x", f"{CONTEXTS}/{NO_ID}", f"{CONTEXTS}/{NO_ID}/text"):
        assert_refused(client.get(address, headers={"Authorization": ""}), 401)
    owners = [Keys("one, two,").owner(f"bearer {key}") for key in ("one", "two")]
    assert len(set(owners)) == 2 and Keys("two").owner("Bearer two") == owners[1]
    assert not any("one" in each or "two" in each for each in owners)
    assert not Keys(" ,") and Keys("").owner(None) == Keys().owner("Bearer any")


def test_no_messages_without_a_template(client, model, monkeypatch):
    monkeypatch.setattr(model.processor.tokenizer, "chat_template", None)
    assert "no chat template" in assert_refused(client.post(CHAT, json={"messages": HELLO}), 400)["message"]
    monkeypatch.setattr(model.processor.tokenizer, "chat_template", "{{ raise_exception('no systems') }}")
    assert "no systems" in assert_refused(client.post(CHAT, json={"messages": HELLO}), 400)["message"]


def test_a_model_that_only_gives_texts_back(client, model, monkeypatch):
    monkeypatch.setattr(model.config, "reconstruction_only", True)
    name = add_text(client)
    said = [{"role": "user", "content": [context_part(name), {"type": "text", "text": "When?"}]}]
    for answer in (
        client.post(CHAT, json={"messages": said, "stream": True}),
        client.post(COMPLETIONS, json={"prompt": "When?", "contexts": [name]}),
    ):
        error = assert_refused(answer, 400)
        assert error["code"] == "reconstruction_only" and "GET /v1/contexts/ID/text" in error["message"]
    assert client.get(f"{CONTEXTS}/{name}/text").text == PASSAGE


def test_contexts_that_there_is_no_room_for(client, model, monkeypatch):
    """Each is loaded once, and no more of them than the decoder has positions for."""
    name, loads = add_text(client, PASSAGE, ratio=2), []
    kept = Contexts.get
    monkeypatch.setattr(Contexts, "get", lambda *args: loads.append(args[-1]) or kept(*args))
    error = assert_refused(client.post(COMPLETIONS, json={"prompt": "Who?", "contexts": [name] * 1000}), 400)
    assert error["code"] == "context_length_exceeded" and loads == [name]


def test_other_names_of_a_server_without_keys(serve, tmp_path):
    """A web page could let a name of its own lead to this machine, and ask."""
    with serve(tmp_path, keys="") as client:
        assert client.get("/v1/models").status_code == 200
        for name in ("127.0.0.1:8000", "LOCALHOST", "[::1]:9"):
            assert client.get("/health", headers={"Host": name}).status_code == 200
        for name in (
            "evil.example:8000",
            "127.0.0.1.evil.example",
            "localhost:",
            "[::1",
            "::1",
            "127.0.0.1@evil.example",
        ):
            for answer in (
                client.get("/v1/models", headers={"Host": name}),
                client.post(CONTEXTS, json={"text": "a"}, headers={"Host": name}),
            ):
                assert assert_refused(answer, 400)["code"] == "other_host"


def test_what_nobody_foresaw_names_no_file(client, model, monkeypatch):
    monkeypatch.setattr(model.processor, "row", lambda *_: open("/tmp/secret-file"))
    error = assert_refused(client.post(COMPLETIONS, json={"prompt": "a"}), 500)
    assert error["code"] == "internal_error" and "secret" not in error["message"]


@pytest.mark.parametrize("rounds", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_mutated_bodies(client, rounds):
    """Bytes of good requests, some of them changed: an answer, or a 4xx with a reason, but no failure."""
    random.seed(0)
    good = {
        COMPLETIONS: json.dumps({"prompt": "a", "max_tokens": 1, "stop": ["b"], "temperature": 0.5, "seed": 1}),
        CHAT: json.dumps({"messages": HELLO, "max_tokens": 1, "top_p": 0.5, "n": 1}),
        CONTEXTS: json.dumps({"text": "a", "ratio": 2}),
    }
    refused = 0
    for _ in range(rounds):
        address, body = random.choice(list(good.items()))
        answer = client.post(address, content=mutated(body.encode()), headers=JSON)
        if answer.status_code != 200:
            assert_refused(answer)
            refused += 1
    assert refused > rounds / 2
