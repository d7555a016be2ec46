"""Batches from sources that are read while training, instead of being loaded and tokenized first."""

import numpy as np
from torch.utils.data import IterableDataset

from ..data_c3 import UnusableDocuments, blocks_of
from .curriculum import group_blocks
from .examples import WindowDataset

# Documents that the shuffle chooses from, and batches that are made up at once.
SHUFFLE_BUFFER = 1000
BATCHES_AT_ONCE = 16
POWERS_OF_TEN = {10**power for power in range(12)}


class StreamedBatches(IterableDataset):
    """
    Batches of `WindowDataset` items, one list per micro-batch of the run, from streaming datasets.

    The order depends on `seed` alone, so a resumed run sees what an uninterrupted one sees: it reads the batches that
    it has had again and skips them. Of several processes each reads everything and takes every `num_processes`-th
    batch.

    Args:
        texts (`datasets.IterableDataset`): documents in the column `text`.
        curriculum ([`Curriculum`]): what each batch is for; no instruction tuning.
        processor ([`C3Processor`]): makes the ids.
        block_size, tokens_per_batch (`int`): as for `TokenStream` and `BatchPool`.
        dropout_windows, random_windows (`float`): as for `WindowDataset`.
        process_index, num_processes (`int`): of this process.
        say (`Callable[[str], None]`, *optional*): is told of documents that cannot be used, the first, the tenth, the
            hundredth and so on.

    Attributes:
        unusable ([`UnusableDocuments`]): seen so far.
    """

    def __init__(
        self,
        texts,
        curriculum,
        processor,
        block_size,
        tokens_per_batch,
        dropout_windows=0.0,
        random_windows=0.0,
        process_index=0,
        num_processes=1,
        say=None,
    ):
        self.texts = texts.shuffle(seed=curriculum.seed, buffer_size=SHUFFLE_BUFFER)
        self.curriculum, self.processor = curriculum, processor
        self.block_size, self.tokens_per_batch = block_size, tokens_per_batch
        self.options = {"dropout_windows": dropout_windows, "random_windows": random_windows}
        self.process_index, self.num_processes = process_index, num_processes
        self.unusable, self.say = UnusableDocuments(), say

    def __iter__(self):
        index = 0
        for ids, blocks in self._pools():
            windows = WindowDataset([ids], self.processor, **self.options)
            rng = np.random.default_rng([self.curriculum.seed, 6, index])
            for chosen in group_blocks(blocks[:, 2], self.tokens_per_batch, rng):
                if index >= self.curriculum.num_batches:
                    return
                if index % self.num_processes == self.process_index:
                    draw = self.curriculum.draw(index)
                    yield [windows[spec] for spec in self.curriculum.windows(draw, blocks[chosen])]
                index += 1

    def _pools(self):
        """Yields (ids, blocks) of some documents that follow one another, over and over the data."""
        wanted = BATCHES_AT_ONCE * self.tokens_per_batch
        held, lengths = [], []
        for ids in self._documents():
            held.append(ids)
            lengths.append(len(ids))
            if sum(lengths) >= wanted:
                blocks = blocks_of(lengths, self.block_size)
                yield np.concatenate(held).astype(np.int32), np.insert(blocks, 0, 0, axis=1)
                held, lengths = [], []

    def _documents(self):
        """Yields the encoder's ids of each document, over and over the data."""
        epoch = 0
        while True:
            self.texts.set_epoch(epoch)
            usable = False
            for number, row in enumerate(self.texts):
                ids = self.processor.encode_context(row["text"]) if row["text"] else []
                if ids:
                    usable = True
                    yield ids
                elif not epoch:
                    self.unusable.add(f"document {number}")
                    if self.say is not None and self.unusable.count in POWERS_OF_TEN:
                        self.say(f"Streamed documents: {self.unusable}.")
            if not usable:
                raise ValueError("There are no documents to train on: the streamed data hold no text.")
            epoch += 1
