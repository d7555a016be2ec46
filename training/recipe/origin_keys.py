"""Keys of a recipe that say where the model comes from: `model` and `tokenizer`, `init_from`, `init_from_pair`."""

import inspect
from pathlib import Path

from transformers import CONFIG_MAPPING

from c3.configuration_c3 import INHERITED_FIELDS, OWN_FIELDS, C3Config
from c3.training.checks import RecipeError, check_integer, reject_unknown

BACKBONES = ("encoder_config", "decoder_config")
ORIGINS = ("model", "init_from", "init_from_pair")
# Fields of a checkpoint's config that leave its weights as they are.
INIT_FIELDS = (
    "prompt_template",
    "reconstruction_prompt",
    "prompt_positions",
    "latents_see_chunk",
    "default_window",
    "ratio_range",
    "unreliable_characters",
)
# Backbone settings that transformers takes without listing them as fields.
ROPE_FIELDS = {"rope_theta", "rope_scaling", "partial_rotary_factor"}


def check_origin(recipe):
    """Raises `RecipeError` or `FileNotFoundError` unless a recipe names one origin, with keys that are known."""
    given = [name for name in ORIGINS if getattr(recipe, name)]
    if len(given) != 1:
        raise RecipeError(f"Give exactly one of {', '.join(ORIGINS)}, not {' and '.join(given) or 'none'}.")
    if recipe.init_config:
        if recipe.init_from is None:
            raise RecipeError("init_config changes the config of init_from, which is not there: leave it out.")
        reject_unknown("init_config", recipe.init_config, INIT_FIELDS)
    if not recipe.model:
        if recipe.tokenizer is not None:
            raise RecipeError(f"{given[0]} brings its own tokenizer: leave out `tokenizer`.")
        if recipe.init_from is not None:
            _check_checkpoint("init_from", recipe.init_from)
            return
        if not isinstance(recipe.init_from_pair, dict):
            raise RecipeError(f"init_from_pair must be keys and values, not {recipe.init_from_pair!r}.")
        known = [name for name in OWN_FIELDS if name not in BACKBONES]
        reject_unknown("init_from_pair", recipe.init_from_pair, ("encoder", "decoder", *known))
        for part in ("encoder", "decoder"):
            _check_checkpoint(f"init_from_pair.{part}", recipe.init_from_pair.get(part))
        return
    if isinstance(recipe.tokenizer, dict):
        reject_unknown("tokenizer", recipe.tokenizer, ("vocab_size",))
        check_integer("tokenizer.vocab_size", recipe.tokenizer.get("vocab_size"), 257)
    elif recipe.tokenizer is None:
        raise RecipeError("tokenizer: give a folder, a Hub id or {vocab_size: …} (or init_from).")
    else:
        _check_checkpoint("tokenizer", recipe.tokenizer)
    reject_unknown("model", recipe.model, OWN_FIELDS)
    for part in BACKBONES:
        backbone = recipe.model.get(part)
        if not isinstance(backbone, dict):
            raise RecipeError(f"model.{part} must be keys and values with a model_type, not {backbone!r}.")
        model_type = backbone.get("model_type")
        if model_type in CONFIG_MAPPING:
            reject_unknown(f"model.{part}", backbone, _backbone_fields(CONFIG_MAPPING[model_type]))


def new_config(fields, tokens):
    """A [`C3Config`] of the key `model`, `fields`, whose two backbones are for a tokenizer of these `tokens`."""
    try:
        return C3Config(**fields | {part: tokens | fields.get(part, {}) for part in BACKBONES})
    except (TypeError, ValueError) as error:
        raise RecipeError(f"model: {error}") from error


def pair_config(pair):
    """A [`C3Config`] of the fields that `init_from_pair` gives itself; placeholder ids depend on its two models."""
    given = {name: value for name, value in pair.items() if name in OWN_FIELDS and not name.endswith("_token_id")}
    try:
        return C3Config(**given)
    except ValueError as error:
        raise RecipeError(f"init_from_pair: {error}") from error


def change_config(config, fields):
    """
    Gives the [`C3Config`] of a checkpoint the `fields` (`dict`) of the key `init_config`; returns it.

    Raises:
        RecipeError: a value that cannot be.
    """
    for name, value in fields.items():
        setattr(config, name, value)
    try:
        config.check_fields()
    except (TypeError, ValueError) as error:
        raise RecipeError(f"init_config: {error}") from error
    return config


def _backbone_fields(config_class):
    known = set(inspect.signature(config_class.__init__).parameters) | set(config_class.__dataclass_fields__)
    return sorted((known | set(config_class.attribute_map) | INHERITED_FIELDS | ROPE_FIELDS) - {"self", "kwargs"})


def _check_checkpoint(where, name):
    """A folder, or what may be a Hub id."""
    if not isinstance(name, str) or not name:
        raise RecipeError(f"{where} must be a folder or a Hub id, not {name!r}.")
    if not Path(name).is_dir() and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise FileNotFoundError(f"{where}: no such folder: {name}.")
