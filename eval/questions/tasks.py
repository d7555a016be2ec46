"""The tasks by name; to add one, write its function (see `question.py`) and register it here."""

from . import common_words, frequent_words, next_words, numbered_sentence, sentence_order
from .facts import FACT_TASKS
from .needles import NEEDLE_TASKS
from .neighbouring_sentence import FOLLOWS, PRECEDES, NeighbouringSentence
from .sentence_presence import PRESENCE_TASKS
from .variables import VARIABLE_TASKS

# The part before the first hyphen is the family: a mixture has as many questions of each.
TASKS = {
    **NEEDLE_TASKS,
    **FACT_TASKS,
    **VARIABLE_TASKS,
    "common_words": common_words.make,
    "frequent_words": frequent_words.make,
    "next_sentence": NeighbouringSentence(FOLLOWS, step=1),
    "previous_sentence": NeighbouringSentence(PRECEDES, step=-1),
    "next_words": next_words.make,
    "numbered_sentence": numbered_sentence.make,
    "sentence_order": sentence_order.make,
    **PRESENCE_TASKS,
}


def family(task):
    """`single` for `single-uuids-prose`."""
    return task.split("-")[0]


FAMILIES = list(dict.fromkeys(map(family, TASKS)))


def find_tasks(names):
    """
    The tasks with these names, or whose names begin so: `single` and `single-uuids` for `single-uuids-prose`.

    Returns: `list[str]`, in the order of `TASKS`.

    Raises:
        ValueError: a name that no task has.
    """
    for name in names:
        if not any(_is_named(task, name) for task in TASKS):
            raise ValueError(f"there is no task {name}: name some of {', '.join(FAMILIES)}, or of {', '.join(TASKS)}")
    return [task for task in TASKS if any(_is_named(task, name) for name in names)]


def _is_named(task, name):
    return task == name or task.startswith(f"{name}-")
