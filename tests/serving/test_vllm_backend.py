"""
vLLM, or what stands in for it, answers as transformers do, and what goes wrong there has a name. pytest tests/serving

With vLLM itself, which wants an environment of its own (docs/serving.md): test_vllm.py.
"""

import asyncio
import copy
from contextlib import aclosing

import httpx2
import pytest
import torch
from backend_requests import alone, ask, together

from c3.cli.main import main
from c3.serving import vllm_address, vllm_backend
from c3.serving.backends import Sampling
from c3.serving.canary import check_canary
from c3.serving.errors import ApiError
from c3.serving.vllm_address import VllmAddress, check_address, found_engine, is_open
from c3.serving.vllm_backend import VllmBackend
from c3.support.errors import CommandError, UserError
from serving_requests import CHAT, COMPLETIONS, CONTEXTS, add_text, assert_refused, context_part, message
from vllm_stand_in import KEY, running_stand_in


@pytest.fixture(scope="module")
def rows(model):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(length, model.config.hidden_size, generator=generator) for length in (5, 31, 1, 17)]


@pytest.fixture(scope="module")
def stand_in(model):
    with running_stand_in(model) as engine:
        yield engine


@pytest.fixture
def engine(stand_in):
    stand_in.fault = None
    stand_in.bodies.clear()
    stand_in.left.clear()
    yield stand_in
    stand_in.fault = None


def test_the_same_as_the_model_itself(model, rows, engine):
    """Also where a row is a view of a larger tensor, and in a second event loop."""
    backend = VllmBackend(model, engine.address)
    expected = [alone(model, embeds, 12) for embeds in rows]
    assert together(*(ask(backend, torch.stack([embeds, embeds])[1]) for embeds in rows)) == expected
    assert together(ask(backend, rows[1])) == expected[1:2] and len({tuple(each) for each in expected}) > 2
    check_canary(model, backend)


def test_what_is_asked_of_the_engine(model, rows, engine):
    """Nothing that it would add by itself, as penalties, which killed older ones beside embeddings; and no cache."""
    backend = VllmBackend(model, engine.address)
    drawn = {"temperature": 1.0, "top_p": 0.9, "seed": 3}
    first, again, other = (together(ask(backend, rows[0], **drawn | more))[0] for more in ({}, {}, {"seed": -1}))
    assert first == again != other
    together(ask(backend, rows[0]))
    salts = {body.pop("cache_salt") for body in engine.bodies}
    one, _, negative, greedy = engine.bodies
    assert len(salts) == 4 and (negative["seed"], greedy["temperature"]) == (2**63 - 1, 0) and "seed" not in greedy
    del one["prompt_embeds"]
    neutral = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
    ends = {"stop_token_ids": [0], "ignore_eos": True, "skip_special_tokens": False}
    form = {"model": "decoder", "max_tokens": 12, "stream": True, "return_token_ids": True}
    assert one == form | drawn | neutral | ends


def test_the_end_of_a_text(model, rows):
    """Is no token of it; penalties of a checkpoint are not applied."""
    model = copy.deepcopy(model)
    expected = [alone(model, embeds, 20) for embeds in rows]
    ends = [expected[0][4], 0]
    model.generation_config.eos_token_id = ends
    model.generation_config.repetition_penalty = 1.7
    with running_stand_in(model) as engine:
        backend = VllmBackend(model, engine.address)
        found = together(*(ask(backend, embeds, 20) for embeds in rows))
    cut = [next((place for place, token in enumerate(ids) if token in ends), 20) for ids in expected]
    assert found == [ids[:place] for ids, place in zip(expected, cut, strict=True)] and min(cut) < max(cut)
    assert engine.bodies[0]["stop_token_ids"] == sorted(ends)


