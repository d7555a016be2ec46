"""
Variable tracking of RULER (Hsieh et al. 2024, arXiv 2404.06654): a value is given to a variable, that variable to the
next one, and so on; which variables hold the value?
"""

import string
from dataclasses import dataclass

from .haystacks import HAYSTACKS, check_said_once, fitting, hide, joined
from .needles import Distinct
from .question import Question, phrased

# Variables of the chain that is asked about, at most, and of a second chain with another value where there is room.
CHAIN, OTHERS = 5, 5
LEAST = 2
PROMPTS = (
    "Which variables hold the value {value}? Name them in the order in which they get it.",
    "Find all variables that are assigned the value {value}, in their order.",
)


def _name(rng, material):
    return "".join(rng.choices(string.ascii_uppercase, k=5))


def _number(rng, material):
    return str(rng.randrange(10**4, 10**5))


@dataclass(frozen=True)
class VariableTracking:
    """A task, see `question.py`, with a `haystack` of `HAYSTACKS`."""

    haystack: str

    def __call__(self, rng, material, length, depth):
        distinct = Distinct(rng, material)
        names = [distinct(_name) for _ in range(CHAIN + OTHERS)]
        values = [distinct(_number) for _ in range(2)]
        said = _statements(names[:CHAIN], values[0]) + _statements(names[CHAIN:], values[1])
        statements = fitting(material.counted(said), length, LEAST)
        in_chain = min(CHAIN, len(statements))
        haystack = HAYSTACKS[self.haystack](rng, material, length - sum(each.tokens for each in statements))
        # A variable gets its value before the next one does.
        depths = sorted(rng.random() for _ in range(in_chain))
        depths += sorted(rng.random() for _ in range(len(statements) - in_chain))
        context = joined(hide(haystack, statements, depths)[0])
        check_said_once(context, values[: 1 + (len(statements) > in_chain)])
        for place, name in enumerate(names[: len(statements)]):
            is_last = place in (in_chain - 1, len(statements) - 1)
            check_said_once(context, [name], 1 if is_last else 2)
        chains = {values[0]: names[:in_chain], values[1]: names[in_chain : len(statements)]}

        def ask(value):
            return Question(
                context=context,
                prompt=phrased(rng, material, PROMPTS).format(value=value),
                answers=tuple(chains[value]),
                further=map(ask, [other for other, chain in chains.items() if chain and other != value]),
            )

        return ask(values[0])


def _statements(names, value):
    """`VAR A = 12345.`, `VAR B = VAR A.` and so on."""
    sources = [value, *(f"VAR {name}" for name in names)]
    return [f"VAR {name} = {source}." for name, source in zip(names, sources, strict=False)]


VARIABLE_TASKS = {f"variable_tracking-{haystack}": VariableTracking(haystack) for haystack in HAYSTACKS}
