"""Batches from sources that are read while training, instead of being loaded and tokenized first."""

import copy
import logging
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import numpy as np
from torch.utils.data import IterableDataset

from c3.training.checks import RecipeError

from .documents import POWERS_OF_TEN, UnusableDocuments, blocks_of
from .examples import WindowDataset
from .pools import group_blocks
from .specs import RowSpec

# Text that is shuffled and cut into batches at once: about a million tokens, so that documents find others of their
# length to be batched with, however short they are.
CHUNK_CHARACTERS = 1 << 22
BEGINNING = {"batch": 0, "first_batch": 0, "chunk": 0, "epoch": 0, "document": 0, "texts": None, "unusable": {}}


class StreamedBatches(IterableDataset):
    """
    Batches of `WindowDataset` items, one list per micro-batch of the run, from streaming datasets.

    Documents are taken in chunks, each shuffled and cut into batches by itself; the order of shards and of what is in a
    chunk depends on `seed` alone, so that a resumed run sees what an uninterrupted one sees. It goes on from the
    `state` in its checkpoint: the source is moved to where the chunk began, and nothing before that is tokenized again.
    Of several processes each reads everything and takes every `num_processes`-th batch. While batches are taken from a
    chunk, a thread reads and tokenizes the next.

    Args:
        texts (`datasets.IterableDataset`): documents in the column `text`.
        curriculum ([`Curriculum`]): what each batch is for.
        processor ([`C3Processor`]): makes the ids.
        block_size, tokens_per_batch (`int`): as for `TokenStream` and `BatchPool`.
        dropout_windows, random_windows (`float`), dropout_halved_above (`float`, *optional*): as for `WindowDataset`.
        process_index, num_processes (`int`): of this process.
        say (`Callable[[str], None]`, *optional*): is told of documents that cannot be used, the first, the tenth, the
            hundredth and so on.
        resume_from (`dict`, *optional*): what `state` gave; the batches before it come as empty lists, because
            `Trainer` takes and drops as many.
        rows (`dict[str, InstructionExamples]`, *optional*), row_pools (`dict[tuple, BatchPool]`, *optional*): of
            objectives with rows of their own, which do not stream: by name, and by what `Curriculum.rows` says.

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
        dropout_halved_above=None,
        process_index=0,
        num_processes=1,
        say=None,
        resume_from=None,
        rows=None,
        row_pools=None,
    ):
        # A buffer of one: the order of shards is shuffled here and documents below, where it can be taken up again.
        self.texts = texts.shuffle(seed=curriculum.seed, buffer_size=1)
        self.curriculum, self.processor = curriculum, processor
        self.block_size, self.tokens_per_batch = block_size, tokens_per_batch
        self.options = {"dropout_windows": dropout_windows, "dropout_halved_above": dropout_halved_above}
        self.options |= {"random_windows": random_windows, "rows": rows}
        self.row_pools = row_pools or {}
        self.process_index, self.num_processes = process_index, num_processes
        self.start = BEGINNING | (resume_from or {})
        self.unusable, self.say = UnusableDocuments(), say
        # The chunk that the last batch is from, and the one before.
        self._starts = deque(maxlen=2)

    def state(self, batch):
        """
        What a run needs to go on with batch `batch` (counted over all processes), `dict` of what JSON can hold.

        Raises:
            ValueError: the batches around it were not made here.
        """
        starts = [each for each in self._starts if each["first_batch"] <= batch]
        if not starts:
            raise ValueError(f"Batch {batch} is not among the last ones that were read.")
        return starts[-1] | {"batch": batch}

    def __iter__(self):
        start = self.start
        self.unusable = UnusableDocuments(**start["unusable"])
        for _ in range(self.process_index, start["batch"], self.num_processes):
            yield []
        with ThreadPoolExecutor(1) as thread:
            yield from self._batches(start, thread)

    def _batches(self, start, thread):
        """Yields the batches from `start` on; `thread` makes the next chunk meanwhile."""
        index, number = start["first_batch"], start["chunk"]
        taken = Counter(map(self._rows, range(index)))
        chunks = self._chunks(start)
        following = thread.submit(next, chunks)
        while index < self.curriculum.num_batches:
            place, documents = following.result()
            self._starts.append(place | {"chunk": number, "first_batch": index})
            rng = np.random.default_rng([self.curriculum.seed, 6, number])
            documents = [documents[place] for place in rng.permutation(len(documents))]
            blocks = np.insert(blocks_of([len(ids) for ids in documents], self.block_size), 0, 0, axis=1)
            batches = group_blocks(blocks[:, 2], self.tokens_per_batch, rng)
            # Not what is never taken: whoever ends the run would wait for it.
            if index + len(batches) < self.curriculum.num_batches:
                following = thread.submit(next, chunks)
            examples = WindowDataset([np.concatenate(documents)], self.processor, **self.options)
            for chosen in batches:
                while rows := self._rows(index):
                    if self._is_wanted(index, start["batch"]):
                        draw = self.curriculum.draw(index)
                        chosen_rows = self.row_pools[rows].batch(taken[rows]).tolist()
                        yield examples.__getitems__([RowSpec(draw, row) for row in chosen_rows])
                    taken[rows] += 1
                    index += 1
                if index >= self.curriculum.num_batches:
                    return
                if self._is_wanted(index, start["batch"]):
                    draw = self.curriculum.draw(index)
                    yield examples.__getitems__(self.curriculum.cut(draw, blocks[chosen]))
                index += 1
            number += 1

    def _rows(self, index):
        """`Curriculum.rows` of batch `index` of the run, where its objective has rows of its own; otherwise None."""
        if not self.row_pools or index >= self.curriculum.num_batches:
            return None
        rows = self.curriculum.rows(index)
        return rows if rows in self.row_pools else None

    def _is_wanted(self, index, first):
        """Whether this process makes batch `index`, and has not made it before it was resumed with batch `first`."""
        return index >= first and index % self.num_processes == self.process_index

    def _chunks(self, start):
        """Yields where each chunk began, `dict`, and the ids of its documents, over and over the data."""
        # Tokenizers are not for two threads.
        encode = copy.deepcopy(self.processor).encode
        epoch, document, where = start["epoch"], start["document"], start["texts"]
        if where is not None:
            # datasets warns that its state lacks the buffer, which never holds anything here.
            logging.getLogger("datasets.iterable_dataset").addFilter(_is_no_buffer_warning)
            self.texts.load_state_dict(where)
        while True:
            self.texts.set_epoch(epoch)
            rows, usable = iter(self.texts), document > 0
            while True:
                place = {"epoch": epoch, "document": document, "texts": where, "unusable": asdict(self.unusable)}
                texts = _some_texts(rows)
                if not texts:
                    break
                where = self.texts.state_dict()
                documents = self._usable(encode(texts), document, counts=epoch == 0)
                document += len(texts)
                if documents:
                    usable = True
                    yield place, documents
            if not usable:
                raise RecipeError("There are no documents to train on: the streamed data hold no text.")
            epoch, document, where = epoch + 1, 0, None

    def _usable(self, tokenized, first, counts):
        """Those of some documents' ids, `list[list[int]]`, that are not empty; where it `counts`, others are noted."""
        documents = []
        for number, ids in enumerate(tokenized, start=first):
            if len(ids):
                documents.append(np.asarray(ids, dtype=np.int32))
            elif counts:
                self.unusable.add(f"document {number}")
                if self.say is not None and self.unusable.count in POWERS_OF_TEN:
                    self.say(f"Streamed documents: {self.unusable}.")
        return documents


def _some_texts(rows):
    """`list[str]`: the texts of the next chunk of an iterator over rows; none at its end."""
    texts, characters = [], 0
    for row in rows:
        texts.append(row["text"] or "")
        characters += len(texts[-1])
        if characters >= CHUNK_CHARACTERS:
            break
    return texts


def _is_no_buffer_warning(record):
    return "shuffle buffer" not in record.getMessage()
