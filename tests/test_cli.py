"""The command line: what it writes, that it writes exactly that, and one clear line for every mistake."""

import configparser
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import c3
from c3 import C3Latents, C3Model
from c3.cli import demo as demo_c3
from c3.cli import main as cli_c3
from c3.cli.text_difference import COLOUR_MARKS, mark_difference
from c3.eval.metrics import precision
from c3.quoting_c3 import printable_lines
from c3.support import loading
from c3.version_c3 import VERSION

# Line ends of three kinds, a byte order mark, characters of one to four bytes, no line end at the end.
TEXT = "\ufeffÉmigré — 短い文章。\r\nIt was the best of times,\n\rit was 😀 the worst; 42 %."


@pytest.fixture(scope="session")
def model(checkpoint):
    return C3Model.from_pretrained(checkpoint).eval()


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """`run("info", path)`: exit code, standard output, standard error; in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*argv):
        code = cli_c3.main([str(each) for each in argv])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def texts(tmp_path):
    """Two files, `a.txt` and `b.txt`; the first takes several windows."""
    files = [tmp_path / "a.txt", tmp_path / "b.txt"]
    files[0].write_bytes(TEXT.encode())
    files[1].write_bytes(b"Short.\n")
    return files


@pytest.fixture
def latents_file(model, tmp_path):
    """Latents of two texts."""
    return model.compress([TEXT, "Short.\n"], show_progress=False).save(tmp_path / "two.c3")


def same(left, right):
    return torch.equal(left.values, right.values) and torch.equal(left.latent_lengths, right.latent_lengths)


# ------------------------------------------------------------------------------------------------------ compress


def test_round_trip_of_one_file(run, model, checkpoint, texts):
    code, out, err = run("compress", texts[0], "--model", checkpoint)
    expected = model.compress(TEXT, show_progress=False)
    written = C3Latents.load(f"{texts[0]}.c3")
    assert code == 0 and err == ""
    assert out.startswith(f"{texts[0]}.c3: C3Latents(texts=1, windows={expected.num_windows}, ")
    assert out.count("\n") == 1
    assert same(written, expected) and written.dtype == torch.bfloat16
    assert texts[0].read_bytes() == TEXT.encode()

    text = model.expand(expected, show_progress=False)
    code, out, err = run("expand", f"{texts[0]}.c3", "--model", checkpoint)
    assert (code, out, err) == (0, text, "")
    code, out, _ = run("expand", f"{texts[0]}.c3", "--model", checkpoint, "-o", "back.txt")
    assert (code, out) == (0, "")
    assert Path("back.txt").read_bytes() == text.encode()


def test_each_file_gets_its_own_latents_or_all_go_into_one(run, model, checkpoint, texts):
    code, out, _ = run("compress", *texts, "--model", checkpoint)
    assert code == 0 and out.count("\n") == 2
    assert len(C3Latents.load("b.txt.c3")) == 1
    code, out, _ = run("compress", *texts, "--model", checkpoint, "-o", "both.c3")
    both = C3Latents.load("both.c3")
    assert code == 0 and out.startswith("both.c3: C3Latents(texts=2, ")
    assert same(both[1], C3Latents.load("b.txt.c3"))
    assert same(both, model.compress([TEXT, "Short.\n"], show_progress=False))


@pytest.mark.parametrize("options", [{"num_latents": 3}, {"ratio": 6.5}, {"window": 16, "num_latents": 2}])
def test_compress_options(run, model, checkpoint, texts, options):
    flags = [str(part) for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
    assert run("compress", texts[0], "--model", checkpoint, "--batch-size", "2", "--quiet", *flags)[0] == 0
    assert same(C3Latents.load("a.txt.c3"), model.compress(TEXT, **options, batch_size=2, show_progress=False))


def test_compress_says_what_ratio_was_reached(run, checkpoint, texts):
    code, out, err = run("compress", texts[0], "--model", checkpoint, "--quiet", "--ratio", "1000")
    reached = C3Latents.load("a.txt.c3").ratio
    assert code == 0 and f"ratio={reached:.1f}x" in out
    assert err.startswith(f"c3: warning: {reached:.3g} tokens per latent: 1000 were asked for") and err.count("\n") == 1
    config = json.loads((loading.PACKAGE / "config.json").read_text())
    help_text = " ".join(run("compress", "--help")[1].split())
    ratio = config["default_window"] / config["num_latents"]
    assert f"(default: the model's own, {ratio:g} for the one that comes with c3)" in help_text


def test_progress_goes_to_standard_error(run, checkpoint, texts):
    _, out, err = run("compress", texts[0], "--model", checkpoint, "--batch-size", "1", "-o", "x.c3")
    assert "Compressing" in err and out.startswith("x.c3: ")
    assert run("compress", texts[0], "--model", checkpoint, "--batch-size", "1", "-o", "x.c3", "--quiet")[2] == ""


@pytest.fixture
def feed(monkeypatch):
    """`feed(data)`: the bytes on standard input."""
    return lambda data: monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), encoding="ascii"))


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


def test_a_batch_goes_on_and_says_what_it_left_out(run, model, checkpoint, texts):
    Path("empty.txt").touch()
    Path("binary").write_bytes(b"ok\xff\x00")
    files = ["empty.txt", texts[0], "missing.txt", "binary", ".", texts[1], f"./{texts[0].name}"]
    code, out, err = run("compress", *files, "--model", checkpoint, "--on-error", "skip")
    assert code == 0 and [line.split(":")[0] for line in out.splitlines()] == [f"{file}.c3" for file in texts]
    assert same(C3Latents.load("b.txt.c3"), model.compress([TEXT, "Short.\n"], show_progress=False)[1])
    skipped = [line.removeprefix("c3: skipped: ") for line in err.splitlines()]
    reasons = [
        "empty.txt is empty",
        "there is no file missing.txt",
        "binary is not UTF-8",
        ". is a folder",
        "./a.txt is given",
    ]
    assert len(skipped) == 5 and all(line.startswith(reason) for line, reason in zip(skipped, reasons, strict=True))
    code, out, err = run("compress", *files, "--model", checkpoint, "--on-error", "skip", "-o", "all.c3")
    assert code == 0 and len(C3Latents.load("all.c3")) == 3 and err.count("\n") == 4


def test_warnings_have_the_names_of_files(run, make_model, texts, capsys):
    make_model(unreliable_characters={"digits": "U+30-39"}).save_pretrained("digits")
    capsys.readouterr()
    for files, named in (["b.txt", "a.txt"], "a.txt holds"), (["a.txt"], "a.txt holds"), (["a.txt"] * 2, "a.txt and 1"):
        err = run("compress", *files, "--model", "digits", "-o", "all.c3")[2]
        assert err.startswith(f"c3: warning: {named}") and err.count("\n") == 1


def test_a_text_that_only_the_model_refuses_is_left_out_too(run, make_model, texts, tmp_path):
    make_model("appended", unreliable_characters={"an S": "U+53"}).save_pretrained(tmp_path / "appended")
    options = ("--model", "appended", "--ratio", "2", "--on-error", "skip")
    for files, outputs in (("a.txt", "b.txt"), ["b.txt.c3"]), (("a.txt", "b.txt", "b.txt"), ["all.c3"]):
        more = ["-o", outputs[0]] if len(files) > 2 else []
        code, out, err = run("compress", *files, *options, *more)
        assert code == 0 and [line.split(":")[0] for line in out.splitlines()] == outputs
        assert len(C3Latents.load(outputs[0])) == len(files) - 1
        assert err.count("c3: skipped: a.txt: ratio=2.0 needs ") == err.count("skipped") == 1
        # Files, not their places among the texts, whatever is said of them.
        assert err.count("c3: warning: b.txt ") == 1 and ": text" not in err
    for files in (["b.txt", "a.txt", "-o", "all.c3"], ["a.txt"]):
        code, out, err = run("compress", *files, *options[:-2])
        assert (code, out) == (2, "") and err.startswith("c3: error: a.txt: ratio=2.0 needs ")


def test_dtypes_are_readable_in_each_other(run, model, checkpoint, texts):
    assert run("compress", texts[1], "--model", checkpoint, "--dtype", "bfloat16")[0] == 0
    assert C3Latents.load("b.txt.c3").dtype == torch.bfloat16
    code, out, err = run("expand", "b.txt.c3", "--model", checkpoint)
    assert (code, err) == (0, "") and out


# ---------------------------------------------------------------------------------------- expand, info, generate


def test_expand_several_texts(run, model, checkpoint, latents_file):
    expected = model.expand(C3Latents.load(latents_file), show_progress=False)
    code, out, err = run("expand", latents_file, "--model", checkpoint)
    assert (code, out) == (2, "") and "holds 2 texts: pick one with --text-index (0 to 1)" in err
    assert run("expand", latents_file, "--model", checkpoint, "--text-index", "1")[:2] == (0, expected[1])
    assert run("expand", latents_file, "--model", checkpoint, "-o", "out-{index}.txt")[:2] == (0, "")
    assert [Path(f"out-{index}.txt").read_bytes().decode() for index in (0, 1)] == expected


def test_info_needs_no_model(run, latents_file, monkeypatch):
    monkeypatch.setattr(cli_c3, "loaded_model", None)
    latents = C3Latents.load(latents_file)
    code, out, err = run("info", latents_file)
    assert (code, err) == (0, "")
    for name, value in (("texts", 2), ("windows", latents.num_windows), ("width", 32), ("dtype", "bfloat16")):
        assert re.search(rf"^{name}: +{value}$", out, re.MULTILINE)
    assert repr(latents.provenance.weights_fingerprint) in out
    assert re.search(r"^text 1: +windows 1, latents \d, text tokens \d+, ratio [\d.]+$", out, re.MULTILINE)

    code, out, _ = run("info", latents_file, "--json")
    facts = json.loads(out)
    assert code == 0 and facts["latents"] == latents.num_latents and facts["latent_bytes"] == latents.nbytes
    assert facts["file_bytes"] == latents_file.stat().st_size and len(facts["each"]) == 2
    assert facts["provenance"]["library_version"] == VERSION
    latents[:0].save("none.c3")
    assert json.loads(run("info", "none.c3", "--json")[1], parse_constant=pytest.fail)["ratio"] is None
    assert re.search(r"^ratio: +none$", run("info", "none.c3")[1], re.MULTILINE)


def test_info_hides_control_characters_of_a_strangers_file(run, latents_file):
    latents = C3Latents.load(latents_file)
    object.__setattr__(latents.provenance, "model_name", "\x1b[2Jevil")
    latents.save("evil.c3")
    assert "\x1b" not in run("info", "evil.c3")[1]


def test_a_file_that_claims_too_much_is_shown_and_not_read(run, checkpoint, latents_file):
    latents = C3Latents.load(latents_file)
    replace(latents, text_lengths=latents.text_lengths * 10**15).save("claims.c3")
    code, out, err = run("info", "claims.c3")
    assert (code, err) == (0, "") and re.search(rf"^text tokens: +{latents.text_tokens}0{{15}}$", out, re.MULTILINE)
    for command in (["expand"], ["generate", "--prompt", "x"]):
        options = ("--text-index", "1", "--model", checkpoint, "--allow-mismatch")
        code, out, err = run(*command, "claims.c3", *options)
        assert (code, out) == (2, "") and "This model cannot have made these latents" in err and err.count("\n") == 1
    latents[:0].save("none.c3")
    assert run("info", "none.c3")[0] == 0
    for command in (["expand"], ["generate", "--prompt", "x"]):
        code, out, err = run(*command, "none.c3", "--model", checkpoint)
        assert (code, out) == (2, "") and "none.c3 holds no texts" in err


def test_generate(run, model, checkpoint, latents_file):
    options = ("--model", checkpoint, "--prompt", "Où ?", "--max-new-tokens", "5")
    code, out, err = run("generate", latents_file, *options, "--text-index", "0")
    expected = model.generate(C3Latents.load(latents_file)[0], "Où ?", max_new_tokens=5)
    assert (code, out, err) == (0, expected + "\n", "")
    code, _, err = run("generate", latents_file, *options)
    assert code == 2 and "pick one with --text-index" in err


# ---------------------------------------------------------------------------------------------------------- demo


def test_demo_of_the_example(run, model, checkpoint):
    code, out, _ = run("demo", "--model", checkpoint, "--batch-size", "200", "--ratio", "5", "--count-with", checkpoint)
    assert code == 0
    rows = re.findall(r"^ *([\d.]+)x +([\d.]+)x +1, (\d+), (\d+) x 32 +(\d+) +([\d.]+)% +[\d.]+ +[\d.]+$", out, re.M)
    text = demo_c3.EXAMPLE.read_bytes().decode()
    assert len(text) > 2500 and f"{len(text)} characters" in out
    assert [round(float(row[0])) for row in rows] == [4, 5, 8, 16]
    for own, other, _, latents, size, _ in rows:
        assert own == other and int(size) == int(latents) * 32 * 2
    read_back = model.expand(model.compress(text, ratio=5, batch_size=200), batch_size=200, show_progress=False)
    assert mark_difference(text, printable_lines(read_back)) in out
    assert float(rows[1][5]) == pytest.approx(100 * precision(text, read_back), abs=0.006)


def test_demo_without_examples(run, checkpoint, texts, monkeypatch):
    monkeypatch.setattr(demo_c3, "EXAMPLE", Path("missing.txt"))
    code, _, err = run("demo", "--model", checkpoint)
    assert code == 2 and "give a text, as in c3 demo FILE" in err
    code, out, _ = run("demo", texts[1], "--model", checkpoint)
    assert code == 0 and "other tokens" not in out and "[-lost-]{+added+}" in out
    code, _, err = run("demo", texts[1], "--model", checkpoint, "--count-with", "nowhere/")
    assert code == 2 and "cannot load a tokenizer: there is no folder nowhere/" in err


def test_difference():
    assert mark_difference("same", "same") == "same"
    assert mark_difference("the cat sat", "the cut sat!") == "the c[-a-]{+u+}t sat{+!+}"
    assert mark_difference("abc", "") == "[-abc-]" and mark_difference("", "abc") == "{+abc+}"
    lost_start, lost_end, added_start, added_end = COLOUR_MARKS
    coloured = mark_difference("cat", "cut", colour=True)
    assert coloured == f"c{lost_start}a{lost_end}{added_start}u{added_end}t"


# -------------------------------------------------------------------------------------------------------- errors


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
        (["compress", "a.txt", "-o", "-"], "latents go to a file, not to standard output"),
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


@pytest.fixture
def damaged(checkpoint, tmp_path):
    """Makes a copy of the checkpoint without the files named."""

    def make(*lacking):
        folder = shutil.copytree(checkpoint, tmp_path / "damaged")
        for name in lacking:
            (folder / name).unlink()
        return folder

    return make


def test_models_that_cannot_be_loaded(run, texts, damaged, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    def error(name):
        code, out, err = run("compress", texts[1], *(["--model", name] if name else []))
        assert (code, out) == (2, "") and err.count("\n") == 1
        return err

    Path("empty").mkdir()
    assert "--model empty holds no config.json" in error("empty")
    assert "--model a.txt is a file: name the folder" in error("a.txt")
    for name in ("./typo", "/no/folder", "no/such/folder", "typo/", "a..b"):
        assert f"there is no folder {name}, and it is no Hub id" in error(name)
    monkeypatch.setattr(loading, "PACKAGE", Path("empty"))
    assert "no model is installed in empty: name a folder or a Hub id with --model" in error(None)

    folder = damaged("model.safetensors")
    assert "holds no weights (*.safetensors)" in error(folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(b"version https://git-lfs")
    assert f"cannot load a C3 model from {folder}: " in error(folder)
    (folder / "config.json").write_text('{"model_type": "qwen2"}')
    assert "it is a 'qwen2' model, not a C3 one" in error(folder)


def test_a_hub_that_does_not_answer(run, texts, checkpoint, monkeypatch, tmp_path):
    """One line, at once; and what is in the cache is taken from there."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    said = "there is no folder org/c3, and the Hub, http://127.0.0.1:9, does not answer"
    started = time.perf_counter()
    for argv in (
        ["compress", texts[1], "--model", "org/c3"],
        ["demo", texts[1], "--model", checkpoint, "--count-with", "org/c3"],
        ["eval", "fox", "--model", "org/c3", "--data", pages_file(tmp_path), "--count-with", checkpoint],
        ["eval", "fox", "--data", pages_file(tmp_path), "--count-with", "org/c3"],
    ):
        code, out, err = run(*argv)
        assert (code, out, err.count("\n")) == (2, "", 1) and said in err
    assert time.perf_counter() - started < 20
    commit = tmp_path / "hub" / "models--org--c3" / "snapshots" / ("0" * 40)
    shutil.copytree(checkpoint, commit)
    (commit.parents[1] / "refs").mkdir()
    (commit.parents[1] / "refs" / "main").write_text(commit.name)
    assert run("compress", texts[1], "--model", "org/c3")[::2] == (0, "")


