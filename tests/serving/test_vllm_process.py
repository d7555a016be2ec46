"""The engine that a server starts, ends, and starts again when it died. Run: pytest tests/serving"""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import aclosing, suppress
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from c3.cli.backend_options import asked_backend
from c3.serving import vllm_process
from c3.serving.backends import Sampling
from c3.serving.errors import ApiError
from c3.serving.vllm_backend import VllmBackend
from c3.serving.vllm_command import find_vllm, vllm_command
from c3.serving.vllm_process import VllmProcess
from c3.support.errors import UserError
from vllm_stand_in import starts, write_vllm


@pytest.fixture
def vllm(tmp_path):
    """Folder of a small one."""
    write_vllm(tmp_path / "other")
    return tmp_path / "other"


@pytest.fixture
def engine(model, vllm, tmp_path):
    (tmp_path / "own").mkdir()
    with VllmProcess(vllm_command(model, str(vllm / "python")), tmp_path / "own") as engine:
        yield engine


async def ask(backend, count=3):
    async with aclosing(backend.answer(torch.ones(2, 32), Sampling(count))) as tokens:
        return [token async for token in tokens]


def is_there(pid):
    """Whether a process runs; one that is dead and not waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def are_gone(pids, seconds=20):
    end = time.monotonic() + seconds
    while any(map(is_there, pids)) and time.monotonic() < end:
        time.sleep(0.02)
    return not any(map(is_there, pids))


def test_how_it_is_started_and_ended(model, vllm, engine, monkeypatch, capsys):
    monkeypatch.setenv("C3_API_KEY", "key-of-the-server")
    backend = VllmBackend(model, engine)

    async def ask_two():
        return await asyncio.gather(ask(backend), ask(backend, 2))

    assert asyncio.run(ask_two()) == [[40, 41, 42], [40, 41]]
    (start,) = starts(vllm)  # by the first that asks
    argv, environment = start["argv"], start["environment"]
    options = dict(zip(argv, argv[1:], strict=False))
    assert options["--model"] == str(engine.folder / "decoder") and options["--host"] == "127.0.0.1"
    assert (options["--dtype"], options["--max-model-len"]) == ("float32", "512")
    assert int(options["--kv-cache-memory-bytes"]) == 2 * 2 * 8 * 4 * 2 * (1 << 16)
    assert {"--enable-prompt-embeds", "--no-enable-prefix-caching"} <= set(argv)
    key = environment["VLLM_API_KEY"]
    assert len(key) > 30 and key not in " ".join(argv) and "key-of-the-server" not in str(environment)
    assert environment["VLLM_NO_USAGE_STATS"] == "1" and start["folder"] == str(engine.folder)
    assert capsys.readouterr().err.count("c3: starting vLLM") == 1
    asyncio.run(backend.close())
    assert are_gone(start["pids"]) and not engine.folder.exists()
    with pytest.raises(ApiError, match="shut down"):
        asyncio.run(ask(backend))


def test_it_dies_in_the_middle(model, vllm, engine):
    """Who was being answered is told; the next that asks has it started again. What it had started is gone, too."""
    backend = VllmBackend(model, engine)

    async def kill_meanwhile():
        async with aclosing(backend.answer(torch.ones(2, 32), Sampling(2000))) as tokens:
            async for _ in tokens:
                with suppress(ProcessLookupError):
                    os.kill(starts(vllm)[0]["pids"][0], signal.SIGKILL)

    with pytest.raises(ApiError) as caught:
        asyncio.run(kill_meanwhile())
    assert (caught.value.status, caught.value.code) == (502, "engine_failed")
    assert asyncio.run(ask(backend)) == [40, 41, 42]
    engine._process.kill()  # the guard, without which the engine would be left
    engine._process.wait()
    assert asyncio.run(ask(backend)) == [40, 41, 42] and len(starts(vllm)) == 3
    assert are_gone(starts(vllm)[0]["pids"] + starts(vllm)[1]["pids"]) and is_there(starts(vllm)[2]["pids"][0])


@pytest.mark.skipif(sys.platform != "linux", reason="shared memory has paths on Linux alone")
def test_memory_that_it_shared_goes_with_it(model, vllm, engine):
    """Also where all its processes were killed, the one that would have removed it among them; and nobody else's."""
    (vllm / "shares").touch()
    others = SharedMemory(create=True, size=4096)
    try:
        backend = VllmBackend(model, engine)
        assert asyncio.run(ask(backend)) == [40, 41, 42]
        memory, group = Path("/dev/shm", starts(vllm)[0]["memory"]), engine._process.pid
        os.killpg(group, signal.SIGKILL)
        engine._process.wait()
        assert are_gone(starts(vllm)[0]["pids"]) and memory.exists()
        assert asyncio.run(ask(backend)) == [40, 41, 42] and not memory.exists()
        asyncio.run(backend.close())
        assert not Path("/dev/shm", starts(vllm)[1]["memory"]).exists() and Path("/dev/shm", others.name).exists()
    finally:
        others.close()
        others.unlink()


