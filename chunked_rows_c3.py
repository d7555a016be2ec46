"""Long texts of a decoder's row as chunks, each followed by its latents (global compression, arXiv 2601.10378)."""

import math
from array import array
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from .decoder_rows_c3 import LatentSpan, TextSegment
from .windows_c3 import WindowsOfTexts

# A character has at most four bytes, so that three tokens more, or fewer, end at a whole one.
MOST_OF_CHARACTER = 3
NO_CHARACTER = "\ufffd"  # what bytes decode to that make none


@dataclass(frozen=True)
class Chunking:
    """
    How text in a row is cut into chunks, and what each is compressed to.

        row = Chunking(model.processor, every=64, ratio=4).row([], "a long prompt")

    Args:
        processor ([`C3Processor`]): makes ids and windows.
        every (`int`): the decoder's tokens of a chunk.
        ratio (`float`, *optional*): tokens per latent, see `C3Model.compress`.
    """

    processor: Any
    every: int
    ratio: float | None = None

    @cached_property
    def plan_of_chunk(self):
        """The [`WindowPlan`] of a whole chunk, whatever is in it."""
        return self.processor.plan_ids(array("i", [0]) * self.every, ratio=self.ratio)

    @property
    def num_latents(self):
        """Latents of a whole chunk, `int`."""
        return sum(self.plan_of_chunk.num_latents)

    def plan(self, ids):
        """The [`WindowPlan`] of a chunk, `list[int]`; its text is encoded anew where the encoder reads no ids."""
        return self._plan(ids, self.processor.plan)

    def plan_of_answer(self, ids):
        """As `plan`, of a chunk that was generated, which is not refused, see `C3Processor.readable_plan`."""
        return self._plan(ids, self.processor.readable_plan)

    def _plan(self, ids, plan_of_text):
        if self.processor.modality.reads_ids(self.processor):
            return self.processor.plan_ids(array("i", ids), ratio=self.ratio)
        return plan_of_text(self.processor.decode(ids), ratio=self.ratio)

    def is_complete(self, ids):
        """
        Whether a chunk that is generated, `list[int]`, is to be compressed. Where the encoder does not read ids, one
        that gives no text, such as special tokens, waits for some, and one that ends within a character for its end.
        """
        more = len(ids) - self.every
        if more < 0 or self.processor.modality.reads_ids(self.processor):
            return more >= 0
        text = self.processor.decode(ids)
        ends = not text.endswith(NO_CHARACTER) or more >= MOST_OF_CHARACTER
        return ends and bool(text) and bool(self.processor.encode(text))

    def chunks_of_answer(self, ids):
        """The ids of an answer, `list[int]`, as `generate` cuts them, `list[list[int]]`; the last gets no latents."""
        chunks = [[]]
        for token in ids:
            if self.is_complete(chunks[-1]):
                chunks.append([])
            chunks[-1].append(token)
        return chunks

    def _end(self, ids, place):
        """Where the chunk of a prompt that begins at `place` ends: as `is_complete`, with fewer ids if it can be."""
        end = place + self.every
        if end >= len(ids) or self.processor.modality.reads_ids(self.processor):
            return min(end, len(ids))
        nearby = list(range(end, max(end - 1 - MOST_OF_CHARACTER, place), -1))
        nearby += range(end + 1, end + 1 + MOST_OF_CHARACTER)
        texts = (self.processor.decode(ids[place:each]) for each in nearby)
        ends = (each for each, text in zip(nearby, texts, strict=True) if text and not text.endswith(NO_CHARACTER))
        return min(next(ends, end), len(ids))

    def pieces(self, ids):
        """A prompt's ids, `list[int]`, cut into chunks, `list[list[int]]`, the last of what is left over at the end."""
        pieces, place = [], 0
        while place < len(ids):
            pieces.append(ids[place : self._end(ids, place)])
            place += len(pieces[-1])
        return pieces

    def chunks(self, ids):
        """
        Ids as chunks with their latents, numbered from 1, and what stays text: of what is left over at the end all,
        unless that is more than the latents that a chunk gets.

        Args:
            ids (`list[int]`): the decoder's.

        Returns: `tuple[list[TextSegment or LatentSpan], list[int]]`.
        """
        pieces, rest = self.pieces(ids), []
        if pieces and len(pieces[-1]) < self.every and len(pieces[-1]) <= self.num_latents:
            rest = pieces.pop()
        return self.in_row(pieces, map(self.plan, pieces)), rest

    @staticmethod
    def in_row(chunks, plans, first=1, is_learned=False):
        """
        Chunks, each with its latents, as segments of a row.

        Args:
            chunks (`list[list[int]]`): ids of each.
            plans (`Iterable[WindowPlan]`): of each.
            first (`int`): number of the first.
            is_learned (`bool`): whether their ids are labels too.

        Returns: `list[TextSegment or LatentSpan]`.
        """
        segments = []
        for number, (ids, plan) in enumerate(zip(chunks, plans, strict=True), start=first):
            segments.append(TextSegment(ids, ids if is_learned else None, chunk=number))
            segments += [replace(span, chunk=number) for span in plan.spans]
        return segments

    def row(self, spans, prompt):
        """
        As `C3Processor.row`, with what is asked, a `str`, in chunks; the ids of the prompt template stay text, and so
        does the end of what is asked, where it is short.
        """
        before, between, after = self.processor.prompt_template_ids()
        chunks, rest = self.chunks(self.processor.encode_prompt(prompt))
        # Without any chunk, one of no text and no number says that what follows is in chunks, and so where all stands.
        chunks = chunks or [TextSegment([], chunk=-1)]
        return [TextSegment(before), *spans, TextSegment(between), *chunks, TextSegment(rest + after)]

    def plans(self, row):
        """The [`WindowPlan`] of each chunk of a row whose latents are in it, `list`, in order."""
        held = {segment.chunk for segment in row if isinstance(segment, LatentSpan)}
        return [self.plan(each.ids) for each in row if isinstance(each, TextSegment) and each.chunk in held - {0}]

    @staticmethod
    def encode(model, plans):
        """The latents of chunks, `list[torch.Tensor]` of shape `(latents of the chunk, D_dec)`, for their plans."""
        if not plans:
            return []
        windows = WindowsOfTexts(plans)
        values = model.encode_windows([window.context for window in windows], windows.num_latents)
        return list(values.split([sum(plan.num_latents) for plan in plans]))

    def new_tokens(self, free):
        """
        How many tokens can be generated in so many free positions: a chunk's text gives its own back, but for those
        of its latents.
        """
        if free == math.inf:
            return free
        whole = max(0, (free - self.every) // self.num_latents + 1)
        left = free - whole * self.num_latents
        return whole * self.every + max(0, min(self.every, left))


__all__ = ["Chunking"]
