"""What `compress` and `expand` share: checks of options, the progress bar, and the category of their warnings."""

import numbers
from decimal import Decimal
from fractions import Fraction

from tqdm.auto import tqdm


class CompressionWarning(UserWarning):
    """What was asked for is not what is given; the message says what is."""


def plain_number(value):
    """
    A number as one of Python's own that is equal to it, an `int`, a `Fraction` or a `float`, whoever's it is: NumPy's,
    a tensor or an array without dimensions, a `Decimal`. None for what is no number; a truth value is none.
    """
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if isinstance(value, bool):
        return None
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Rational):
        return Fraction(value)
    return float(value) if isinstance(value, (numbers.Real, Decimal)) else None


def whole_number(name, value, least=1):
    """`value` as an `int`; `ValueError` for what is no integer of `least` or more."""
    number = plain_number(value)
    if not isinstance(number, int) or number < least:
        raise ValueError(f"{name} must be an integer of {least} or more, not {value!r}.")
    return number


def progress_bar(total, batch_size, show, description, unit):
    """A bar on standard error; `show=None` shows it for more than one batch."""
    show = total > batch_size if show is None else show
    return tqdm(total=total, desc=description, unit=unit, disable=not show)