def test_over_http(serve, model, engine, client, tmp_path):
    """Two contexts of one length get answers of their own, those that transformers give."""
    texts = ("It was the best of times, it was the worst.", "It was the worst of times, it was the best.")
    with serve(tmp_path, VllmBackend(model, engine.address)) as with_vllm:
        answers = []
        for served in (with_vllm, client):
            names = [add_text(served, text, num_latents=6) for text in texts]
            assert len({served.get(f"{CONTEXTS}/{name}").json()["latents"] for name in names}) == 1
            bodies = [{"prompt": "When? ", "contexts": [name], "max_tokens": 9} for name in names]
            chats = [{"messages": [message("Read: ", context_part(name), "When?")], "max_tokens": 9} for name in names]
            said = [served.post(COMPLETIONS, json=body).json()["choices"][0] for body in bodies]
            said += [served.post(CHAT, json=body).json()["choices"][0] for body in chats]
            answers.append(said)
            assert assert_refused(served.post(COMPLETIONS, json=bodies[0] | {"presence_penalty": 0.5}), 400)
        assert answers[0] == answers[1] and answers[0][0] != answers[0][1] and answers[0][2] != answers[0][3]

        engine.fault = "breaks off"
        streamed = with_vllm.post(COMPLETIONS, json=bodies[0] | {"stream": True}).text
        assert '"code": "engine_failed"' in streamed and "[DONE]" not in streamed
        engine.fault = 500
        whole = with_vllm.post(COMPLETIONS, json=bodies[0])
        assert assert_refused(whole, 502)["type"] == "server_error"
        engine.fault = None
        assert with_vllm.post(COMPLETIONS, json=bodies[0]).json()["choices"][0] == answers[0][0]
    asked = len(engine.bodies)
    assert asked == 7  # what was refused was not sent


FAULTS = {
    "breaks off": (502, "engine_failed"),
    "just ends": (502, "engine_failed"),
    "error": (502, "engine_failed"),
    "aborts": (502, "engine_failed"),
    "no JSON": (502, "engine_failed"),
    "no ids": (502, "engine_failed"),
    "no stream": (502, "engine_failed"),
    "is silent": (503, "engine_timeout"),
    400: (502, "engine_refused"),
    401: (502, "engine_refused"),
    404: (502, "engine_refused"),
    429: (503, "engine_overloaded"),
    500: (502, "engine_failed"),
    503: (503, "engine_overloaded"),
}


def test_what_goes_wrong_has_a_name(model, rows, engine, monkeypatch, capsys):
    """It says nothing of the engine's files, which standard error does; and the next request works."""
    monkeypatch.setattr(vllm_address, "TIMEOUT", httpx2.Timeout(0.5))
    backend = VllmBackend(model, engine.address)
    found = {}
    for fault in FAULTS:
        engine.fault = fault
        with pytest.raises(ApiError) as caught:
            together(ask(backend, rows[0]))
        error = caught.value
        found[fault] = (error.status, error.code)
        assert "root" not in str(error) and str(error).endswith((".", "later.")), str(error)
        assert f"c3: {error.code}: " in capsys.readouterr().err
        engine.fault = None
        assert together(ask(backend, rows[1], 4)) == [alone(model, rows[1], 4)]
    assert found == FAULTS


def test_an_engine_that_is_not_there(model, rows):
    backend = VllmBackend(model, VllmAddress("http://127.0.0.1:1/v1", "decoder"))
    with pytest.raises(ApiError, match="is not there") as caught:
        together(ask(backend, rows[0]))
    assert (caught.value.status, caught.value.code) == (503, "engine_unavailable")
    with pytest.raises(CommandError, match="the backend does not answer: The engine that answers is not there"):
        check_canary(model, backend)


def test_who_goes_away_ends_the_work(model, rows, engine):
    backend = VllmBackend(model, engine.address)

    async def leave():
        async with aclosing(backend.answer(rows[0], Sampling(400))) as tokens:
            async for _ in tokens:
                break
        return await asyncio.to_thread(engine.left.wait, 20)

    assert together(leave()) == [True] and not backend._reading


