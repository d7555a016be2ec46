"""Instruction tuning in chunks (global compression, VIST2, arXiv 2601.10378): prompt and answer are both compressed."""

from dataclasses import replace
from itertools import chain

from c3.chunked_rows_c3 import Chunking
from c3.decoder_rows_c3 import IGNORED_LABEL, LatentSpan, TextSegment

from .instructions import InstructionExamples
from .specs import TrainingExample


class TrainingChunking(Chunking):
    """
    Chunks as `generate` reads and writes them, but for a prompt that it refuses, as one that is too much for a picture
    of so few latents: its chunks get as many as they need, as those of an answer do.
    """

    def plan(self, ids):
        return self.plan_of_answer(ids)


class ChunkedInstructionExamples(InstructionExamples):
    """
    Rows as `C3Model.generate(None, prompt, compress_every=…)` reads and answers them,
    `[c1, v1, …, rest, a1, w1, a2, …]`:
    c and v are the chunks of the prompt and their latents, a and w those of the answer, each of which is predicted from
    all latents before it. Labels are the answer's alone.

    The context, which may be empty, is the beginning of the prompt, with an empty line after it. Of a longer
    conversation the first question and answer are taken: in chunks there is no chat.
    """

    needs_context, takes_ids = False, False

    def example(self, draw, index, always_compressed=False):
        """
        The [`TrainingExample`] at the chunk length and ratio of a `Draw`; with `always_compressed` a prompt is one
        chunk where otherwise nothing of it and of the answer would be compressed.
        """
        each = self.examples[index]
        prompt = "\n\n".join(filter(None, (each.context, each.prompt)))
        chunking = TrainingChunking(self.processor, draw.window, draw.ratio or draw.window / draw.num_latents)
        asked = chunking.row([], prompt)
        answer, plans = _in_chunks(chunking, _first_answer(each), first=1 + max(segment.chunk for segment in asked))
        if always_compressed and not any(isinstance(segment, LatentSpan) for segment in asked + answer):
            asked = replace(chunking, every=len(self.processor.encode_prompt(prompt))).row([], prompt)
            answer = [replace(segment, chunk=2) for segment in answer]
        plans = chunking.plans(asked) + plans
        contexts = [window.context for plan in plans for window in plan.windows]
        return TrainingExample(contexts, list(chain(*(plan.num_latents for plan in plans))), asked + answer)


def _first_answer(conversation):
    """Ids of the first answer, with the token that ends it."""
    labels = conversation.labels.tolist()
    return conversation.target.tolist()[: labels.index(IGNORED_LABEL) if IGNORED_LABEL in labels else None]


def _in_chunks(chunking, ids, first):
    """An answer's ids in chunks from number `first`, each but the last with its latents after it, and their plans."""
    *whole, last = chunking.chunks_of_answer(ids)
    plans = list(map(chunking.plan_of_answer, whole))
    compressed = chunking.in_row(whole, plans, first, is_learned=True)
    return [*compressed, TextSegment(last, last, chunk=first + len(whole))], plans
