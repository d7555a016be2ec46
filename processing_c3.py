"""C3Processor: texts to windows of token ids with placeholders for queries and latents, and ids back to text."""

from dataclasses import dataclass

import torch
from transformers import AutoTokenizer, BatchFeature, ProcessorMixin

CONTEXT_TOKENIZER_FOLDER = "context_tokenizer"


@dataclass(frozen=True)
class TextWindow:
    """One window of a text: `context_ids` for the encoder, `text_ids` for the decoder (equal with one tokenizer)."""

    context_ids: list[int]
    text_ids: list[int]


class C3Processor(ProcessorMixin):
    r"""
    Builds the ids that [`C3Model`] reads; the model itself knows no templates.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): the decoder's tokenizer.
        context_tokenizer (`PreTrainedTokenizerBase`, *optional*): the encoder's, where it is another one.
        num_latents, window, latent_position_layout, reconstruction_prompt, prompt_template, context_template,
        query_token_id, latent_token_id: as in [`C3Config`]; `C3Processor.from_config` copies them from there.
    """

    def __init__(
        self,
        tokenizer=None,
        context_tokenizer=None,
        num_latents=32,
        window=1024,
        latent_position_layout="appended",
        reconstruction_prompt="repeat the text: ",
        prompt_template="{latents}{prompt}",
        context_template="{context}{queries}",
        query_token_id=None,
        latent_token_id=None,
    ):
        super().__init__(tokenizer)
        self.context_tokenizer = context_tokenizer
        self.num_latents = num_latents
        self.window = window
        self.latent_position_layout = latent_position_layout
        self.reconstruction_prompt = reconstruction_prompt
        self.prompt_template = prompt_template
        self.context_template = context_template
        self.query_token_id = query_token_id
        self.latent_token_id = latent_token_id

    @classmethod
    def get_attributes(cls):
        # The context tokenizer is optional, which transformers' own bookkeeping of sub-processors does not know.
        return ["tokenizer"]

    @classmethod
    def from_config(cls, config, tokenizer, context_tokenizer=None):
        """A processor with the settings of a [`C3Config`]."""
        return cls(tokenizer, context_tokenizer, **{name: getattr(config, name) for name in SETTINGS})

    def to_dict(self):
        # transformers would take a second tokenizer for a config.
        context_tokenizer, self.context_tokenizer = self.context_tokenizer, None
        try:
            output = super().to_dict()
        finally:
            self.context_tokenizer = context_tokenizer
        output["context_tokenizer"] = CONTEXT_TOKENIZER_FOLDER if self.context_tokenizer is not None else None
        return output

    def save_pretrained(self, save_directory, **kwargs):
        files = super().save_pretrained(save_directory, **kwargs)
        if self.context_tokenizer is not None:
            self.context_tokenizer.save_pretrained(f"{save_directory}/{CONTEXT_TOKENIZER_FOLDER}")
        return files

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, **kwargs):
        processor = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        if isinstance(processor.context_tokenizer, str):
            kwargs.pop("subfolder", None)
            processor.context_tokenizer = AutoTokenizer.from_pretrained(
                pretrained_model_name_or_path, subfolder=processor.context_tokenizer, **kwargs
            )
        return processor

    # ---------------------------------------------------------------------------------------------- text to ids

    def split(self, text, window=None):
        """
        Cuts a text into windows of at most `window` encoder tokens.

        Special tokens are not recognised in the text: it is all text, and comes back as it was.

        Returns: `list[TextWindow]`.

        Raises:
            TypeError: not a string.
            ValueError: empty text, or text that is not valid Unicode (a lone surrogate).
        """
        window = window or self.window
        check_text(text)
        if self.context_tokenizer is None:
            ids = self._encode(self.tokenizer, text)
            return [TextWindow(ids[i : i + window], ids[i : i + window]) for i in range(0, len(ids), window)]
        encoded = self._call(self.context_tokenizer, text, return_offsets_mapping=True)
        ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
        windows, start = [], 0
        while start < len(ids):
            end = min(start + window, len(ids))
            # Several tokens may share one character; a cut must not fall inside it, for the decoder's tokenizer
            # sees the window as a string.
            while end < len(ids) and end - start > 1 and offsets[end][0] < offsets[end - 1][1]:
                end -= 1
            piece = text[offsets[start][0] if start else 0 : offsets[end][0] if end < len(ids) else len(text)]
            windows.append(TextWindow(ids[start:end], self._encode(self.tokenizer, piece)))
            start = end
        return windows

    def decode(self, ids, **kwargs):
        """Text of decoder ids, `list[int]` or a 1-D tensor; special tokens are left out."""
        return self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False, **kwargs)

    def context_inputs(self, contexts, num_latents):
        """
        The encoder's input for a batch of windows, padded on the left.

        Args:
            contexts (`list[list[int]]`): text ids of each window.
            num_latents (`list[int]`): N of each window.

        Returns:
            `BatchFeature` with `context_input_ids` and `context_attention_mask`, `(windows, length)`.
        """
        tokenizer = self.context_tokenizer or self.tokenizer
        before, rest = self.context_template.split("{context}")
        between, after = (self._encode_template(tokenizer, piece) for piece in rest.split("{queries}"))
        before = self._encode_template(tokenizer, before)
        rows = [
            before + list(ids) + between + [self.query_token_id] * n + after
            for ids, n in zip(contexts, num_latents, strict=True)
        ]
        input_ids, attention_mask, _ = _pad_left(rows, None)
        return BatchFeature({"context_input_ids": input_ids, "context_attention_mask": attention_mask})

    def prompt_inputs(self, spans, prompts=None, targets=None):
        """
        The decoder's input for a batch of texts, padded on the left.

        Args:
            spans (`list[list[tuple[int, int]]]`): for each row its windows, as (latents, text tokens).
            prompts (`list[str]`, *optional*): what to ask of each text; None asks for the text itself.
            targets (`list[list[int]]`, *optional*): the ids that follow, for training; they become labels.

        Returns:
            `BatchFeature` with `input_ids`, `attention_mask`, `position_ids`, all `(batch, length)`, and `labels`
            where there are targets.
        """
        before, rest = self.prompt_template.split("{latents}")
        between, after = (self._encode_template(self.tokenizer, piece) for piece in rest.split("{prompt}"))
        before = self._encode_template(self.tokenizer, before)
        rows, positions = [], []
        for row, row_spans in enumerate(spans):
            prompt = self.reconstruction_prompt if prompts is None else prompts[row]
            tail = between + self._encode(self.tokenizer, prompt) + after
            latents = [self.latent_token_id] * sum(n for n, _ in row_spans)
            target = [] if targets is None else list(targets[row])
            rows.append(before + latents + tail + target)
            positions.append(
                self._positions(len(before), row_spans, len(tail), len(target), replays_text=prompts is None)
            )
        input_ids, attention_mask, position_ids = _pad_left(rows, positions)
        batch = {"input_ids": input_ids, "attention_mask": attention_mask, "position_ids": position_ids}
        if targets is not None:
            labels = torch.full_like(input_ids, -100)
            for row, target in enumerate(targets):
                if target:
                    labels[row, -len(target) :] = torch.tensor(target)
            batch["labels"] = labels
        return BatchFeature(batch)

    def __call__(self, text, num_latents=None, labels=True):
        """
        Inputs of `C3Model.forward` for reconstruction: one row per text, all its windows in it.

        Args:
            text (`str` or `list[str]`): texts.
            num_latents (`int`, *optional*): latents per window, at most the window's tokens.
            labels (`bool`, defaults to `True`): whether the text follows the prompt, as labels.

        Returns:
            `BatchFeature` with the tensors of `context_inputs` and `prompt_inputs`.
        """
        texts = [text] if isinstance(text, str) else list(text)
        windows = [self.split(each) for each in texts]
        flat = [window for row in windows for window in row]
        wanted = num_latents or self.num_latents
        counts = [[min(wanted, len(window.context_ids)) for window in row] for row in windows]
        spans = [
            [(n, len(window.text_ids)) for n, window in zip(row_counts, row, strict=True)]
            for row_counts, row in zip(counts, windows, strict=True)
        ]
        targets = [[i for window in row for i in window.text_ids] for row in windows] if labels else None
        batch = self.context_inputs([window.context_ids for window in flat], [n for row in counts for n in row])
        batch.update(self.prompt_inputs(spans, targets=targets))
        return batch

    def _positions(self, num_before, spans, num_tail, num_target, replays_text):
        """Position of every token of a decoder row, `list[float]` or `list[int]`; see `C3Config`."""
        if self.latent_position_layout == "appended":
            return list(range(num_before + sum(n for n, _ in spans) + num_tail + num_target))
        text_length = sum(length for _, length in spans)
        latents, offset = [], 0
        for n, length in spans:
            latents += [offset + (i + 0.5) * length / n - 0.5 for i in range(n)]
            offset += length
        if replays_text:  # the text takes its own positions again, so the prompt sits before them
            start = -num_before - num_tail
            rest = range(-num_tail, num_target)
        else:
            start = -num_before
            rest = range(text_length, text_length + num_tail + num_target)
        return [float(p) for p in range(start, start + num_before)] + latents + [float(p) for p in rest]

    @staticmethod
    def _call(tokenizer, text, **kwargs):
        return tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False, **kwargs)

    def _encode(self, tokenizer, text):
        return self._call(tokenizer, text)["input_ids"]

    @staticmethod
    def _encode_template(tokenizer, piece):
        return tokenizer(piece, add_special_tokens=False)["input_ids"] if piece else []


