"""What a model is trained to do with latents: an objective is a class here and a line in `OBJECTIVES`."""

from abc import abstractmethod
from dataclasses import replace

import numpy as np

from c3.chunked_rows_c3 import Chunking
from c3.decoder_rows_c3 import IGNORED_LABEL, LatentSpan, TextSegment

from .chunked_instructions import ChunkedInstructionExamples
from .instructions import InstructionExamples
from .objective import RowObjective, TextObjective
from .specs import TrainingExample, WindowSpecs

# Random tokens carry their full entropy, about five times that of text, so that high ratios could not hold them.
RANDOM_WINDOW_RATIO = 8


class Reconstruction(TextObjective):
    """
    A window is given back.

    Decoder-input dropout: in a share `dropout_windows` of the windows a share of the decoder's input tokens, drawn
    uniformly from 0 to 1, is hidden behind the mask embedding, so that the decoder must read the latents rather than
    its own past; without it a model that scores well under teacher forcing falls apart when it runs freely. Where a
    latent stands for more than `dropout_halved_above` tokens the share of the windows is half of that.

    In a share `random_windows` of those at ratios up to `RANDOM_WINDOW_RATIO`, a share of the tokens drawn uniformly
    from 0 to 1 is replaced by random ones (`random_token_ids`), so that rare tokens are learned and copying does not
    lean on the language.
    """

    reconstruction_only = True

    def example(self, spec, dataset):
        return self.batch_examples(WindowSpecs.of(spec), dataset)[0]

    def batch_examples(self, specs, dataset):
        # One generator serves all windows of a batch: making one costs as much as drawing thousands of numbers.
        rng = np.random.default_rng(specs.seed[0])
        shares = _shares(self._dropout_share(specs, dataset), len(specs), rng)
        is_low = specs.length <= RANDOM_WINDOW_RATIO * specs.num_latents
        random_shares = _shares(dataset.random_windows * is_low, len(specs), rng)
        examples = []
        for places in dataset.alike(specs):
            alike = specs[places]
            ids = dataset.tokens(alike.source, alike.start, alike.length)
            if random_shares[places].any():
                replaced = rng.random(ids.shape) < random_shares[places, None]
                ids[replaced] = rng.choice(dataset.random_ids, size=int(replaced.sum()))
            contexts, target = dataset.windows(ids)
            hidden = rng.random(target.shape) < shares[places, None] if shares[places].any() else None
            examples.append(_example(dataset, alike, contexts, target, None, target, hidden))
        return examples

    @staticmethod
    def _dropout_share(specs, dataset):
        """The share of windows like each of these that get dropout."""
        above = dataset.dropout_halved_above
        halved = above is not None and specs.length > above * specs.num_latents
        return np.where(halved, dataset.dropout_windows / 2, dataset.dropout_windows)


def _shares(chances, count, rng):
    """For each of so many windows a share drawn uniformly from 0 to 1, or with a chance of 1 less its own 0."""
    return (rng.random(count) < chances) * rng.random(count)


