"""The batches of a run from data that are loaded, in order."""

from array import array
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from torch.utils.data import Sampler

from .specs import RowSpec


class CurriculumSampler(Sampler):
    """
    Batches of `WindowSpec` or `RowSpec`, one per micro-batch of the run. Batch i depends on `seed` and i alone, so a
    run that is resumed sees what an uninterrupted one sees. Nothing is drawn before it is needed, since a long run has
    millions of micro-batches.

    Args:
        curriculum ([`Curriculum`]): what each batch is for.
        pools (`list[BatchPool]`): where batches of blocks come from, one pool for each group of sources.
        weights (`list[float]`, *optional*): of the pools.
        row_pools (`dict[tuple, BatchPool]`, *optional*): of objectives with rows of their own where theirs come from,
            by what `Curriculum.rows` says.
    """

    def __init__(self, curriculum, pools, weights=None, row_pools=None):
        self.curriculum, self.pools, self.row_pools = curriculum, pools, row_pools or {}
        # Of several pools, the one that each batch of texts takes from.
        self._chosen = None
        if len(pools) > 1:
            shares = np.ones(len(pools)) if weights is None else np.array(weights, dtype=float)
            rng = np.random.default_rng([curriculum.seed, 5])
            chosen = rng.choice(len(pools), size=curriculum.num_batches, p=shares / shares.sum())
            self._chosen = chosen.astype(np.int16)
        # Where each batch so far takes from (the pools of rows are the last), and how many before it took from there.
        self._pool, self._place = array("h"), array("q")
        self._number = {rows: len(pools) + index for index, rows in enumerate(self.row_pools)}
        self._taken = [0] * (len(pools) + len(self.row_pools))

    def __len__(self):
        return self.curriculum.num_batches

    def __iter__(self):
        return (PendingBatch(self, index) for index in range(len(self)))

    def batch(self, index):
        """What `WindowDataset` takes, [`WindowSpecs`] or `list[RowSpec]`: batch `index`."""
        draw = self.curriculum.draw(index)
        self._find_places(index)
        pool, place = self._pool[index], self._place[index]
        rows = self.row_pools.get(self.curriculum.rows(index))
        if rows is not None:
            return [RowSpec(draw, row) for row in rows.batch(place).tolist()]
        return self.curriculum.cut(draw, self.pools[pool].batch(place))

    def _find_places(self, index):
        """Finds out where all batches up to `index` take from."""
        for number in range(len(self._pool), index + 1):
            # Where there are no rows, the objective makes no difference.
            pool = self._number.get(self.curriculum.rows(number)) if self._number else None
            if pool is None:
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
        return _made, (self._items,)


def _made(items):
    return items
