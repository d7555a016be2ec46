"""Two texts as one, with what differs marked: for people who want to see what a reconstruction lost."""

from rapidfuzz.distance import Levenshtein

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
    lost_start, lost_end, added_start, added_end = COLOUR_MARKS if colour else PLAIN_MARKS
    parts, lost, added = [], "", ""

    def close_edit(end):
        parts.extend([lost_start, lost, lost_end] if lost else [])
        marked = _mark_uncertain(output, uncertain, colour, end - len(added), end)
        parts.extend([added_start, marked, added_end] if added else [])

    for step in Levenshtein.opcodes(reference, output):
        if step.tag == "equal":
            close_edit(step.dest_start)
            parts.append(_mark_uncertain(output, uncertain, colour, step.dest_start, step.dest_end))
            lost = added = ""
        else:
            # Neighbouring deletions, insertions and replacements read better as one edit.
            lost += reference[step.src_start : step.src_end]
            added += output[step.dest_start : step.dest_end]
    close_edit(len(output))
    return "".join(parts)


def _mark_uncertain(text, spans, colour, start, end):
    """The characters of a text from `start` to `end`, `str`, with those in `spans` marked."""
    opening, closing = COLOUR_UNCERTAIN if colour else PLAIN_UNCERTAIN
    parts = []
    for first, last in spans:
        if max(first, start) < min(last, end):
            parts += [text[start : max(first, start)], opening, text[max(first, start) : min(last, end)], closing]
            start = min(last, end)
    return "".join(parts) + text[start:end]
