"""What a stranger's file says never reaches a terminal raw, whatever command or message says it."""

import json
import re
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from c3 import C3Latents, C3Model
from c3.cli import main as cli_c3
from c3.latents_c3 import LatentMismatchError
from c3.quoting_c3 import in_one_line, listed, printable, printable_lines, quoted
from train_hf import main as train_hf

# Clears the screen, in the forms of one and of two bytes; sets the window's title; turns what follows around; feeds a
# line; a lone surrogate, which cannot be encoded.
EVIL = "\x1b[2J\x9b2J\x1b]0;title\x07\u202eevil\r\n\ud800"
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800]")


def test_quoted():
    assert quoted("org/c3") == "'org/c3'" and quoted("") == "''" and quoted(7) == "7" and quoted([EVIL]) == repr([EVIL])
    assert quoted(EVIL) == repr(EVIL) and quoted("日本　語") == repr("日本　語")
    assert quoted("x" * 101) == "'" + "x" * 100 + "'…" and quoted("abc", longest=2) == "'ab'…"


def test_listed():
    assert listed(["a", EVIL]) == f"'a', {EVIL!r}" and listed([]) == ""
    assert listed("abcdefg") == "'a', 'b', 'c', 'd', 'e', …" and listed("abc", most=2) == "'a', 'b', …"


def test_printable():
    line = "Émigré — 短い　文章。 😀 'quotes' \\ and\u00a0spaces"
    assert printable(line) == line
    assert printable(EVIL) == "\\x1b[2J\\x9b2J\\x1b]0;title\\x07\\u202eevil\\r\\n\\ud800"
    assert printable_lines("a\tb\n" + EVIL) == "a\tb\n" + printable(EVIL).replace("\\n", "\n")
    assert in_one_line(ValueError("one\n  two\x1b[2J")) == "one two\\x1b[2J"
    assert len(in_one_line("x" * 10**6)) == 2001


