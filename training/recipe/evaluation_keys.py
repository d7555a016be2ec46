"""The key `evaluation` of a recipe, and when `training` says to evaluate."""

from c3.training.checks import RecipeError, check_integer, check_number, reject_unknown

EVALUATION = ("ratios", "windows", "window")


def check_evaluation(recipe):
    """Raises `RecipeError` for an evaluation that is not whole, or that nothing asks for."""
    evaluates = recipe.training.get("eval_strategy", "no") != "no"
    if not recipe.evaluation:
        if recipe.validation_data or evaluates:
            raise RecipeError(f"evaluation: give {', '.join(EVALUATION)} to evaluate on validation_data.")
        return
    reject_unknown("evaluation", recipe.evaluation, EVALUATION)
    if "eval_strategy" not in recipe.training:
        raise RecipeError(
            "evaluation needs training.eval_strategy: steps, and training.eval_steps; or `no` to leave it for now."
        )
    missing = [name for name in EVALUATION if name not in recipe.evaluation]
    if missing or not recipe.validation_data:
        raise RecipeError(f"evaluation needs {', '.join(missing or ['validation_data'])}.")
    for name in ("windows", "window"):
        check_integer(f"evaluation.{name}", recipe.evaluation[name])
    ratios = recipe.evaluation["ratios"]
    if not isinstance(ratios, list) or not ratios:
        raise RecipeError(f"evaluation.ratios must be a list of numbers, not {ratios!r}.")
    for ratio in ratios:
        check_number("evaluation.ratios", ratio, 1, recipe.evaluation["window"])
    metric, measured = recipe.training.get("metric_for_best_model"), ["precision"]
    measured += [f"precision_{ratio:g}x" for ratio in ratios]
    if metric is not None and str(metric).removeprefix("eval_") not in measured:
        raise RecipeError(f"training.metric_for_best_model must be one of {', '.join(measured)}, not {metric!r}.")
