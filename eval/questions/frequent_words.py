"""
Frequent words extraction of RULER (Hsieh et al. 2024, arXiv 2404.06654): coded words whose frequencies follow a zeta
distribution; the most frequent of all are dots, which are noise.
"""

import string

from .needles import Distinct
from .question import Question, Unmakeable, phrased

EXPONENT = 2.0
ZETA = 1.6449340668482264  # of 2
ASKED = 3
DOTS = "..."
ONE = (
    "Which coded word comes most often in the text? Ignore the dots.",
    "Name the most frequent coded word; the dots are none.",
)
SEVERAL = (
    "What are the {count} most frequent coded words in the text? Ignore the dots.",
    "Name the {count} coded words that come most often; the dots are none.",
)


def _coded_word(rng, material):
    return "".join(rng.choices(string.ascii_lowercase, k=6))


def make(rng, material, length, depth):
    """A task, see `question.py`; what is asked is all over the text, so `depth` is not heeded."""
    distinct = Distinct(rng, material)
    entries = _entries_that_fit(material, distinct, length)
    counts = [int(entries * rank**-EXPONENT / ZETA) for rank in range(1, entries + 2)]
    counts = [count for count in counts if count]
    # Rank 1 are the dots. As many are asked for as come more often than the next, and more than once.
    asked = 0
    while asked < ASKED and len(counts) > asked + 2 and counts[asked + 1] > max(1, counts[asked + 2]):
        asked += 1
    if not asked:
        raise Unmakeable("there is no room for coded words that come more often than others")
    counts += [1] * (entries - sum(counts))  # what was cut off: words so rare that they come once
    words = [DOTS, *(distinct(_coded_word) for _ in counts[1:])]
    text = [word for word, count in zip(words, counts, strict=True) for _ in range(count)]
    rng.shuffle(text)
    return Question(
        context=" ".join(text),
        prompt=phrased(rng, material, SEVERAL if asked > 1 else ONE).format(count=asked),
        answers=tuple(words[1 : asked + 1]),
    )


def _entries_that_fit(material, distinct, length):
    """How many words have so many tokens: of 100, as many as of their rank are dots."""
    dots = int(100 / ZETA)
    sample = [f" {DOTS}"] * dots + [f" {distinct(_coded_word)}" for _ in range(100 - dots)]
    return length * len(sample) // sum(material.count(sample))
