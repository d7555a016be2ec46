"""`c3 compress`: what it writes, that it writes exactly that, and what it says."""

import json
from pathlib import Path

import pytest
import torch

from c3 import C3Latents
from c3.support import loading
from command_line import TEXT, same


def test_what_comes_back_is_the_text(run, checkpoint, texts):
    """Whatever the weights are worth."""
    assert run("compress", texts[0], "--model", checkpoint)[0] == 0
    assert run("expand", f"{texts[0]}.c3", "--model", checkpoint) == (0, TEXT, "")
    assert C3Latents.load(f"{texts[0]}.c3").corrections is not None


def test_round_trip_of_one_file(run, model, checkpoint, texts):
    code, out, err = run("compress", texts[0], "--model", checkpoint, "--no-exact")
    expected = model.compress(TEXT, show_progress=False)
    written = C3Latents.load(f"{texts[0]}.c3")
    assert code == 0 and err == ""
    assert out.startswith(f"{texts[0]}.c3: C3Latents(texts=1, windows={expected.num_windows}, ")
    assert out.count("\n") == 1
    assert same(written, expected) and written.dtype == torch.bfloat16
    assert texts[0].read_bytes() == TEXT.encode()

    text = model.expand(expected, show_progress=False)
    code, out, err = run("expand", f"{texts[0]}.c3", "--model", checkpoint)
    count = expected.num_windows
    assert (code, out) == (0, text) and err.count("\n") == 1
    assert f"text 0 of {texts[0]}.c3: {count} of {count} windows came back wrong (windows 0, 1, " in err
    code, out, err = run("expand", f"{texts[0]}.c3", "--model", checkpoint, "--no-check", "-o", "back.txt")
    assert (code, out, err) == (0, "", "")
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
        err = run("compress", *files, "--model", "digits", "--no-exact", "-o", "all.c3")[2]
        assert err.startswith(f"c3: warning: {named}") and err.count("\n") == 1


def test_a_text_that_only_the_model_refuses_is_left_out_too(run, make_model, texts, tmp_path):
    make_model("appended", unreliable_characters={"an S": "U+53"}).save_pretrained(tmp_path / "appended")
    options = ("--model", "appended", "--no-exact", "--ratio", "2", "--on-error", "skip")
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


def test_compress_measures(run, model, checkpoint, texts):
    """Fidelity is said, kept, and reached where that can be; several files keep their own."""
    code, out, err = run("compress", *texts, "--model", checkpoint, "--measure")
    expected = model.compress([TEXT, "Short.\n"], measure=True, show_progress=False)
    assert (code, err) == (0, "") and [line.count("fidelity=0.") for line in out.splitlines()] == [1, 1]
    for file, each in zip(texts, expected, strict=True):
        assert C3Latents.load(f"{file}.c3").window_fidelities == each.window_fidelities
    options = ("--num-latents", "2", "--min-fidelity", "0.9", "--batch-size", "1", "--on-error", "skip")
    code, out, err = run("compress", "missing.txt", *texts, "--model", checkpoint, *options, "-o", "all.c3", "--quiet")
    written = C3Latents.load("all.c3")
    below = sum(each < 0.9 for each in written.window_fidelities)
    said = f"c3: warning: {below} of {written.num_windows} windows do not reach min_fidelity=0.9 with any number"
    assert code == 0 and len(written) == 2 and below
    assert [line.startswith(said) for line in err.splitlines()] == [False, True]
    for value in ("0", "1.5", "most"):
        code, out, err = run("compress", texts[0], "--min-fidelity", value)
        assert code == 2 and "--min-fidelity: must be a number above 0 and at most 1" in err
