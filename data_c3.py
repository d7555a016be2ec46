"""Texts to training batches: sources, token stream, ratio curriculum, collator."""

import bisect
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

# Random tokens carry their full entropy, about five times that of text, so that high ratios could not hold them.
RANDOM_WINDOW_RATIO = 8
LOADERS = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".txt": "text"}


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


def load_texts(source, split="train", column="text"):
    """
    Texts of one source.

    Args:
        source (`str`): a .parquet, .jsonl, .json or .txt file (.txt: one text per file), or the name of a Hub dataset.
        split (`str`): which split of a Hub dataset.
        column (`str`): the column that holds the text.

    Returns:
        `datasets.Dataset` with one column, `text`.

    Raises:
        FileNotFoundError: a file that is not there.
        ValueError: a file of another kind, or without the column.
    """
    import datasets

    if check_source(source):
        suffix = Path(source).suffix
        options = {"sample_by": "document"} if suffix == ".txt" else {}
        dataset = datasets.load_dataset(LOADERS[suffix], data_files=str(source), split="train", **options)
    else:
        dataset = datasets.load_dataset(source, split=split)
    if column not in dataset.column_names:
        raise ValueError(f"{source} has no column {column!r}; it has {', '.join(dataset.column_names)}.")
    dataset = dataset.select_columns([column])
    return dataset if column == "text" else dataset.rename_column(column, "text")


class TokenStream:
    """
    All documents of a corpus as one array of token ids, and the blocks that cover it.

    A document is covered by blocks of `block_size` tokens; the last one ends with the document and so overlaps the one
    before. A document shorter than a block is one shorter block. Nothing is dropped but empty documents, which are
    counted.

    Args:
        texts (`datasets.Dataset`): documents in the column `text`; None counts as empty.
        processor (`C3Processor`): its `encode` makes the ids.
        block_size (`int`): tokens.

    Raises:
        ValueError: no documents.

    Attributes:
        ids (`np.ndarray` of shape `(tokens,)`, int32), blocks (`np.ndarray` of shape `(blocks, 2)`, int64): start and
        length; num_documents, num_empty (`int`).
    """

    def __init__(self, texts, processor, block_size):
        import datasets

        if len(texts) == 0:
            raise ValueError("There are no documents to train on: the data are empty.")
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
        self.num_documents = len(lengths)
        self.num_empty = int((lengths == 0).sum())
        blocks, start = [], 0
        for length in lengths.tolist():
            whole = range(0, length - block_size + 1, block_size)
            blocks += [(start + offset, block_size) for offset in whole]
            if length % block_size:
                last = min(length, block_size)
                blocks.append((start + length - last, last))
            start += length
        self.blocks = np.array(blocks, dtype=np.int64).reshape(-1, 2)


@dataclass(frozen=True)
class Phase:
    """
    A stretch of a curriculum.

    Args:
        until (`float`): share of the run at which it ends; 1.0 for the last phase.
        windows (`list[int]`): window lengths in tokens, drawn per batch.
        ratios (`list[int]`): lowest and highest compression ratio; one is drawn per batch, all alike.
    """

    until: float
    windows: list[int]
    ratios: list[int]


def check_curriculum(phases):
    """Raises `ValueError` unless the phases follow each other up to 1.0 with sensible windows and ratios."""
    ends = [phase.until for phase in phases]
    if not _numbers(ends) or ends != sorted(set(ends)) or ends[0] <= 0 or ends[-1] != 1.0:
        raise ValueError(f"curriculum: `until` must rise from above 0 to exactly 1.0, not {ends}.")
    for phase in phases:
        if not _numbers(phase.windows, int) or min(phase.windows) < 1:
            raise ValueError(f"curriculum: windows must be a list of token counts of 1 or more, not {phase.windows!r}.")
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
    """One training window: where it lies in the stream, its N, and the seed of its input dropout."""

    start: int
    length: int
    num_latents: int
    seed: int


