"""What a batch and its examples are to be, before any text is looked at."""

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
