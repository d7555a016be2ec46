"""Models that the commands load: the default one, of the Hub, damaged ones."""

import shutil
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from c3.support import loading
from command_line import pages_file


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
    assert ": empty holds no config.json" in error("empty")
    assert ": a.txt is a file: name the folder" in error("a.txt")
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


def test_default_model_is_the_one_in_the_package(run, texts, checkpoint, monkeypatch):
    monkeypatch.setattr(loading, "PACKAGE", checkpoint)
    assert run("compress", texts[1])[0] == 0


def test_libraries_are_as_loud_as_before(run, texts, checkpoint):
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    assert run("compress", texts[1], "--model", checkpoint)[0] == 0
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
