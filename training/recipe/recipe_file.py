"""Reads recipes: YAML files, with overrides from the command line."""

import re
from pathlib import Path

from c3.training.checks import RecipeError, checked

from .recipe import Recipe


def load_recipe(path, overrides=()):
    """
    Reads a recipe and applies overrides such as `training.max_steps=20`.

    Raises:
        FileNotFoundError: no such file.
        RecipeError, ValueError: not a recipe; the message names the key.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No such recipe: {path}.")
    try:
        values = _parse(path.read_text(encoding="utf-8"), path)
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path} is not UTF-8 text: {error}") from None
    if not isinstance(values, dict):
        raise RecipeError(f"{path} is not a recipe: it must hold keys and values.")
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator:
            raise RecipeError(f"Overrides are written key=value, not {override!r}.")
        *parents, last = key.split(".")
        target = values
        for parent in parents:
            target = target.setdefault(parent, {})
            if not isinstance(target, dict):
                raise RecipeError(f"{key}: {parent} holds no keys of its own.")
        target[last] = _parse(value, override)
    return checked(Recipe, "recipe", values)


def _parse(text, where):
    """Values of a piece of YAML."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Reads 1e-3 as a number, as YAML 1.2 does; PyYAML's own would make it a string."""

    number = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+0123456789"))
    try:
        return _unshared(yaml.load(text, Loader))
    except yaml.YAMLError as error:
        raise RecipeError(f"{where} is not YAML: {error}") from None


def _unshared(value):
    """A copy in which what an alias (`*name`) repeats is no longer one object: an override changes one place."""
    if isinstance(value, dict):
        return {key: _unshared(each) for key, each in value.items()}
    return [_unshared(each) for each in value] if isinstance(value, list) else value
