"""
The token ids of a long text, tokenised piece by piece: for 5 MB at once a tokenizer of the `tokenizers` library takes
700 MB of memory, and more time.
"""

import re
from array import array
from itertools import islice

PIECE = 1 << 16  # characters: some megabytes of memory, and far more than a cut costs
MARGIN = 256  # characters on each side of a cut that have to come out the same
WORD_BOUNDARY = re.compile(r"\b")
MOST_TRIES = 64  # word boundaries that are tried for a cut


def encode_in_pieces(encode, text, piece=PIECE):
    """
    Ids of a text as `encode` gives them for the whole of it.

    A text is only cut where the tokenizer itself shows that a cut changes nothing: where the ids of the characters
    around it are those before it and those after it. Where it does not, as where every text gets a mark at its start,
    the rest of the text stays whole.

    Args:
        encode (`Callable[[str], list[int]]`): a tokenizer that adds no special tokens.
        text (`str`): of any length.
        piece (`int`): least number of characters of a piece.

    Returns: `array.array` of ints, four bytes each.
    """
    ids, start = array("i"), 0
    while start < len(text):
        end = _next_cut(encode, text, start + piece)
        ids.extend(encode(text[start:end]))
        start = end
    return ids


def _next_cut(encode, text, earliest):
    """The first harmless cut among the word boundaries from a place on, or the end of the text."""
    # Past the end of the text there is none.
    for boundary in islice(WORD_BOUNDARY.finditer(text, earliest), MOST_TRIES):
        cut = boundary.start()
        before, after = text[max(cut - MARGIN, 0) : cut], text[cut : cut + MARGIN]
        if encode(before + after) == encode(before) + encode(after):
            return cut
    return len(text)


__all__ = ["encode_in_pieces"]
