"""The texts on which precision is measured, of files and of streams. Run: pytest tests/training/test_validation.py"""

import json

import pytest

from c3.training.checks import RecipeError
from c3.training.data import validation
from c3.training.data.documents import DataSource
from c3.training.data.validation import validation_windows
from image_models import LINE, model_of, model_of_lines
from tiny_models import TEXTS


@pytest.fixture
def processor(make_model):
    return make_model("uniform").processor


@pytest.fixture
def make_recipe(load_training, tmp_path):
    """`make_recipe(texts, streaming)`: a recipe that is evaluated on a file of them."""

    def make(texts, streaming=True, windows=3):
        path = tmp_path / "held_out.jsonl"
        path.write_text("\n".join(json.dumps({"text": text}) for text in texts), encoding="utf-8")
        source = f"validation_data={{path: {path}, streaming: {json.dumps(streaming)}}}"
        evaluation = f"evaluation={{ratios: [2], windows: {windows}, window: 12}}"
        return load_training("validation", source, evaluation)

    return make


def test_a_stream_gives_the_first_documents_that_are_long_enough(make_recipe, processor):
    texts = ["", "short", None, *(TEXTS[0] * times for times in (1, 2, 3, 4, 5))]
    recipe = make_recipe(texts)
    found = validation_windows(recipe, processor)
    assert len(found) == 3 and len(set(found)) > 1
    assert all(8 < len(processor.encode(text)) < 16 for text in found)
    # A file of these documents alone that is loaded whole gives the same.
    assert found == validation_windows(make_recipe(texts[3:6], streaming=False), processor)


def test_no_more_of_a_stream_is_read_than_is_needed(make_recipe, processor, monkeypatch):
    read = []

    class Texts(list):
        def take(self, count):
            return ({"text": read.append(text) or text} for text in self[:count])

    monkeypatch.setattr(validation, "load_texts", lambda source: Texts([TEXTS[1][:3], *[TEXTS[0]] * 1000]))
    assert len(validation_windows(make_recipe([TEXTS[0]]), processor)) == 3
    assert len(read) == 4
    # Nor to its end, however large it is, where nothing is long enough.
    read.clear()
    monkeypatch.setattr(validation, "load_texts", lambda source: Texts(["short"] * 10_000))
    with pytest.raises(RecipeError, match="evaluation.window: no document of validation_data has 12 tokens"):
        validation_windows(make_recipe([TEXTS[0]]), processor)
    assert len(read) == 3 * validation.LOOKED_AT


def test_loaded_data_are_spread_over(make_recipe, processor):
    texts = [f"{number} {TEXTS[0]}" * 2 for number in range(9)]
    recipe = make_recipe(texts, streaming=False)
    assert recipe.validation_data == [DataSource(recipe.validation_data[0].path)]
    assert len(validation_windows(recipe, processor)) == 3


def test_texts_of_an_encoder_that_reads_no_ids(make_recipe, tokenizer):
    """Of as many tokens, whatever characters lie at their ends; what its pictures do not show is left out at once."""
    processor = model_of(tokenizer).processor
    (found,) = validation_windows(make_recipe(["短い文章です" * 9], windows=1), processor)
    assert 9 <= len(processor.encode(found)) <= 12 and found in "短い文章です" * 2
    processor = model_of_lines().processor
    recipe = make_recipe([LINE * 24, "Who is it? " * 24], windows=2)
    recipe.evaluation["ratios"] = [2, 4]
    (found,) = validation_windows(recipe, processor)
    assert found.startswith("Who is it?") and found in "Who is it? " * 24
    recipe = make_recipe([LINE * 24])
    recipe.evaluation["ratios"] = [2, 4]
    with pytest.raises(RecipeError, match="or the encoder cannot read them at evaluation.ratios; take fewer, or lower"):
        validation_windows(recipe, processor)
