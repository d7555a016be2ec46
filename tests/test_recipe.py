"""Recipes: every mistake is found before anything is loaded. Run: pytest tests/test_recipe.py"""

import copy
import json
from dataclasses import field, fields
from pathlib import Path

import pytest
import torch
import yaml
from transformers import TrainingArguments

from c3.configuration_c3 import OWN_FIELDS
from c3.training.checks import RecipeError
from c3.training.data.curriculum import Phase
from c3.training.data.documents import DataSource
from c3.training.optim.orthogonalise import product_dtype
from c3.training.recipe.origin_keys import BACKBONES
from c3.training.recipe.recipe import Recipe
from c3.training.recipe.recipe_file import load_recipe
from c3.training.recipe.training_keys import ALLOWED, ELSEWHERE

ROOT = Path(__file__).parents[1]


@pytest.fixture
def values(tmp_path, monkeypatch):
    """A recipe that may be run."""
    monkeypatch.chdir(tmp_path)
    for name in ("train.txt", "validation.txt"):
        (tmp_path / name).write_text("text")
    backbone = {"model_type": "qwen3", "hidden_size": 32, "num_hidden_layers": 2, "rope_theta": 5e5}
    return {
        "output_dir": "run",
        "train_data": "train.txt",
        "validation_data": ["validation.txt"],
        "tokenizer": {"vocab_size": 300},
        "model": {
            "latent_position_layout": "uniform",
            "window": 64,
            "num_latents": 16,
            "use_mask_embedding": True,
            "encoder_config": backbone,
            "decoder_config": copy.deepcopy(backbone),
        },
        "curriculum": [
            {"until": 0.5, "windows": [32], "ratios": [4, 4]},
            {"until": 1, "windows": [64], "ratios": [4, 8]},
        ],
        "tokens_per_batch": 256,
        "dropout_windows": 0.5,
        "optimizer": {"name": "muon", "lr": 0.003, "muon_lr": 0.02},
        "evaluation": {"ratios": [4, 8.5], "windows": 2, "window": 64},
        "training": {"max_steps": 10, "eval_strategy": "steps", "eval_steps": 5},
    }


@pytest.fixture
def load(values, tmp_path):
    """Loads the recipe with keys replaced: `load({"model.window": 8}, "key=value")`; None removes one."""

    def load(changes=None, *overrides):
        changed = copy.deepcopy(values)
        for key, value in (changes or {}).items():
            *parents, last = key.split(".")
            target = changed
            for parent in parents:
                target = target[parent]
            if value is None:
                target.pop(last)
            else:
                target[last] = value
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(changed))
        return load_recipe(path, overrides)

    return load


def test_a_good_recipe(load):
    recipe = load()
    assert recipe.train_data == [DataSource("train.txt")]
    assert recipe.validation_data == [DataSource("validation.txt")]
    assert recipe.curriculum == [Phase(0.5, [32], [4, 4]), Phase(1, [64], [4, 8])]
    assert recipe.longest_window == 64
    assert (recipe.random_windows, recipe.torch_compile, recipe.dtype) == (0.0, False, "float32")
    config = recipe.model_config(290, pad_token_id=7)
    assert config.encoder_config.vocab_size == config.decoder_config.vocab_size == 290
    assert config.decoder_config.pad_token_id == 7 and config.window == 64
    assert Recipe(**vars(recipe)) == recipe


