"""Two texts as one, with what differs marked: for people who want to see what a reconstruction lost."""

from itertools import groupby
from operator import itemgetter

from rapidfuzz.distance import Levenshtein

SAME, LOST, ADDED = "same", "lost", "added"
PLAIN_MARKS = ("[-", "-]", "{+", "+}")
# Red and struck through, then green: readable where red and green look alike.
COLOUR_MARKS = ("\x1b[31;9m", "\x1b[0m", "\x1b[32;1m", "\x1b[0m")
PLAIN_UNCERTAIN = ("<?", "?>")
# Underlined, which ends without ending a colour.
COLOUR_UNCERTAIN = ("\x1b[4m", "\x1b[24m")


def mark_difference(reference, output, colour=False, uncertain=()):
    """
    Marks the fewest character edits that turn `reference` into `output`.

    Args:
        reference (`str`): the text.
        output (`str`): what came back.
        colour (`bool`): ANSI colours instead of `[-lost-]{+added+}<?uncertain?>`.
        uncertain (`Sequence[tuple[int, int]]`): starts and ends of characters of `output` that are marked as uncertain,
            right or wrong, in order.

    Returns: `str`; equal to `reference` when nothing differs or is uncertain.
    """
    lost, lost_end, added, added_end = COLOUR_MARKS if colour else PLAIN_MARKS
    opening, closing = COLOUR_UNCERTAIN if colour else PLAIN_UNCERTAIN
    marks = {SAME: ("", ""), LOST: (lost, lost_end), ADDED: (added, added_end)}
    parts = []
    for kind, pieces in groupby(difference_parts(reference, output, uncertain), key=itemgetter(1)):
        start, end = marks[kind]
        parts += [start, *(f"{opening}{piece}{closing}" if unsure else piece for piece, _, unsure in pieces), end]
    return "".join(parts)


def difference_parts(reference, output, uncertain=()):
    """
    Yields the pieces of what `mark_difference` marks: a `str`, `SAME`, `LOST` or `ADDED`, and whether it is uncertain.
    """
    lost, start, end = "", 0, 0  # an edit: what is lost, and where what is added stands in the output

    def edit():
        if lost:
            yield lost, LOST, False
        yield from _pieces(output, uncertain, start, end, ADDED)

    for step in Levenshtein.opcodes(reference, output):
        if step.tag == "equal":
            yield from edit()
            yield from _pieces(output, uncertain, step.dest_start, step.dest_end, SAME)
            lost, start, end = "", step.dest_end, step.dest_end
        else:
            # Neighbouring deletions, insertions and replacements read better as one edit.
            lost += reference[step.src_start : step.src_end]
            end = step.dest_end
    yield from edit()


def _pieces(text, spans, start, end, kind):
    """The characters of a text from `start` to `end`, in pieces in and outside of `spans`."""
    for first, last in spans:
        if max(first, start) < min(last, end):
            if start < first:
                yield text[start:first], kind, False
                start = first
            yield text[start : min(last, end)], kind, True
            start = min(last, end)
    if start < end:
        yield text[start:end], kind, False
