"""Two texts as one, with what differs marked: for people who want to see what a reconstruction lost."""

from rapidfuzz.distance import Levenshtein

PLAIN_MARKS = ("[-", "-]", "{+", "+}")
# Red and struck through, then green: readable where red and green look alike.
COLOUR_MARKS = ("\x1b[31;9m", "\x1b[0m", "\x1b[32;1m", "\x1b[0m")


def mark_difference(reference, output, colour=False):
    """
    Marks the fewest character edits that turn `reference` into `output`.

    Args:
        reference (`str`): the text.
        output (`str`): what came back.
        colour (`bool`): ANSI colours instead of `[-lost-]{+added+}`.

    Returns: `str`; equal to `reference` when nothing differs.
    """
    lost_start, lost_end, added_start, added_end = COLOUR_MARKS if colour else PLAIN_MARKS
    parts, lost, added = [], "", ""

    def close_edit():
        parts.extend([lost_start, lost, lost_end] if lost else [])
        parts.extend([added_start, added, added_end] if added else [])

    for step in Levenshtein.opcodes(reference, output):
        if step.tag == "equal":
            close_edit()
            parts.append(reference[step.src_start : step.src_end])
            lost = added = ""
        else:
            # Neighbouring deletions, insertions and replacements read better as one edit.
            lost += reference[step.src_start : step.src_end]
            added += output[step.dest_start : step.dest_end]
    close_edit()
    return "".join(parts)
