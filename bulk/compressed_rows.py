"""The latents of the rows of a data set that was compressed to a folder."""

import operator
from bisect import bisect_right
from functools import lru_cache

from c3.auto_c3 import C3Latents

from .shards import INDEX, Shard, ShardFolder

OPEN_SHARDS = 4


class CompressedRows:
    """
    What `c3 compress-dataset` wrote, by rows of the data set.

        rows = CompressedRows("compressed")
        text = model.expand(rows[12])

    Args:
        address (`str`): the folder, or any address of fsspec.

    Raises:
        ValueError: no finished index is there.
        KeyError: of a row that was left out; `skipped` says why, and iterating leaves it out.

    Attributes:
        index (`dict`): of `index.json`.
        skipped (`dict[int, str]`): rows that have no latents, and why.
    """

    def __init__(self, address):
        self.folder = ShardFolder(address)
        self.index = self.folder.read(INDEX)
        if self.index is None:
            raise ValueError(f"{address} holds no {INDEX}: run c3 compress-dataset to its end")
        self.skipped = {int(row): why for row, why in self.index["skipped"].items()}
        self.starts = [shard["start"] for shard in self.index["shards"]]
        self._shard = lru_cache(OPEN_SHARDS)(self._read)

    def __len__(self):
        return self.index["rows"]

    def __iter__(self):
        return (self[row] for row in range(len(self)) if row not in self.skipped)

    def __reduce__(self):
        # For workers that are sent it, as those of a DataLoader.
        return CompressedRows, (self.folder.address,)

    def __getitem__(self, row):
        row = operator.index(row)
        if not -len(self) <= row < len(self):
            raise IndexError(f"there are {len(self)} rows, and none is {row}")
        row %= len(self)
        if row in self.skipped:
            raise KeyError(f"row {row} was left out: {self.skipped[row]}")
        latents, places = self._shard(bisect_right(self.starts, row) - 1)
        return latents[places[row]]

    def _read(self, number):
        """A shard's latents, and by row of the data set its place among them."""
        known = self.index["shards"][number]
        entry = self.folder.entry(Shard(number, known["start"], known["rows"]))
        latents = C3Latents.from_bytes(self.folder.files.cat_file(self.folder.path(known["file"])))
        return latents, {row: place for place, row in enumerate(entry["texts"])}
