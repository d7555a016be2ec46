"""`c3 serve` as a process, and what it refuses before it loads anything. Run: pytest tests/serving"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

import c3
from c3.cli.main import main
from serving_requests import COMPLETIONS, CONTEXTS, PASSAGE, add_text, bearer


def test_a_process_that_is_killed_and_another(checkpoint, serve, tmp_path):
    """Its clients see that an answer is not whole; its contexts are still there."""
    environment = os.environ | {"PYTHONPATH": str(Path(c3.__file__).parents[1]), "C3_API_KEY": "one,other"}
    command = [sys.executable, "-m", "c3", "serve", checkpoint, "--port", "0", "--store", tmp_path]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        said = re.fullmatch(r"c3: serving (\S+) at (http://127\.0\.0\.1:\d+)/v1\n", process.stderr.readline())
        assert said, said
        with httpx2.Client(base_url=said[2], headers=bearer("one"), timeout=60) as client:
            assert client.get("/v1/models", headers=bearer("no")).status_code == 401
            name = add_text(client)
            body = {"prompt": "When? ", "contexts": [name], "max_tokens": 400, "stream": True}
            with client.stream("POST", COMPLETIONS, json=body) as answer:
                lines = answer.iter_lines()
                assert json.loads(next(lines).removeprefix("data: "))["choices"]
                process.kill()
                with pytest.raises(httpx2.TransportError):
                    assert list(lines)[-1] != "data: [DONE]"
    finally:
        process.kill()
        left = process.communicate()[1]
    assert process.returncode == -signal.SIGKILL and left == ""
    with serve(tmp_path, of=c3.C3Model.from_pretrained(checkpoint).eval()) as client:
        assert client.get(f"{CONTEXTS}/{name}/text").text == PASSAGE
        assert client.post(COMPLETIONS, json=body | {"stream": False}).status_code == 200


@pytest.fixture
def refuse(capsys, monkeypatch):
    """`refuse("--port", "80")`: the line on standard error."""
    monkeypatch.delenv("C3_API_KEY", raising=False)

    def call(*argv):
        capsys.readouterr()
        assert main(["serve", *map(str, argv)]) == 2
        line = capsys.readouterr().err
        assert line.startswith("c3: error: ") and line.count("\n") == 1
        return line

    return call


def test_what_is_refused_before_a_model_is_loaded(refuse, tmp_path, monkeypatch):
    monkeypatch.setattr("c3.support.loading.load_model", None)
    assert "set API keys in C3_API_KEY first" in refuse("--host", "0.0.0.0")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "Address already in use" in refuse("--port", taken.getsockname()[1])
    (tmp_path / "file").write_text("")
    assert f"--store {tmp_path}/file/x cannot be used" in refuse("--port", "0", "--store", tmp_path / "file" / "x")
    assert "--store nothing://x cannot be used" in refuse("--port", "0", "--store", "nothing://x")
    monkeypatch.setenv("C3_API_KEY", " , ")
    assert "C3_API_KEY holds no key" in refuse("--port", "0")
    monkeypatch.delenv("C3_API_KEY")
    assert "must be a whole number" in refuse("--max-age-hours", "0")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert "pip install -e .[serve]" in refuse("--port", "0")


def test_positions_that_cannot_be_served(refuse, make_model, tmp_path):
    make_model(prompt_positions="among_text").save_pretrained(tmp_path / "model")
    assert "only consecutive ones can be served" in refuse(tmp_path / "model", "--port", "0", "--store", tmp_path / "s")
