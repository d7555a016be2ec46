"""Instruction tuning over a compressed context: chat-format rows to prompts, targets and labels."""

import numpy as np

from .documents import UnusableDocuments
from .specs import TrainingExample


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
        lengths (`np.ndarray` of shape `(examples, 2)`): tokens of context and conversation.
        unusable ([`UnusableDocuments`]): rows without a context, without an answer, or with other roles.
        too_long ([`UnusableDocuments`]): rows above one of the limits.
    """

    def __init__(self, rows, processor, max_target_length=1024, max_context_length=None, name="data"):
        self.processor = processor
        self.end = processor.tokenizer.eos_token_id
        if self.end is None:
            raise ValueError("Instruction tuning needs a tokenizer with an eos_token: it ends the answers.")
        self.examples, lengths = [], []
        self.unusable = UnusableDocuments(reason="left out: no context, or no alternating messages")
        reason = f"left out: a conversation above {max_target_length} tokens"
        reason += f", or a context above {max_context_length}" if max_context_length else ""
        self.too_long = UnusableDocuments(reason=reason)
        for index, row in enumerate(rows):
            example = self._read(row["context"], row["messages"])
            if example is None:
                self.unusable.add(f"{name}, row {index}")
                continue
            context, prompt, target, _ = example
            in_context = len(processor.encode(context))
            in_conversation = len(processor.encode(prompt)) + len(target)
            if in_conversation > max_target_length or in_context > (max_context_length or in_context):
                self.too_long.add(f"{name}, row {index}")
                continue
            self.examples.append(example)
            lengths.append((in_context, in_conversation))
        if not self.examples:
            raise ValueError(f"{name}: no row can be trained on: {self.unusable}; {self.too_long}.")
        self.lengths = np.array(lengths)

    def _read(self, context, messages):
        """(context, first prompt, target ids, labels), or None of a row that is not a conversation about a text."""
        turns = [(each.get("role"), (each.get("content") or "").strip()) for each in messages or []]
        system = turns.pop(0)[1] if turns and turns[0][0] == "system" else ""
        roles = [role for role, _ in turns]
        alternate = roles == ["user", "assistant"] * (len(roles) // 2)
        if not (context or "").strip() or not roles or not alternate or not all(content for _, content in turns):
            return None
        prompts = [content for role, content in turns if role == "user"]
        answers = [content for role, content in turns if role == "assistant"]
        prompts[0] = "\n\n".join(filter(None, (system, prompts[0])))
        target, labels = [], []
        for turn, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
            if turn:
                ids = self.processor.encode_turn(prompt)
                target += ids
                labels += [-100] * len(ids)
            ids = [*self.processor.encode(answer), self.end]
            target += ids
            labels += ids
        return context, prompts[0], target, labels

    def __str__(self):
        return f"{len(self)} conversations; {self.unusable}; {self.too_long}"

    def __len__(self):
        return len(self.examples)

    def extend(self, other):
        """Takes the examples of another source in as well; returns itself."""
        self.examples += other.examples
        self.lengths = np.concatenate([self.lengths, other.lengths])
        return self

    def example(self, draw, index):
        """The [`TrainingExample`], compressed at the window length and ratio of a `Draw`."""
        context, prompt, target, labels = self.examples[index]
        options = {"num_latents": draw.num_latents} if draw.num_latents else {"ratio": draw.ratio}
        if draw.ratio and self.processor.latent_position_layout == "appended":
            # Its windows hold a fixed number of latents.
            options = {"num_latents": max(1, min(draw.window // draw.ratio, self.processor.num_latents))}
        plan = self.processor.plan(context, window=draw.window, **options)
        row = self.processor.row(plan.spans, prompt, target, labels)
        return TrainingExample([window.context for window in plan.windows], plan.num_latents, row)
