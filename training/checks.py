"""Checks of a recipe's values; every message names the key and says what is allowed."""

import difflib
from contextlib import contextmanager
from dataclasses import MISSING, fields

from c3.quoting_c3 import in_one_line
from c3.support.errors import CommandError


class RecipeError(ValueError):
    """A recipe that cannot be run; the message names the key and says what is allowed."""


class RunError(CommandError):
    """A run that cannot go on although its recipe is right; the message is one line that says why and what to do."""


@contextmanager
def loading(where):
    """
    Says in one line, as a `RecipeError`, what could not be loaded: `where` (`str`) names the key and its value.
    Libraries answer with paragraphs, and those of an unreachable Hub do not say what was asked of it.
    """
    try:
        yield
    except RecipeError:
        raise
    except (ImportError, OSError, ValueError) as error:
        said = in_one_line(error) or type(error).__name__
        raise RecipeError(f"{where} cannot be loaded: {said}") from error


def check_integer(where, value, least=1):
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise RecipeError(f"{where} must be an integer of {least} or more, not {value!r}.")


def check_number(where, value, least, most):
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not least <= value <= most:
        raise RecipeError(f"{where} must be a number between {least} and {most}, not {value!r}.")


def reject_unknown(where, values, known):
    """Raises `RecipeError` for the first of `values` that is not among `known`."""
    for name in values:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=1)
            if close:
                hint = f"did you mean {close[0]}?"
            else:
                hint = f"known are {', '.join(known)}." if len(known) <= 40 else "see transformers' documentation."
            raise RecipeError(f"{where}: unknown key {name}; {hint}")


def checked(cls, where, values):
    """The dataclass `cls` of keys and values."""
    if isinstance(values, cls):
        return values
    if not isinstance(values, dict):
        raise RecipeError(f"{where}: expected keys and values, not {values!r}.")
    reject_unknown(where, values, [each.name for each in fields(cls)])
    for each in fields(cls):
        if each.default is MISSING and each.default_factory is MISSING and each.name not in values:
            raise RecipeError(f"{where}: the key {each.name} is missing.")
    try:
        return cls(**values)
    except RecipeError:
        raise
    except ValueError as error:
        raise RecipeError(str(error)) from error
