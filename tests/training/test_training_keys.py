"""The key `training` of a recipe. Run: pytest tests/training/test_training_keys.py"""

from dataclasses import field, fields

import pytest
from transformers import TrainingArguments

from c3.training.checks import RecipeError
from c3.training.recipe.training_keys import ALLOWED, ELSEWHERE

BAD = [
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
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_bad_settings(changes, message, load_changed):
    with pytest.raises(RecipeError, match=message):
        load_changed(changes)


@pytest.mark.parametrize("key", ELSEWHERE)
def test_settings_that_a_recipe_has_elsewhere(key, load_changed):
    with pytest.raises(RecipeError, match=f"training.{key} has no effect in a recipe: set {ELSEWHERE[key]} instead"):
        load_changed({f"training.{key}": 1})


def test_settings_that_are_not_supported(load_changed):
    """Whatever is not allowed, of this version of transformers and of later ones."""
    known = {each.name for each in fields(TrainingArguments) if each.init}
    assert set(ALLOWED) | set(ELSEWHERE) <= known and not set(ALLOWED) & set(ELSEWHERE)
    refused = known - set(ALLOWED) - set(ELSEWHERE)
    # What would break a promise, and what would do nothing.
    assert {"save_only_model", "ignore_data_skip", "enable_jit_checkpoint", "dataloader_pin_memory"} <= refused
    for key in refused:
        with pytest.raises(RecipeError, match=f"training.{key} is not supported by a recipe; training/recipe/"):
            load_changed({f"training.{key}": 1})


def test_settings_of_later_versions(load_changed, monkeypatch):
    """New ones are refused, and those that a version does not have are unknown."""
    without = [each for each in fields(TrainingArguments) if each.name != "torch_empty_cache_steps"]
    later = field()
    later.name = "cache_everything"
    monkeypatch.setattr("c3.training.recipe.training_keys.fields", lambda _: [*without, later])
    with pytest.raises(RecipeError, match="training.cache_everything is not supported by a recipe"):
        load_changed({"training.cache_everything": True})
    with pytest.raises(RecipeError, match="training: unknown key torch_empty_cache_steps"):
        load_changed({"training.torch_empty_cache_steps": 2})


def test_the_best_model_is_kept_with_early_stopping(load_changed):
    """Unless the recipe says otherwise; then the last one needs no checkpoint of its own."""
    together = {"training.save_steps": 5}
    assert load_changed({"early_stopping_patience": 2} | together).training["load_best_model_at_end"] is True
    assert load_changed({"early_stopping_patience": 2, "training.save_strategy": "best"})
    last = load_changed(
        {"early_stopping_patience": 2, "training.load_best_model_at_end": False, "training.save_steps": 3}
    )
    assert last.training["load_best_model_at_end"] is False
    assert "load_best_model_at_end" not in load_changed(together).training


def test_an_evaluation_that_is_left_for_now(load_changed):
    assert load_changed(None, "training.eval_strategy=no").evaluation