def test_overrides(load):
    recipe = load(
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
def test_bad_overrides(override, message, load):
    with pytest.raises(RecipeError, match=message):
        load(None, override)


def test_an_alias_is_not_one_object(values, tmp_path):
    backbone = values["model"]["encoder_config"]
    values["model"]["decoder_config"] = backbone
    text = yaml.safe_dump(values)
    assert "&id001" in text
    (tmp_path / "recipe.yaml").write_text(text)
    model = load_recipe(tmp_path / "recipe.yaml", ["model.decoder_config.num_hidden_layers=3"]).model
    assert (model["encoder_config"]["num_hidden_layers"], model["decoder_config"]["num_hidden_layers"]) == (2, 3)


def test_numbers_with_exponents(tmp_path, load):
    load()
    path = tmp_path / "recipe.yaml"
    path.write_text(path.read_text().replace("lr: 0.003", "lr: 3e-3"))
    assert load_recipe(path).optimizer["lr"] == 0.003


BAD = [
    # Unknown keys, at every level.
    ({"curiculum": []}, "recipe: unknown key curiculum; did you mean curriculum?"),
    ({"zzz": 1}, "recipe: unknown key zzz; known are output_dir, train_data"),
    ({"model.num_latent": 8}, "model: unknown key num_latent; did you mean num_latents?"),
    ({"model.encoder_config.hiden_size": 8}, "model.encoder_config: unknown key hiden_size; did you mean hidden_size?"),
    ({"model.decoder_config.zzz": 8}, "model.decoder_config: unknown key zzz; see transformers' documentation"),
    ({"tokenizer.vocab": 300}, "tokenizer: unknown key vocab; did you mean vocab_size?"),
    (
        {"curriculum": [{"until": 1.0, "window": [64], "ratios": [4, 4]}]},
        "curriculum: unknown key window; did you",
    ),
    ({"optimizer.beta": 0.9}, "optimizer: unknown key beta; did you mean betas?"),
    ({"optimizer.model": 1}, "optimizer: unknown key model"),
    ({"optimizer": {"name": "adamw", "muon_lr": 0.1}}, "optimizer: unknown key muon_lr"),
    ({"evaluation.ratio": 4}, "evaluation: unknown key ratio; did you mean ratios?"),
    ({"training.evaluation_strategy": "no"}, "training: unknown key evaluation_strategy; did you mean eval_strategy?"),
    (
        {"training.remove_unused_columns": True},
        "training.remove_unused_columns is not supported by a recipe; training/",
    ),
    # Missing keys.
    ({"output_dir": None}, "recipe: the key output_dir is missing"),
    ({"train_data": []}, "train_data: name at least one file or dataset"),
    ({"curriculum": None}, "curriculum: give a list of phases, for example"),
    ({"curriculum": [{"until": 1.0, "windows": [64]}]}, "give every phase either ratios or num_latents"),
    ({"tokenizer": None}, "tokenizer: give a folder, a Hub id"),
    ({"tokenizer": {}}, "tokenizer.vocab_size must be an integer of 257 or more, not None"),
    ({"model.encoder_config": None}, "model.encoder_config must be keys and values with a model_type, not None"),
    ({"model.encoder_config.model_type": None}, "model: encoder_config must name its model_type"),
    ({"training.max_steps": None}, "training.max_steps must be an integer of 1 or more, not None"),
    ({"evaluation.window": None}, "evaluation needs window"),
    ({"validation_data": None}, "evaluation needs validation_data"),
    ({"evaluation": None}, "evaluation: give ratios, windows, window to evaluate on validation_data"),
    ({"evaluation": None, "validation_data": None}, "evaluation: give ratios, windows, window"),
    # Wrong values.
    ({"output_dir": 3}, "output_dir must be a folder, not 3"),
    ({"output_dir": ""}, "output_dir must be a folder, not ''"),
    ({"train_data": 3}, "train_data must be a file or a dataset, or a list of them, not 3"),
    ({"curriculum": 3}, "curriculum: give a list of phases"),
    ({"curriculum": ["all"]}, "curriculum: expected keys and values, not 'all'"),
    ({"curriculum": [{"until": 0.5, "windows": [64], "ratios": [4, 4]}]}, "`until` must rise"),
    ({"tokens_per_batch": "many"}, "tokens_per_batch must be an integer of 1 or more, not 'many'"),
    ({"dropout_windows": 1.5}, "dropout_windows must be a number between 0 and 1, not 1.5"),
    ({"random_windows": True}, "random_windows must be a number between 0 and 1, not True"),
    ({"optimizer.name": "sgd"}, "optimizer.name must be one of muon, adamw, not 'sgd'"),
    ({"optimizer.lr": "fast"}, "optimizer.lr must be a number, not 'fast'"),
    ({"attn_implementation": "spda"}, "attn_implementation must be one of eager, sdpa, .*, cpu_matmul, not 'spda'"),
    ({"attn_implementation": True}, "attn_implementation must be one of eager, sdpa, .*, not True"),
    ({"optimizer.betas": [0.9]}, "optimizer.betas must be two numbers from 0 to below 1, .* not .0.9."),
    ({"optimizer.betas": 3}, "optimizer.betas must be two numbers from 0 to below 1, .* not 3"),
    ({"optimizer.ns_steps": 0}, "optimizer.ns_steps must be an integer of 1 or more, not 0"),
    ({"optimizer.betas": [0.9, 1.0]}, "optimizer.betas must be two numbers from 0 to below 1"),
    ({"optimizer.momentum": [0.9]}, "optimizer.momentum must be a number between 0 and 1"),
    ({"torch_compile": "yes please"}, "torch_compile must be true or false"),
    ({"training": [1]}, r"training must be keys and values, not \[1\]"),
    ({"training.max_steps": 0}, "training.max_steps must be an integer of 1 or more, not 0"),
    ({"tokenizer": {"vocab_size": 256}}, "tokenizer.vocab_size must be an integer of 257 or more, not 256"),
    ({"tokenizer": 300}, "tokenizer must be a folder or a Hub id, not 300"),
    ({"evaluation.ratios": 4}, "evaluation.ratios must be a list of numbers, not 4"),
    ({"evaluation.ratios": [0.5]}, "evaluation.ratios must be a number between 1 and 64, not 0.5"),
    ({"evaluation.windows": 0}, "evaluation.windows must be an integer of 1 or more, not 0"),
    ({"model.projector": "conv"}, "model: projector must be one of linear, mlp, not 'conv'"),
    ({"model.encoder_config.model_type": "qwen1"}, "model: encoder_config has an unknown model_type 'qwen1'"),
    # Of TrainingArguments.
    (
        {"training.lr_scheduler_type": "square"},
        "training.lr_scheduler_type must be one of linear, cosine, .*, not 'square'",
    ),
    (
        {"training.lr_scheduler_type": "warmup_stable_decay"},
        "training.lr_scheduler_type, training.lr_scheduler_kwargs: .*num_decay_steps",
    ),
    ({"training.accelerator_config": 3}, "training.accelerator_config must be keys and values, not 3"),
    (
        {"training.accelerator_config": {"even_batches": True}},
        "training.accelerator_config: unknown key even_batches; known are non_blocking",
    ),
    ({"training.lr_scheduler_kwargs": 3}, "training.lr_scheduler_kwargs must be keys and values, not 3"),
    ({"training.lr_scheduler_kwargs": {"min": 3}}, "training.lr_scheduler_kwargs: .*unexpected keyword argument 'min'"),
    (
        {"training.lr_scheduler_type": "greedy", "training.eval_strategy": "no"},
        "training.lr_scheduler_type: greedy needs training.eval_strategy and evaluation",
    ),
    ({"training.eval_strategy": "step"}, "training.eval_strategy must be one of no, steps, epoch, not 'step'"),
    ({"training.save_strategy": "ste"}, "training.save_strategy must be one of no, steps, epoch, best, not 'ste'"),
    ({"training.eval_steps": "often"}, "training.eval_steps must be a number, not 'often'"),
    ({"training.save_steps": 2.5}, "training.save_steps must be a whole number of steps, or a share of them, not 2.5"),
    ({"training.logging_steps": 0}, "training.logging_steps must be a whole number of steps"),
    ({"training.warmup_steps": -1}, "training.warmup_steps must be a number between 0 and inf, not -1"),
    ({"training.bf16": "yes please"}, "training.bf16 must be true or false, not 'yes please'"),
    ({"training.save_total_limit": 1.5}, "training.save_total_limit must be a whole number, not 1.5"),
    ({"training.gradient_accumulation_steps": 0}, "training.gradient_accumulation_steps must be an integer of 1 or"),
    ({"training.seed": -1}, "training.seed must be an integer of 0 or more, not -1"),
    ({"training.bf16": True, "training.fp16": True}, "training.fp16 and training.bf16 exclude each other"),
    # Combinations that cannot be.
    (
        {"training.load_best_model_at_end": True, "training.save_steps": 10},
        "training.load_best_model_at_end .* evaluation is every 5 steps and saving every 10 steps: set",
    ),
    (
        {"training.load_best_model_at_end": True, "training.save_steps": 5, "training.save_strategy": "no"},
        "training.load_best_model_at_end .* evaluation is steps and saving no: set",
    ),
    (
        {"training.load_best_model_at_end": True, "training.eval_strategy": "no"},
        "training.load_best_model_at_end needs training.eval_strategy and evaluation",
    ),
    (
        {"early_stopping_patience": 2, "training.save_steps": 500},
        "training.load_best_model_at_end .which early_stopping_patience sets.: .* saving every 500 steps",
    ),
    (
        {"early_stopping_patience": 2, "training.eval_strategy": False},
        "early_stopping_patience needs training.eval_strategy and evaluation",
    ),
    (
        {"training.metric_for_best_model": "loss"},
        "training.metric_for_best_model must be one of precision, precision_4x, precision_8.5x, not 'loss'",
    ),
    ({"training.eval_strategy": None}, "evaluation needs training.eval_strategy: steps, and training.eval_steps"),
    ({"model.tie_word_embeddings": True, "model.encoder_config.hidden_size": 48}, "model: tie_word_embeddings needs"),
    ({"model.window": 32}, "curriculum: windows of 64 tokens are above the model's window of 32"),
    ({"tokens_per_batch": 63}, r"tokens_per_batch \(63\) must not be below the longest window .* \(64\)"),
    ({"model.use_mask_embedding": False}, "dropout_windows needs a model with use_mask_embedding: true"),
    (
        {"model.latent_position_layout": "appended", "model.num_latents": 15},
        "the lowest ratio asks for 16 latents, but with the appended layout there are at most num_latents, 15",
    ),
    (
        {"model.latent_position_layout": "appended", "evaluation.ratios": [2]},
        "the lowest ratio asks for 32 latents, but with the appended layout there are at most num_latents, 16",
    ),
    ({"init_from": "org/c3"}, "Give exactly one of model, init_from, init_from_pair, not model and init_from"),
    ({"model": None}, "Give exactly one of model, init_from, init_from_pair, not none"),
    ({"init_from": "org/c3", "model": {}}, "init_from brings its own tokenizer: leave out `tokenizer`"),
    ({"init_from_pair": {"encoder": "a"}, "model": None}, "init_from_pair brings its own tokenizer"),
    ({"init_from_pair": {"encoder": "a"}, "model": None, "tokenizer": None}, "init_from_pair.decoder must be a folder"),
    (
        {"init_from_pair": {"encoder": "a", "latents": 3}, "model": None, "tokenizer": None},
        "init_from_pair: unknown key latents; did you mean num_latents?",
    ),
    ({"dtype": "fp32"}, "dtype must be one of float32, bfloat16, float16, not 'fp32'"),
    ({"objectives": {"copying": 1}}, "objectives: unknown key copying; known are reconstruction, continuation"),
    ({"objectives": {"continuation": 0}}, "objectives: give at least one a weight above 0"),
    ({"objectives": {"reconstruction": -1}}, "objectives.reconstruction must be a number between 0 and inf, not -1"),
    ({"objectives": {"instruction": 1}}, "objectives.instruction needs instruction_data"),
    ({"trainable": ["encoders"]}, "trainable: unknown key encoders; did you mean encoder?"),
    ({"trainable": []}, "trainable: name at least one of encoder, queries"),
    ({"trainable": ["queries"]}, "optimizer.name: muon is for backbones, but trainable is"),
    ({"learning_rates": {"queries": 0}}, "learning_rates.queries must be a number between"),
    (
        {"learning_rates": {"queries": 0.1}, "trainable": ["decoder"]},
        "learning_rates.queries: this part is not trained; add it to trainable or drop it",
    ),
    ({"train_data": {"path": "train.txt", "weigth": 1}}, "train_data: unknown key weigth; did you mean weight?"),
    (
        {"train_data": ["train.txt", {"path": "train.txt", "weight": 1}]},
        "train_data: give every source a weight above 0, or none; found None",
    ),
    (
        {"train_data": [{"path": "train.txt", "streaming": True}, "train.txt"], "tokenizer": "org/t"},
        "train_data: either all sources stream or none",
    ),
    *(
        (
            {"train_data": {"path": "train.txt", "keep": keep}},
            f"train_data: keep{where} must be a number above 0 and up",
        )
        for keep, where in ((0, ""), (1.5, ""), ("half", ""), (True, ""), ({"books": 0}, ": books"), ([0.5], ""))
    ),
    ({"train_data": {"path": "train.txt", "keep": {}}}, "train_data: keep: give a share, or shares by the beginnings"),
    ({"train_data": {"path": "train.txt", "keep": {3: 0.5}}}, "train_data: keep: 3 is not how a value of the column"),
    ({"train_data": {"generate": "poems", "characters": 9}}, "generate must be one of exact_strings, not 'poems'"),
    ({"train_data": {"generate": "exact_strings"}}, "train_data: the key characters is missing"),
    (
        {"train_data": {"generate": "exact_strings", "characters": 0}},
        "train_data: characters must be an integer of 1 or more, not 0",
    ),
    (
        {"train_data": {"generate": "exact_strings", "characters": 9, "seed": "a"}},
        "train_data: seed must be an integer of 0 or more, not 'a'",
    ),
    (
        {"train_data": {"generate": "exact_strings", "characters": 9, "column": "text"}},
        "train_data: unknown key column; known are generate, characters, seed, weight",
    ),
    *(
        (
            {"train_data": {"generate": "exact_strings", "characters": 9, key: value}},
            f"train_data: what is generated has no {key}: leave out {key}, or generate",
        )
        for key, value in (("path", "train.txt"), ("streaming", True), ("keep", 0.5))
    ),
    (
        {
            "train_data": [
                {"path": "train.txt", "streaming": True},
                {"generate": "exact_strings", "characters": 9},
            ],
            "tokenizer": "org/t",
        },
        "train_data: either all sources stream or none: what is generated .exact_strings, generated. does not",
    ),
    (
        {"train_data": ["train.txt", {"generate": "exact_strings", "characters": 9, "weight": 1}]},
        "train_data: give every source a weight above 0, or none; found None",
    ),
    (
        {"validation_data": {"generate": "exact_strings", "characters": 9}},
        "validation_data: generate is for train_data",
    ),
    ({"crlf_documents": 2}, "crlf_documents must be a number between 0 and 1, not 2"),
    ({"dropout_halved_above": 0}, "dropout_halved_above must be a number between 1 and inf, not 0"),
    ({"dropout_halved_above": 16, "dropout_windows": 0}, "dropout_halved_above: there is no dropout to halve; set"),
    ({"train_data": {"path": "train.txt", "streaming": True}}, "tokenizer: it is trained on data that are read whole"),
    ({"instruction_data": {"path": "train.txt", "streaming": True}}, "streaming is for train_data and validation_data"),
    ({"lora": {"r": 4}}, "optimizer.name: muon is for whole matrices, not for adapters"),
    ({"lora": {"rank": 4}}, "lora: unknown key rank; known are r, alpha"),
    ({"lora": {"r": 0}}, "lora.r must be an integer of 1 or more"),
    ({"lora": {}, "trainable": ["decoder"]}, "lora says itself what is trained: leave out trainable"),
    ({"lora": {}, "stages": [{"name": "a"}, {"name": "b"}]}, "lora, stages: adapters are trained in one stage"),
    ({"early_stopping_patience": 0}, "early_stopping_patience must be an integer of 1 or more"),
    ({"stages": [{"trainable": ["queries"]}]}, "stages: each needs a name"),
    ({"stages": [{"name": "a/b"}]}, "stages: a name is also that of a folder, which 'a/b' cannot be"),
    ({"stages": [{"name": "a", "output_dir": "b"}]}, "stages: a: unknown key output_dir; known are name, trainable"),
    (
        {"stages": [{"name": "first"}, {"name": "second", "training": {"max_steps": 0}}]},
        "stages: second: training.max_steps must be an integer",
    ),
    (
        {"stages": [{"name": "first"}, {"name": "second", "training": {"lr_scheduler_type": "square"}}]},
        "stages: second: training.lr_scheduler_type must be one of",
    ),
]
PAIR = {"encoder": "org/small", "decoder": "org/large", "window": 64}
BAD_PAIRS = [
    ({}, {"curriculum": [{"until": 1, "windows": [128], "ratios": [4, 4]}]}, "curriculum: windows of 128 tokens are"),
    ({}, {"dropout_windows": 0.5}, "dropout_windows needs a model with use_mask_embedding: true"),
    ({"num_latents": 8}, {"evaluation": {"ratios": [2], "windows": 1, "window": 64}}, "the lowest ratio asks for 32"),
    ({"pooling": "mean"}, {"learning_rates": {"queries": 0.1}}, "a model with pooling: mean has no queries to train"),
    ({"num_latents": 65}, {}, "init_from_pair: num_latents .65. must not exceed window .64."),
    ({"reconstruction_only": True}, {"objectives": {"continuation": 1}}, "reconstruction_only: the objectives train "),
    ({"encoder_config": {}}, {}, "init_from_pair: unknown key encoder_config"),
]


@pytest.mark.parametrize(("fields", "stage", "message"), BAD_PAIRS)
def test_stages_that_the_model_of_a_pair_cannot_take(fields, stage, message, values):
    """Neither of the two is loaded: they are nowhere."""
    for name in ("model", "tokenizer", "dropout_windows"):
        values.pop(name)
    evaluation = stage.pop("evaluation", values["evaluation"])
    pair = {"init_from_pair": PAIR | {"num_latents": 64} | fields, "evaluation": evaluation}
    stages = [{"name": "first"}, {"name": "second"} | stage]
    if stage:
        message = f"^stages: (first|second): .*{message}"
    with pytest.raises(RecipeError, match=message):
        Recipe(**values | pair | {"stages": stages})
    assert Recipe(**values | {"init_from_pair": PAIR | {"num_latents": 64}, "stages": stages[:1]})


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_bad_recipes(changes, message, load):
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        load(changes)


@pytest.mark.parametrize("key", ELSEWHERE)
def test_settings_that_a_recipe_has_elsewhere(key, load):
    with pytest.raises(RecipeError, match=f"training.{key} has no effect in a recipe: set {ELSEWHERE[key]} instead"):
        load({f"training.{key}": 1})


def test_settings_that_are_not_supported(load):
    """Whatever is not allowed, of this version of transformers and of later ones."""
    known = {each.name for each in fields(TrainingArguments) if each.init}
    assert set(ALLOWED) | set(ELSEWHERE) <= known and not set(ALLOWED) & set(ELSEWHERE)
    refused = known - set(ALLOWED) - set(ELSEWHERE)
    # What would break a promise, and what would do nothing.
    assert {"save_only_model", "ignore_data_skip", "enable_jit_checkpoint", "dataloader_pin_memory"} <= refused
    for key in refused:
        with pytest.raises(RecipeError, match=f"training.{key} is not supported by a recipe; training/recipe/"):
            load({f"training.{key}": 1})


def test_settings_of_later_versions(load, monkeypatch):
    """New ones are refused, and those that a version does not have are unknown."""
    without = [each for each in fields(TrainingArguments) if each.name != "torch_empty_cache_steps"]
    later = field()
    later.name = "cache_everything"
    monkeypatch.setattr("c3.training.recipe.training_keys.fields", lambda _: [*without, later])
    with pytest.raises(RecipeError, match="training.cache_everything is not supported by a recipe"):
        load({"training.cache_everything": True})
    with pytest.raises(RecipeError, match="training: unknown key torch_empty_cache_steps"):
        load({"training.torch_empty_cache_steps": 2})


@pytest.mark.parametrize(
    ("changes", "package", "message"),
    [
        ({"liger_kernel": True}, "liger_kernel", "liger_kernel: install the package first: pip install liger-kernel"),
        (
            {"attn_implementation": "flash_attention_2"},
            "flash_attn",
            "attn_implementation: flash_attention_2 needs the package flash-attn or kernels, which is not installed",
        ),
        (
            {"attn_implementation": "kernels-community/flash-attn2"},
            "kernels",
            "attn_implementation: kernels-community/flash-attn2 needs the package kernels, which is not installed",
        ),
    ],
)
def test_packages_that_are_not_installed(changes, package, message, load, monkeypatch):
    installed = set()
    for module in ("liger", "attention"):
        monkeypatch.setattr(f"c3.training.devices.{module}.find_spec", lambda name: name in installed or None)
    with pytest.raises(RecipeError, match=message):
        load(changes)
    installed.add(package)
    assert load(changes)


def test_appended_layout_with_enough_latents(load):
    assert load({"model.latent_position_layout": "appended"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_data": "missing.parquet"}, "No such data file: missing.parquet"),
        ({"validation_data": ["missing.jsonl"]}, "No such data file: missing.jsonl"),
        ({"tokenizer": "./missing"}, "tokenizer: no such folder: ./missing"),
        (
            {"init_from": "runs/missing/final", "model": None, "tokenizer": None},
            "init_from: no such folder",
        ),
    ],
)
def test_missing_files(changes, message, load):
    with pytest.raises(FileNotFoundError, match=message):
        load(changes)


def test_the_best_model_is_kept_with_early_stopping(load):
    """Unless the recipe says otherwise; then the last one needs no checkpoint of its own."""
    together = {"training.save_steps": 5}
    assert load({"early_stopping_patience": 2} | together).training["load_best_model_at_end"] is True
    assert load({"early_stopping_patience": 2, "training.save_strategy": "best"})
    last = load({"early_stopping_patience": 2, "training.load_best_model_at_end": False, "training.save_steps": 3})
    assert last.training["load_best_model_at_end"] is False
    assert "load_best_model_at_end" not in load(together).training


def test_an_evaluation_that_is_left_for_now(load):
    assert load(None, "training.eval_strategy=no").evaluation


def test_the_home_folder_in_output_dir(load, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    recipe = load({"output_dir": "~/run", "stages": [{"name": "a"}]})
    assert recipe.output_dir == str(tmp_path / "home" / "run")
    assert recipe.stage_recipes()[0].output_dir == str(tmp_path / "home" / "run" / "1-a")


def test_a_checkpoint_or_hub_id_to_go_on_from(load, tmp_path):
    (tmp_path / "final").mkdir()
    for name in ("org/c3", str(tmp_path / "final")):
        assert load({"init_from": name, "model": None, "tokenizer": None}).init_from == name
    assert load({"tokenizer": "org/tokenizer"}).tokenizer == "org/tokenizer"


def test_stages_take_over_what_they_do_not_set(load):
    recipe = load(
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
    assert load().stage_recipes() == [load()]


def test_files_that_are_no_recipes(tmp_path):
    with pytest.raises(FileNotFoundError, match="No such recipe: .*missing.yaml"):
        load_recipe(tmp_path / "missing.yaml")
    for text, message in (("- a\n- b\n", "is not a recipe: it must hold keys"), ("a: [", "recipe.yaml is not YAML")):
        (tmp_path / "recipe.yaml").write_text(text)
        with pytest.raises(RecipeError, match=message):
            load_recipe(tmp_path / "recipe.yaml")


@pytest.mark.parametrize("path", sorted(ROOT.glob("configs/*.yaml")), ids=lambda path: path.name)
def test_shipped_recipes(path, tmp_path, monkeypatch):
    """They are right but for data that may not be here."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.txt").write_text("text")
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    data = ["train_data=data.txt"]
    values = yaml.safe_load(path.read_text())
    if "validation_data" in values:
        data.append("validation_data=data.txt")
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
    """Every field that the recipe gives is that of the shipped config.json, and no own field of that is left out."""
    config = json.loads((ROOT / "config.json").read_text(encoding="utf-8"))
    model = shipped("c3_mini.yaml").stage_recipes()[0].model_config(config["decoder_config"]["vocab_size"])
    for name in OWN_FIELDS:
        if not name.endswith("_config"):
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
