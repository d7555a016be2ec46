"""
Common words extraction of RULER (Hsieh et al. 2024, arXiv 2404.06654): a numbered list in which a few words come often
and the others seldom.
"""

from .question import Question, Unmakeable, phrased

SHORTEST_LIST = 16
# Words that are asked for, by the length of the list that they take at least.
ASKED = ((200, 10), (60, 5), (24, 3), (SHORTEST_LIST, 1))
SHARE_OF_COMMON_WORDS = 3  # a third of the list
ONE = (
    "Which word is the most common one in the list?",
    "Name the word that comes most often in the list.",
)
SEVERAL = (
    "What are the {count} most common words in the list?",
    "Name the {count} words that come most often in the list.",
)


def make(rng, material, length, depth):
    """A task, see `question.py`; what is asked is all over the text, so `depth` is not heeded."""
    entries = _entries_that_fit(material, length)
    if entries < SHORTEST_LIST:
        raise Unmakeable("there is no room for a list of words")
    count = next(count for least, count in ASKED if entries >= least)
    times = entries // (SHARE_OF_COMMON_WORDS * count)
    rest = entries - times * count
    words = rng.sample(material.words, min(len(material.words), count + rest))
    common, others = words[:count], words[count:]
    # At most a quarter as often as a common word, unless that takes more words than there are.
    often = max(1, min(3, times // 4), -(-rest // len(others)))
    if often >= times:
        raise Unmakeable("there are too few words for a list of this length")
    listed = common * times + (others[: -(-rest // often)] * often)[:rest]
    rng.shuffle(listed)
    return Question(
        context=" ".join(f"{number}. {word}" for number, word in enumerate(listed, start=1)),
        prompt=phrased(rng, material, SEVERAL if count > 1 else ONE).format(count=count),
        answers=tuple(sorted(common, key=listed.index)),
    )


def _entries_that_fit(material, length):
    """How many entries of a list have so many tokens, going by the mean of all words."""
    mean = material.tokens_of_a_word
    numbers = material.counted_once(tuple(f"{10**digits}." for digits in range(len(str(length)))))
    entries = 0
    while True:
        length -= mean + numbers[len(str(entries + 1)) - 1].tokens
        if length < 0:
            return entries
        entries += 1
