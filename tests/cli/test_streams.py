"""Standard input, output and error: as they are, closed, and in any locale."""

import os
import subprocess
import sys
from pathlib import Path

from c3 import C3Latents
from c3.cli import demo as demo_c3
from command_line import TEXT, python, same


def test_standard_input(run, model, checkpoint, latents_file, feed, monkeypatch):
    """Of texts and of latents."""
    feed(TEXT.encode())
    assert run("compress", "-", "--model", checkpoint, "-o", "in.c3")[0] == 0
    assert same(C3Latents.load("in.c3"), model.compress(TEXT, show_progress=False))
    feed(b"Short.\n")
    monkeypatch.setattr(demo_c3, "RATIOS", (8.0,))
    assert run("demo", "-", "--model", checkpoint)[0] == 0
    for command in (["expand"], ["generate", "--prompt", "Où ?", "--max-new-tokens", "5"]):
        expected = run(*command, "in.c3", "--model", checkpoint)
        feed(Path("in.c3").read_bytes())
        assert run(*command, "-", "--model", checkpoint) == expected and expected[0] == 0
    feed(latents_file.read_bytes())
    code, out, err = run("info", "-")
    expected = run("info", latents_file)[1].replace(str(latents_file), "-").splitlines()
    assert (code, out.splitlines(), err) == (0, [line for line in expected if not line.startswith("file bytes")], "")
    for data, argv, message in (
        (None, ["info", "-"], "standard input is closed"),
        (None, ["compress", "-", "-o", "in.c3"], "standard input is closed"),
        (b"", ["info", "-"], "standard input is truncated: it has only 0 bytes"),
        (b"no latents at all", ["expand", "-", "--model", checkpoint], "standard input is not a safetensors file"),
        (latents_file.read_bytes(), ["expand", "-"], "standard input holds 2 texts: pick one with --text-index"),
    ):
        feed(data) if data is not None else monkeypatch.setattr("sys.stdin", None)
        code, out, err = run(*argv)
        assert (code, out, err.count("\n")) == (2, "", 1) and err.startswith(f"c3: error: {message}")


def test_streams_that_are_closed(run, texts, monkeypatch):
    """Nothing that belongs on standard error comes out of standard output, and nothing is done in vain."""
    with monkeypatch.context() as patch:
        patch.setattr("sys.stderr", None)
        assert run("info", "missing.c3") == (2, "", "")
    monkeypatch.setattr("sys.stdout", None)
    code, _, err = run("compress", *texts)
    assert code == 2 and err == "c3: error: standard output is closed: send to /dev/null what is not wanted\n"


def test_utf8_whatever_the_locale(model, checkpoint, tmp_path):
    script = """
import sys
from c3.cli.main import main
options = ["--model", sys.argv[1]]
sys.exit(main(["compress", "-", "-o", "e.c3", *options]) or main(["expand", "e.c3", *options]))
"""
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    environment = {**os.environ, **ascii_only}
    done = python("-c", script, str(checkpoint), input=TEXT.encode(), cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    summary, text = done.stdout.split(b"\n", 1)
    assert summary.startswith(b"e.c3: C3Latents(")
    assert text.decode() == TEXT


def test_closed_standard_output():
    command = [sys.executable, "-m", "c3", "--help"]
    # Buffered, as usual: argparse swallows what fails while it writes.
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141
