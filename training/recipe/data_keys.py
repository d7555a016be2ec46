"""Keys of a recipe that say what is trained on: sources, objectives, curriculum."""

from c3.training.checks import RecipeError, check_integer, check_number, checked, reject_unknown
from c3.training.data.curriculum import Phase, check_curriculum
from c3.training.data.objectives import OBJECTIVES
from c3.training.data.sources import GeneratedSource, check_sources


def check_data(recipe):
    """Raises `RecipeError`, `ValueError` or `FileNotFoundError` for what cannot be trained on."""
    for name in ("train_data", "validation_data", "instruction_data"):
        setattr(recipe, name, check_sources(name, getattr(recipe, name)))
    _check_objectives(recipe)
    _check_sources(recipe)
    if not isinstance(recipe.curriculum, list) or not recipe.curriculum:
        example = "{until: 1.0, windows: [256], ratios: [4, 16]}"
        raise RecipeError(f"curriculum: give a list of phases, for example [{example}].")
    recipe.curriculum = [checked(Phase, "curriculum", phase) for phase in recipe.curriculum]
    check_curriculum(recipe.curriculum)
    if recipe.dropout_halved_above is not None and not recipe.dropout_windows:
        raise RecipeError("dropout_halved_above: there is no dropout to halve; set dropout_windows, or leave it out.")
    check_integer("tokens_per_batch", recipe.tokens_per_batch)
    if recipe.tokens_per_batch < recipe.longest_text:
        what = "window" if recipe.longest_text == recipe.longest_window else "row of chunks"
        raise RecipeError(
            f"tokens_per_batch ({recipe.tokens_per_batch}) must not be below the longest {what} of the curriculum "
            f"({recipe.longest_text})."
        )


def _check_objectives(recipe):
    """Raises `RecipeError` for objectives that are unknown, that have no data, or that the model is not for."""
    reject_unknown("objectives", recipe.objectives, OBJECTIVES)
    for name, weight in recipe.objectives.items():
        check_number(f"objectives.{name}", weight, 0, float("inf"))
    wanted = recipe.text_objectives + recipe.row_objectives
    if not wanted:
        raise RecipeError("objectives: give at least one a weight above 0.")
    for name in wanted:
        OBJECTIVES[name].check(name, recipe)
    if (recipe.model or recipe.init_from_pair or {}).get("reconstruction_only") and not recipe.reconstruction_only:
        raise RecipeError("reconstruction_only: the objectives train for more; leave it out.")


def _check_sources(recipe):
    """Raises `RecipeError` for sources that stream where they cannot, or of which some alone have weights."""
    if any(source.streaming for source in recipe.instruction_data):
        raise RecipeError("streaming is for train_data and validation_data: instruction_data are read whole.")
    if recipe.streams:
        if not all(source.streaming for source in recipe.train_data):
            generated = [source.path for source in recipe.train_data if isinstance(source, GeneratedSource)]
            why = f": what is generated ({generated[0]}) does not" if generated else ""
            raise RecipeError(f"train_data: either all sources stream or none{why}.")
        if isinstance(recipe.tokenizer, dict):
            raise RecipeError("tokenizer: it is trained on data that are read whole, not on streaming ones.")
    weights = [source.weight for source in recipe.train_data]
    if any(weight is not None for weight in weights):
        for weight in weights:
            if not isinstance(weight, (int, float)) or isinstance(weight, bool) or not 0 < weight < float("inf"):
                raise RecipeError(f"train_data: give every source a weight above 0, or none; found {weight!r}.")