SETTINGS = (
    "num_latents",
    "window",
    "latent_position_layout",
    "reconstruction_prompt",
    "prompt_template",
    "context_template",
    "query_token_id",
    "latent_token_id",
)


def check_text(text, what="text"):
    """Raises `TypeError` or `ValueError` for what cannot be compressed: no string, an empty one, lone surrogates."""
    if not isinstance(text, str):
        raise TypeError(f"{what} must be a string, not {type(text).__name__}.")
    if not text:
        raise ValueError(f"{what} is empty; give at least one character.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{what} is not valid Unicode: a lone surrogate U+{ord(text[error.start]):04X} at character {error.start}; "
            "decode the bytes again, for example with errors='replace'."
        ) from None


def _pad_left(rows, positions):
    """Ids, mask and positions as tensors `(rows, longest)`; padding has id 0, mask 0 and position 0."""
    longest = max(len(row) for row in rows)
    input_ids = torch.zeros(len(rows), longest, dtype=torch.long)
    attention_mask = torch.zeros(len(rows), longest, dtype=torch.long)
    fractional = positions is not None and any(isinstance(p, float) for row in positions for p in row[:1])
    position_ids = torch.zeros(len(rows), longest, dtype=torch.float if fractional else torch.long)
    for i, row in enumerate(rows):
        start = longest - len(row)
        input_ids[i, start:] = torch.tensor(row)
        attention_mask[i, start:] = 1
        if positions is not None:
            position_ids[i, start:] = torch.tensor(positions[i], dtype=position_ids.dtype)
    return input_ids, attention_mask, position_ids


C3Processor.register_for_auto_class()

__all__ = ["C3Processor", "TextWindow"]
