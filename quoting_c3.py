"""Strings from elsewhere (a file's metadata, names, another library's message) in what is printed.

A terminal obeys some characters: an escape sequence in a name clears the screen, a direction mark turns a line around.
"""

import unicodedata

LONGEST = 100
# Control, format and surrogate characters, line and paragraph separators.
OBEYED = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))


def quoted(value, longest=LONGEST):
    """One string in a message: in quotes, escaped as Python writes it, and cut after `longest` characters."""
    text = str(value)
    return repr(text[:longest]) + ("…" if len(text) > longest else "")


def listed(values, most=5):
    """Strings of which a message names the first few, `quoted`."""
    values = list(values)
    return ", ".join([*map(quoted, values[:most]), *(["…"] if len(values) > most else [])])


def printable(text, keep=""):
    """A whole line, or with `keep="\\n\\t"` a text, with what a terminal obeys escaped as Python writes it."""
    return "".join(
        each if each in keep or unicodedata.category(each) not in OBEYED else each.encode("unicode_escape").decode()
        for each in text
    )


__all__ = ["listed", "printable", "quoted"]