def test_it_died_before_or_is_ill(model, vllm, engine):
    backend = VllmBackend(model, engine)
    assert asyncio.run(ask(backend)) == [40, 41, 42]
    os.kill(starts(vllm)[0]["pids"][0], signal.SIGKILL)
    assert are_gone(starts(vllm)[0]["pids"])  # who asks while it dies is told so
    assert asyncio.run(ask(backend)) == [40, 41, 42]
    engine.doubt()  # as after a request that failed
    assert asyncio.run(ask(backend)) == [40, 41, 42] and len(starts(vllm)) == 2
    (vllm / "is ill").touch()
    engine.doubt()

    async def cure():
        asking = asyncio.ensure_future(ask(backend))
        while len(starts(vllm)) == 2:
            await asyncio.sleep(0.02)
        (vllm / "is ill").unlink()
        return await asking

    assert asyncio.run(cure()) == [40, 41, 42] and are_gone(starts(vllm)[1]["pids"])


def test_it_cannot_be_started(model, vllm, engine, monkeypatch, capsys):
    """The end of its log is shown; and it is not tried for ever."""
    monkeypatch.setattr(vllm_process, "MOST_STARTS", 2)
    engine._starts = type(engine._starts)(maxlen=2)
    (vllm / "dies").touch()
    backend = VllmBackend(model, engine)
    for said in ("cannot be started; the server's log says why", "cannot be started", "died too often"):
        with pytest.raises(ApiError, match=said) as caught:
            asyncio.run(ask(backend))
        assert (caught.value.status, caught.value.code) == (503, "engine_unavailable")
    assert capsys.readouterr().err.count("RuntimeError: no such head size") == 2 == len(starts(vllm))
    (vllm / "dies").unlink()
    monkeypatch.setattr(vllm_process, "SECONDS_OF_STARTS", 0)
    assert asyncio.run(ask(backend)) == [40, 41, 42]


def test_a_server_that_is_killed_takes_it_along(model, vllm, tmp_path):
    """The guard sees that its standard input has no other end, whatever closed that."""
    (tmp_path / "own").mkdir()
    command = vllm_command(model, str(vllm / "python"))
    arguments = [str(each) for each in command.arguments(tmp_path / "own", 0)]
    guard = subprocess.Popen(
        [sys.executable, "-I", vllm_process.GUARD, tmp_path / "own", *arguments],
        stdin=subprocess.PIPE,
        env=command.environment("key"),
        start_new_session=True,
    )
    while not starts(vllm):
        time.sleep(0.02)
    pids = starts(vllm)[0]["pids"]
    os.kill(guard.pid, signal.SIGTERM)  # which it outlives
    assert all(map(is_there, [guard.pid, *pids]))
    guard.stdin.close()
    assert guard.wait(20) == -signal.SIGKILL and are_gone(pids) and not (tmp_path / "own").exists()


def test_the_decoder_that_it_is_given(make_model, vllm):
    """Is there while the backend is, as the model has it."""
    model = make_model()
    model.generation_config.repetition_penalty = 1.7
    python, version = find_vllm(str(vllm / "python"))
    assert version == "of unknown version" and not vllm_command(model, python, version).is_eager
    assert "--enforce-eager" in vllm_command(model, python, "0.32.0+cpu").arguments(vllm, 1)
    args = argparse.Namespace(backend="vllm", vllm_python=python, vllm_url=None)
    with asked_backend(args, model, (python, version)) as backend:
        folder = backend.engine.folder
        decoder = AutoModelForCausalLM.from_pretrained(folder / "decoder")
        for name, weights in model.decoder.state_dict().items():
            assert torch.equal(decoder.state_dict()[name], weights)
        assert folder.stat().st_mode & 0o077 == 0 and starts(vllm) == []
    assert not folder.exists()


def test_an_adapter_is_refused(make_model):
    from c3.training.optim.lora import LoraSettings, add_lora

    adapted = add_lora(make_model(), LoraSettings(r=2))
    args = argparse.Namespace(backend="vllm", vllm_python=None, vllm_url=None)
    with pytest.raises(UserError, match="merge it first"), asked_backend(args, adapted, None):
        pass


def test_who_goes_away_meanwhile(model, vllm, engine):
    """Before it is there: it is started for those that wait, too."""
    backend = VllmBackend(model, engine)

    async def leave():
        first = asyncio.ensure_future(ask(backend))
        second = asyncio.ensure_future(ask(backend, 2))
        while not starts(vllm):
            await asyncio.sleep(0.01)
        first.cancel()
        return await second

    assert asyncio.run(leave()) == [40, 41] and len(starts(vllm)) == 1
