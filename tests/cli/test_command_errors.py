"""One clear line, and the exit code, for every mistake."""

from pathlib import Path

import pytest
import torch

from c3 import C3Model
from c3.cli import expand, info
from c3.support import loading
from command_line import TEXT, pages_file


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "the following arguments are required: COMMAND (see c3 --help)"),
        (["squash"], "invalid choice: 'squash'"),
        (["compress", "missing.txt"], "there is no file missing.txt"),
        (["compress", "."], ". is a folder: name text files"),
        (["compress", "empty.txt"], "empty.txt is empty"),
        (["compress", "binary"], "binary is not UTF-8 text: byte 2 is 0xff"),
        (["compress", "a.txt", "--num-latents", "0"], "argument --num-latents: must be a whole number of 1 or more"),
        (["compress", "a.txt", "--num-latents", "x"], "must be a whole number of 1 or more, not 'x'"),
        (["compress", "a.txt", "--num-latents", "33"], "num_latents=33 is above the window of 32 tokens"),
        (["compress", "a.txt", "--window", "64"], "window=64 is above this model's window of 32 tokens"),
        (["compress", "a.txt", "--ratio", "0.5"], "argument --ratio: must be a number of 1 or more"),
        (["compress", "a.txt", "--ratio", "nan"], "must be a number of 1 or more"),
        (["compress", "a.txt", "--ratio", "inf"], "must be a number of 1 or more"),
        (["compress", "a.txt", "--ratio", "four"], "(text tokens per latent), not 'four'"),
        (["compress", "a.txt", "--ratio", "4", "--num-latents", "4"], "not allowed with argument"),
        (["compress", "a.txt", "--batch-size", "0"], "argument --batch-size"),
        (["compress", "a.txt", "--dtype", "int8"], "argument --dtype: invalid choice: 'int8'"),
        (["compress", "a.txt", "--device", "toaster"], "--device toaster cannot be used here: "),
        (["compress", "a.txt", "--device", "meta"], "--device meta cannot be used here: "),
        (["compress", "a.txt", "-o", "a.txt"], "a.txt would overwrite the input: name another file with -o"),
        (["compress", "a.txt", "a.txt.c3"], "a.txt.c3 would overwrite the input"),
        (["compress", "a.txt", "-o", "."], "cannot write .: it is a folder"),
        (["compress", "a.txt", "-o", "no/a.c3"], "cannot write no/a.c3: there is no folder no"),
        (["compress", "a.txt", "-o", ""], "argument -o/--output: must be a name, not ''"),
        (["compress", ""], "argument FILE: must be a name, not ''"),
        (["compress", "/proc/self/mem"], "/proc/self/mem: Input/output error"),
        (["compress", "-"], "text from standard input has no file name"),
        (["compress", "-", "-", "-o", "x.c3"], "standard input (-) can be read only once"),
        (["compress", "a.txt", "b.txt", "./a.txt"], "./a.txt is given twice, for one file of latents: give it once"),
        (["compress", "a.txt", "-o", "/proc/a.c3"], "cannot write /proc/a.c3: No such file or directory"),
        (["compress", "a.txt", "-o", "/dev/null"], "cannot write /dev/null: Not an ordinary file"),
        (["compress", "empty.txt", "--on-error", "skip"], "none of the texts can be compressed"),
        (["compress", "a.txt", "--on-error", "ignore"], "argument --on-error: invalid choice: 'ignore'"),
        (["expand", "two.c3", "-o", "/proc/{index}.txt"], "cannot write /proc/0.txt: No such file or directory"),
        (["expand", "missing.c3"], "no latents file at missing.c3"),
        (["expand", "a.txt"], "a.txt is not a safetensors file"),
        (["expand", "cut.c3"], "cut.c3 is truncated or damaged"),
        (["expand", "."], "it is a folder"),
        (["expand", "two.c3", "--text-index", "2"], "--text-index 2: two.c3 holds 2 texts, 0 to 1"),
        (["expand", "two.c3", "--text-index", "-1"], "must be a whole number of 0 or more"),
        (["expand", "two.c3", "--method", "search", "--beams", "257"], "a whole number from 1 to 256, not '257'"),
        (["expand", "two.c3", "--text-index", "0", "-o", "two.c3"], "two.c3 would overwrite the input"),
        (["expand", "two.c3", "-o", "no/{index}.txt"], "cannot write no/0.txt: there is no folder no"),
        (["info", "~/missing.c3"], f"no latents file at {Path.home()}/missing.c3"),
        (["info", "/dev/zero"], "/dev/zero is not a safetensors file"),
        (["info", "a.txt"], "a.txt is not a safetensors file"),
        (["info", "missing.c3", "--json"], "no latents file at missing.c3"),
        (["generate", "two.c3", "--text-index", "0"], "the following arguments are required: --prompt"),
    ],
)
def test_user_errors(run, checkpoint, texts, latents_file, argv, message):
    Path("empty.txt").touch()
    Path("a.txt.c3").write_text("a text after all")
    Path("binary").write_bytes(b"ok\xff\x00")
    Path("cut.c3").write_bytes(latents_file.read_bytes()[:-50])
    before = sorted(Path().iterdir())
    model = ["--model", checkpoint] if argv and argv[0] in ("compress", "expand", "generate") else []
    code, out, err = run(*argv, *model)
    assert (code, out) == (2, "")
    if "skip" in argv:
        skipped, err = err.split("\n", 1)
        assert skipped == "c3: skipped: empty.txt is empty: give at least one character"
    assert err.startswith("c3: error: ") and message in err
    assert err.count("\n") == 1
    assert sorted(Path().iterdir()) == before
    assert texts[0].read_bytes() == TEXT.encode()


