"""What a batch and its examples are to be, and what becomes of them."""

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Draw:
    """What batch `index` is made of: its window length, its ratio or number of latents per window, its objective."""

    index: int
    window: int
    ratio: int | None
    objective: str
    num_latents: int | None = None

    def shape(self, length):
        """(tokens, latents) of the windows that a stretch of `length` tokens is cut into."""
        longest = min(self.window, length)
        if self.num_latents:
            return longest, min(self.num_latents, longest)
        num_latents = max(1, longest // self.ratio)
        return min(num_latents * self.ratio, longest), num_latents


@dataclass(frozen=True)
class WindowSpec:
    """
    One training window: where it lies in the ids of its source, its N, the seed of what is random in it, the name of
    its objective, and how many of the tokens after it belong to its example.
    """

    start: int
    length: int
    num_latents: int
    seed: int
    source: int = 0
    continuation: int = 0
    objective: str = "reconstruction"


class RowSpec(NamedTuple):
    """One example of an objective with rows of its own: what its batch is made of, and which row it is."""

    draw: Draw
    row: int

    @property
    def objective(self):
        """Name of its objective, `str`."""
        return self.draw.objective


@dataclass(frozen=True)
class TrainingExample:
    """
    What is compressed, and the decoder's row about it.

    Args:
        contexts (`list`): what the encoder reads of each window, as in [`TextWindow`].
        num_latents (`list[int]`): N of each window.
        row (`list[TextSegment or LatentSpan]`): the segments of the row, with a [`LatentSpan`] for each window, in the
            same order (`decoder_rows_c3.py`); `C3Processor.row` makes it of latents, a prompt and what follows.
    """

    contexts: list
    num_latents: list
    row: list
