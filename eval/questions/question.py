"""
What a question about a text is. A task, in `TASKS` of `tasks.py`, is a function

    make(rng, material, length, depth) -> Question

    Args:
        rng (`random.Random`): all that is random comes from it.
        material ([`Material`]): words, sentences of the corpus, and a way to count tokens.
        length (`int`): tokens of the context, at most; as `material` counts its pieces, so that the whole may come out
            a few tokens longer (`rows.py` sees to that).
        depth (`float`): where in the context that is to stand which the answer depends on, 0 its start, 1 its end.

    Raises:
        Unmakeable: not at this length, or not by this draw.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field


class Unmakeable(ValueError):
    """A question that cannot be made so; another draw, or a greater length, may do."""


@dataclass(frozen=True)
class Question:
    """
    Args:
        context (`str`): the text.
        prompt (`str`): what is asked about it.
        answers (`tuple[str, ...]`): what is to be named; each is as it stands in the text, but for yes, no, A and B.
        depth (`float`, *optional*): where that stands on which the answer depends: the share of the other tokens of the
            text that come before it. None where it is in several places, or in none.
        language (`str`): of the prompt, `"en"` or `"zh"`.
        further (`Iterable[Question]`): more questions of this kind about the text, made as they are taken; they may
            come to an end.
    """

    context: str
    prompt: str
    answers: tuple
    depth: float | None = None
    language: str = "en"
    further: Iterable = field(default=(), compare=False, repr=False)

    @property
    def answer(self):
        """`str`, the answer as one line."""
        return ", ".join(self.answers)


def phrased(rng, material, phrasings):
    """
    One of the ways to ask, `tuple[str, ...]`: any of them in training, so that a model learns what is asked rather than
    a formula; always the first one in tests, so that figures can be compared.
    """
    return phrasings[0] if material.split == "test" else rng.choice(phrasings)
