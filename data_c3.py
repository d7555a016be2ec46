"""Sources of training texts, and their documents as one array of token ids each."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

LOADERS = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".txt": "text"}


@dataclass(frozen=True)
class DataSource:
    """
    Where texts come from.

    Args:
        path (`str`): a .parquet, .jsonl, .json or .txt file (.txt: one text per file), or the name of a Hub dataset.
        column (`str`): the column that holds the text.
        split, config (`str`): of a Hub dataset.
        weight (`float`, *optional*): share of the batches that come from here, relative to the other sources'; of data
            that stream, the share of the documents, however long they are. Without weights every document is visited
            once per epoch; streams then take turns, a document from each, and a shorter one begins again until the
            longest has ended.
        streaming (`bool`): read while training instead of loading and tokenizing everything first.
    """

    path: str
    column: str = "text"
    split: str = "train"
    config: str | None = None
    weight: float | None = None
    streaming: bool = False


def check_source(source):
    """
    Whether a source is a file (True) or the name of a Hub dataset (False).

    Raises:
        FileNotFoundError: a file that is not there.
        ValueError: a file of another kind than `LOADERS`, or a folder.
    """
    path = Path(source)
    if path.suffix not in LOADERS and path.exists():
        raise ValueError(f"{source} is not a {', '.join(LOADERS)} file.")
    # Names of Hub datasets have dots too, as in org/data-v1.5, but no endings of letters alone.
    if path.suffix[1:].isalpha() and not path.is_file():
        raise FileNotFoundError(f"No such data file: {source}.")
    return path.is_file()


def load_columns(source, columns):
    """
    Rows of a [`DataSource`], or of a path with its defaults.

    Args:
        columns (`list[str]`): what to keep of them.

    Returns:
        `datasets.Dataset`, or `datasets.IterableDataset` of a source that streams.

    Raises:
        FileNotFoundError: a file that is not there.
        ValueError: a file of another kind, or without a column.
    """
    import datasets

    source = source if isinstance(source, DataSource) else DataSource(str(source))
    options = {"streaming": source.streaming}
    if check_source(source.path):
        suffix = Path(source.path).suffix
        if suffix == ".txt":
            options["sample_by"] = "document"
        dataset = datasets.load_dataset(LOADERS[suffix], data_files=source.path, split="train", **options)
    else:
        dataset = datasets.load_dataset(source.path, source.config, split=source.split, **options)
    known = dataset.column_names or list(next(iter(dataset), {}))
    for column in columns:
        if column not in known:
            raise ValueError(f"{source.path} has no column {column!r}; it has {', '.join(known)}.")
    return dataset.select_columns(columns)


def load_texts(source):
    """As `load_columns`: the texts of a source, as a dataset with one column, `text`."""
    column = source.column if isinstance(source, DataSource) else "text"
    dataset = load_columns(source, [column])
    return dataset if column == "text" else dataset.rename_column(column, "text")


@dataclass
class UnusableDocuments:
    """Counts documents that cannot be used, for one `reason`, and keeps the names of the first few for the log."""

    count: int = 0
    first: list[str] = field(default_factory=list)
    reason: str = "without text"

    def add(self, name):
        self.count += 1
        if len(self.first) < 10:
            self.first.append(name)

    def __str__(self):
        more = ", …" if self.count > len(self.first) else ""
        return f"{self.count} {self.reason}" + (f" ({', '.join(self.first)}{more})" if self.count else "")


class TokenStream:
    """
    All documents of one source as one array of the encoder's token ids, and the blocks that cover it.

    A document is covered by blocks of `block_size` tokens; the last one ends with the document and so overlaps the one
    before. A document shorter than a block is one shorter block. Nothing is dropped but documents without text, which
    are counted and named.

    Args:
        texts (`datasets.Dataset`): documents in the column `text`; None counts as empty.
        processor (`C3Processor`): its `encode_context` makes the ids.
        block_size (`int`): tokens.
        name (`str`): of the source, for messages.

    Raises:
        ValueError: no documents.

    Attributes:
        ids (`np.ndarray` of shape `(tokens,)`, int32), blocks (`np.ndarray` of shape `(blocks, 3)`, int64): start,
        length, and where the document ends; num_documents (`int`), unusable ([`UnusableDocuments`]).
    """

    def __init__(self, texts, processor, block_size, name="data"):
        import datasets

        if len(texts) == 0:
            raise ValueError(f"There are no documents to train on: {name} is empty.")
        tokenized = texts.map(
            lambda batch: {"ids": processor.encode_context([text or "" for text in batch["text"]])},
            batched=True,
            batch_size=200,
            remove_columns=texts.column_names,
            # Without it a first batch of empty documents would make a column of nulls.
            features=datasets.Features({"ids": datasets.List(datasets.Value("int32"))}),
            desc="Tokenizing",
        )
        chunks = tokenized.data.column("ids").chunks
        self.ids = np.concatenate([chunk.flatten().to_numpy() for chunk in chunks])
        lengths = np.concatenate([np.diff(chunk.offsets.to_numpy()) for chunk in chunks])
        self.num_documents = len(lengths)
        self.unusable = UnusableDocuments()
        for row in np.flatnonzero(lengths == 0).tolist():
            self.unusable.add(f"{name}, row {row}")
        self.blocks = blocks_of(lengths, block_size)


def blocks_of(lengths, block_size):
    """
    The blocks that cover documents which follow one another, see [`TokenStream`].

    Args:
        lengths (`Sequence[int]`): tokens of each document.
        block_size (`int`): tokens of a block.

    Returns: `np.ndarray` of shape `(blocks, 3)`, int64: start, length, end of the document.
    """
    blocks, start = [], 0
    for length in np.asarray(lengths).tolist():
        end = start + length
        blocks += [(first, block_size, end) for first in range(start, end - block_size + 1, block_size)]
        if length % block_size:
            last = min(length, block_size)
            blocks.append((end - last, last, end))
        start = end
    return np.array(blocks, dtype=np.int64).reshape(-1, 3)