@pytest.fixture
def shown(capsys, tmp_path, monkeypatch):
    """`shown(function, *arguments)`: its code and what it printed, in an empty folder, after checking that."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    def call(function, *arguments):
        try:
            code = function([str(each) for each in arguments])
        except SystemExit as end:
            code = end.code
            print(code)
        out, err = capsys.readouterr()
        # Progress bars begin their line anew.
        assert not RAW.search(out + err.replace("\r", "")), (out, err)
        return code, out + err

    return call


@pytest.fixture(scope="module")
def model(checkpoint):
    return C3Model.from_pretrained(checkpoint).eval()


def test_latents_of_a_stranger(shown, model, checkpoint):
    latents = model.compress("text")
    names = {name: EVIL for name in vars(latents.provenance)}
    evil = replace(latents, provenance=replace(latents.provenance, **names))
    evil.save("evil.c3")
    code, said = shown(cli_c3.main, "info", "evil.c3")
    assert code == 0 and said.count(repr(EVIL)) == len(names)
    code, said = shown(cli_c3.main, "info", "evil.c3", "--json")
    assert code == 0 and json.loads(said)["provenance"] == names
    for command in ("expand", "generate"):
        options = ("--prompt", "x") if command == "generate" else ()
        code, said = shown(cli_c3.main, command, "evil.c3", "--model", checkpoint, *options)
        assert code == 2 and repr(EVIL) in said and said.count("\n") == 1
    with pytest.raises(LatentMismatchError) as caught:
        model.expand(evil)
    with pytest.raises(LatentMismatchError) as other:
        latents + evil
    for text in (str(caught.value), str(other.value), repr(evil)):
        assert repr(EVIL) in text and not RAW.search(text)

    # A file of another kind: names of tensors, the version of the format, what the header holds.
    save_file({"\x1b[2J": torch.zeros(1)}, "other.c3")
    save_file({"\x1b[2J": torch.zeros(1)}, "version.c3", metadata={"c3": json.dumps({"format_version": EVIL})})
    header = json.dumps({"\x1b[2J": {"dtype": "\x1b[2J", "shape": [1], "data_offsets": [0, 4]}}).encode()
    with open("header.c3", "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header + b"\0\0\0\0")
    for name in ("other", "version", "header"):
        code, said = shown(cli_c3.main, "info", f"{name}.c3")
        assert code == 2 and said.startswith("c3: error: ") and said.count("\n") == 1
    with pytest.raises(ValueError) as caught:
        C3Latents.load("other.c3")
    assert "'\\x1b[2J'" in str(caught.value)

    # The name of a file, which may come with an archive.
    for use in (C3Latents.load, evil.save):
        with pytest.raises(FileNotFoundError) as caught:
            use("\x1b[2J/evil.c3")
        assert "\\x1b[2J/evil.c3" in str(caught.value) and not RAW.search(str(caught.value))


def test_an_old_file_is_one_line(shown, model, checkpoint, tmp_path):
    latents = model.compress("text")
    tensors = {name: getattr(latents, name) for name in ("values", "latent_lengths", "text_lengths", "window_counts")}
    metadata = {"c3": json.dumps({"format_version": 1, "provenance": vars(latents.provenance)})}
    for number, command in enumerate((["info"], ["expand", "--model", checkpoint, "-o", "text"])):
        save_file(tensors, f"old{number}.c3", metadata=metadata)
        code, said = shown(cli_c3.main, *command, f"old{number}.c3")
        assert code == 0 and f"c3: warning: old{number}.c3 was saved without a checksum" in said
        assert said.count("without a checksum") == 1


def test_checkpoint_of_a_stranger(shown, checkpoint, tmp_path):
    folder = shutil.copytree(checkpoint, tmp_path / "evil")
    config = json.loads((folder / "config.json").read_text())
    weights = load_file(folder / "model.safetensors")
    (tmp_path / "text.txt").write_text("text")

    def write(**fields):
        (folder / "config.json").write_text(json.dumps(config | fields))

    write(model_type=EVIL)
    for command in (["compress", "text.txt", "--model", folder], ["convert", folder, "new"]):
        code, said = shown(cli_c3.main, *command)
        assert code == 2 and repr(EVIL) in said
    code, said = shown(cli_c3.main, "convert", folder, "new", "--to-authors")
    assert code == 2 and repr(EVIL) in said
    for fields in ({EVIL: 1}, {"latent_position_layout": EVIL}, {"encoder_config": {"model_type": EVIL}}):
        write(**fields)
        code, said = shown(cli_c3.main, "compress", "text.txt", "--model", folder)
        assert code == 2 and "cannot load a C3 model" in said
    write()
    weights["\x1b[2J"] = weights.pop(sorted(weights)[0])
    save_file(weights, folder / "model.safetensors")
    code, said = shown(cli_c3.main, "compress", "text.txt", "--model", folder)
    assert code == 2 and "its weights lack" in said
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": EVIL, "peft_type": "LORA"}))
    (folder / "config.json").unlink()
    assert shown(cli_c3.main, "publish", folder, "org/name")[0] == 1
    assert shown(cli_c3.main, "merge-lora", folder, "merged")[0] == 2


def test_data_of_a_stranger(shown, checkpoint, tmp_path, training_folder):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({EVIL: "text"}) + "\n")
    options = ("pages", "--model", checkpoint, "--device", "cpu", "--ratios", "4", "--data")
    assert "no column 'text'" in shown(cli_c3.main, "eval", *options, rows)[1]
    rows.write_text(json.dumps({"id": EVIL, "text": 5}) + "\n")
    assert "is not a string but int" in shown(cli_c3.main, "eval", *options, rows)[1]
    # An id in the report of a whole run, and in an error.
    rows.write_text(
        "".join(json.dumps({"id": f"{EVIL}{i}", "text": text}) + "\n" for i, text in enumerate(("a b", "")))
    )
    code, said = shown(cli_c3.main, "eval", *options, rows)
    assert code == 0 and printable_lines(EVIL) in said
    rows.write_text((json.dumps({"id": EVIL, "text": "a b"}) + "\n") * 2)
    code, said = shown(cli_c3.main, "eval", "fox", *options[1:5], "--count-with", checkpoint, "--data", rows)
    assert code == 2 and f"two pages have the id {EVIL!r}" in said

    recipe = training_folder / "recipe.yaml"
    rows.write_text(json.dumps({EVIL[:-1]: "text"}) + "\n")
    code, said = shown(train_hf, recipe, f"train_data={rows}", f"output_dir={tmp_path / 'run'}", "--dry-run")
    assert code == 2 and "has no column 'text'" in said
    rows.write_text(json.dumps({"text": "It was \x1b[2J the best of times. " * 20}) + "\n")
    code, said = shown(train_hf, recipe, f"train_data={rows}", f"output_dir={tmp_path / 'run'}", "--dry-run")
    assert code is None and "\\x1b" in said


def test_the_demo_shows_a_text_and_obeys_none(shown, checkpoint, tmp_path):
    (tmp_path / "text.txt").write_text("one\ttwo\n\x1b[2J three　\u200b", encoding="utf-8")
    code, said = shown(cli_c3.main, "demo", "text.txt", "--model", checkpoint)
    assert code == 0 and "text.txt" in said