def test_eval_has_the_default_model_and_one_line_for_every_mistake(run, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "PACKAGE", tmp_path)
    pages = ["--data", pages_file(tmp_path), "--count-with", checkpoint]
    for argv, message in (
        ([], "the following arguments are required: SUITE (see c3 eval --help)"),
        (["foxes"], "invalid choice: 'foxes'"),
        (
            ["fox", "--limit", "0"],
            "argument --limit: must be a whole number of 1 or more, not '0' (see c3 eval fox --help)",
        ),
        (["fox", *pages], f"no model is installed in {tmp_path}: name a folder or a Hub id with --model"),
        (["fox", *pages, "--output", "/proc/results"], "/proc/results: No such file or directory"),
        (["fox", *pages, "--output", pages[1]], f"--output {pages[1]} is a file: name a folder"),
        (["fox", *pages, "--model", checkpoint, "--device", "toaster"], "--device toaster cannot be used here: "),
    ):
        code, out, err = run("eval", *argv)
        assert (code, out, err.count("\n")) == (2, "", 1) and err.startswith("c3: error: ") and message in err, argv
    code, _, err = run("bench", "--runs", "0")
    assert code == 2 and err.startswith("c3: error: argument --runs: must be a whole number") and err.count("\n") == 1


def raising(error):
    def run_it(args):
        raise error

    return run_it


SMALLER_BATCH = "c3: error: out of memory: try a smaller --batch-size\n"


def too_large():
    """What torch raises on a CPU."""
    with pytest.raises(RuntimeError) as error:
        torch.empty(1 << 60)
    return error.value


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, ""),
        (OSError(28, "No space left on device", "x.c3"), 2, "c3: error: x.c3: No space left on device\n"),
        (RuntimeError("CUDA out of memory. Tried\nto"), 2, SMALLER_BATCH),
        (MemoryError(), 2, SMALLER_BATCH),
        (OSError(12, "Cannot allocate memory"), 2, SMALLER_BATCH),
        (RuntimeError("unable to mmap 9 bytes from file <x>: Cannot allocate memory (12)"), 2, SMALLER_BATCH),
        (OSError(28, "No space left on device"), 2, "c3: error: No space left on device\n"),
        (too_large(), 2, SMALLER_BATCH),
        (KeyError("bug"), 1, "c3: error: KeyError: 'bug' (--debug shows where)\n"),
        (KeyError(), 1, "c3: error: KeyError: KeyError (--debug shows where)\n"),
    ],
)
def test_exit_codes(run, monkeypatch, error, code, message):
    monkeypatch.setattr(expand, "run", raising(error))
    assert run("expand", "x.c3") == (code, "", message)


def test_out_of_memory_where_there_are_no_batches(run, texts, checkpoint, monkeypatch):
    monkeypatch.setattr(info, "run", raising(MemoryError()))
    assert run("info", "x.c3") == (2, "", "c3: error: out of memory\n")
    monkeypatch.setattr(C3Model, "from_pretrained", lambda *_, **__: raising(too_large())(None))
    code, _, err = run("compress", texts[0], "--model", checkpoint)
    assert code == 2 and f"out of memory for the model {checkpoint}: --dtype bfloat16 needs half" in err


def test_debug_shows_the_traceback(run, monkeypatch):
    code, _, err = run("info", "missing.c3", "--debug")
    assert code == 2 and err.startswith("Traceback") and err.endswith("no latents file at missing.c3\n")