class Continuation(TextObjective):
    """The text goes on after a window, without a prompt. Nothing is hidden from the decoder."""

    def cut(self, draw, blocks, rng, continuation_length):
        # A document of one token has nothing after it to be continued with: it is given back.
        continued = blocks[blocks[:, 3] - blocks[:, 1] > 1]
        if not len(continued):
            return super().cut(replace(draw, objective="reconstruction"), blocks, rng, continuation_length)
        source, start, _, end = continued.T
        room = np.minimum(end - start, draw.window + continuation_length)
        # Short documents are continued from their middle.
        sizes, num_latents = draw.shapes(room - np.minimum(continuation_length, room // 2))
        following = np.minimum(continuation_length, room - sizes)
        seeds = rng.integers(2**31, size=len(start))
        return WindowSpecs(start, sizes, num_latents, seeds, source, following, draw.objective)

    def example(self, spec, dataset):
        return self.batch_examples(WindowSpecs.of(spec), dataset)[0]

    def batch_examples(self, specs, dataset):
        examples = []
        for places in dataset.alike(specs):
            alike = specs[places]
            contexts, texts = dataset.windows(dataset.tokens(alike.source, alike.start, alike.length))
            end = alike.start + alike.length
            _, following = dataset.windows(dataset.tokens(alike.source, end, alike.continuation))
            examples.append(_example(dataset, alike, contexts, texts, "", following))
        return examples


class ChunkedText(TextObjective):
    """
    Text chunk by chunk, each with its latents (global compression, VIST2, arXiv 2601.10378): a window is a chunk, and a
    row has as many as the curriculum draws, or as a document has. A row is bare, without prompt and template. Has to
    define `row`.

    Attributes:
        least_chunks (`int`): of a row; a document that is shorter is cut into as many chunks.
    """

    least_chunks = 1

    def cut(self, draw, blocks, rng, continuation_length):
        # Of the tokens of a window, the continuation are the chunks after the first.
        usable = blocks[blocks[:, 2] >= self.least_chunks]
        if not len(usable):
            return super().cut(replace(draw, objective="reconstruction"), blocks, rng, continuation_length)
        sizes, num_latents = draw.shapes(-(-usable[:, 2] // self.least_chunks))
        longest = sizes * max(draw.chunks, self.least_chunks)
        whole, rest = np.divmod(usable[:, 2], longest)
        per_block = whole + (rest >= sizes + self.least_chunks - 1)
        columns = (*usable.T[:3], sizes, num_latents, longest, per_block.cumsum() - per_block)
        source, start, length, sizes, num_latents, longest, before = (each.repeat(per_block) for each in columns)
        offset = longest * (np.arange(len(start)) - before)
        following = np.minimum(longest, length - offset) - sizes
        seeds = rng.integers(2**31, size=len(start))
        return WindowSpecs(start + offset, sizes, num_latents, seeds, source, following, draw.objective)

    def example(self, spec, dataset):
        ids = dataset.ids[spec.source][spec.start : spec.start + spec.length + spec.continuation]
        # As prompts are cut: behind whole characters where the encoder reads no ids.
        chunks = Chunking(dataset.processor, spec.length).pieces(ids)
        contexts, row = self.row(chunks, spec, dataset)
        return TrainingExample(contexts, [spec.num_latents] * len(contexts), row)

    @abstractmethod
    def row(self, chunks, spec, dataset):
        """
        A row of chunks.

        Args:
            chunks (`list[np.ndarray]`): the decoder's ids of each; the last may be shorter, and where the encoder reads
                no ids others by the few of a character.
            spec ([`WindowSpec`]), dataset ([`WindowDataset`]): see `example`.

        Returns: what the encoder reads of each chunk that is compressed, `list`, and the row's segments.
        """


class MultiTurnReconstruction(ChunkedText):
    """
    Each chunk is given back after its latents, `[v1, c1, v2, c2, …]`; it sees the latents before it and not the text.
    Tokens that make no whole chunk are left out. There is dropout as in [`Reconstruction`].
    """

    reconstruction_only = True

    def row(self, chunks, spec, dataset):
        rng, contexts, row = np.random.default_rng(spec.seed), [], []
        (share,) = _shares(Reconstruction._dropout_share(spec, dataset), 1, rng)
        for number, ids in enumerate(chunks[: -1 if len(chunks[-1]) < spec.length else None], start=1):
            window = dataset.window(ids)
            contexts.append(window.context)
            text, hidden = window.text_ids, (rng.random(len(window.text_ids)) < share).tolist() if share else None
            row.append(LatentSpan(spec.num_latents, len(text), number))
            row.append(TextSegment(text, text, hidden, chunk=number))
        return contexts, row


class GlobalLanguageModeling(ChunkedText):
    """
    Each chunk is predicted from the latents of all before it, `[c1, v1, c2, v2, …, cn]`: what the paper calls optical
    language modelling. The first token of a row has nothing before it and is not learned.
    """

    least_chunks = 2

    def row(self, chunks, spec, dataset):
        contexts, row = [], []
        for number, window in enumerate(map(dataset.window, chunks), start=1):
            labels = list(window.text_ids)
            if number == 1:
                labels[0] = IGNORED_LABEL
            row.append(TextSegment(window.text_ids, labels, chunk=number))
            if number < len(chunks):
                contexts.append(window.context)
                row.append(LatentSpan(spec.num_latents, len(window.text_ids), number))
        return contexts, row


class Instruction(RowObjective):
    """Prompts about a compressed text are answered: conversations, see `instructions.py`."""

    columns = ("context", "messages")

    def examples(self, rows, processor, recipe, name):
        return InstructionExamples(rows, processor, *recipe.conversation_limits, name=name)

    def fitting(self, examples, positions, name, curriculum):
        if examples.processor.prompt_positions == "among_text":
            return examples.fitting(positions)
        # Which ratio a row gets is drawn anew each time: the lowest makes the most latents.
        tokens = examples.lengths[:, 0]
        return examples.fitting(positions, np.max([each.most_latents_of(tokens, name) for each in curriculum], axis=0))


class InstructionOnText(Instruction):
    """
    The same rows with the text itself in the place of its latents: what the decoder answers then is what compression
    is measured against. The first row of a batch keeps the latents of a window, so that every part of the model has a
    gradient in every step, which DDP and ZeRO wait for.
    """

    def fitting(self, examples, positions, name, curriculum):
        return examples.fitting(positions)

    def batch_examples(self, specs, dataset):
        rows = dataset.rows[specs[0].objective]
        return [rows.example_with_text(spec.draw, spec.row, latents=number == 0) for number, spec in enumerate(specs)]


class InstructionInChunks(RowObjective):
    """
    Prompts are answered chunk by chunk, prompts and answers compressed alike, see `chunked_instructions.py`. The first
    row of a batch that would have no latents gets some, so that every part of the model has a gradient in every step.
    """

    columns = ("context", "messages")

    def examples(self, rows, processor, recipe, name):
        return ChunkedInstructionExamples(rows, processor, *recipe.conversation_limits, name=name)

    def batch_examples(self, specs, dataset):
        examples, first = super().batch_examples(specs, dataset), specs[0]
        if not any(example.contexts for example in examples):
            examples[0] = dataset.rows[first.objective].example(first.draw, first.row, always_compressed=True)
        return examples


def one_window(processor, window, num_latents, prompt, target, hidden=None):
    """
    The [`TrainingExample`] of one window.

    Args:
        processor ([`C3Processor`]): lays the row out.
        window ([`TextWindow`]): what is compressed.
        num_latents (`int`): to how many latents.
        prompt (`str`, *optional*): what is asked; None asks for the text itself.
        target (`list[int]`): the ids that are learned.
        hidden (`Sequence[bool]`, *optional*): which of them the decoder does not see.
    """
    spans = [LatentSpan(num_latents, len(window.text_ids))]
    return TrainingExample([window.context], [num_latents], processor.row(spans, prompt, target, hidden=hidden))


def _example(dataset, alike, contexts, texts, prompt, target, hidden=None):
    """As `one_window`, of windows that are alike ([`WindowSpecs`]), of which `WindowDataset.windows` gave the two."""
    num_latents = int(alike.num_latents[0])
    spans = [LatentSpan(num_latents, texts.shape[-1])]
    row = dataset.processor.row(spans, prompt, target, hidden=hidden)
    return TrainingExample(contexts, [num_latents] * len(alike), row)


OBJECTIVES = {
    "reconstruction": Reconstruction(),
    "continuation": Continuation(),
    "instruction": Instruction(),
    "instruction_on_text": InstructionOnText(),
    "instruction_in_chunks": InstructionInChunks(),
    "multi_turn_reconstruction": MultiTurnReconstruction(),
    "global_language_modeling": GlobalLanguageModeling(),
}
