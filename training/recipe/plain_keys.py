"""Keys of a recipe that are plain values: kinds and ranges."""

import os

from c3.training.checks import RecipeError, check_integer, check_number, checked
from c3.training.devices.attention import check_attention
from c3.training.devices.liger import check_liger_kernel
from c3.training.publish.hub_settings import HubSettings

DTYPES = ("float32", "bfloat16", "float16")


def check_plain_keys(recipe):
    """Raises `RecipeError` for a value of another kind, or out of its range; completes what is written in short."""
    for name, kind, said in (
        ("output_dir", str, "a folder"),
        ("torch_compile", bool, "true or false"),
        ("liger_kernel", bool, "true or false"),
        ("model", dict, "keys and values"),
        ("init_config", dict, "keys and values"),
        ("optimizer", dict, "keys and values"),
        ("objectives", dict, "keys and values"),
        ("learning_rates", dict, "keys and values"),
        ("evaluation", dict, "keys and values"),
        ("training", dict, "keys and values"),
        ("trainable", list, "a list of parts"),
        ("stages", list, "a list of stages"),
    ):
        if not isinstance(getattr(recipe, name), kind) or getattr(recipe, name) == "":
            raise RecipeError(f"{name} must be {said}, not {getattr(recipe, name)!r}.")
    recipe.output_dir = os.path.expanduser(recipe.output_dir)
    for name in ("crlf_documents", "dropout_windows", "random_windows"):
        check_number(name, getattr(recipe, name), 0, 1)
    if recipe.dropout_halved_above is not None:
        check_number("dropout_halved_above", recipe.dropout_halved_above, 1, float("inf"))
    for name in ("continuation_length", "max_target_length"):
        check_integer(name, getattr(recipe, name))
    if recipe.max_context_length is not None:
        check_integer("max_context_length", recipe.max_context_length)
    if recipe.hub is not None:
        recipe.hub = checked(HubSettings, "hub", recipe.hub)
    if recipe.early_stopping_patience is not None:
        check_integer("early_stopping_patience", recipe.early_stopping_patience)
    if recipe.dtype not in DTYPES:
        raise RecipeError(f"dtype must be one of {', '.join(DTYPES)}, not {recipe.dtype!r}.")
    if recipe.attn_implementation is not None:
        check_attention(recipe.attn_implementation)
    if recipe.liger_kernel:
        check_liger_kernel()
