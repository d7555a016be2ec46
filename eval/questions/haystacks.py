"""
What needles are hidden in, and how: as in RULER (Hsieh et al. 2024, arXiv 2404.06654), which has the five sentences of
the noise from Mohtashami & Jaggi 2023 (arXiv 2305.16300).
"""

from bisect import bisect_left
from itertools import accumulate, cycle

from .question import Unmakeable

# Tokens of a text that several needles may take.
SHARE = 0.75
NOISE = (
    "The grass is green.",
    "The sky is blue.",
    "The sun is yellow.",
    "Here we go.",
    "There and back again.",
)


def noise(rng, material, length):
    """The same five sentences over and over, from any of them on."""
    sentences = material.counted_once(NOISE)
    start = rng.randrange(len(sentences))
    found = []
    for sentence in cycle(sentences[start:] + sentences[:start]):
        length -= sentence.tokens
        if length < 0:
            return found
        found.append(sentence)


def prose(rng, material, length):
    """Sentences of the corpus, in order."""
    return material.passage(rng, length)


# (rng, material, tokens) -> list[Sentence] that have as many at most.
HAYSTACKS = {"noise": noise, "prose": prose}


def fitting(needles, length, least):
    """
    The first needles for which there is room in a text: all of them, or as many as take `SHARE` of it, but `least`.

    Raises:
        Unmakeable: there is no room for that many.
    """
    count = len(needles)
    while count > least and sum(needle.tokens for needle in needles[:count]) > SHARE * length:
        count -= 1
    if sum(needle.tokens for needle in needles[:count]) > length:
        raise Unmakeable("there is no room for the needles")
    return needles[:count]


def check_said_once(context, words, times=1):
    """Raises `Unmakeable` where a text has one of these words more or less often than it was put there."""
    if any(context.count(word) != times for word in words):
        raise Unmakeable("the corpus says by chance what was to be hidden in it")


def hide(haystack, needles, depths):
    """
    Puts needles between the sentences of a haystack.

    Args:
        haystack, needles (`list[Sentence]`): of the text, and to be put there.
        depths (`list[float]`): where each needle is to stand, 0 to 1; those at the same place stay in their order.

    Returns: `tuple[list[Sentence], list[int]]`, all of them in order, and at which of these places the needles are.
    """
    ends = [0, *accumulate(sentence.tokens for sentence in haystack)]
    order = sorted(range(len(needles)), key=lambda number: depths[number])
    found, places, done = [], [0] * len(needles), 0
    for number in order:
        here = _nearest(ends, depths[number] * ends[-1])
        found += haystack[done:here]
        places[number], done = len(found), here
        found.append(needles[number])
    return found + haystack[done:], places


def _nearest(ends, wanted):
    """The index of the value nearest to a wanted one, of values that rise."""
    after = min(bisect_left(ends, wanted), len(ends) - 1)
    return after - 1 if after and wanted - ends[after - 1] < ends[after] - wanted else after


def depths_of(sentences):
    """The depth, `float`, of each [`Sentence`] of a text: the share of the other tokens that come before it."""
    ends = list(accumulate(sentence.tokens for sentence in sentences))
    return [
        (end - sentence.tokens) / max(1, ends[-1] - sentence.tokens)
        for sentence, end in zip(sentences, ends, strict=True)
    ]


def joined(sentences):
    """The text, `str`."""
    return "".join(sentence.separator + sentence.text for sentence in sentences).strip()
