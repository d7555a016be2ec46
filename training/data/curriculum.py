"""The curriculum: window lengths, ratios and objectives over the steps of a run."""

import bisect
from dataclasses import dataclass, field

import numpy as np

from .objectives import OBJECTIVES
from .specs import Draw


@dataclass(frozen=True)
class Phase:
    """
    A stretch of a curriculum.

    Args:
        until (`float`): share of the run at which it ends; 1.0 for the last phase.
        windows (`list[int]`): window lengths in tokens, drawn per batch.
        ratios (`list[int]`): lowest and highest compression ratio; a whole one is drawn per batch, all alike.
        num_latents (`list[int]`): instead of ratios, numbers of latents per window, one of which is drawn per batch;
            documents shorter than the window get as many.
        objective_ratios (`dict[str, list[int]]`, *optional*): other lowest and highest ratios for single objectives.
        chunks (`list[int]`): for objectives that read text chunk by chunk, the lowest and the highest number of windows
            in a row; one is drawn per batch.
        longest_context (`int`, *optional*): tokens of the contexts of objectives with rows of their own, at most, so
            that long ones come when short ones are learned; by default all come.
    """

    until: float
    windows: list[int]
    ratios: list[int] | None = None
    num_latents: list[int] | None = None
    objective_ratios: dict[str, list[int]] | None = None
    chunks: list[int] = field(default_factory=lambda: [1, 1])
    longest_context: int | None = None

    @property
    def longest_text(self):
        """Tokens of a row of the most chunks."""
        return max(self.windows) * max(self.chunks)

    @property
    def most_latents(self):
        """The most latents that a window of this phase may get."""
        return max(self.num_latents) if self.num_latents else max(1, max(self.windows) // self.lowest_ratio)

    def most_latents_of(self, tokens, objective):
        """The most latents that an objective makes of contexts of so many tokens (`np.ndarray`); 0 where none comes."""
        lowest = None if self.num_latents else (self.objective_ratios or {}).get(objective, self.ratios)[0]
        each = [(w, max(self.num_latents) if self.num_latents else -(-w // lowest)) for w in self.windows]
        most = np.max([-(-tokens // window) * latents for window, latents in each], axis=0)
        return most if self.longest_context is None else np.where(tokens <= self.longest_context, most, 0)

    @property
    def lowest_ratio(self):
        """Tokens per latent where there are fewest."""
        if self.num_latents:
            return min(self.windows) / max(self.num_latents)
        return min(ratios[0] for ratios in (self.ratios, *(self.objective_ratios or {}).values()))


def check_curriculum(phases):
    """Raises `ValueError` unless the phases follow each other up to 1.0 with sensible windows and ratios."""
    ends = [phase.until for phase in phases]
    if not _numbers(ends) or ends != sorted(set(ends)) or ends[0] <= 0 or ends[-1] != 1.0:
        raise ValueError(f"curriculum: `until` must rise from above 0 to exactly 1.0, not {ends}.")
    for phase in phases:
        if not _numbers(phase.windows, int) or min(phase.windows) < 1:
            raise ValueError(f"curriculum: windows must be a list of token counts of 1 or more, not {phase.windows!r}.")
        if (phase.ratios is None) == (phase.num_latents is None):
            raise ValueError("curriculum: give every phase either ratios or num_latents.")
        if phase.num_latents is not None:
            if not _numbers(phase.num_latents, int) or not 1 <= min(phase.num_latents):
                raise ValueError(
                    f"curriculum: num_latents must be a list of numbers of 1 or more, not {phase.num_latents!r}."
                )
            if max(phase.num_latents) > min(phase.windows):
                most, window = max(phase.num_latents), min(phase.windows)
                raise ValueError(f"curriculum: {most} latents are more than a window of {window} tokens.")
        _check_ratios(phase)
        if not _is_range(phase.chunks):
            raise ValueError(
                f"curriculum: chunks must be [lowest, highest], whole and at least 1, not {phase.chunks!r}."
            )
        if phase.longest_context is not None and (
            not _numbers([phase.longest_context], int) or phase.longest_context < 1
        ):
            said = "a whole number of tokens, at least 1"
            raise ValueError(f"curriculum: longest_context must be {said}, not {phase.longest_context!r}.")


def _check_ratios(phase):
    """Raises `ValueError` for ratios that are none, or that a phase has no use for."""
    own = {} if phase.objective_ratios is None else phase.objective_ratios
    if not isinstance(own, dict) or (own and phase.num_latents):
        raise ValueError(
            "curriculum: objective_ratios are {objective: [lowest, highest]}, beside ratios and not num_latents; "
            f"found {own!r}."
        )
    for name in own:
        if name not in OBJECTIVES:
            raise ValueError(f"curriculum: objective_ratios: {name!r} is none of {', '.join(OBJECTIVES)}.")
    for ratios in [] if phase.num_latents else [phase.ratios, *own.values()]:
        if not _is_range(ratios):
            raise ValueError(f"curriculum: ratios must be [lowest, highest], whole and at least 1, not {ratios!r}.")


def _is_range(values):
    return _numbers(values, int) and len(values) == 2 and 1 <= values[0] <= values[1]


def _numbers(values, kinds=(int, float)):
    """Whether this is a list of numbers, and not an empty one."""
    return (
        isinstance(values, (list, tuple))
        and bool(values)
        and all(isinstance(value, kinds) and not isinstance(value, bool) for value in values)
    )


class Curriculum:
    """
    Draws the window length, ratio and objective of every batch; batch i depends on `seed` and i alone.

    Args:
        phases (`list[Phase]`): window lengths and ratios over the run.
        num_batches (`int`): micro-batches of the whole run.
        seed (`int`): of all draws.
        objectives (`dict[str, float]`): weights.
        continuation_length (`int`): tokens to continue, at most.

    Raises:
        ValueError: a bad curriculum.
    """

    def __init__(self, phases, num_batches, seed=0, objectives=None, continuation_length=64):
        check_curriculum(phases)
        self.phases, self.num_batches, self.seed = phases, num_batches, seed
        self.objectives = objectives or {"reconstruction": 1.0}
        self.continuation_length = continuation_length
        weights = np.array(list(self.objectives.values()), dtype=float)
        bounds = (weights / weights.sum()).cumsum()
        self._names, self._bounds = list(self.objectives), (bounds / bounds[-1]).tolist()

    def phase(self, index):
        """The phase that batch `index` belongs to."""
        ends = [phase.until for phase in self.phases]
        return self.phases[min(bisect.bisect_right(ends, index / self.num_batches), len(ends) - 1)]

    def objective(self, index):
        """Name of the objective of batch `index`, `str`."""
        if len(self._names) == 1:
            return self._names[0]
        # A generator of its own, so that a second objective leaves windows and ratios as they are.
        drawn = np.random.default_rng([self.seed, 4, index]).random()
        return self._names[bisect.bisect_right(self._bounds, drawn)]

    def rows(self, index):
        """Of which rows batch `index` is where its objective has its own: `(objective, longest context or None)`."""
        return self.objective(index), self.phase(index).longest_context

    def draw(self, index):
        """The [`Draw`] of batch `index`."""
        rng = np.random.default_rng([self.seed, 1, index])
        phase = self.phase(index)
        window = int(rng.choice(phase.windows))
        objective = self.objective(index)
        ratio = num_latents = None
        if phase.num_latents:
            num_latents = int(rng.choice(phase.num_latents))
        else:
            lowest, highest = (phase.objective_ratios or {}).get(objective, phase.ratios)
            ratio = int(rng.integers(lowest, highest + 1))
        chunks = int(rng.integers(phase.chunks[0], phase.chunks[1] + 1))
        return Draw(index, window, ratio, objective, num_latents, chunks)

    def cut(self, draw, blocks):
        """
        Cuts blocks into windows, as the objective does it.

        Args:
            draw ([`Draw`]): what for.
            blocks (`np.ndarray` of shape `(blocks, 4)`): source, start, length, end of the document.

        Returns: [`WindowSpecs`].
        """
        rng = np.random.default_rng([self.seed, 3, draw.index])
        return OBJECTIVES[draw.objective].cut(draw, blocks, rng, self.continuation_length)
