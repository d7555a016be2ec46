"""What a caller gives as texts: one string, or strings in any kind of sequence; and why something is none."""

from collections.abc import Iterable, Mapping, Set
from os import PathLike


def list_texts(text):
    """
    What a caller gives as texts, `list`: one string, or strings in order, in any kind of sequence, column or iterator.
    What each of them is, is for `check_text` to say.

    Raises:
        TypeError: what holds no strings in order, as a mapping, whose keys would be taken for them, or a table.
        ValueError: nothing in it.
    """
    if isinstance(text, str):
        return [text]
    # Bytes, mappings, open files and sets could be iterated, but not over texts in their order.
    if not isinstance(text, Iterable) or getattr(text, "ndim", 1) != 1 or _instead_of(text):
        raise TypeError(f"text must be a string or strings, not {type(text).__name__}{_instead_of(text)}.")
    texts = text.to_pylist() if hasattr(text, "to_pylist") else list(text)  # Arrow's items are no strings yet
    if not texts:
        raise ValueError("No text: the list is empty.")
    return texts


def _instead_of(value):
    """What to pass instead of something that is no text; nothing where there is nothing to say."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return ": decode it first, for example with .decode('utf-8')"
    if isinstance(value, PathLike):
        return ": pass what the file holds, for example path.read_bytes().decode('utf-8')"
    if hasattr(value, "read"):
        return ": pass what it holds, for example file.read()"
    if isinstance(value, Mapping) or hasattr(value, "columns") or hasattr(value, "column_names"):
        return ": pick the text in it by its name, for example ['text']"
    if getattr(value, "ndim", 1) != 1:
        return f" of {value.ndim} dimensions: pass strings in one dimension"
    if isinstance(value, Set):
        return ", which has no order: pass a list"
    return ""


def check_text(text, what="text"):
    """Raises `TypeError` or `ValueError` for what cannot be compressed: no string, an empty one, lone surrogates."""
    if not isinstance(text, str):
        raise TypeError(f"{what} must be a string, not {type(text).__name__}{_instead_of(text)}.")
    if not text:
        raise ValueError(f"{what} is empty; give at least one character.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{what} is not valid Unicode: a lone surrogate U+{ord(text[error.start]):04X} at character {error.start}; "
            "decode the bytes again, for example with errors='replace'."
        ) from None


__all__ = ["check_text", "list_texts"]
