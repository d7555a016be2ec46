"""Which windows a batch holds, at which ratio and for which objective, over the steps of a run."""

import bisect
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch.utils.data import Sampler

from c3.training.checks import RecipeError

# Of text documents; instruction tuning draws from examples of its own.
TEXT_OBJECTIVES = ("reconstruction", "continuation")


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
    """

    until: float
    windows: list[int]
    ratios: list[int] | None = None
    num_latents: list[int] | None = None

    @property
    def most_latents(self):
        """The most latents that a window of this phase may get."""
        return max(self.num_latents) if self.num_latents else max(1, max(self.windows) // self.ratios[0])

    @property
    def lowest_ratio(self):
        """Tokens per latent where there are fewest."""
        return min(self.windows) / max(self.num_latents) if self.num_latents else self.ratios[0]


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
            continue
        ratios = phase.ratios
        if not _numbers(ratios, int) or len(ratios) != 2 or not 1 <= ratios[0] <= ratios[1]:
            raise ValueError(f"curriculum: ratios must be [lowest, highest], whole and at least 1, not {ratios!r}.")


def _numbers(values, kinds=(int, float)):
    """Whether this is a list of numbers, and not an empty one."""
    return (
        isinstance(values, (list, tuple))
        and bool(values)
        and all(isinstance(value, kinds) and not isinstance(value, bool) for value in values)
    )


@dataclass(frozen=True)
class WindowSpec:
    """
    One training window: where it lies in the ids of its source, its N, how many of the tokens after it are to be
    continued (0: the window itself is to be given back), and the seed of what is random in it.
    """

    start: int
    length: int
    num_latents: int
    seed: int
    source: int = 0
    continuation: int = 0


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

    def draw(self, index):
        """The [`Draw`] of batch `index`."""
        rng = np.random.default_rng([self.seed, 1, index])
        phase = self.phase(index)
        window = int(rng.choice(phase.windows))
        ratio = num_latents = None
        if phase.num_latents:
            num_latents = int(rng.choice(phase.num_latents))
        else:
            ratio = int(rng.integers(phase.ratios[0], phase.ratios[1] + 1))
        return Draw(index, window, ratio, self.objective(index), num_latents)

    def windows(self, draw, blocks):
        """
        Cuts blocks into windows.

        Args:
            draw ([`Draw`]): what for.
            blocks (`np.ndarray` of shape `(blocks, 4)`): source, start, length, end of the document.

        Returns: `list[WindowSpec]`, all of one length but where a document is shorter. At a ratio every latent stands
        for equally many tokens, see `windows_c3.even_windows`; tokens that make no whole window are left out.
        """
        rng = np.random.default_rng([self.seed, 3, draw.index])
        # A document of one token has nothing after it to be continued with.
        continued = blocks[blocks[:, 3] - blocks[:, 1] > 1] if draw.objective == "continuation" else ()
        specs = []
        for source, start, length, end in (continued if len(continued) else blocks).tolist():
            room = min(end - start, draw.window + self.continuation_length)
            if len(continued):
                # Short documents are continued from their middle.
                length = min(draw.window, room - min(self.continuation_length, room // 2))
            size, num_latents = draw.shape(length)
            if len(continued):
                following = min(self.continuation_length, room - size)
                specs.append(WindowSpec(start, size, num_latents, int(rng.integers(2**31)), source, following))
                continue
            for first in range(start, start + length - size + 1, size):
                specs.append(WindowSpec(first, size, num_latents, int(rng.integers(2**31)), source))
        return specs


def group_blocks(lengths, tokens_per_batch, rng):
    """
    Batches of blocks that are alike in length, so that next to nothing is padded.

    Whole blocks are taken in random order; shorter ones (whole documents) are batched with their likes, as many as
    make up the same number of tokens. Whole ones that do not fill a batch go with the longest of the short ones.

    Args:
        lengths (`np.ndarray` of shape `(blocks,)`): tokens of each.
        tokens_per_batch (`int`): what a batch holds at most, unless one block alone is longer.
        rng (`np.random.Generator`): of the order.

    Returns: `list[np.ndarray]`, indices of the blocks of each batch. Their number depends on `lengths` alone.
    """
    longest = int(lengths.max())
    per_batch = max(1, tokens_per_batch // longest)
    order = rng.permutation(len(lengths))
    # Stable, so that blocks of one length still come in random order.
    order = order[np.argsort(-lengths[order], kind="stable")]
    num_whole = int((lengths == longest).sum()) // per_batch * per_batch
    batches = [order[start : start + per_batch] for start in range(0, num_whole, per_batch)]
    start = num_whole
    while start < len(order):
        size = max(1, tokens_per_batch // int(lengths[order[start]]))
        batches.append(order[start : start + size])
        start += size
    return [batches[i] for i in rng.permutation(len(batches))]


def group_conversations(lengths, tokens_per_batch, rng):
    """
    Batches of conversations about a context that are alike in both, in random order. What is in a batch depends on
    `lengths` alone. The windows of the contexts are packed; it is the decoder's rows, latents and conversation, that
    have to be alike.

    Args:
        lengths (`np.ndarray` of shape `(examples, 2)`): tokens of each context and each conversation.
        tokens_per_batch (`int`), rng (`np.random.Generator`): see `group_blocks`.

    Returns: `list[np.ndarray]`, indices of the examples of each batch.
    """
    totals = lengths.sum(-1)
    by_context = np.argsort(lengths[:, 0], kind="stable")
    # As many groups by context as there are batches by conversation in each of them, about.
    num_groups = max(1, round((totals.sum() / tokens_per_batch) ** 0.5 / 2))
    batches, held = [], 0
    for number, group in enumerate(np.array_split(by_context, num_groups)):
        # There and back, so that a batch may go on from one group into the next.
        order = group[np.argsort(lengths[group, 1] * (-1) ** number, kind="stable")]
        for index in order.tolist():
            held += totals[index]
            if not batches or held > tokens_per_batch:
                batches.append([])
                held = totals[index]
            batches[-1].append(index)
    return [np.array(batches[i]) for i in rng.permutation(len(batches))]


class CurriculumSampler(Sampler):
    """
    Batches of `WindowSpec` (or, for instruction tuning, of example indices), one per micro-batch of the run. Batch i
    depends on `seed` and i alone, so a run that is resumed sees what an uninterrupted one sees. Nothing is drawn before
    it is needed, since a long run has millions of micro-batches.

    Args:
        curriculum ([`Curriculum`]): what each batch is for.
        pools (`list[BatchPool]`): where batches of blocks come from, one pool for each group of sources.
        weights (`list[float]`, *optional*): of the pools.
        instruction_pool (`BatchPool`, *optional*): the same for instruction examples.
    """

    def __init__(self, curriculum, pools, weights=None, instruction_pool=None):
        self.curriculum, self.pools, self.instruction_pool = curriculum, pools, instruction_pool
        # Of several pools, the one that each batch of texts takes from.
        self._chosen = None
        if len(pools) > 1:
            shares = np.ones(len(pools)) if weights is None else np.array(weights, dtype=float)
            rng = np.random.default_rng([curriculum.seed, 5])
            chosen = rng.choice(len(pools), size=curriculum.num_batches, p=shares / shares.sum())
            self._chosen = chosen.astype(np.int16)
        # Where each batch so far takes from (the instruction pool is the last), and how many before it took from there.
        self._pool, self._place = array("h"), array("q")
        self._taken = [0] * (len(pools) + 1)

    def __len__(self):
        return self.curriculum.num_batches

    def __iter__(self):
        return (PendingBatch(self, index) for index in range(len(self)))

    def batch(self, index):
        """`list` of what `WindowDataset` takes: batch `index`."""
        draw = self.curriculum.draw(index)
        self._find_places(index)
        pool, place = self._pool[index], self._place[index]
        if draw.objective == "instruction":
            return [(draw, example) for example in self.instruction_pool.batch(place).tolist()]
        return self.curriculum.windows(draw, self.pools[pool].batch(place))

    def _find_places(self, index):
        """Finds out where all batches up to `index` take from."""
        asks = "instruction" in self.curriculum.objectives
        for number in range(len(self._pool), index + 1):
            if asks and self.curriculum.objective(number) == "instruction":
                pool = len(self.pools)
            else:
                pool = 0 if self._chosen is None else int(self._chosen[number])
            self._pool.append(pool)
            self._place.append(self._taken[pool])
            self._taken[pool] += 1


class PendingBatch(Sequence):
    """
    Batch `index` of a [`CurriculumSampler`], made when somebody looks into it: a run that is resumed takes and drops
    all batches before, and each process those of the others.
    """

    def __init__(self, sampler, index):
        self._sampler, self._index = sampler, index

    @cached_property
    def _items(self):
        return self._sampler.batch(self._index)

    def __len__(self):
        return len(self._items)

    def __getitem__(self, place):
        return self._items[place]

    def __eq__(self, other):
        return self._items == list(other)

    def __reduce__(self):
        # To the workers of a data loader go the items, not the sampler.
        return list, (self._items,)


def check_tokens(name, tokens, tokens_per_batch):
    """Raises `RecipeError` where the data called `name` hold fewer tokens than a batch takes."""
    if tokens < tokens_per_batch:
        raise RecipeError(
            f"{name} hold {tokens} tokens, but a batch takes {tokens_per_batch}; give more text or fewer tokens per "
            "batch."
        )


class BatchPool:
    """
    Batches of rows over any number of epochs, each in an order of its own.

    Args:
        rows (`np.ndarray` of shape `(rows, …)`): blocks, or indices of examples.
        lengths (`np.ndarray` of shape `(rows,)` or `(rows, 2)`): tokens of each, as `group` takes them.
        tokens_per_batch, seed (`int`): see `group_blocks`.
        name (`str`): for the message.
        group (`Callable`): `group_blocks` or `group_conversations`.

    Attributes:
        batches_per_epoch (`int`): the same for every epoch.

    Raises:
        RecipeError: fewer tokens than a batch takes.
    """

    def __init__(self, rows, lengths, tokens_per_batch, seed=0, name="The data", group=group_blocks):
        self.rows, self.lengths, self.tokens_per_batch, self.seed = rows, lengths, tokens_per_batch, seed
        self.group = group
        self._epoch = (None, None)
        check_tokens(name, lengths.sum(), tokens_per_batch)
        self.batches_per_epoch = len(self._batches(0))

    def _batches(self, epoch):
        if self._epoch[0] != epoch:
            rng = np.random.default_rng([self.seed, 2, epoch])
            self._epoch = (epoch, self.group(self.lengths, self.tokens_per_batch, rng))
        return self._epoch[1]

    def batch(self, place):
        """Rows of the batch that stands at `place`, counted over all epochs."""
        epoch, position = divmod(place, self.batches_per_epoch)
        return self.rows[self._batches(epoch)[position]]
