"""
Retrieval of what a question is about: the sentences of a text that BM25 ranks first (Robertson & Zaragoza 2009), by the
library bm25s (Lù 2024, arXiv 2407.03618) with its defaults.
"""

import re
from bisect import bisect_left
from itertools import pairwise

from c3.support.errors import pip_install

# Where a sentence ends: behind its full stop and what closes with it, or at the end of a line.
_ENDS = re.compile(r"[.!?…][\"'”’)\]]*(?=\s)|[。！？][”’」』）]*|(?=\n)")
# Words and numbers; Chinese character by character, as it has no spaces.
_WORDS = r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+"
# Tokens of a piece: longer sentences, and text without any, are cut.
LONGEST_PIECE = 128


def check_bm25():
    """Raises `ValueError` where bm25s is not installed."""
    try:
        import bm25s  # noqa: F401
    except ImportError:
        needed = f"the baseline bm25 needs bm25s: {pip_install('eval')}, or name other --baselines"
        raise ValueError(needed) from None


class RankedText:
    """
    The pieces of a text, those first that a question is about.

        RankedText(processor, "It rained. Mary has a key. It rained.", "Who has a key?").best(6)

    Args:
        processor ([`C3Processor`]): of the decoder that reads them.
        text, question (`str`): whose words are compared.
    """

    def __init__(self, processor, text, question):
        self.ids, offsets = processor.encode_with_offsets(text)
        pieces = cut_pieces(text, offsets)
        scores = _scores([text[offsets[start][0] : offsets[end - 1][1]] for start, end in pieces], question)
        # Those that are as good in the order of the text.
        self.pieces = [pieces[place] for place in sorted(range(len(pieces)), key=lambda place: -scores[place])]

    def best(self, count):
        """
        The tokens of the pieces, best first until there are so many, in the order of the text; of the last piece what
        there is room for: `list[int]`, exactly `count`, or all of the text where it has no more.
        """
        chosen = []
        for start, end in self.pieces:
            end = min(end, start + count)
            chosen.append((start, end))
            count -= end - start
            if not count:
                break
        return [token for start, end in sorted(chosen) for token in self.ids[start:end]]


def cut_pieces(text, offsets):
    """
    Sentences of a text, or parts of long ones, by their tokens.

    Args:
        offsets (`list[tuple[int, int]]`): where in the text each token begins and ends.

    Returns: `list[tuple[int, int]]`, the first token of each and the one behind its last.
    """
    starts = [start for start, _ in offsets]
    bounds = {0, len(starts), *(bisect_left(starts, end.end()) for end in _ENDS.finditer(text))}
    pieces = []
    for start, end in pairwise(sorted(bounds)):
        pieces += [(at, min(at + LONGEST_PIECE, end)) for at in range(start, end, LONGEST_PIECE)]
    return pieces


def _scores(pieces, question):
    """BM25 of each piece, `list[float]`."""
    import bm25s

    split = {"token_pattern": _WORDS, "return_ids": False, "show_progress": False}
    words, (asked,) = bm25s.tokenize(pieces, **split), bm25s.tokenize([question], **split)
    known = {word for piece in words for word in piece}
    asked = [word for word in asked if word in known]
    if not asked:
        return [0.0] * len(pieces)
    ranking = bm25s.BM25()
    ranking.index(words, show_progress=False)
    return ranking.get_scores(asked).tolist()
