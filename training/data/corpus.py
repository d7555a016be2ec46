"""The train data of a recipe as batches."""

import math

import numpy as np
from torch.utils.data import DataLoader

from c3.training.checks import RecipeError, loading

from .collator import C3Collator
from .curriculum import Curriculum
from .documents import TokenStream, load_columns
from .examples import WindowDataset
from .objectives import OBJECTIVES
from .pools import BatchPool, check_tokens
from .sampler import CurriculumSampler
from .sources import train_texts
from .specs import RowSpec
from .streaming import StreamedBatches


class Corpus:
    """
    Reads and tokenizes the train data of a [`Recipe`], and makes the data loader of a run.

    Args:
        recipe ([`Recipe`]): of one stage.
        processor ([`C3Processor`]): makes the ids.
        say (`Callable[[str], None]`): is told what was found, and what could not be used.
        max_documents (`int`, *optional*): of each source, for a look at the data.
        positions (`int`, *optional*): that the decoder was made for, see `most_positions`; longer rows are left out.

    Attributes:
        is_whole (`bool`): whether these are all data that the recipe names.

    Raises:
        RecipeError: data that cannot be read, or hold nothing to train on.
    """

    def __init__(self, recipe, processor, say, max_documents=None, positions=math.inf):
        self.recipe, self.processor, self.say, self.positions = recipe, processor, say, positions
        self.streams, self.rows, self.streamed = [], {}, None
        self.is_whole = max_documents is None or not (recipe.streams and recipe.text_objectives)
        texts = []
        # All files are opened, and rows are read, before the texts are tokenized, which takes longest.
        if recipe.text_objectives and not recipe.streams:
            texts = [train_texts(recipe, source, say, max_documents) for source in recipe.train_data]
            self.is_whole = max_documents is None or all(len(each) < max_documents for each in texts)
        read = {}
        for name in recipe.row_objectives:
            self._read_rows(name, read, max_documents)
        if recipe.streams and recipe.text_objectives:
            self.streamed = _interleaved(recipe, say)
            if max_documents is not None:
                self.streamed = self.streamed.take(max_documents)
            say(f"Streaming {', '.join(source.path for source in recipe.train_data)}.")
        for source, documents in zip(recipe.train_data, texts, strict=False):
            with loading(f"train_data: {source.path}"):
                stream = TokenStream(documents, processor, recipe.longest_text, name=source.path)
            say(
                f"{source.path}: {stream.num_documents} documents, {stream.unusable}; {len(stream.ids)} tokens, "
                f"{len(stream.blocks)} blocks of up to {recipe.longest_text}."
            )
            self.streams.append(stream)

    def _read_rows(self, name, read, max_documents):
        """
        Reads the rows of the objective `name`, and leaves out those that are too long for the decoder. `read` holds the
        rows of others: where the objective makes the same of them, they are read once.
        """
        objective = OBJECTIVES[name]
        alike = [rows for other, rows in read.items() if _reads_alike(objective, OBJECTIVES[other])]
        rows = read[name] = alike[0] if alike else self._rows_of_sources(objective, max_documents)
        try:
            self.rows[name] = objective.fitting(rows, self.positions, name, self.recipe.curriculum)
        except ValueError as error:
            raise RecipeError(f"objectives.{name}: {error}; leave it out, or give shorter rows.") from error
        if left_out := len(rows.lengths) - len(self.rows[name].lengths):
            self.say(
                f"{name}: {left_out} of {len(rows.lengths)} rows left out, which may take more than the decoder's "
                f"{self.positions} positions."
            )

    def _rows_of_sources(self, objective, max_documents):
        """What an objective makes of all its rows."""
        read = None
        for source in getattr(self.recipe, objective.reads):
            with loading(f"{objective.reads}: {source.path}"):
                rows = load_columns(source, list(objective.columns), self.say)
                if max_documents is not None:
                    self.is_whole &= len(rows) < max_documents
                    rows = rows.take(min(max_documents, len(rows)))
                found = objective.examples(rows, self.processor, self.recipe, source.path)
            self.say(f"{source.path}: {found}.")
            read = read.extend(found) if read is not None else found
        return read

    def check_texts(self, recipe):
        """Raises `RecipeError` where texts that are read whole hold less than a batch of a [`Recipe`] takes."""
        held = [stream.tokens_in_blocks(recipe.longest_text) for stream in self.streams]
        for name, tokens in self._grouped(held, sum):
            check_tokens(name, tokens, recipe.tokens_per_batch)

    def check_rows(self):
        """Raises `RecipeError` where the rows of an objective hold less than a batch takes."""
        self._row_pools(0)

    def data_loader(
        self, num_batches, seed, collator, process_index=0, num_processes=1, resume_from=None, pin_memory=False
    ):
        """
        `(DataLoader, whether it is already this process's share)` over the `num_batches` micro-batches of a run.

        Args:
            num_batches (`int`): of all processes together.
            seed (`int`): of the order and of what is random in the examples.
            collator ([`C3Collator`]): makes the model's inputs.
            process_index, num_processes (`int`): streaming data are shared out here, others by the caller.
            resume_from (`dict`, *optional*): of streaming data, see [`StreamedBatches`].
            pin_memory (`bool`): whether batches are in memory from which a GPU can copy them by itself.
        """
        recipe = self.recipe
        objectives = {name: weight for name, weight in recipe.objectives.items() if weight}
        curriculum = Curriculum(recipe.curriculum, num_batches, seed, objectives, recipe.continuation_length)
        options = {
            "dropout_windows": recipe.dropout_windows,
            "dropout_halved_above": recipe.dropout_halved_above,
            "random_windows": recipe.random_windows,
        }
        if self.streamed is not None:
            batches = StreamedBatches(
                self.streamed,
                curriculum,
                self.processor,
                recipe.longest_text,
                recipe.tokens_per_batch,
                process_index=process_index,
                num_processes=num_processes,
                say=self.say,
                resume_from=resume_from,
                rows=self.rows,
                row_pools=self._row_pools(seed),
                **options,
            )
            # Empty batches are there to be skipped.
            options = {"batch_size": None, "collate_fn": lambda batch: collator(batch) if batch else {}}
            return DataLoader(batches, pin_memory=pin_memory, **options), True
        examples = WindowDataset([stream.ids for stream in self.streams], self.processor, rows=self.rows, **options)
        sampler = CurriculumSampler(curriculum, *self._pools(seed), self._row_pools(seed))
        # What is random in a batch comes from the seeds of its windows, so workers make the same in the same order.
        workers = recipe.training.get("dataloader_num_workers", 0)
        options = {"batch_sampler": sampler, "collate_fn": collator, "num_workers": workers}
        return DataLoader(examples, pin_memory=pin_memory, **options), False

    def example(self):
        """The collated inputs, `dict`, of a small batch, which begins with an example of the first document."""
        recipe = self.recipe
        objectives = {name: weight for name, weight in recipe.objectives.items() if weight}
        curriculum = Curriculum(recipe.curriculum, 1, 0, objectives, recipe.continuation_length)
        collator, draw = C3Collator(self.processor), curriculum.draw(0)
        examples = WindowDataset([stream.ids for stream in self.streams], self.processor, rows=self.rows)
        if draw.objective in self.rows:
            comes = _which_come(self.rows[draw.objective], curriculum.phase(0).longest_context)
            return collator([examples[RowSpec(draw, int(comes.argmax()))]])
        if self.streamed is not None:
            options = {"block_size": recipe.longest_text, "tokens_per_batch": recipe.longest_text}
            return collator(next(iter(StreamedBatches(self.streamed, curriculum, self.processor, **options)))[:1])
        blocks = [np.insert(stream.blocks, 0, index, axis=1) for index, stream in enumerate(self.streams)]
        return collator([examples[curriculum.cut(draw, np.concatenate(blocks)[:1])[0]]])

    def _pools(self, seed):
        """Pools of blocks, and their weights or None."""
        recipe = self.recipe
        tagged = [np.insert(stream.blocks, 0, index, axis=1) for index, stream in enumerate(self.streams)]
        pools = [
            BatchPool(blocks, blocks[:, 2], recipe.tokens_per_batch, seed + index, name)
            for index, (name, blocks) in enumerate(self._grouped(tagged, np.concatenate))
        ]
        weights = [source.weight for source in recipe.train_data][: len(tagged)]
        return pools, None if tagged and weights[0] is None else weights

    def _grouped(self, values, joined):
        """`(name, value)` of each group of sources from which batches are made: of each source, or of all as one."""
        sources = self.recipe.train_data
        if values and sources[0].weight is None:
            return [("The train data", joined(values))]
        return list(zip([source.path for source in sources], values, strict=False))

    def _row_pools(self, seed):
        """`dict[tuple, BatchPool]`: the pools of objectives with rows of their own, by `Curriculum.rows`."""
        pools = {}
        for name, examples in self.rows.items():
            for longest in dict.fromkeys(phase.longest_context for phase in self.recipe.curriculum):
                said = f"The {name} data" + (f" with contexts of at most {longest} tokens" if longest else "")
                rows = np.flatnonzero(_which_come(examples, longest))
                options = {"name": said, "group": OBJECTIVES[name].group}
                lengths = examples.lengths[rows]
                pools[name, longest] = BatchPool(rows, lengths, self.recipe.tokens_per_batch, seed, **options)
        return pools


def _which_come(examples, longest_context):
    """Which of an objective's rows come in a phase with such a `longest_context`, `np.ndarray` of booleans."""
    if longest_context is None:
        return np.ones(len(examples.lengths), dtype=bool)
    return examples.lengths[:, 0] <= longest_context


def _reads_alike(objective, other):
    """Whether two objectives make the same of the same rows."""
    return objective.reads == other.reads and type(objective).examples is type(other).examples


def _interleaved(recipe, say=None):
    """
    One streaming dataset of a recipe's train data: documents drawn by the sources' weights, or without weights one of
    each in turn. It ends when every source has been read once, and those that end before begin again.
    """
    import datasets

    texts = [train_texts(recipe, source, say) for source in recipe.train_data]
    if len(texts) == 1:
        return texts[0]
    weights = [source.weight for source in recipe.train_data]
    if weights[0] is None:
        return datasets.interleave_datasets(texts, stopping_strategy="all_exhausted")
    shares = [weight / sum(weights) for weight in weights]
    seed = recipe.training.get("seed", 42)
    return datasets.interleave_datasets(texts, probabilities=shares, seed=seed, stopping_strategy="all_exhausted")
