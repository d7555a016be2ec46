"""
Needles: values that a text gives for keys, hidden in noise, in prose, or among needles with other keys.

The single, multi-key, multi-value and multi-query tasks of RULER (Hsieh et al. 2024, arXiv 2404.06654), after the
needle in a haystack of Kamradt 2023.
"""

import uuid
from dataclasses import dataclass
from typing import ClassVar

from .haystacks import HAYSTACKS, check_said_once, depths_of, fitting, hide, joined
from .question import Question, Unmakeable, phrased
from .splits import in_split

NEEDLE = "One of the special magic {kind}s for {key} is: {value}."
ONE = (
    "What is the special magic {kind} for {keys} in the text?",
    "Which special magic {kind} does the text give for {keys}?",
    "Find the special magic {kind} for {keys}.",
    "What is the special magic {kind} of {keys}?",
    "Tell me the special magic {kind} for {keys}.",
    "The text gives a special magic {kind} for {keys}. Which one?",
    "Which {kind} is given for {keys}?",
    "Special magic {kind} for {keys}?",
)
SEVERAL = (
    "What are all the special magic {kind}s for {keys} in the text?",
    "Which special magic {kind}s does the text give for {keys}?",
    "Find all the special magic {kind}s for {keys}.",
    "List the special magic {kind}s of {keys}.",
    "Which {kind}s are given for {keys}?",
)


def _word(rng, material):
    return "-".join(rng.sample(material.words, 2))


def _number(rng, material):
    return str(rng.randrange(10**6, 10**7))


def _uuid(rng, material):
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


# What a needle gives, by what it is called: (rng, material) -> str.
VALUES = {"word": _word, "number": _number, "UUID": _uuid}


class Distinct:
    """Draws values of which none is drawn twice, and none belongs to the other split."""

    def __init__(self, rng, material):
        self.rng, self.material, self.drawn = rng, material, {}

    def __call__(self, make, tries=100):
        """A value, `str`, that `make(rng, material)` gives. Raises `Unmakeable` where too few are left."""
        for _ in range(tries):
            value = make(self.rng, self.material)
            # The words of a pair are the split's already.
            if value not in self.drawn and (make is _word or in_split(self.material.split, value)):
                self.drawn[value] = True
                return value
        raise Unmakeable("there are too few different words for a text of this length")


@dataclass(frozen=True)
class NeedleTask:
    """
    A task, see `question.py`.

    Args:
        kind (`str`): of the values, a name in `VALUES`.
        haystack (`str`): a name in `HAYSTACKS`, or another one, as `"needles"`, for needles with other keys.
        keys (`int`): for which the text gives values, beside those of a haystack of needles.
        values (`int`): that it gives for each of them.
        asks_all (`bool`): for all of these keys, or for the first one.
    """

    kind: str
    haystack: str
    keys: int = 1
    values: int = 1
    asks_all: bool = False
    _values: ClassVar = VALUES

    def __call__(self, rng, material, length, depth):
        distinct = Distinct(rng, material)
        keys = [self._key(distinct) for _ in range(self.keys)]
        given = [(key, self._value(distinct)) for key in keys for _ in range(self.values)]
        needles = fitting(self._sentences(material, given), length, least=min(2, len(given)))
        given = given[: len(needles)]
        haystack, others = self._haystack(distinct, length - sum(needle.tokens for needle in needles))
        asks_one = self.values == 1 and not self.asks_all
        depths = [depth if asks_one and number == 0 else rng.random() for number in range(len(needles))]
        sentences, places = hide(haystack, needles, depths)
        context = joined(sentences)
        self._check(context, given)
        asked = [number for number, (key, _) in enumerate(given) if self.asks_all or key == keys[0]]
        if self.values > 1:
            asked.sort(key=places.__getitem__)

        def ask(pairs, depth=None):
            return Question(
                context=context,
                prompt=self._prompt(rng, material, list(dict.fromkeys(key for key, _ in pairs)), len(pairs)),
                answers=tuple(value for _, value in pairs),
                depth=depth,
                further=map(ask, self._others(rng, pairs, given + others)),
            )

        depth = depths_of(sentences)[places[0]] if asks_one else None
        return ask([given[number] for number in asked], depth)

    def _others(self, rng, asked, pairs):
        """Yields what else can be asked for of keys and their values, as many keys at once as in the first place."""
        if self.values > 1:
            return
        left = [pair for pair in pairs if pair not in asked]
        rng.shuffle(left)
        while left:
            count = rng.randint(1, self.keys) if self.asks_all else 1
            taken, left = left[:count], left[count:]
            yield taken

    def _key(self, distinct):
        return distinct(_word)

    def _value(self, distinct):
        return distinct(self._values[self.kind])

    def _check(self, context, given):
        check_said_once(context, [value for _, value in given])
        check_said_once(context, list({key for key, _ in given}), len(given) if self.values > 1 else 1)

    def _prompt(self, rng, material, keys, count):
        keys = " and ".join(filter(None, (", ".join(keys[:-1]), keys[-1])))
        return phrased(rng, material, SEVERAL if count > 1 else ONE).format(kind=self.kind, keys=keys)

    def _haystack(self, distinct, length):
        """`(list[Sentence], list[tuple])` of so many tokens at most, and the keys and values that it gives."""
        if self.haystack not in HAYSTACKS:
            return self._among_needles(distinct, length)
        return HAYSTACKS[self.haystack](distinct.rng, distinct.material, length), []

    def _sentences(self, material, given):
        return material.counted([self._sentence(*pair) for pair in given])

    def _sentence(self, key, value):
        return NEEDLE.format(kind=self.kind, key=key, value=value)

    def _among_needles(self, distinct, room):
        """Needles with other keys, of so many tokens at most; as `_haystack`."""
        found, given, used = [], [], 0
        while True:
            # By what those so far take, and one more.
            wanted = int((room - used) * len(found) / used) + 1 if used else 1
            pairs = [(self._key(distinct), self._value(distinct)) for _ in range(wanted)]
            for pair, needle in zip(pairs, self._sentences(distinct.material, pairs), strict=True):
                if used + needle.tokens > room:
                    return found, given
                used += needle.tokens
                found.append(needle)
                given.append(pair)


FAMILIES = {
    "single": {},
    "many_keys": {"keys": 4},
    "many_values": {"values": 4},
    "many_queries": {"keys": 4, "asks_all": True},
}
# As `single-words-noise`. A single needle among needles would be one of many keys.
NEEDLE_TASKS = {
    f"{family}-{kind.lower()}s-{haystack}": NeedleTask(kind, haystack, **options)
    for family, options in FAMILIES.items()
    for kind in VALUES
    for haystack in (*HAYSTACKS, "needles")
    if (family, haystack) != ("single", "needles")
}
