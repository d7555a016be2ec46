"""What a batch and its examples are to be, and what becomes of them."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True)
class Draw:
    """
    What batch `index` is made of: its window length, its ratio or number of latents per window, its objective, and for
    one that reads text chunk by chunk how many windows a row has.
    """

    index: int
    window: int
    ratio: int | None
    objective: str
    num_latents: int | None = None
    chunks: int = 1

    def shapes(self, lengths):
        """(tokens, latents), arrays, of the windows that stretches of `lengths` tokens (`np.ndarray`) are cut into."""
        longest = np.minimum(self.window, lengths)
        if self.num_latents:
            return longest, np.minimum(self.num_latents, longest)
        num_latents = np.maximum(1, longest // self.ratio)
        return np.minimum(num_latents * self.ratio, longest), num_latents

    def shape(self, length):
        """The same of one stretch, `(int, int)`."""
        tokens, num_latents = self.shapes(length)
        return int(tokens), int(num_latents)


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


@dataclass(frozen=True, eq=False)
class WindowSpecs(Sequence):
    """
    The windows of a batch, thousands perhaps: the fields of [`WindowSpec`] as arrays of shape `(windows,)`. An item is
    a [`WindowSpec`], a slice again arrays.
    """

    start: np.ndarray
    length: np.ndarray
    num_latents: np.ndarray
    seed: np.ndarray
    source: np.ndarray
    continuation: np.ndarray
    objective: str

    @classmethod
    def of(cls, spec):
        """Those of one [`WindowSpec`]."""
        *numbers, objective = astuple(spec)
        return cls(*(np.array([number]) for number in numbers), objective)

    def _arrays(self):
        return self.start, self.length, self.num_latents, self.seed, self.source, self.continuation

    def __len__(self):
        return len(self.start)

    def __getitem__(self, place):
        chosen = [each[place] for each in self._arrays()]
        if isinstance(place, slice):
            return WindowSpecs(*chosen, self.objective)
        return WindowSpec(*map(int, chosen), self.objective)

    def __eq__(self, other):
        return list(self) == list(other)

    def alike(self):
        """`list[slice]`: neighbours of one length, N and number of tokens after them."""
        shapes = np.stack([self.length, self.num_latents, self.continuation])
        changes = np.flatnonzero((shapes[:, 1:] != shapes[:, :-1]).any(0)) + 1
        bounds = [0, *changes.tolist(), len(self)]
        return list(map(slice, bounds[:-1], bounds[1:]))


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
    What is compressed, and the decoder's row about it; or many examples alike, of one window each, whose row has
    segments of several rows.

    Args:
        contexts (`Sequence`): what the encoder reads of each window, as in [`TextWindow`].
        num_latents (`list[int]`): N of each window.
        row (`list[TextSegment or LatentSpan]`): the segments of the row, with a [`LatentSpan`] for each window, in the
            same order (`decoder_rows_c3.py`); `C3Processor.row` makes it of latents, a prompt and what follows.
    """

    contexts: list
    num_latents: list
    row: list
