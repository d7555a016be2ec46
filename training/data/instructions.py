"""Instruction tuning over a compressed context: chat-format rows to prompts, targets and labels."""

from array import array
from copy import copy
from dataclasses import dataclass
from itertools import chain

import numpy as np

from c3.decoder_rows_c3 import LatentSpan, TextSegment

from .documents import UnusableDocuments
from .specs import TrainingExample

# Rows that are tokenized together.
AT_ONCE = 512


class InstructionExamples:
    """
    Rows of `context` (a text, compressed) and `messages` (`[{"role": "user", "content": …}, …]`), as examples whose
    labels are the assistant's words.

    The conversation is laid out as `C3Model.generate(latents, prompt)` lays it out: the first user message is the
    prompt, the answer follows and ends with the end-of-text token; a later user message stands in the same template,
    without latents. A system message is put before the first user message, with an empty line between.

    Args:
        rows (`datasets.Dataset`): with the columns `context` and `messages`.
        processor (`C3Processor`): makes the ids.
        max_target_length (`int`): tokens of the conversation, at most; longer examples cannot be used.
        max_context_length (`int`, *optional*): the same for the context, which is compressed.
        name (`str`): of the source, for the log.

    Raises:
        ValueError: no row can be used, or a tokenizer without an end-of-text token.

    Attributes:
        needs_context (`bool`): whether rows without a context cannot be used.
        takes_ids (`bool`): whether of a context its ids are enough where the encoder reads these.
        lengths (`np.ndarray` of shape `(examples, 2)`): tokens of context and conversation.
        unusable ([`UnusableDocuments`]): rows without a context, without an answer, or with other roles.
        too_long ([`UnusableDocuments`]): rows above one of the limits.
    """

    needs_context, takes_ids = True, True

    def __init__(self, rows, processor, max_target_length=1024, max_context_length=None, name="data"):
        self.processor = processor
        self.end = processor.tokenizer.eos_token_id
        if self.end is None:
            raise ValueError("Instruction tuning needs a tokenizer with an eos_token: it ends the answers.")
        # Of a window that is cut among ids the encoder reads these: the text is not needed again.
        self.reads_ids = self.takes_ids and processor.modality.reads_ids(processor)
        self.examples = []
        missing = "no context, or " if self.needs_context else ""
        self.unusable = UnusableDocuments(reason=f"left out: {missing}no alternating messages")
        reason = f"left out: a conversation above {max_target_length} tokens"
        reason += f", or a context above {max_context_length}" if max_context_length else ""
        self.too_long = UnusableDocuments(reason=reason)
        for start in range(0, len(rows), AT_ONCE):
            some = rows[start : start + AT_ONCE] if isinstance(rows, list) else list(rows.select(_some(start, rows)))
            for index, example in enumerate(self._read(some), start=start):
                if example is None:
                    self.unusable.add(f"{name}, row {index}")
                    continue
                in_context, in_conversation = example.lengths
                if in_conversation > max_target_length or in_context > (max_context_length or in_context):
                    self.too_long.add(f"{name}, row {index}")
                    continue
                self.examples.append(example)
        if not self.examples:
            raise ValueError(f"{name}: no row can be trained on: {self.unusable}; {self.too_long}.")
        self.lengths = np.array([example.lengths for example in self.examples])

    def _read(self, rows):
        """Of each of some rows its [`Conversation`], or None where it is none about a text."""
        turns = [_turns(row["messages"]) if self._is_context(row["context"]) else None for row in rows]
        # Many at once, which is several times as quick.
        texts = [row["context"] or "" for row, own in zip(rows, turns, strict=True) if own]
        contexts = iter(self.processor.encode(texts) if texts else [])
        prompts, answers = (list(chain(*(own[first::2] for own in turns if own))) for first in (0, 1))
        prompts = iter(self.processor.encode(prompts) if texts else [])
        answers = iter(self.processor.encode_answer(answers) if texts else [])
        texts = iter(texts)
        for own in turns:
            if own is None:
                yield None
                continue
            text, context, first, target, labels = next(texts), next(contexts), next(prompts), [], []
            for place in range(0, len(own), 2):
                if place:
                    asked = self.processor.turn(next(prompts))
                    target += asked
                    labels += [-100] * len(asked)
                answer = [*next(answers), self.end]
                target += answer
                labels += answer
            lengths = len(context), len(first) + len(target)
            kept = array("i", context) if self.reads_ids else text
            is_whole = context or not self.needs_context
            yield Conversation(kept, own[0], array("i", target), array("i", labels), lengths) if is_whole else None

    def _is_context(self, context):
        text = "" if context is None else context
        return isinstance(text, str) and bool(text.strip() or not self.needs_context)

    def __str__(self):
        return f"{len(self)} conversations; {self.unusable}; {self.too_long}"

    def __len__(self):
        return len(self.examples)

    def extend(self, other):
        """Takes the examples of another source in as well; returns itself."""
        self.examples += other.examples
        self.lengths = np.concatenate([self.lengths, other.lengths])
        return self

    def fitting(self, positions, contexts=None):
        """
        Those of which the decoder has positions for the whole row.

        Args:
            positions (`int`): that it has.
            contexts (`np.ndarray` of shape `(examples,)`, *optional*): positions that each of the contexts takes at
                most; by default as many as its text has tokens.

        Returns: [`InstructionExamples`], the same one where all fit.

        Raises:
            ValueError: none does.
        """
        template = sum(map(len, self.processor.prompt_template_ids()))
        taken = template + self.lengths[:, 1] + (self.lengths[:, 0] if contexts is None else contexts)
        kept = np.flatnonzero(taken <= positions)
        if len(kept) == len(self):
            return self
        if not len(kept):
            raise ValueError(f"each of {len(self)} rows may take more than the decoder's {positions} positions")
        fitting = copy(self)
        fitting.examples, fitting.lengths = [self.examples[index] for index in kept], self.lengths[kept]
        return fitting

    def example(self, draw, index):
        """
        The [`TrainingExample`], compressed at the window length and ratio of a `Draw`; to more latents where the
        encoder could not read it from so few, see `C3Processor.readable_plan`.
        """
        each = self.examples[index]
        plan = self._plan(each.context, draw)
        row = self._row(plan.spans, each)
        return TrainingExample([window.context for window in plan.windows], plan.num_latents, row)

    def example_with_text(self, draw, index, latents=False):
        """
        As `example`, with the text itself in the place of its latents; with `latents` those of the first window stay.
        """
        each = self.examples[index]
        plan = self._plan(each.context, draw)
        kept = plan.windows[:1] if latents else []
        ids = self.processor.encode(each.context) if isinstance(each.context, str) else each.context
        first = len(kept[0].text_ids) if kept else 0
        spans = [LatentSpan(plan.num_latents[0], first)] if kept else []
        row = self._row([*spans, TextSegment(list(ids[first:]))], each)
        return TrainingExample([window.context for window in kept], plan.num_latents[: len(kept)], row)

    def _row(self, segments, conversation):
        target, labels = conversation.target.tolist(), conversation.labels.tolist()
        return self.processor.row(segments, conversation.prompt, target, labels)

    def _plan(self, context, draw):
        options = {"num_latents": draw.num_latents} if draw.num_latents else {"ratio": draw.ratio}
        if draw.ratio and self.processor.latent_position_layout == "appended":
            # Its windows hold a fixed number of latents.
            options = {"num_latents": max(1, min(draw.window // draw.ratio, self.processor.num_latents))}
        if isinstance(context, str):
            return self.processor.readable_plan(context, window=draw.window, **options)
        return self.processor.plan_ids(context, window=draw.window, limit=False, **options)


@dataclass(frozen=True)
class Conversation:
    """
    A row as it is trained on.

    Args:
        context (`array.array` or `str`): the decoder's ids of what is compressed; the text where the encoder reads
            something else.
        prompt (`str`): the first user message, behind the system message.
        target, labels (`array.array`): ids of what follows it, and of these what is learned, -100 for the rest.
        lengths (`tuple[int, int]`): tokens of context and conversation.
    """

    context: array | str
    prompt: str
    target: array
    labels: array
    lengths: tuple


def _some(start, rows):
    return range(start, min(start + AT_ONCE, len(rows)))


def _turns(messages):
    """What user and assistant say in turn, `list[str]`; None where nothing is answered."""
    if not _are_messages(messages):
        return None
    turns = [(each.get("role"), (each.get("content") or "").strip()) for each in messages]
    system = turns.pop(0)[1] if turns and turns[0][0] == "system" else ""
    roles = [role for role, _ in turns]
    alternate = roles == ["user", "assistant"] * (len(roles) // 2)
    said = [content for _, content in turns]
    if not roles or not alternate or not all(said):
        return None
    return ["\n\n".join(filter(None, (system, said[0]))), *said[1:]]


def _are_messages(messages):
    """Whether these are chat messages whose contents are strings, or nothing: not parts, nor JSON as one string."""
    kinds = (str, type(None))
    return isinstance(messages, list) and all(
        isinstance(each, dict) and isinstance(each.get("content"), kinds) for each in messages
    )
