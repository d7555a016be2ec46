"""
Facts: what somebody's or something's property is, said and asked for in many wordings.

Needles all have one wording, which can be learned by heart. Here tests have wordings, properties, names and values of
which training has none, so that they show whether a question that nobody has foreseen is answered.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, NamedTuple

from .fact_wordings import NOUNS, QUESTIONS, RELATIONS, SENTENCES
from .haystacks import HAYSTACKS, check_said_once
from .needles import NeedleTask
from .splits import in_split

# Of the facts, how many are relations, not properties.
RELATED = 0.35
# Of the facts that follow others, how many are about the same thing as one before, so that its name is not enough.
SAME_NAME = 0.25


@lru_cache
def _nouns(split):
    return [noun for noun in NOUNS if in_split(split, noun)]


def _name(rng, material):
    first, second = rng.sample(material.words, 2)
    one, both = first.capitalize(), f"{first.capitalize()} {second.capitalize()}"
    return rng.choice(
        [f"{first}-{second}", f"the {first} {second}", f"the {first}-{second}", both, both, one, f"my {first}"]
    )


@lru_cache(10_000)
def _parts(name):
    return frozenset(name.lower().replace("-", " ").split()) - {"the", "my"}


def _one_in_the_other(name, other):
    """Whether a name, as `Otter`, can be taken for another, as `the otter maple`."""
    return _parts(name) <= _parts(other) or _parts(name) >= _parts(other)


def _words(rng, material):
    first, second = rng.sample(material.words, 2)
    return rng.choice([f"{first}-{second}", f"{first} {second}", f"{first.capitalize()} {second.capitalize()}", first])


def _number(rng, material):
    number = rng.randrange(10 ** rng.randint(2, 9))
    return rng.choice([f"{number}", f"{number:,}", f"{number / 100:.2f}", f"{number % 24:02}:{number // 24 % 60:02}"])


VALUES = {"word": _words, "number": _number}


class Asked(NamedTuple):
    """What is asked for: a property, or how something is related to another thing, which `about` names."""

    name: str
    about: str
    sentence: str
    questions: tuple


@dataclass(frozen=True)
class FactTask(NeedleTask):
    """A task, see `question.py`: needles whose keys are [`Asked`]."""

    _values: ClassVar = VALUES

    def _key(self, distinct):
        rng, split = distinct.rng, distinct.material.split
        before = [each for each in distinct.drawn if isinstance(each, Asked)]
        if before and rng.random() < SAME_NAME:
            name = rng.choice(before).name
        else:
            name = distinct(_name)
            while any(_one_in_the_other(name, each.name) for each in before):
                name = distinct(_name)
        said = {each.about for each in before if each.name == name}
        relations = [each for each in RELATIONS[split].items() if each[1][0] not in said]
        if relations and rng.random() < RELATED:
            sentences, questions = rng.choice(relations)
            asked = Asked(name, questions[0], rng.choice(sentences), questions)
        else:
            noun = rng.choice([noun for noun in _nouns(split) if noun not in said])
            asked = Asked(name, noun, rng.choice(SENTENCES[split]), QUESTIONS[split])
        distinct.drawn[asked] = True
        return asked

    def _sentence(self, key, value):
        sentence = key.sentence.format(noun=key.about, name=key.name, value=value)
        return sentence if sentence.startswith(value) else sentence[0].upper() + sentence[1:]

    def _check(self, context, given):
        if self.haystack not in HAYSTACKS:
            return  # Nothing else is in the text, and no two facts have the same name and property.
        names = [key.name.removeprefix("the ") for key, _ in given]
        for name in names:
            check_said_once(context, [name], names.count(name))

    def _prompt(self, rng, material, keys, count):
        prompt = rng.choice(keys[0].questions).format(noun=keys[0].about, name=keys[0].name)
        return prompt[0].upper() + prompt[1:]


FACT_TASKS = {
    f"facts-{kind}s-{haystack}": FactTask(kind, haystack, keys=4)
    for kind in VALUES
    for haystack in ("noise", "prose", "facts")
}
