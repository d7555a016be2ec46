"""Keys of a recipe that say which weights are trained, and how: `trainable`, `learning_rates`, `lora`, `optimizer`."""

import inspect

from c3.training.checks import RecipeError, check_integer, check_number, checked, reject_unknown
from c3.training.optim.lora import LoraSettings
from c3.training.optim.optimizers import OPTIMIZERS
from c3.training.optim.parts import MODEL_PARTS


def check_parts(recipe):
    """Raises `RecipeError` for parts, rates of parts or adapters that cannot be trained."""
    reject_unknown("trainable", recipe.trainable, MODEL_PARTS)
    if not recipe.trainable:
        raise RecipeError(f"trainable: name at least one of {', '.join(MODEL_PARTS)}.")
    if recipe.lora is not None:
        if recipe.trainable != list(MODEL_PARTS):
            raise RecipeError("lora says itself what is trained: leave out trainable.")
        recipe.lora = checked(LoraSettings, "lora", recipe.lora)
    if recipe.hub is not None:
        pair = recipe.init_from_pair or {}
        bases = recipe.init_from, pair.get("encoder"), pair.get("decoder")
        recipe.hub.check_adapter(recipe.lora, [each for each in bases if each])
    reject_unknown("learning_rates", recipe.learning_rates, MODEL_PARTS)
    for part, rate in recipe.learning_rates.items():
        if part not in recipe.trainable:
            raise RecipeError(f"learning_rates.{part}: this part is not trained; add it to trainable or drop it.")
        check_number(f"learning_rates.{part}", rate, 1e-12, 10)


def check_optimizer(recipe):
    """Raises `RecipeError` for an optimizer that is not there, or a setting that it does not take."""
    name = recipe.optimizer.get("name")
    if name not in OPTIMIZERS:
        raise RecipeError(f"optimizer.name must be one of {', '.join(OPTIMIZERS)}, not {name!r}.")
    if name == "muon" and not {"encoder", "decoder"} & set(recipe.trainable):
        raise RecipeError(f"optimizer.name: muon is for backbones, but trainable is {recipe.trainable}; take adamw.")
    known = {"name", *inspect.signature(OPTIMIZERS[name]).parameters} - {"model", "learning_rates"}
    reject_unknown("optimizer", recipe.optimizer, sorted(known))
    for key, value in recipe.optimizer.items():
        if key != "name" and isinstance(value, str):
            raise RecipeError(f"optimizer.{key} must be a number, not {value!r}.")
    for key in ("lr", "muon_lr"):
        if key in recipe.optimizer:
            check_number(f"optimizer.{key}", recipe.optimizer[key], 1e-12, 10)
    for key, least, most in (("weight_decay", 0, 10), ("momentum", 0, 1), ("eps", 0, 1)):
        if key in recipe.optimizer:
            check_number(f"optimizer.{key}", recipe.optimizer[key], least, most)
    betas = recipe.optimizer.get("betas", [0.9, 0.95])
    if not isinstance(betas, (list, tuple)) or len(betas) != 2 or not all(map(_is_share, betas)):
        raise RecipeError(
            f"optimizer.betas must be two numbers from 0 to below 1, for example [0.9, 0.95], not {betas!r}."
        )
    if "ns_steps" in recipe.optimizer:
        check_integer("optimizer.ns_steps", recipe.optimizer["ns_steps"])


def _is_share(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1
