"""What `compress` and `expand` share: checks of options, the progress bar, and the category of their warnings."""

from tqdm.auto import tqdm


class CompressionWarning(UserWarning):
    """What was asked for, or a text, is not what is given (back); the message says what is."""


def check_positive(name, value):
    """Raises `ValueError` for what is no integer of 1 or more."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be an integer of 1 or more, not {value!r}.")


def progress_bar(total, batch_size, show, description, unit):
    """A bar on standard error; `show=None` shows it for more than one batch."""
    show = total > batch_size if show is None else show
    return tqdm(total=total, desc=description, unit=unit, disable=not show)
