"""The checkpoint for questions: what its card promises, on texts and numbers that it has never seen."""

import json
import random
from pathlib import Path

import pytest

from c3 import ASK_CHECKPOINT, DEFAULT_CHECKPOINT, C3Model
from c3.cli.main import main
from c3.eval.metrics import precision
from c3.eval.questions.needles import NEEDLE, ONE

ASK, ROOT = Path(ASK_CHECKPOINT), Path(DEFAULT_CHECKPOINT)
pytestmark = pytest.mark.skipif(
    not (ASK / "model.safetensors").is_file(), reason="the checkout has no weights for questions"
)
KEY = "silver-otter"


def questions_about(kind="number"):
    return ONE[0].format(kind=kind, keys=KEY)


@pytest.fixture(scope="module")
def speech():
    return (ROOT / "examples/jefferson_1805.txt").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def model():
    return C3Model.from_pretrained(ASK).eval()


def test_it_is_the_default_one_but_for_what_it_is_asked():
    config, default = (json.loads((each / "config.json").read_text()) for each in (ASK, ROOT))
    differ = {"prompt_template", "ratio_range", "reconstruction_only"}
    assert {name for name in config.keys() | default.keys() if config.get(name) != default.get(name)} == differ
    assert (ASK / "tokenizer.json").read_bytes() == (ROOT / "tokenizer.json").read_bytes()
    assert (ASK / "model.safetensors").stat().st_size <= 60_000_000


def test_numbers_are_found_in_latents(speech, model):
    """Hidden at six places of 3000 characters, at 8 tokens per latent; where there is none, none is found."""
    rng, right, places = random.Random(5), 0, 6
    sentences = speech[:3000].split(". ")
    for place in range(places):
        value = str(rng.randrange(10**6, 10**7))
        half = len(sentences) * place // places
        needle = NEEDLE.format(kind="number", key=KEY, value=value)
        text = ". ".join([*sentences[:half], needle.rstrip("."), *sentences[half:]])
        latents = model.compress(text, ratio=8)
        assert latents.ratio >= 8
        right += model.generate(latents, questions_about(), max_new_tokens=16).strip() == value
    assert right >= places - 1
    assert value not in model.generate(model.compress(". ".join(sentences), ratio=8), questions_about())


def test_texts_come_back(speech, model):
    assert precision(speech[:3000], model.expand(model.compress(speech[:3000], ratio=8), batch_size=32)) >= 0.995


def test_the_command_takes_it_and_no_latents_of_the_other(speech, tmp_path, capsys):
    file = tmp_path / "speech.txt"
    file.write_text(speech[:1500] + "\n\n" + NEEDLE.format(kind="number", key=KEY, value="5550123"))
    assert main(["ask", str(file), questions_about(), "--ratio", "8"]) in (None, 0)
    assert capsys.readouterr().out == "5550123\n"
    for name in ("default", "ask"):
        options = ["--model", "ask"] if name == "ask" else []
        main(["compress", str(file), "-o", str(tmp_path / f"{name}.c3"), "--ratio", "8", "--quiet", *options])
    capsys.readouterr()
    main(["ask", str(tmp_path / "ask.c3"), questions_about(), "--quiet"])
    assert capsys.readouterr().out == "5550123\n"
    assert main(["ask", str(tmp_path / "default.c3"), questions_about()]) == 2
    assert "weights_fingerprint" in capsys.readouterr().err
