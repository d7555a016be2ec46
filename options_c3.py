"""What `compress` and `expand` share: checks of options, the progress bar, and the category of their warnings."""

import numbers
from decimal import Decimal
from fractions import Fraction

from tqdm.auto import tqdm

GENERATION_NUMBERS = frozenset(
    "max_length max_new_tokens min_length min_new_tokens num_beams num_return_sequences length_penalty temperature "
    "top_k top_p min_p typical_p epsilon_cutoff eta_cutoff repetition_penalty no_repeat_ngram_size".split()
)

# Beams at first, how many times more for the windows that are left, and at most where nobody says or whoever does:
# each is a row with a cache and logits of its own, 256 of which take a decoder of 3 B parameters some 10 GB a window.
FIRST_BEAMS, MORE_BEAMS, MOST_BEAMS, BEAMS_LIMIT = 8, 4, 128, 256


class CompressionWarning(UserWarning):
    """
    What was asked for, or a text, is not what is given (back); the message says what is.

        warnings.simplefilter("error", CompressionWarning)  # no text goes on that may not come back
    """


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


def whole_number(name, value, least=1, most=None):
    """`value` as an `int`; `ValueError` for what is no integer of `least` or more, or above `most`."""
    number = plain_number(value)
    if not isinstance(number, int) or number < least or (most is not None and number > most):
        allowed = f"of {least} or more" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} must be an integer {allowed}, not {value!r}.")
    return number


def plain_options(options):
    """
    Keywords for `GenerationMixin.generate` with Python's own numbers, as it wants them; tensors that are no numbers
    stay what they are. `ValueError` for a truth value where a number belongs.
    """
    plain = {}
    for name, value in options.items():
        if name in GENERATION_NUMBERS and isinstance(value, bool):
            raise ValueError(f"{name} must be a number, not {value}.")
        number = plain_number(value)
        plain[name] = value if number is None else float(number) if isinstance(number, Fraction) else number
    return plain


def progress_bar(total, batch_size, show, description, unit):
    """A bar on standard error; `show=None` shows it for more than one batch."""
    show = total > batch_size if show is None else show
    return tqdm(total=total, desc=description, unit=unit, disable=not show)
