"""What an index into latents speaks of: a text by its number, a slice, a list or a mask."""

from .quoting_c3 import quoted


def picked_texts(texts: range, index) -> tuple[list[int], bool]:
    """The places that an index speaks of, 0 or more, and whether it is that of one text and not a list.

    Raises `IndexError` and `TypeError` for what speaks of no text.
    """
    if isinstance(index, slice):
        return list(texts[index]), False
    if hasattr(index, "tolist"):  # a tensor or an array, whatever library it is of
        index = index.tolist()
    if isinstance(index, bool):
        raise TypeError("one boolean does not pick texts: pass a number, or one boolean for each text")
    is_list = isinstance(index, (list, tuple, range))
    items = list(index) if is_list else [index]
    masks = sum(isinstance(item, bool) for item in items)
    if masks:
        if not masks == len(items) == len(texts):
            raise IndexError(f"a mask holds one boolean for each of the {len(texts)} texts, nothing else")
        return [text for text, chosen in zip(texts, items, strict=True) if chosen], False
    try:
        return [texts[item] for item in items], not is_list
    except IndexError:
        raise IndexError(f"text {index} is out of range: there are {len(texts)} texts") from None
    except TypeError:
        raise TypeError(
            f"texts are picked by an int, a slice, or ints or booleans in a list, not by {quoted(index)}"
        ) from None


__all__ = ["picked_texts"]