class CurriculumSampler(Sampler):
    """
    Batches of `WindowSpec`, one list per micro-batch of the run; batch i depends on `seed` and i alone, so a run that
    is resumed sees what an uninterrupted one sees.

    All windows of a batch have one length and one whole ratio, so that every latent stands for equally many tokens (see
    `windows_c3.even_windows`) and next to nothing is padded: only documents shorter than the window give shorter ones.
    An epoch visits every block once, except fewer than a batch that are left over; the tokens of a block that make no
    whole window are left out.

    Args:
        blocks (`np.ndarray` of shape `(blocks, 2)`): start and length, see `TokenStream`.
        phases (`list[Phase]`): the curriculum.
        num_batches (`int`): micro-batches of the whole run.
        tokens_per_batch (`int`): text tokens in one: as many blocks of the longest window as fit, at least one.
        seed (`int`): of the order, the windows and the ratios.

    Raises:
        ValueError: fewer blocks than a batch takes, or a bad curriculum.
    """

    def __init__(self, blocks, phases, num_batches, tokens_per_batch, seed=0):
        check_curriculum(phases)
        self.block_size = max(length for phase in phases for length in phase.windows)
        self.blocks_per_batch = max(1, tokens_per_batch // self.block_size)
        if len(blocks) < self.blocks_per_batch:
            raise ValueError(
                f"The data give {len(blocks)} blocks of {self.block_size} tokens, but a batch takes "
                f"{self.blocks_per_batch}; give more text or fewer tokens per batch."
            )
        self.blocks, self.phases, self.num_batches, self.seed = blocks, phases, num_batches, seed
        self._order = (None, None)

    def __len__(self):
        return self.num_batches

    def __iter__(self):
        return (self.batch(index) for index in range(self.num_batches))

    def phase(self, index):
        """The phase that batch `index` belongs to."""
        ends = [phase.until for phase in self.phases]
        return self.phases[min(bisect.bisect_right(ends, index / self.num_batches), len(ends) - 1)]

    def batch(self, index):
        """`list[WindowSpec]` of batch `index`."""
        rng = np.random.default_rng([self.seed, 1, index])
        phase = self.phase(index)
        window = int(rng.choice(phase.windows))
        ratio = int(rng.integers(phase.ratios[0], phase.ratios[1] + 1))
        specs = []
        for start, length in self._blocks_of(index):
            num_latents = max(1, min(window, length) // ratio)
            size = min(num_latents * ratio, window, length)
            for offset in range(0, length - size + 1, size):
                specs.append(WindowSpec(start + offset, size, num_latents, int(rng.integers(2**31))))
        return specs

    def _blocks_of(self, index):
        batches_per_epoch = len(self.blocks) // self.blocks_per_batch
        epoch, position = divmod(index, batches_per_epoch)
        if self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng([self.seed, 2, epoch]).permutation(len(self.blocks)))
        chosen = self._order[1][position * self.blocks_per_batch : (position + 1) * self.blocks_per_batch]
        return self.blocks[chosen].tolist()


def random_token_ids(tokenizer):
    """
    `np.ndarray` of token ids to draw random tokens from: half of the draws fall on the vocabulary at large, half on its
    single characters, with which a byte-level tokenizer spells whatever is rare in the training text.
    """
    single = [index for token, index in tokenizer.get_vocab().items() if len(token) == 1]
    size = len(tokenizer)
    return np.concatenate([np.arange(size), np.resize(sorted(single), size if single else 0)])


class WindowDataset(Dataset):
    """
    Training windows by `WindowSpec`.

    Decoder-input dropout: in a share `dropout_windows` of the windows, a share of the decoder's input tokens drawn
    uniformly from 0 to 1 is hidden behind the mask embedding, so that the decoder must read the latents rather than its
    own past; without it a model that scores well under teacher forcing falls apart when it runs freely.

    In a share `random_windows` of the windows at ratios up to `RANDOM_WINDOW_RATIO`, a share of the tokens drawn
    uniformly from 0 to 1 is replaced by tokens drawn from `random_ids`, so that rare tokens are learned and copying
    does not lean on the language.
    """

    def __init__(self, ids, random_ids, dropout_windows=0.0, random_windows=0.0):
        self.ids, self.random_ids = ids, random_ids
        self.dropout_windows, self.random_windows = dropout_windows, random_windows

    def __len__(self):
        # In tokens: the sampler, not an index, says what a window is.
        return len(self.ids)

    def __getitem__(self, spec):
        rng = np.random.default_rng(spec.seed)
        share = rng.uniform() if rng.uniform() < self.dropout_windows else 0.0
        ids = self.ids[spec.start : spec.start + spec.length]
        if spec.length <= RANDOM_WINDOW_RATIO * spec.num_latents and rng.uniform() < self.random_windows:
            replaced = rng.uniform(size=spec.length) < rng.uniform()
            ids = np.where(replaced, rng.choice(self.random_ids, size=spec.length), ids)
        return {
            "ids": ids.tolist(),
            "num_latents": spec.num_latents,
            "hidden": rng.uniform(size=spec.length) < share,
        }


class ReconstructionCollator:
    """Batches of `WindowDataset` items to inputs of `C3Model.forward`."""

    def __init__(self, processor, mask_token_id):
        self.processor, self.mask_token_id = processor, mask_token_id

    def __call__(self, examples):
        """`dict` of `context_inputs`, `prompt_inputs` with labels, and the `logits_to_keep` that cover the labels."""
        ids = [example["ids"] for example in examples]
        counts = [example["num_latents"] for example in examples]
        batch = self.processor.context_inputs(ids, counts)
        spans = [[(n, len(each))] for n, each in zip(counts, ids, strict=True)]
        batch.update(self.processor.prompt_inputs(spans, targets=ids))
        for row, example in enumerate(examples):
            length = len(example["ids"])
            hidden = torch.from_numpy(example["hidden"])
            # The last token is never an input, only a label: hiding it changes nothing.
            batch["input_ids"][row, -length:][hidden] = self.mask_token_id
        batch["logits_to_keep"] = max(map(len, ids)) + 1
        return dict(batch)
