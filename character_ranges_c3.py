"""Kinds of characters by their code points, written as CSS's `unicode-range` writes them: `"U+0, U+3041-30FF"`."""

import re

RANGE = re.compile(r"U\+([0-9A-F]{1,6})(?:-([0-9A-F]{1,6}))?", re.IGNORECASE)


def read_ranges(text):
    """First and last code point of each range, `list[tuple[int, int]]`; `ValueError` for what is not written so."""
    ranges = []
    for each in text.split(","):
        found = RANGE.fullmatch(each.strip())
        first, last = (int(found[1], 16), int(found[2] or found[1], 16)) if found else (1, 0)
        if not first <= last <= 0x10FFFF:
            raise ValueError(f"{each.strip()!r} is no range of characters such as U+3041-30FF or U+0.")
        ranges.append((first, last))
    return ranges


def kinds_in(text, kinds):
    """
    Names, `list[str]`, of the kinds that a text holds a character of.

    Args:
        text (`str`): of any length; what takes time is its different characters.
        kinds (`dict[str, str]`): ranges by the name of each kind.
    """
    held = {ord(character) for character in set(text)}
    return [
        name
        for name, ranges in kinds.items()
        if any(first <= code <= last for first, last in read_ranges(ranges) for code in held)
    ]


__all__ = ["kinds_in", "read_ranges"]
