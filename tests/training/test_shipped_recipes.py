"""The recipes of configs/. Run: pytest tests/training/test_shipped_recipes.py"""

import json
from pathlib import Path

import pytest
import torch
import yaml

from c3.configuration_c3 import OWN_FIELDS
from c3.eval.baselines import PAGE_READERS
from c3.eval.page_reader import CONFIGS
from c3.training.optim.orthogonalise import product_dtype
from c3.training.recipe.origin_keys import BACKBONES
from c3.training.recipe.recipe_file import load_recipe

ROOT = Path(__file__).parents[2]
RECIPES = sorted(set(ROOT.glob("configs/*.yaml")) - {CONFIGS / each.settings_file for each in PAGE_READERS.values()})


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_shipped_recipes(path, tmp_path, monkeypatch):
    """They are right but for data that may not be here."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.txt").write_text("text")
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    data = ["train_data=data.txt"]
    values = yaml.safe_load(path.read_text())
    if "validation_data" in values:
        data.append("validation_data=data.txt")
    if "instruction_data" in values:
        data.append("instruction_data=data.txt")
    if "init_from" in values:
        data.append("init_from=org/c3")
    assert all(stage.training["max_steps"] > 0 for stage in load_recipe(path, data).stage_recipes())


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """`shipped(name, *overrides)`: a recipe of configs/, the files that it reads taken for being there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("c3.training.data.sources.check_source", lambda source: True)
    return lambda name, *overrides: load_recipe(ROOT / "configs" / name, overrides)


def test_the_default_recipe_is_three_stretches(shipped):
    """One model and one set of texts; whatever else a run on its own may have, a stage has."""
    first, second, third = shipped("c3_mini.yaml").stage_recipes()
    assert (first.dropout_halved_above, third.dropout_halved_above) == (16, None)
    for key in ("model", "tokenizer", "train_data", "crlf_documents", "tokens_per_batch", "dropout_halved_above"):
        assert getattr(first, key) == getattr(second, key), key
    for key in ("max_steps", "seed", "lr_scheduler_type", "warmup_steps", "dataloader_num_workers", "logging_steps"):
        assert first.training[key] != second.training[key], key
    assert "lr_scheduler_kwargs" not in second.training
    assert first.optimizer != second.optimizer and first.curriculum != second.curriculum
    assert shipped("c3_mini_longer.yaml", "init_from=org/c3").train_data == first.train_data


def test_the_default_recipe_makes_the_shipped_architecture(shipped):
    """
    Every field that the recipe gives is that of the shipped config.json, and no own field of that is left out but the
    adapter, which another recipe makes.
    """
    config = json.loads((ROOT / "config.json").read_text(encoding="utf-8"))
    model = shipped("c3_mini.yaml").stage_recipes()[0].model_config(config["decoder_config"]["vocab_size"])
    for name in OWN_FIELDS:
        if not name.endswith("_config") and name != "prompt_adapter":
            assert getattr(model, name) == config[name], name
    for part in BACKBONES:
        for name in ("model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"):
            assert getattr(getattr(model, part), name) == config[part][name], (part, name)


def test_the_next_stretch_starts_from_a_model_of_those_before(shipped, make_model, tmp_path):
    """Its windows are above the default one of the shipped weights, and within those that were trained."""
    window = shipped("c3_mini.yaml").model["window"]
    recipe = shipped("c3_mini_longer.yaml", "init_from=org/c3")
    assert 64 < recipe.longest_window <= window
    recipe.check_stages(make_model(window=window).config)
    assert yaml.safe_load((ROOT / "configs" / "c3_mini_longer.yaml").read_text())["init_from"] == "."


def test_the_laptop_needs_no_gpu(shipped):
    recipe = shipped("c3_laptop.yaml")
    assert recipe.training["use_cpu"] and recipe.attn_implementation == "cpu_matmul" and recipe.model


@pytest.mark.parametrize(
    ("instructions", "fast"),
    [({"avx2"}, False), ({"avx512_f"}, False), ({"avx512_f", "avx512_bf16"}, True), ({"neon", "bf16"}, True)],
)
def test_the_laptop_computes_in_what_its_processor_has_instructions_for(instructions, fast, shipped, monkeypatch):
    """Of the model and of Muon. torch takes bfloat16 with AVX-512 alone, too, where it is slower than float32."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(instructions, True))
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    assert shipped("c3_laptop.yaml").training["bf16"] is fast
    assert (product_dtype(torch.device("cpu")) == torch.bfloat16) == fast
