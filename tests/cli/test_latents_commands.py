"""The commands that read latents: `c3 expand`, `info` and `generate`."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from c3 import C3Latents
from c3.cli import model_options
from c3.version_c3 import VERSION


def test_expand_several_texts(run, model, checkpoint, latents_file):
    expected = model.expand(C3Latents.load(latents_file), show_progress=False)
    code, out, err = run("expand", latents_file, "--model", checkpoint)
    assert (code, out) == (2, "") and "holds 2 texts: pick one with --text-index (0 to 1)" in err
    assert run("expand", latents_file, "--model", checkpoint, "--text-index", "1")[:2] == (0, expected[1])
    assert run("expand", latents_file, "--model", checkpoint, "-o", "out-{index}.txt")[:2] == (0, "")
    assert [Path(f"out-{index}.txt").read_bytes().decode() for index in (0, 1)] == expected


def test_info_needs_no_model(run, latents_file, monkeypatch):
    monkeypatch.setattr(model_options, "loaded_model", None)
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


def test_info_says_where_text_is_lost(run, latents_file):
    latents = C3Latents.load(latents_file)
    counts = torch.zeros_like(latents.text_lengths)
    counts[1], counts[-1] = 3, 1
    measured = replace(latents, correction_counts=counts)
    measured.save("measured.c3")
    out, lengths = run("info", "measured.c3")[1], latents.text_lengths.tolist()
    assert re.search(rf"^fidelity: +{1 - 4 / latents.text_tokens:.4f}$", out, re.MULTILINE)
    assert re.search(rf"^windows that lose some: +2 of {len(lengths)}$", out, re.MULTILINE)
    where = f"tokens {lengths[0]} to {lengths[0] + lengths[1] - 1} of {latents[0].text_tokens}"
    assert re.search(rf"^text 0, window 1: +fidelity 0\.\d{{4}}, {where}, latents \d$", out, re.MULTILINE)
    assert re.search(rf"^text 1, window 0: +fidelity 0\.\d{{4}}, tokens 0 to {lengths[-1] - 1} of", out, re.MULTILINE)
    facts = json.loads(run("info", "measured.c3", "--json")[1])
    assert facts["fidelity"] == measured.fidelity
    assert [each["window_fidelities"] for each in facts["each"]] == [each.window_fidelities for each in measured]
    measured[0].save("one.c3")
    assert re.search(r"^window 1: +fidelity 0", run("info", "one.c3")[1], re.MULTILINE)
    replace(latents, correction_counts=latents.text_lengths)[[0] * 9].save("many.c3")
    lines = run("info", "many.c3")[1].splitlines()
    assert sum("fidelity 0.0000, tokens" in line for line in lines) == 8
    assert lines[-1].strip() == f"and {latents[0].num_windows * 9 - 8} more, with --json"


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


def test_latents_of_another_model(run, make_model, checkpoint, tmp_path):
    other = make_model(seed=1).compress("Other.", show_progress=False)
    other.save(tmp_path / "other.c3")
    code, out, err = run("expand", "other.c3", "--model", checkpoint)
    assert (code, out) == (2, "") and "weights_fingerprint" in err
    assert "--allow-mismatch overrides this check" in err and "allow_mismatch" not in err and "with --model" in err
    assert run("expand", "other.c3", "--model", checkpoint, "--allow-mismatch")[0] == 0


def test_generate(run, model, checkpoint, latents_file):
    options = ("--model", checkpoint, "--prompt", "Où ?", "--max-new-tokens", "5")
    code, out, err = run("generate", latents_file, *options, "--text-index", "0")
    expected = model.generate(C3Latents.load(latents_file)[0], "Où ?", max_new_tokens=5)
    assert (code, out, err) == (0, expected + "\n", "")
    code, _, err = run("generate", latents_file, *options)
    assert code == 2 and "pick one with --text-index" in err


def test_generate_in_chunks(run, model, checkpoint, latents_file):
    options = ("--model", checkpoint, "--prompt", "Où ?", "--max-new-tokens", "20", "--text-index", "0")
    code, out, err = run("generate", latents_file, *options, "--compress-every", "8", "--ratio", "4")
    latents, asked = C3Latents.load(latents_file)[0], {"max_new_tokens": 20, "compress_every": 8, "ratio": 4}
    output = model.generate(latents, "Où ?", return_dict_in_generate=True, **asked)
    assert (code, out) == (0, model.processor.decode(output.sequences[0]) + "\n")
    assert out == model.generate(latents, "Où ?", **asked) + "\n"
    made = output.latents[0]
    assert err.startswith(f"c3: {made.text_tokens} tokens of prompt and answer in {made.num_latents} latents, cache ")
    code, out, err = run("generate", latents_file, *options, "--ratio", "4")
    assert (code, out) == (2, "") and "--ratio is that of --compress-every" in err


def test_generate_reads_windows_as_their_text(run, model, checkpoint, texts, latents_file):
    assert run("compress", texts[0], "--model", checkpoint, "--exact")[0] == 0
    options = ("--model", checkpoint, "--prompt", "Go on: ", "--max-new-tokens", "5", "--raw-below", "0.9")
    code, out, err = run("generate", "a.txt.c3", *options)
    latents = C3Latents.load("a.txt.c3")
    expected = model.generate(latents, "Go on: ", max_new_tokens=5, raw_below=0.9)
    assert (code, out, err) == (0, expected + "\n", "") and min(latents.window_fidelities) < 0.9
    code, out, err = run("generate", latents_file, *options, "--text-index", "0")
    assert (code, out) == (2, "") and "--raw-below: " in err and "compress it without --no-exact" in err
