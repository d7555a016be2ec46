"""The texts that are compressed: sentences of the package's own prose in random order, the same in every run."""

import random
import re
from pathlib import Path

from c3.support.loading import PACKAGE

# Public-domain prose of 1805 and the text of the licence: about 3000 tokens; longer texts repeat their sentences.
SOURCES = (PACKAGE / "examples" / "jefferson_1805.txt", PACKAGE / "LICENSE")


def make_text(characters, file=None):
    """
    Args:
        characters (`int`): length of the text.
        file (`str` or `PathLike`, *optional*): prose to take the sentences from.

    Returns: `str` of exactly that length.

    Raises:
        OSError, ValueError: no such file, or no prose in it.
    """
    sources = SOURCES if file is None else [Path(file)]
    prose = " ".join(" ".join(path.read_text(encoding="utf-8").split()) for path in sources)
    sentences = re.split(r"(?<=[.;]) ", prose)
    if not prose:
        raise ValueError(f"{file} is empty: give a text with some sentences")
    shuffle, pieces, length = random.Random(0).shuffle, [], 0
    while length < characters:
        shuffle(sentences)
        pieces.append(" ".join(sentences) + " ")
        length += len(pieces[-1])
    return "".join(pieces)[:characters]
