"""Sources of training texts, and their documents as one array of token ids each."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from c3.quoting_c3 import listed
from c3.support.text_position import position_of

LOADERS = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".txt": "text"}
# The column whose values a source's `keep` may name.
ORIGIN = "source"
POWERS_OF_TEN = {10**power for power in range(12)}


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
        keep (`float` or `dict[str, float]`, *optional*): the share of the documents that is used, above 0 and up to 1;
            or such shares by what the column `source` says or begins with (of several beginnings the longest counts),
            and all of the rest. Whether a document is kept depends on its text alone (of a conversation, on the
            context): they are the same ones in every run, and those of a smaller share are among a larger one's.
    """

    path: str
    column: str = "text"
    split: str = "train"
    config: str | None = None
    weight: float | None = None
    streaming: bool = False
    keep: float | dict[str, float] | None = None


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


def check_keep(keep):
    """Raises `ValueError` unless this is what `DataSource.keep` may be."""
    shares = keep if isinstance(keep, dict) else {None: keep}
    if not shares:
        raise ValueError("keep: give a share, or shares by the beginnings of the column `source`.")
    for name, share in shares.items():
        if name is not None and (not isinstance(name, str) or not name):
            raise ValueError(f"keep: {name!r} is not how a value of the column `source` may begin.")
        if not isinstance(share, (int, float)) or isinstance(share, bool) or not 0 < share <= 1:
            where = "keep" if name is None else f"keep: {name}"
            raise ValueError(f"{where} must be a number above 0 and up to 1, not {share!r}.")


class KeptDocuments:
    """
    Says which documents the `keep` of a [`DataSource`] keeps, and counts them.

    Args:
        keep (`float` or `dict[str, float]`): see there.

    Attributes:
        read, kept (`dict[str or None, int]`): how many there were, by the name in `keep` (None: by no name).
    """

    def __init__(self, keep):
        self.shares = {None: 1.0} | keep if isinstance(keep, dict) else {None: keep}
        # Longest first.
        self.names = sorted((name for name in self.shares if name is not None), key=len, reverse=True)
        self.read, self.kept = dict.fromkeys(self.shares, 0), dict.fromkeys(self.shares, 0)

    def __call__(self, text, origin=None):
        """Whether a document is kept, from its text and its value of the column `source`."""
        name = next((name for name in self.names if (origin or "").startswith(name)), None)
        keeps = position_of(text, "keep") < self.shares[name]
        self.read[name] += 1
        self.kept[name] += keeps
        return keeps

    @property
    def missing(self):
        """`list[str]`: names that no document so far begins with."""
        return [name for name in self.names if not self.read[name]]

    def __str__(self):
        said = f"{sum(self.kept.values())} of {sum(self.read.values())} documents kept"
        shares = [f"{name}: {self.kept[name]} of {self.read[name]}" for name in self.shares if name is not None]
        return said + (f" ({', '.join(shares)})" if shares else "")


def load_columns(source, columns, say=None):
    """
    Rows of a [`DataSource`], or of a path with its defaults.

    Args:
        columns (`list[str]`): what to keep of them; the first holds the text that `keep` goes by.
        say (`Callable[[str], None]`, *optional*): is told how many documents were kept; of a source that streams, how
            many of the first ten, hundred and so on.

    Returns:
        `datasets.Dataset`, or `datasets.IterableDataset` of a source that streams.

    Raises:
        FileNotFoundError: a file that is not there.
        ValueError: a file of another kind, or without a column, or `keep` names what does not occur (of a source that
            streams, `say` is told).
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
    origins = [ORIGIN] if isinstance(source.keep, dict) else []
    for column in (*columns, *origins):
        if column not in known:
            why = ", whose values keep names" if column in origins else ""
            raise ValueError(f"{source.path} has no column {column!r}{why}; it has {listed(known, 20)}.")
    if source.keep is not None:
        dataset = _kept(dataset, source, [columns[0], *origins], say)
    return dataset.select_columns(columns)


def _kept(dataset, source, columns, say):
    """The rows of a dataset that `source.keep` keeps, going by these columns."""
    kept = KeptDocuments(source.keep)
    if source.streaming:

        def keeps(*values):
            found = kept(*values)
            if say is not None and sum(kept.read.values()) in POWERS_OF_TEN:
                unseen = f"; none yet of {', '.join(kept.missing)}" if kept.missing else ""
                say(f"{source.path}: {kept}{unseen}.")
            return found

        return dataset.filter(keeps, input_columns=columns)
    rows, start = [], 0
    for batch in dataset.select_columns(columns).iter(1000):
        values = zip(*(batch[column] for column in columns), strict=True)
        found = [kept(*each) for each in values]
        rows += [start + place for place, keeps in enumerate(found) if keeps]
        start += len(found)
    if kept.missing:
        raise ValueError(f"{source.path}: keep names {', '.join(kept.missing)}, but no `{ORIGIN}` begins so.")
    if start and not rows:
        raise ValueError(f"{source.path}: keep leaves none of its {start} documents.")
    if say is not None:
        say(f"{source.path}: {kept}.")
    return dataset.select(rows)


def load_texts(source, say=None):
    """As `load_columns`: the texts of a source, as a dataset with one column, `text`."""
    column = source.column if isinstance(source, DataSource) else "text"
    dataset = load_columns(source, [column], say)
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
    All documents of one source as one array of the decoder's token ids, and the blocks that cover it.

    A document is covered by blocks of `block_size` tokens; the last one ends with the document and so overlaps the one
    before. A document shorter than a block is one shorter block. Nothing is dropped but documents without text, which
    are counted and named.

    Args:
        texts (`datasets.Dataset`): documents in the column `text`; None counts as empty.
        processor (`C3Processor`): its `encode` makes the ids.
        block_size (`int`): tokens.
        name (`str`): of the source, for messages.

    Raises:
        ValueError: no documents.

    Attributes:
        ids (`np.ndarray` of shape `(tokens,)`, int32), blocks (`np.ndarray` of shape `(blocks, 3)`, int64): start,
        length, and where the document ends; lengths (`np.ndarray` of shape `(documents,)`), num_documents (`int`),
        unusable ([`UnusableDocuments`]).
    """

    def __init__(self, texts, processor, block_size, name="data"):
        import datasets

        if len(texts) == 0:
            raise ValueError(f"There are no documents to train on: {name} is empty.")
        tokenized = texts.map(
            lambda batch: {"ids": processor.encode([text or "" for text in batch["text"]])},
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
        self.lengths, self.num_documents = lengths, len(lengths)
        self.unusable = UnusableDocuments()
        for row in np.flatnonzero(lengths == 0).tolist():
            self.unusable.add(f"{name}, row {row}")
        self.blocks = blocks_of(lengths, block_size)

    def tokens_in_blocks(self, block_size):
        """`int`: what the blocks hold where they have `block_size` tokens; some tokens are in two of them."""
        whole, rest = np.divmod(self.lengths, block_size)
        return int((whole * block_size + np.where(rest, np.minimum(self.lengths, block_size), 0)).sum())


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
