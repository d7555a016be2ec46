"""The key `stages` of a recipe."""

from contextlib import contextmanager
from pathlib import Path

from c3.training.checks import RecipeError, reject_unknown

# What a stage may set for itself.
STAGE_KEYS = (
    "trainable",
    "learning_rates",
    "curriculum",
    "objectives",
    "continuation_length",
    "tokens_per_batch",
    "dropout_windows",
    "dropout_halved_above",
    "random_windows",
    "optimizer",
    "early_stopping_patience",
    "training",
)


def check_stages(recipe):
    """Raises `RecipeError` for stages that cannot be; their values are checked as those of recipes."""
    for stage in recipe.stages:
        if not isinstance(stage, dict) or not isinstance(stage.get("name"), str):
            raise RecipeError(f"stages: each needs a name and values of its own, not {stage!r}.")
        if not stage["name"] or Path(stage["name"]).name != stage["name"]:
            raise RecipeError(f"stages: a name is also that of a folder, which {stage['name']!r} cannot be.")
        reject_unknown(f"stages: {stage['name']}", stage, ("name", *STAGE_KEYS))
    if recipe.lora is not None and len(recipe.stages) > 1:
        raise RecipeError(
            "lora, stages: adapters are trained in one stage; run the stages first, and then a recipe with lora "
            "and init_from."
        )


def stage_values(recipe, stage):
    """What a stage (`dict`) sets for itself, `dict`: `optimizer` and `training` are merged with the recipe's."""
    return {
        key: getattr(recipe, key) | value if key in ("optimizer", "training") and isinstance(value, dict) else value
        for key, value in stage.items()
        if key != "name"
    }


@contextmanager
def in_stage(name):
    """Names the stage in errors; None for a recipe that has none."""
    try:
        yield
    except RecipeError as error:
        if name is None:
            raise
        raise RecipeError(f"stages: {name}: {error}") from error
