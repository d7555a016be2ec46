"""
Facts: what somebody's or something's property is, said and asked for in many wordings.

Needles all have one wording, which can be learned by heart. Here tests have wordings, properties, names and values of
which training has none, so that they show whether a question that nobody has foreseen is answered.
"""

from dataclasses import dataclass
from functools import lru_cache
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
        "{noun} ({name}) = {value}.",
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
# What is said of somebody or something with words of its own, and how that is asked for.
RELATIONS = {
    "train": {
        ("{name} lives in {value}.", "In {value} lives {name}."): ("Where does {name} live?", "{name} lives where?"),
        ("{name} was born in {value}.",): ("Where was {name} born?", "When was {name} born?"),
        ("{name} works for {value}.",): ("Who does {name} work for?", "For whom does {name} work?"),
        ("{name} costs {value}.", "{name} is sold for {value}."): (
            "How much does {name} cost?",
            "What does {name} cost?",
        ),
        ("{name} starts at {value}.", "{name} begins at {value}."): (
            "When does {name} start?",
            "At what time does {name} begin?",
        ),
        ("{name} is on {value}.",): ("When is {name}?", "On which day is {name}?"),
        ("{name} was written by {value}.", "{value} wrote {name}."): ("Who wrote {name}?", "Who is {name} by?"),
        ("{name} belongs to {value}.", "{value} owns {name}."): ("Who owns {name}?", "To whom does {name} belong?"),
        ("{name} is called {value}.", "They call {name} {value}."): (
            "What is {name} called?",
            "How do they call {name}?",
        ),
        ("{name} weighs {value}.",): ("How much does {name} weigh?", "How heavy is {name}?"),
        ("{name} is in {value}.", "You find {name} in {value}."): ("Where is {name}?", "In what is {name}?"),
        ("{name} met {value} yesterday.",): ("Who did {name} meet?", "Whom did {name} meet yesterday?"),
        ("{name} likes {value}.", "{name} is fond of {value}."): ("What does {name} like?", "What is {name} fond of?"),
        ("{name} has {value} rooms.",): ("How many rooms does {name} have?", "How many rooms are in {name}?"),
        ("{name} married {value}.",): ("Who did {name} marry?", "Who is {name} married to?"),
        ("{name} was founded in {value}.",): ("When was {name} founded?", "Since when is there {name}?"),
        ("{name} bought {value} for a friend.",): ("What did {name} buy?", "What did {name} buy for a friend?"),
        ("{name} comes from {value}.",): ("Where does {name} come from?", "Where is {name} from?"),
        ("{name} is made of {value}.",): ("What is {name} made of?", "Of what is {name} made?"),
        ("{name} won against {value}.", "{value} lost to {name}."): (
            "Who lost to {name}?",
            "Against whom did {name} win?",
        ),
        ("{name} plays the part of {value}.",): ("Which part does {name} play?", "Who does {name} play?"),
        ("{name} sells {value} a day.",): ("How much does {name} sell?", "How much does {name} sell a day?"),
        ("{name} turned {value} last week.",): ("What did {name} turn?", "How old did {name} become?"),
        ("{name} wants {value} to be changed.",): ("What does {name} want to be changed?", "What is {name} to change?"),
    },
    "test": {
        ("{name} studied at {value}.",): ("Where did {name} study?",),
        ("{name} was painted by {value}.",): ("Who painted {name}?",),
        ("{name} ends at {value}.",): ("When does {name} end?",),
        ("{name} ate {value} in the morning.",): ("What did {name} eat?",),
        ("{name} employs {value} people.",): ("How many people does {name} employ?",),
        ("{name} moved to {value} later on.",): ("Where did {name} move?",),
    },
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
    return rng.choice([f"{number}", f"{number:,}", f"{number / 100:.2f}", f"{number % 24:02}:{number % 59:02}"])


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
        if rng.random() < RELATED:
            sentences, questions = rng.choice([each for each in RELATIONS[split].items() if each[1][0] not in said])
            asked = Asked(name, questions[0], rng.choice(sentences), questions)
        else:
            noun = rng.choice([noun for noun in _nouns(split) if noun not in said])
            asked = Asked(name, noun, rng.choice(SENTENCES[split]), QUESTIONS[split])
        distinct.drawn[asked] = True
        return asked

    def _value(self, distinct):
        return distinct(VALUES[self.kind])

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
