"""
Facts: what somebody's or something's property is, said and asked for in many wordings.

Needles all have one wording, which can be learned by heart. Here tests have wordings, properties, names and values of
which training has none, so that they show whether a question that nobody has foreseen is answered.
"""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from .haystacks import HAYSTACKS, check_said_once
from .needles import NeedleTask
from .splits import in_split

SENTENCES = {
    "train": (
        "The {noun} of {name} is {value}.",
        "The {noun} for {name} is {value}.",
        "{name} has the {noun} {value}.",
        "{name}'s {noun} is {value}.",
        "For {name}, the {noun} is {value}.",
        "{value} is the {noun} of {name}.",
        "Note that the {noun} for {name} is {value}.",
        "{name}: {noun} {value}.",
        "{noun} of {name}: {value}.",
        "{noun} ({name}) = {value}",
        "As its {noun}, {name} got {value}.",
        "The {noun} that belongs to {name} is {value}.",
        "They gave {name} the {noun} {value}.",
        "It is known that {name} has {value} as its {noun}.",
        "{name} changed its {noun} to {value}.",
        "By the way, the {noun} of {name} is {value}, as everyone knows.",
        "Yesterday the {noun} of {name} became {value}.",
        "We set {value} as the {noun} for {name}.",
        '"The {noun} of {name} is {value}," she said.',
        "Please remember {value}, the {noun} of {name}.",
        "{name} ({noun}: {value}) was there too.",
        "The {noun} of {name} was {value} at the time.",
    ),
    "test": (
        "If anybody asks, the {noun} for {name} should be {value}.",
        "{value} was chosen as {noun} of {name}.",
        "{name} still uses {value} as its {noun}.",
        "The report lists the {noun} of {name} as {value}.",
        "In the end {name} had to take the {noun} {value}.",
    ),
}
QUESTIONS = {
    "train": (
        "What is the {noun} of {name}?",
        "What is the {noun} for {name}?",
        "What is {name}'s {noun}?",
        "What {noun} does {name} have?",
        "Which {noun} does the text give for {name}?",
        "Tell me the {noun} of {name}.",
        "Find the {noun} of {name} in the text.",
        "{noun} of {name}?",
        "What does the text say is the {noun} of {name}?",
        "I need to know the {noun} of {name}.",
        "What was the {noun} of {name}?",
        "Read the text and say what the {noun} of {name} is.",
    ),
    "test": (
        "According to the text, what is the {noun} of {name}?",
        "Could you say which {noun} {name} has?",
        "Look up {name}: what is its {noun}?",
    ),
}
# A hash divides them among the splits.
NOUNS = [
    " ".join(noun.split())
    for noun in """
account, address, age, author, balance, batch, birthplace, brand, budget, call sign, capacity, capital, captain,
category, code, colour, cost, currency, date, delivery, depth, destination, diameter, distance, extension, favourite
animal, favourite word, frequency, grade, height, hobby, home, identifier, invoice, key, label, length, licence,
limit, location, lucky number, material, model, motto, name, nickname, number, offset, order, order number, origin,
owner, parcel, password, phone number, PIN, place, population, postcode, price, profession, rank, rating, reference,
result, room, room number, salary, score, secret, secret word, sector, serial number, shelf, signal, size, song,
speed, status, symbol, tag, target, team, temperature, ticket, title, token, track, type, unit, username, value,
version, voltage, weight, width, year
""".split(",")
]
# Of the facts that follow others, how many are about the same thing as one before, so that its name is not enough.
SAME_NAME = 0.25


@cache
def _nouns(split):
    return [noun for noun in NOUNS if in_split(split, noun)]


def _name(rng, material):
    first, second = rng.sample(material.words, 2)
    return rng.choice(
        [
            f"{first}-{second}",
            f"the {first} {second}",
            f"{first.capitalize()} {second.capitalize()}",
            f"the {first}-{second}",
        ]
    )


def _words(rng, material):
    first, second = rng.sample(material.words, 2)
    return rng.choice([f"{first}-{second}", f"{first} {second}", f"{first.capitalize()} {second.capitalize()}", first])


def _number(rng, material):
    number = rng.randrange(10 ** rng.randint(4, 9))
    return rng.choice([f"{number}", f"{number:,}", f"{number / 100:.2f}"])


VALUES = {"word": _words, "number": _number}


class Asked(NamedTuple):
    """What is asked for: the `noun` of what has a `name`, said in a `sentence` of `SENTENCES`."""

    name: str
    noun: str
    sentence: str


@dataclass(frozen=True)
class FactTask(NeedleTask):
    """A task, see `question.py`: needles whose keys are [`Asked`]."""

    def _key(self, distinct):
        rng, split = distinct.rng, distinct.material.split
        before = [each for each in distinct.drawn if isinstance(each, Asked)]
        name = rng.choice(before).name if before and rng.random() < SAME_NAME else distinct(_name)
        said = {each.noun for each in before if each.name == name}
        noun = rng.choice([noun for noun in _nouns(split) if noun not in said])
        asked = Asked(name, noun, rng.choice(SENTENCES[split]))
        distinct.drawn[asked] = True
        return asked

    def _value(self, distinct):
        return distinct(VALUES[self.kind])

    def _sentence(self, key, value):
        sentence = key.sentence.format(noun=key.noun, name=key.name, value=value)
        return sentence if sentence.startswith(value) else sentence[0].upper() + sentence[1:]

    def _check(self, context, given):
        if self.haystack not in HAYSTACKS:
            return  # Nothing else is in the text, and no two facts have the same name and property.
        names = [key.name.removeprefix("the ") for key, _ in given]
        for name in names:
            check_said_once(context, [name], names.count(name))

    def _prompt(self, rng, material, keys, count):
        prompt = rng.choice(QUESTIONS[material.split]).format(noun=keys[0].noun, name=keys[0].name)
        return prompt[0].upper() + prompt[1:]


FACT_TASKS = {
    f"facts-{kind}s-{haystack}": FactTask(kind, haystack, keys=4)
    for kind in VALUES
    for haystack in ("noise", "prose", "facts")
}