def pages_file(folder):
    path = folder / "pages.jsonl"
    path.write_text(json.dumps({"text": " ".join(["It was the best of times."] * 100)}))
    return path


def test_eval_has_the_default_model_and_one_line_for_every_mistake(run, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "PACKAGE", tmp_path)
    pages = ["--data", pages_file(tmp_path), "--count-with", checkpoint]
    for argv, message in (
        ([], "the following arguments are required: SUITE (see c3 eval --help)"),
        (["foxes"], "invalid choice: 'foxes'"),
        (["fox", "--limit", "0"], "argument --limit: must be 1 or more, not 0 (see c3 eval fox --help)"),
        (["fox", *pages], f"no model is installed in {tmp_path}: name a folder or a Hub id with --model"),
        (["fox", *pages, "--output", "/proc/results"], "/proc/results: No such file or directory"),
        (["fox", *pages, "--output", pages[1]], f"--output {pages[1]} is a file: name a folder"),
        (["fox", *pages, "--model", checkpoint, "--device", "toaster"], "--device toaster cannot be used here: "),
    ):
        code, out, err = run("eval", *argv)
        assert (code, out, err.count("\n")) == (2, "", 1) and err.startswith("c3: error: ") and message in err, argv
    code, _, err = run("bench", "--runs", "0")
    assert code == 2 and err.startswith("c3: error: argument --runs: must be 1") and err.count("\n") == 1


