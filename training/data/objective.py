"""What an objective has to define: on windows of texts, or on rows of its own."""

from abc import ABC, abstractmethod

import numpy as np

from c3.training.checks import RecipeError

from .pools import group_conversations
from .specs import WindowSpecs


class Objective(ABC):
    """
    One objective of a recipe. All examples of a batch have the same one.

    Attributes:
        on_documents (`bool`): whether it is trained on windows of the train data, or on rows of its own.
        reads (`str`): the key of a recipe that names its data.
        reconstruction_only (`bool`): whether what is learned is to give texts back and nothing else.
    """

    on_documents: bool
    reads: str
    reconstruction_only = False

    @abstractmethod
    def check(self, name, recipe):
        """Raises `RecipeError` where a [`Recipe`] lacks what this objective, called `name` there, is trained on."""

    @abstractmethod
    def example(self, spec, dataset):
        """
        One [`TrainingExample`].

        Args:
            spec ([`WindowSpec`] or [`RowSpec`]): which.
            dataset ([`WindowDataset`]): the texts and rows.
        """


class TextObjective(Objective):
    """
    An objective on documents: has to define `example`; `cut` where windows lie otherwise, and `batch_examples` where it
    is to be fast.
    """

    on_documents, reads = True, "train_data"

    def check(self, name, recipe):
        if not recipe.train_data:
            raise RecipeError("train_data: name at least one file or dataset.")

    def cut(self, draw, blocks, rng, continuation_length):
        """
        Cuts blocks into windows, all of one length but where a document is shorter. At a ratio every latent stands for
        equally many tokens, see `windows_c3.even_windows`; tokens that make no whole window are left out.

        Args:
            draw ([`Draw`]): window length and ratio.
            blocks (`np.ndarray` of shape `(blocks, 4)`): source, start, length, end of the document.
            rng (`np.random.Generator`): of what is random here.
            continuation_length (`int`): tokens after a window that may belong to its example, at most.

        Returns: [`WindowSpecs`].
        """
        sizes, counts = draw.shapes(blocks[:, 2])
        per_block = blocks[:, 2] // sizes
        source, start, size, num_latents, before = (
            each.repeat(per_block) for each in (*blocks.T[:2], sizes, counts, per_block.cumsum() - per_block)
        )
        total = len(start)
        start = start + size * (np.arange(total) - before)
        seeds = rng.integers(2**31, size=total)
        return WindowSpecs(start, size, num_latents, seeds, source, np.zeros_like(start), draw.objective)

    def batch_examples(self, specs, dataset):
        """
        Those of a batch of windows, `list[TrainingExample]`. Whoever wants millions of tokens a second lays windows out
        that are alike as one example, see [`Reconstruction`].

        Args:
            specs ([`WindowSpecs`]): of the batch.
            dataset ([`WindowDataset`]): the texts.
        """
        return [self.example(spec, dataset) for spec in specs]


class RowObjective(Objective):
    """
    An objective on rows of its own: has to define `columns` and `examples`.

    Attributes:
        columns (`tuple[str, …]`): of a row; the first holds the text that a source's `keep` goes by.
    """

    on_documents, reads = False, "instruction_data"
    columns: tuple

    def check(self, name, recipe):
        if not getattr(recipe, self.reads):
            raise RecipeError(f"objectives.{name} needs {self.reads}, rows of {' and '.join(self.columns)}.")

    @abstractmethod
    def examples(self, rows, processor, recipe, name):
        """
        Reads rows.

        Args:
            rows (`datasets.Dataset`): with `columns`.
            processor ([`C3Processor`]): makes the ids.
            recipe ([`Recipe`]): of the stage.
            name (`str`): of the source.

        Returns: as [`InstructionExamples`], whose `lengths`, `example`, `extend` and `str` are used.

        Raises:
            ValueError: no row can be used.
        """

    def fitting(self, examples, positions, name, curriculum):
        """
        Those of the examples for which a decoder of so many positions has room, by default all.

        Args:
            examples: what `examples` made; other objectives may use it too.
            positions (`int`): what the decoder was made for; infinity where it does not say.
            name (`str`): of this objective in the recipe.
            curriculum (`list[Phase]`): the recipe's.

        Raises:
            ValueError: no row is left.
        """
        return examples

    # Of `lengths` and tokens per batch to batches.
    group = staticmethod(group_conversations)

    def example(self, spec, dataset):
        return self.batch_examples([spec], dataset)[0]

    def batch_examples(self, specs, dataset):
        """Those of a batch, `list[TrainingExample]`, for `list[RowSpec]`."""
        return [dataset.rows[spec.objective].example(spec.draw, spec.row) for spec in specs]
