"""Every mistake of a recipe is found before anything is loaded. Run: pytest tests/training/test_bad_recipes.py"""

from unittest.mock import Mock

import pytest

from c3 import train_hf
from c3.training.checks import RecipeError
from c3.training.recipe.recipe import Recipe

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
    ({"model.projector": "conv"}, "model: projector must be one of linear, mlp, tanh, not 'conv'"),
    ({"model.encoder_config.model_type": "qwen1"}, "model: encoder_config has an unknown model_type 'qwen1'"),
    # Combinations that cannot be.
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
    ({"objectives": {"instruction_on_text": 1}}, "objectives.instruction_on_text needs instruction_data"),
    ({"init_config": {"ratio_range": [2, 8]}}, "init_config changes the config of init_from, which is not there"),
    (
        {"init_from": "org/c3", "model": None, "tokenizer": None, "init_config": {"window": 9}},
        "init_config: unknown key window; did you mean default_window?",
    ),
    (
        {"curriculum": [{"until": 1, "windows": [64], "ratios": [4, 8], "objective_ratios": {"asking": [2, 4]}}]},
        "curriculum: objective_ratios: 'asking' is none of reconstruction, continuation, instruction",
    ),
    (
        {"curriculum": [{"until": 1, "windows": [64], "ratios": [4, 8], "objective_ratios": {"instruction": [4, 2]}}]},
        "curriculum: ratios must be .lowest, highest., whole and at least 1, not .4, 2.",
    ),
    (
        {
            "curriculum": [
                {"until": 1, "windows": [64], "num_latents": [4], "objective_ratios": {"instruction": [4, 4]}}
            ]
        },
        "curriculum: objective_ratios are {objective: .lowest, highest.}, beside ratios and not num_latents",
    ),
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
def test_stages_that_the_model_of_a_pair_cannot_take(fields, stage, message, recipe_values):
    """Neither of the two is loaded: they are nowhere."""
    for name in ("model", "tokenizer", "dropout_windows"):
        recipe_values.pop(name)
    evaluation = stage.pop("evaluation", recipe_values["evaluation"])
    pair = {"init_from_pair": PAIR | {"num_latents": 64} | fields, "evaluation": evaluation}
    stages = [{"name": "first"}, {"name": "second"} | stage]
    if stage:
        message = f"^stages: (first|second): .*{message}"
    with pytest.raises(RecipeError, match=message):
        Recipe(**recipe_values | pair | {"stages": stages})
    assert Recipe(**recipe_values | {"init_from_pair": PAIR | {"num_latents": 64}, "stages": stages[:1]})


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_bad_recipes(changes, message, load_changed):
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        load_changed(changes)


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
def test_packages_that_are_not_installed(changes, package, message, load_changed, monkeypatch):
    installed = set()
    for module in ("liger", "attention"):
        monkeypatch.setattr(f"c3.training.devices.{module}.find_spec", lambda name: name in installed or None)
    with pytest.raises(RecipeError, match=message):
        load_changed(changes)
    installed.add(package)
    assert load_changed(changes)


def test_appended_layout_with_enough_latents(load_changed):
    assert load_changed({"model.latent_position_layout": "appended"})


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
def test_missing_files(changes, message, load_changed):
    with pytest.raises(FileNotFoundError, match=message):
        load_changed(changes)


def test_a_reader_that_is_gone_is_no_fault_of_the_recipe(training_folder, monkeypatch, capsys):
    monkeypatch.setattr("c3.training.run.dry_run.dry_run", lambda recipe, devices: "told")
    monkeypatch.setattr("c3.training.command.print", Mock(side_effect=BrokenPipeError), raising=False)
    with pytest.raises(SystemExit) as stop:
        train_hf.main([str(training_folder / "recipe.yaml"), "--dry-run"])
    assert stop.value.code == 141