def test_checkpoints_that_lack_something(run, texts, checkpoint, damaged):
    folder = damaged("tokenizer.json", "tokenizer_config.json")
    code, _, err = run("compress", texts[1], "--model", folder)
    assert code == 2 and "No processor could be loaded" in err and err.count("\n") == 1
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(checkpoint / file, folder)
    tensors = load_file(folder / "model.safetensors")
    del tensors["projector.linear_1.bias"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    code, _, err = run("compress", texts[1], "--model", folder)
    assert code == 2 and "its weights lack 1 tensor(s), first 'projector.linear_1.bias'" in err


def test_latents_of_another_model(run, make_model, checkpoint, tmp_path):
    other = make_model(seed=1).compress("Other.", show_progress=False)
    other.save(tmp_path / "other.c3")
    code, out, err = run("expand", "other.c3", "--model", checkpoint)
    assert (code, out) == (2, "") and "weights_fingerprint" in err
    assert "--allow-mismatch overrides this check" in err and "allow_mismatch" not in err
    assert run("expand", "other.c3", "--model", checkpoint, "--allow-mismatch")[0] == 0


def test_default_model_is_the_one_in_the_package(run, texts, checkpoint, monkeypatch):
    monkeypatch.setattr(loading, "PACKAGE", checkpoint)
    assert run("compress", texts[1])[0] == 0


def test_libraries_are_as_loud_as_before(run, texts, checkpoint):
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    assert run("compress", texts[1], "--model", checkpoint)[0] == 0
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


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
    monkeypatch.setattr(cli_c3, "run_expand", raising(error))
    assert run("expand", "x.c3") == (code, "", message)


def test_out_of_memory_where_there_are_no_batches(run, texts, checkpoint, monkeypatch):
    monkeypatch.setattr(cli_c3, "run_info", raising(MemoryError()))
    assert run("info", "x.c3") == (2, "", "c3: error: out of memory\n")
    monkeypatch.setattr(C3Model, "from_pretrained", lambda *_, **__: raising(too_large())(None))
    code, _, err = run("compress", texts[0], "--model", checkpoint)
    assert code == 2 and f"out of memory for the model {checkpoint}: --dtype bfloat16 needs half" in err


def test_debug_shows_the_traceback(run, monkeypatch):
    code, _, err = run("info", "missing.c3", "--debug")
    assert code == 2 and err.startswith("Traceback") and err.endswith("no latents file at missing.c3\n")


# ------------------------------------------------------------------------------------------------------- process


def python(*argv, **options):
    return subprocess.run([sys.executable, *argv], capture_output=True, timeout=120, **options)


def test_help_and_version_load_no_torch():
    script = """
import sys
from c3.cli.main import main
for argv in (["--help"], ["--version"], ["compress", "--help"], ["info"]):
    main(argv)
loaded = {"torch", "transformers", "numpy"} & set(sys.modules)
assert not loaded, loaded
"""
    done = python("-c", script)
    assert done.returncode == 0, done.stderr
    assert f"c3 {VERSION}\n".encode() in done.stdout
    for command in (b"demo", b"compress", b"expand", b"info", b"generate"):
        assert command in done.stdout


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
    assert text.decode() == model.expand(model.compress(TEXT, show_progress=False), show_progress=False)


def test_closed_standard_output():
    command = [sys.executable, "-m", "c3", "--help"]
    # Buffered, as usual: argparse swallows what fails while it writes.
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141


def test_import_is_lazy_and_registers():
    script = """
import sys
import c3
assert "torch" not in sys.modules and set(c3.__all__) <= set(dir(c3))
try:
    c3.nothing
except AttributeError as error:
    assert "has no attribute 'nothing'" in str(error)
from c3 import C3Config
from transformers import AutoConfig
assert AutoConfig.for_model("c3").__class__ is C3Config
"""
    done = python("-c", script)
    assert done.returncode == 0, done.stderr


def test_one_version():
    setup = configparser.ConfigParser()
    setup.read(Path(c3.__file__).parent / "setup.cfg", encoding="utf-8")
    assert setup["metadata"]["version"] == "attr: c3.version_c3.VERSION"
    assert c3.__version__ == VERSION
