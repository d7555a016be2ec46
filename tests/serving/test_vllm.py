"""
`c3 serve` with vLLM itself, of a Python that has it (docs/serving.md, vLLM). Run, some minutes:

    C3_VLLM_PYTHON=…/bin/python pytest tests/serving/test_vllm.py -m slow
"""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from pathlib import Path
from types import SimpleNamespace

import httpx2
import psutil
import pytest
import torch

import c3
from c3.convert.export_decoder import write_decoder
from c3.serving.backends import Sampling
from c3.serving.canary import check_canary
from c3.serving.vllm_backend import VllmBackend
from c3.serving.vllm_command import MODEL, find_vllm, vllm_command
from c3.serving.vllm_process import VllmProcess
from serving_requests import COMPLETIONS, CONTEXTS, add_text, bearer

PYTHON = os.environ.get("C3_VLLM_PYTHON", "")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not PYTHON, reason="needs C3_VLLM_PYTHON, a Python that has vLLM")]
# Two of one length, so that their latents stand at the same places, before the same prompts.
TEXTS = ("It was the best of times, it was the worst.", "It was the worst of times, it was the best.")
PROMPTS = ("When? ", "Who was it, and why? " * 4, "短い文章です。", "a" * 90)


@pytest.fixture(scope="module")
def model(make_model):
    """With heads of a width that vLLM has on a CPU: not 8."""
    return make_model(decoder_options={"head_dim": 32})


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("vllm")
    model.save_pretrained(folder / "model")
    return folder


@contextmanager
def serving(folder):
    """`c3 serve` of a folder's model: its client, process, and the folder of its engine."""
    environment = os.environ | {"PYTHONPATH": str(Path(c3.__file__).parents[1]), "C3_API_KEY": "one"}
    command = [sys.executable, "-m", "c3", "serve", folder / "model", "--port", "0", "--store", folder / "contexts"]
    command += ["--backend", "vllm", "--vllm-python", PYTHON]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        said = []
        while not (
            there := re.fullmatch(
                r"c3: serving \S+ at (http://127\.0\.0\.1:\d+)/v1\n", line := process.stderr.readline()
            )
        ):
            assert line, said
            said.append(line)
        assert "c3: the engine is vLLM" in "".join(said) and "vLLM is there" in "".join(said)
        with httpx2.Client(base_url=there[1], headers=bearer("one"), timeout=1200) as client:
            yield SimpleNamespace(client=client, process=process)
    finally:
        process.kill()
        process.communicate()


def started_by(pid):
    """What a process started, and what that started: `list[psutil.Process]`."""
    return psutil.Process(pid).children(recursive=True)


def named(processes, name):
    """The one whose command line or title has that in it, by which vLLM tells its processes apart."""
    return next(
        each for each in processes if name in " ".join(each.cmdline()) and "vllm_guard" not in str(each.cmdline())
    )


def are_gone(processes, seconds=60):
    end = time.monotonic() + seconds
    while left := [each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]:
        if time.monotonic() > end:
            return left
        time.sleep(0.1)
    return True


def test_a_server_with_vllm(folder, model):
    """Its answers are those of transformers, with latents of another text at the same places, too, and many at once."""
    latents = [model.compress(text, num_latents=6, exact=True) for text in TEXTS]
    cases = [(place, prompt) for place in (0, 1) for prompt in PROMPTS]
    expected = [model.generate(latents[place], prompt, max_new_tokens=24) for place, prompt in cases]
    assert len(set(expected)) == len(expected)
    with serving(folder) as server:
        client, process = server.client, server.process
        names = [add_text(client, text, num_latents=6) for text in TEXTS]
        assert len({client.get(f"{CONTEXTS}/{name}").json()["latents"] for name in names}) == 1

        def ask(case):
            body = {"prompt": case[1], "contexts": [names[case[0]]], "max_tokens": 24}
            return client.post(COMPLETIONS, json=body).json()["choices"][0]["text"]

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(ask, cases * 3)) == expected * 3
        assert [ask(case) for case in cases] == expected

        # Of the engine only loopback addresses are listened at.
        for each in started_by(process.pid):
            listening = [at.laddr.ip for at in each.net_connections("inet") if at.status == psutil.CONN_LISTEN]
            assert set(listening) <= {"127.0.0.1", "::1"}, (each.cmdline(), listening)
            assert "one" not in each.environ().values()

        body = {"prompt": PROMPTS[0], "contexts": [names[0]], "max_tokens": 400, "stream": True}
        for victim in ("api_server", "EngineCore"):
            running = started_by(process.pid)
            found = named(running, victim)  # before, as the answer takes less than a second
            with client.stream("POST", COMPLETIONS, json=body) as answer:
                lines = answer.iter_lines()
                assert json.loads(next(lines).removeprefix("data: "))["choices"]
                found.kill()
                last = [line for line in lines if line][-1]
            assert json.loads(last.removeprefix("data: "))["error"]["code"] == "engine_failed"
            assert ask(cases[0]) == expected[0] and client.get(f"{CONTEXTS}/{names[1]}").status_code == 200
            assert are_gone(running) is True and len(started_by(process.pid)) == len(running)

        running = started_by(process.pid)
        own = Path(named(running, "api_server").cwd())
        assert own.name.startswith("c3-vllm-") and (own / "decoder").is_dir()
        with client.stream("POST", COMPLETIONS, json=body) as answer:
            next(answer.iter_lines())
            process.kill()
        assert are_gone(running) is True and not own.exists()


def test_what_was_found_of_vllm(model, tmp_path):
    """The canary; rows of many lengths together; draws; and answers that nobody reads to their end."""
    write_decoder(model, tmp_path / MODEL)
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randn(length, 32, generator=generator) for length in (1, 5, 31, 17, 130, 130, 300, 2)]
    rows[5][60:] = rows[4][60:]  # as a question about another text

    async def ask(backend, embeds, **sampling):
        async with aclosing(backend.answer(embeds, Sampling(**{"max_tokens": 20} | sampling))) as tokens:
            return [token async for token in tokens]

    async def all_of(backend, **sampling):
        return await asyncio.gather(*(ask(backend, embeds, **sampling) for embeds in rows))

    def plain(embeds):
        ids = model.generate(inputs_embeds=embeds[None], max_new_tokens=20, do_sample=False)[0].tolist()
        return ids[: ids.index(0)] if 0 in ids else ids

    expected = [plain(embeds) for embeds in rows]
    with VllmProcess(vllm_command(model, *find_vllm(PYTHON)), tmp_path) as engine:
        backend = VllmBackend(model, engine)
        check_canary(model, backend)
        assert asyncio.run(all_of(backend)) == expected == asyncio.run(all_of(backend))
        drawn = {"temperature": 1.0, "top_p": 0.9, "seed": 3}
        first = asyncio.run(all_of(backend, **drawn))
        assert first == asyncio.run(all_of(backend, **drawn)) != expected
        assert first != asyncio.run(all_of(backend, **drawn | {"seed": -1}))

        async def leave_many():
            for embeds in rows * 4:
                async with aclosing(backend.answer(embeds, Sampling(200))) as tokens:
                    await anext(tokens, None)
            return await all_of(backend)

        assert asyncio.run(leave_many()) == expected
