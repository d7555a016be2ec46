"""Recipes: files, overrides and stages. Run: pytest tests/training/test_recipe.py"""

from pathlib import Path

import pytest
import yaml

from c3.training.checks import RecipeError
from c3.training.data.curriculum import Phase
from c3.training.data.documents import DataSource
from c3.training.recipe.recipe import Recipe
from c3.training.recipe.recipe_file import load_recipe


def test_a_good_recipe(load_changed):
    recipe = load_changed()
    assert recipe.train_data == [DataSource("train.txt")]
    assert recipe.validation_data == [DataSource("validation.txt")]
    assert recipe.curriculum == [Phase(0.5, [32], [4, 4]), Phase(1, [64], [4, 8])]
    assert recipe.longest_window == 64
    assert (recipe.random_windows, recipe.torch_compile, recipe.dtype) == (0.0, False, "float32")
    config = recipe.model_config(290, pad_token_id=7)
    assert config.encoder_config.vocab_size == config.decoder_config.vocab_size == 290
    assert config.decoder_config.pad_token_id == 7 and config.window == 64
    assert Recipe(**vars(recipe)) == recipe


def test_overrides(load_changed):
    recipe = load_changed(
        None,
        "training.max_steps=20",
        "model.encoder_config.num_hidden_layers=1",
        "optimizer.lr=1e-3",
        "output_dir=a=b",
        "curriculum=[{until: 1.0, windows: [16], ratios: [2, 2]}]",
        "dtype=bfloat16",
    )
    assert recipe.training["max_steps"] == 20
    assert recipe.model["encoder_config"]["num_hidden_layers"] == 1
    assert recipe.model["decoder_config"]["num_hidden_layers"] == 2
    assert recipe.optimizer["lr"] == 0.001
    assert recipe.output_dir == "a=b" and recipe.dtype == "bfloat16"
    assert recipe.longest_window == 16


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.max_steps", "Overrides are written key=value, not 'training.max_steps'"),
        ("output_dir.name=a", "output_dir.name: output_dir holds no keys of its own"),
        ("curriculum.0.until=1", "curriculum holds no keys of its own"),
        ("trainig.max_steps=2", "recipe: unknown key trainig; did you mean training?"),
        ("training.max_steps=[", r"training.max_steps=\[ is not YAML"),
    ],
)
def test_bad_overrides(override, message, load_changed):
    with pytest.raises(RecipeError, match=message):
        load_changed(None, override)


def test_an_alias_is_not_one_object(recipe_values, tmp_path):
    backbone = recipe_values["model"]["encoder_config"]
    recipe_values["model"]["decoder_config"] = backbone
    text = yaml.safe_dump(recipe_values)
    assert "&id001" in text
    (tmp_path / "recipe.yaml").write_text(text)
    model = load_recipe(tmp_path / "recipe.yaml", ["model.decoder_config.num_hidden_layers=3"]).model
    assert (model["encoder_config"]["num_hidden_layers"], model["decoder_config"]["num_hidden_layers"]) == (2, 3)


def test_numbers_with_exponents(tmp_path, load_changed):
    load_changed()
    path = tmp_path / "recipe.yaml"
    path.write_text(path.read_text().replace("lr: 0.003", "lr: 3e-3"))
    assert load_recipe(path).optimizer["lr"] == 0.003


def test_the_home_folder_in_output_dir(load_changed, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    recipe = load_changed({"output_dir": "~/run", "stages": [{"name": "a"}]})
    assert recipe.output_dir == str(tmp_path / "home" / "run")
    assert recipe.stage_recipes()[0].output_dir == str(tmp_path / "home" / "run" / "1-a")


def test_a_checkpoint_or_hub_id_to_go_on_from(load_changed, tmp_path):
    (tmp_path / "final").mkdir()
    for name in ("org/c3", str(tmp_path / "final")):
        assert load_changed({"init_from": name, "model": None, "tokenizer": None}).init_from == name
    assert load_changed({"tokenizer": "org/tokenizer"}).tokenizer == "org/tokenizer"


def test_stages_take_over_what_they_do_not_set(load_changed):
    recipe = load_changed(
        {
            "stages": [
                {"name": "align", "objectives": {"continuation": 1}, "optimizer": {"lr": 0.1}},
                {
                    "name": "all",
                    "training": {"max_steps": 3},
                    "learning_rates": {"encoder": 0.2},
                    "dropout_halved_above": 16,
                },
            ]
        }
    )
    align, everything = recipe.stage_recipes()
    assert (align.output_dir, everything.output_dir) == (str(Path("run/1-align")), str(Path("run/2-all")))
    assert align.optimizer == {"name": "muon", "lr": 0.1, "muon_lr": 0.02}
    assert (align.objectives, everything.objectives) == ({"continuation": 1}, {"reconstruction": 1.0})
    assert align.training["max_steps"] == 10
    assert everything.training == {"max_steps": 3, "eval_strategy": "steps", "eval_steps": 5}
    assert (align.learning_rates, everything.learning_rates) == ({}, {"encoder": 0.2})
    assert (align.dropout_halved_above, everything.dropout_halved_above) == (None, 16)
    assert load_changed().stage_recipes() == [load_changed()]


def test_files_that_are_no_recipes(tmp_path):
    with pytest.raises(FileNotFoundError, match="No such recipe: .*missing.yaml"):
        load_recipe(tmp_path / "missing.yaml")
    for text, message in (
        (b"- a\n- b\n", "is not a recipe: it must hold keys"),
        (b"a: [", "recipe.yaml is not YAML"),
        (b"a: \xff", "recipe.yaml is not UTF-8 text"),
    ):
        (tmp_path / "recipe.yaml").write_bytes(text)
        with pytest.raises(RecipeError, match=message):
            load_recipe(tmp_path / "recipe.yaml")
