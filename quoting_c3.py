"""Strings from elsewhere (a file's metadata, names, another library's message) in what is printed.

A terminal obeys some characters: an escape sequence in a name clears the screen, a direction mark turns a line around.
"""

import reprlib
import unicodedata

LONGEST, LONGEST_LINE = 100, 2000
# Of a list of millions only the beginning is written at all.
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxtuple, _SHORT.maxdict = 8, LONGEST, LONGEST, LONGEST
_SHORT.maxset = _SHORT.maxfrozenset = _SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = 2 * LONGEST
# Control, format and surrogate characters, line and paragraph separators.
OBEYED = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))


def quoted(value, longest=LONGEST):
    """A string, or another value, in a message: as Python writes it, in quotes, cut after `longest` characters."""
    text = value if isinstance(value, str) else _SHORT.repr(value)
    cut = text[:longest]
    return (repr(cut) if isinstance(value, str) else printable(cut)) + ("…" if len(text) > longest else "")


def listed(values, most=5):
    """Strings of which a message names the first few, `quoted`."""
    values = list(values)
    return ", ".join([*map(quoted, values[:most]), *(["…"] if len(values) > most else [])])


def printable(line):
    """A line, or what `str` makes of an error, with what a terminal obeys escaped as Python writes it."""
    return "".join(
        each.encode("unicode_escape").decode() if unicodedata.category(each) in OBEYED else each for each in str(line)
    )


def printable_lines(text):
    """A text of several lines, or an error's, `printable` but for line feeds and tabs."""
    return "".join(each if each in "\n\t" else printable(each) for each in str(text))


def in_one_line(error):
    """An error's message for a command's one line on standard error: as a whole, `printable`, but not without end."""
    line = printable(" ".join(str(error).split()))
    return line[:LONGEST_LINE] + ("…" if len(line) > LONGEST_LINE else "")


__all__ = ["in_one_line", "listed", "printable", "printable_lines", "quoted"]