def test_too_many_wait_and_none_after_the_end(model, rows, engine, monkeypatch):
    monkeypatch.setattr(vllm_backend, "MOST_ASKED", 1)
    backend = VllmBackend(model, engine.address)

    async def ask_too_much():
        async with aclosing(backend.answer(rows[0], Sampling(400))) as tokens:
            await anext(tokens)
            errors = await asyncio.gather(ask(backend, rows[1]), return_exceptions=True)
            # Another key has its share all the same, and the first one more than its own.
            async with aclosing(backend.answer(rows[0], Sampling(400), "other")) as others:
                await anext(others)
                errors += await asyncio.gather(ask(backend, rows[1]), return_exceptions=True)
            await backend.close()
            with pytest.raises(ApiError) as caught:
                while True:
                    await anext(tokens)
        errors += [caught.value, *await asyncio.gather(ask(backend, rows[1]), return_exceptions=True)]
        return [(error.status, error.code) for error in errors]

    codes = [(503, "overloaded"), (429, "rate_limit_exceeded"), (503, "shutting_down"), (503, "shutting_down")]
    assert asyncio.run(ask_too_much()) == codes
    assert engine.left.wait(20)


def test_an_engine_with_another_decoder(make_model, engine):
    other = make_model(seed=1)
    with pytest.raises(CommandError, match="does not answer as the model does"):
        check_canary(other, VllmBackend(other, engine.address))


def test_addresses(engine):
    url = engine.address.url
    assert found_engine(url, KEY, 512) == engine.address and KEY not in repr(engine.address)
    said = {
        "is no address of an engine": ("127.0.0.1:9000", KEY, 512),
        "nothing answers there": ("http://127.0.0.1:1/v1", KEY, 512),
        "give it in C3_VLLM_API_KEY": (url, "other", 512),
        "its address ends in /v1": (url.removesuffix("/v1"), KEY, 512),
        "start it with --max-model-len": (url, KEY, 513),
    }
    for why, arguments in said.items():
        with pytest.raises(UserError, match=why):
            found_engine(*arguments)
    assert [is_open(each) for each in ("http://127.0.0.1:1/v1", "https://far/v1", "http://far/v1")] == [0, 0, 1]


def test_options_that_contradict_each_other(capsys, monkeypatch, tmp_path):
    """Before a model is loaded."""
    monkeypatch.setattr("c3.support.loading.load_model", None)
    (tmp_path / "python").write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / "python").chmod(0o755)
    said = {
        "--vllm-url is for --backend vllm": ["--vllm-url", "http://127.0.0.1:1/v1"],
        "--vllm-python is for --backend vllm": ["--vllm-python", "python3"],
        "give one of the two": ["--backend", "vllm", "--vllm-python", "python3", "--vllm-url", "http://127.0.0.1:1/v1"],
        "is no address of an engine": ["--backend", "vllm", "--vllm-url", "http://127.0.0.1:99999/v1"],
        "may hold no user name or password": ["--backend", "vllm", "--vllm-url", "http://me:secret@127.0.0.1:1/v1"],
        "cannot be run: No such file": ["--backend", "vllm", "--vllm-python", tmp_path / "none"],
        "is no Python that works": ["--backend", "vllm", "--vllm-python", tmp_path / "python"],
        "this Python has no vLLM: name one": ["--backend", "vllm"],
    }
    for why, options in said.items():
        assert main(["serve", "--port", "0", "--store", str(tmp_path), *map(str, options)]) == 2
        line = capsys.readouterr().err
        assert why in line and line.count("\n") == 1 and line.startswith("c3: error: ") and "secret" not in line
    for url in (
        "",
        "http://",
        "ftp://a/v1",
        "http://a:0/v1",
        "http://a:b/v1",
        "http://a:12/secret@b/v1",
        "http://a@b:x",
    ):
        with pytest.raises(UserError) as caught:
            check_address(url)
        assert "secret" not in str(caught.value)
    assert [check_address(url) for url in ("http://[::1]:65535/v1", "https://far/v1")] == [None, None]
