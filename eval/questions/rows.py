"""Rows of questions: drawn, counted, and drawn again where the text came out too long."""

import random
from dataclasses import dataclass
from itertools import count, islice

from .question import Unmakeable
from .tasks import TASKS, family

# A task is possible at a length if each of the first few questions can be made in so many tries; after that, a question
# that takes more than the most ends a run.
PROBES, PROBE_TRIES, MOST_TRIES = 3, 10, 2000
# Texts that are counted together.
AT_ONCE = 64
GOLDEN_RATIO = 0.6180339887498949


@dataclass(frozen=True)
class Wanted:
    """
    What a row is to be; it follows from this alone, and from the corpus.

    Args:
        task (`str`): a name in `TASKS`.
        length (`int`): tokens of the text, at most.
        depth (`float`): 0 to 1, see `question.py`.
        index (`int`): of the rows of a run.
    """

    task: str
    length: int
    depth: float
    index: int


def find_impossible(material, tasks, lengths, seed=0):
    """
    Which tasks cannot be made at which lengths.

    Returns: `dict[tuple[str, int], str]`, the reasons by task and length.
    """
    impossible = {}
    for task in tasks:
        for length in lengths:
            try:
                for index in range(PROBES):
                    _make(material, Wanted(task, length, index / PROBES, index), seed, length, PROBE_TRIES)
            except Unmakeable as error:
                impossible[task, length] = str(error).split(": ", 1)[1]
    return impossible


def wanted_rows(tasks, lengths, impossible=(), depths=None):
    """
    Yields, without end, what the rows are to be: the families of tasks in turn, in each its tasks and lengths in turn.

    Args:
        impossible: pairs of a task and a length that are left out.
        depths (`list[float]`, *optional*): taken in turn; by default spread evenly over the text.
    """
    cells = {}
    for length in lengths:
        for task in tasks:
            if (task, length) not in impossible:
                cells.setdefault(family(task), []).append((task, length))
    for index in count():
        turn, place = divmod(index, len(cells))
        of_family = list(cells.values())[place]
        turn, place = divmod(turn, len(of_family))
        depth = depths[turn % len(depths)] if depths else (turn + 0.5) * GOLDEN_RATIO % 1
        yield Wanted(*of_family[place], depth, index)


def make_rows(material, wanted, seed=0, questions=1):
    """
    Yields a row, `dict`, for each of the [`Wanted`]: `context` and `messages`, which can be trained on, of up to so
    many `questions` about the text, each with its answer, and what the first of them is: `task`, `answers`, `length`
    (tokens asked for), `tokens` (that there are), `depth` (None where the answer is in several places, or in none),
    `language`, `split`, `seed`, `index`.

    Raises:
        Unmakeable: a task that cannot be made at a length.
    """
    wanted = iter(wanted)
    while batch := list(islice(wanted, AT_ONCE)):
        made = [_make(material, each, seed, each.length) for each in batch]
        tokens = material.count([question.context for question in made])
        for each, question, held in zip(batch, made, tokens, strict=True):
            if held > each.length:
                question, held = _shortened(material, each, seed, held)
            yield _row(material, each, seed, question, held, questions)


def _shortened(material, wanted, seed, tokens):
    """A [`Question`] whose text is not too long, after one of so many tokens that is, and its tokens."""
    length = wanted.length
    while tokens > wanted.length:
        length -= tokens - wanted.length
        question = _make(material, wanted, seed, length)
        (tokens,) = material.count([question.context])
    return question, tokens


def _make(material, wanted, seed, length, tries=MOST_TRIES):
    """The first [`Question`] of so many draws that can be made, of about `length` tokens."""
    for attempt in range(tries):
        rng = random.Random(f"{material.split} {seed} {wanted.task} {wanted.length} {wanted.index} {attempt}")
        try:
            return TASKS[wanted.task](rng, material, length, wanted.depth)
        except Unmakeable as error:
            reason = str(error)
    raise Unmakeable(f"{wanted.task} in {wanted.length} tokens: {reason}")


def _row(material, wanted, seed, question, tokens, questions):
    asked = [question, *islice(question.further, questions - 1)]
    return {
        "context": question.context,
        "messages": [
            {"role": role, "content": content}
            for each in asked
            for role, content in (("user", each.prompt), ("assistant", each.answer))
        ],
        "task": wanted.task,
        "answers": list(question.answers),
        "length": wanted.length,
        "tokens": tokens,
        "depth": question.depth,
        "language": question.language,
        "split": material.split,
        "seed": seed,
        "index": wanted.index,
    }
