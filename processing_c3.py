"""C3Processor: texts to windows of token ids with placeholders for queries and latents, and ids back to text."""

import math
import re
import warnings
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from itertools import accumulate, chain
from os import PathLike
from pathlib import Path

import torch
from transformers import AutoTokenizer, BatchFeature, ProcessorMixin

from .fingerprints_c3 import fingerprint_tokenizer
from .lossy_tokenizers_c3 import lossy_text
from .options_c3 import CompressionWarning, whole_number
from .packing_c3 import pack_rows
from .text_pieces_c3 import encode_in_pieces
from .windows_c3 import LazySequence, even_windows, share_latents

CONTEXT_TOKENIZER_FOLDER = "context_tokenizer"
NO_TOKENS = "The tokenizer makes no tokens of the text {!r}."


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
        context_tokenizer (`PreTrainedTokenizerBase`, *optional*): the encoder's, where it is another one; it must know
            the offsets of its tokens (all tokenizers of the `tokenizers` library do).
        num_latents, window, default_window, ratio_range, latent_position_layout, reconstruction_prompt,
        prompt_template, context_template, query_token_id, latent_token_id: as in [`C3Config`];
        `C3Processor.from_config` copies them from there.

    Raises:
        ValueError: no placeholder ids.
    """

    def __init__(
        self,
        tokenizer=None,
        context_tokenizer=None,
        num_latents=32,
        window=1024,
        default_window=None,
        ratio_range=None,
        latent_position_layout="appended",
        reconstruction_prompt="repeat the text: ",
        prompt_template="{latents}{prompt}",
        context_template="{context}{queries}",
        query_token_id=None,
        latent_token_id=None,
    ):
        if query_token_id is None or latent_token_id is None:
            raise ValueError(
                "A processor needs the model's query_token_id and latent_token_id: "
                "make it with C3Processor.from_config(model.config, tokenizer)."
            )
        super().__init__(tokenizer)
        self._context_tokenizer = context_tokenizer
        self.num_latents = num_latents
        self.window = window
        self.default_window = window if default_window is None else default_window
        self.ratio_range = ratio_range
        self.latent_position_layout = latent_position_layout
        self.reconstruction_prompt = reconstruction_prompt
        self.prompt_template = prompt_template
        self.context_template = context_template
        self.query_token_id = query_token_id
        self.latent_token_id = latent_token_id

    @property
    def context_tokenizer(self):
        """The encoder's tokenizer, or None if it is the decoder's."""
        # Kept under another name, because transformers would write an attribute named like a parameter into the JSON.
        return self._context_tokenizer

    @classmethod
    def get_attributes(cls):
        # The context tokenizer is optional, which transformers' own bookkeeping of sub-processors does not know.
        return ["tokenizer"]

    @classmethod
    def from_config(cls, config, tokenizer, context_tokenizer=None):
        """
        A processor with the settings of a [`C3Config`].

        Warns:
            CompressionWarning: a tokenizer that does not give a text back, see `loss_of_text`.
        """
        processor = cls(tokenizer, context_tokenizer, **{name: getattr(config, name) for name in SETTINGS})
        processor.warn_of_loss()
        return processor

    def loss_of_text(self):
        """What the tokenizers lose of texts, `str` with an example for each; None where they lose nothing."""
        tokenizers = {"decoder's tokenizer": self.tokenizer, "encoder's tokenizer": self.context_tokenizer}
        losses = [lossy_text(name, each, self._encode) for name, each in tokenizers.items() if each is not None]
        return " ".join(filter(None, losses)) or None

    def warn_of_loss(self):
        """Gives a `CompressionWarning` of `loss_of_text`, if there is one."""
        if loss := self.loss_of_text():
            warnings.warn(loss, CompressionWarning, stacklevel=3)

    @classmethod
    def from_pair(cls, config, encoder, decoder, **kwargs):
        """
        A processor with the settings of a [`C3Config`] and the tokenizers of two causal LMs, one where they are equal.

        Args:
            encoder, decoder (`str`): Hub ids or folders.
            **kwargs: as for `AutoTokenizer.from_pretrained`.

        Raises:
            OSError, ValueError: no tokenizer in one of them.
        """
        tokenizer = AutoTokenizer.from_pretrained(decoder, **kwargs)
        context_tokenizer = AutoTokenizer.from_pretrained(encoder, **kwargs)
        # Where a folder has no tokenizer, transformers may make an empty one, which gives no ids.
        for name, each in ((decoder, tokenizer), (encoder, context_tokenizer)):
            if not each("a")["input_ids"]:
                raise ValueError(f"{name} has no tokenizer.")
        if fingerprint_tokenizer(tokenizer) == fingerprint_tokenizer(context_tokenizer):
            context_tokenizer = None
        return cls.from_config(config, tokenizer, context_tokenizer)

    def to_dict(self):
        """What goes into processor_config.json; for the context tokenizer the name of its folder."""
        folder = None if self.context_tokenizer is None else CONTEXT_TOKENIZER_FOLDER
        return super().to_dict() | {"context_tokenizer": folder}

    def save_pretrained(self, save_directory, **kwargs):
        """Saves the settings and the tokenizer, and the context tokenizer in a folder of its own."""
        if self.context_tokenizer is not None:
            self.context_tokenizer.save_pretrained(Path(save_directory) / CONTEXT_TOKENIZER_FOLDER)
        return super().save_pretrained(save_directory, **kwargs)

    def _upload_modified_files(self, working_dir, repo_id, files_timestamps, **kwargs):
        known = except_context_tokenizer(files_timestamps)
        return super()._upload_modified_files(working_dir, repo_id, known, **kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, **kwargs):
        """Loads a processor from a folder or the Hub, with its context tokenizer if it has one."""
        processor = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        if isinstance(processor.context_tokenizer, str):
            folder = "/".join(filter(None, (kwargs.pop("subfolder", ""), processor.context_tokenizer)))
            processor._context_tokenizer = AutoTokenizer.from_pretrained(
                pretrained_model_name_or_path, subfolder=folder, **kwargs
            )
        return processor

    # ---------------------------------------------------------------------------------------------- text to ids

    def encode(self, text):
        """
        The decoder's ids of a text, `list[int]`, or of each of a list of texts.

        Special tokens are neither recognised nor added: it is all text, and comes back as it was.
        """
        return self._encode(self.tokenizer, text)

    def encode_context(self, text):
        """As `encode`, with the encoder's tokenizer where it is another one."""
        return self._encode(self.context_tokenizer or self.tokenizer, text)

    def encode_prompt(self, prompt):
        """
        The decoder's ids, `list[int]`, of what it is asked: a string as with `encode`, or chat messages laid out by the
        chat template of the decoder's tokenizer, which then asks for an answer.

        Args:
            prompt (`str` or `list[dict]`): messages have a `role` and a `content`, both strings. Special tokens of the
                template are special; those written in a message never are.

        Raises:
            TypeError: neither of the two.
            ValueError: text that is not valid Unicode, messages without a role or a content, a tokenizer without a
                chat template, or a `prompt_template` that is a conversation already.
        """
        if isinstance(prompt, str):
            if prompt:
                check_text(prompt, "prompt")
            return self.encode(prompt)
        if not is_conversation(prompt):
            raise TypeError(f"A prompt must be a string or chat messages, not {type(prompt).__name__}.")
        contents = []
        for message in prompt:
            if not all(isinstance(message.get(name), str) for name in ("role", "content")):
                raise ValueError(f"A chat message must have a role and a content, both strings, not {message!r}.")
            check_text(message["content"], f"the {message['role']}'s message")
            contents.append(message["content"])
        if self.tokenizer.chat_template is None:
            raise ValueError("The decoder's tokenizer has no chat template: give the prompt as a string.")
        if set(chain(*self._prompt_template_ids())) & set(self.tokenizer.all_special_ids):
            raise ValueError("This model's prompt_template is a conversation already: give the prompt as a string.")
        # Marks in the place of the messages, which are then encoded apart from the template's special tokens.
        marked = [message | {"content": f"\ue000{index}\ue001"} for index, message in enumerate(prompt)]
        text = self.tokenizer.apply_chat_template(marked, tokenize=False, add_generation_prompt=True)
        ids = []
        for index, piece in enumerate(re.split("\ue000([0-9]+)\ue001", text)):
            ids += self.encode(contents[int(piece)]) if index % 2 else self._encode_template(self.tokenizer, piece)
        return ids

    def encode_turn(self, prompt):
        """The decoder's ids, `list[int]`, of a later prompt of a conversation: the prompt template without latents."""
        before, between, after = self._prompt_template_ids()
        return before + between + self.encode(prompt) + after

    def split(self, text, window=None):
        """
        Cuts a text into windows of at most `window` encoder tokens, by default the processor's `default_window`.

        With one tokenizer the windows' ids, joined, are the ids of the whole text, so a cut may fall between the bytes
        of a character. With two the windows' texts, joined, are the text, so it never does.

        Returns: a sequence of `TextWindow`; with one tokenizer they are cut when they are asked for.

        Raises:
            TypeError: not a string.
            ValueError: empty text, text that is not valid Unicode (a lone surrogate), or a character that does not fit
                into a window.
        """
        window = self.default_window if window is None else window
        if self.context_tokenizer is None:
            ids = self._ids_of_long(text)
            return _cut(ids, [*range(0, len(ids), window), len(ids)])
        check_text(text)
        windows = self._split_by_offsets(text, window)
        if not windows:
            raise ValueError(NO_TOKENS.format(text[:40]))
        return windows

    def _ids_of_long(self, text):
        """The decoder's ids of a text, `array.array`."""
        check_text(text)
        ids = encode_in_pieces(self.encode, text)
        if not ids:
            raise ValueError(NO_TOKENS.format(text[:40]))
        return ids

    def _split_by_offsets(self, text, window):
        """Windows for two tokenizers: the decoder's sees each window as a string of whole characters."""
        encoded = self._call(self.context_tokenizer, text, return_offsets_mapping=True)
        ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
        windows, start, begins = [], 0, 0
        while start < len(ids):
            end = min(start + window, len(ids))
            # Several tokens may share one character, and a token may stand for none.
            while start < end < len(ids) and offsets[end][0] < max(offsets[end - 1][1], begins + 1):
                end -= 1
            if end == start:
                raise ValueError(f"The character at {begins} takes more tokens than window={window}; use a larger one.")
            ends = offsets[end][0] if end < len(ids) else len(text)
            windows.append(TextWindow(ids[start:end], self.encode(text[begins:ends])))
            start, begins = end, ends
        return windows

    def plan(self, text, *, num_latents=None, ratio=None, window=None):
        """
        The windows of a text and N of each, see `C3Model.compress`.

        Args:
            num_latents (`int`, *optional*): latents of a full window, by default the processor's for a default window
                and with the uniform layout as many in proportion for another one.
            ratio (`float`, *optional*): encoder tokens per latent instead, over the whole text.
            window (`int`, *optional*): encoder tokens of a window, by default the processor's `default_window`.

        Returns: a sequence of pairs of `TextWindow` and `int`; with the uniform layout and one tokenizer the windows
        are cut when they are asked for, and a long text takes four bytes for each of its tokens.

        Raises:
            TypeError, ValueError: as `split`, and a ratio that needs more latents than the appended layout has.
        """
        window = self.default_window if window is None else window
        uniform = self.latent_position_layout == "uniform"
        if uniform and self.context_tokenizer is None:  # with two tokenizers a cut cannot fall just anywhere
            ids = self._ids_of_long(text)
            total = self._total_latents(len(ids), num_latents, ratio, window)
            lengths, counts = zip(*even_windows(len(ids), total, window), strict=True)
            windows = _cut(ids, [0, *accumulate(lengths)])
            return LazySequence(lambda i: (windows[i], counts[i]), len(windows))
        windows = self.split(text, window)
        lengths = [len(each.context_ids) for each in windows]
        if uniform or ratio is not None:
            counts = share_latents(lengths, self._total_latents(sum(lengths), num_latents, ratio, window))
        else:
            counts = [min(self.num_latents, window) if num_latents is None else num_latents] * len(windows)
        most = self.num_latents
        if not uniform and max(counts) > most:
            raise ValueError(
                f"ratio={ratio} needs {max(counts)} latents in a window, above the {most} that this model was trained "
                f"with; ask for a ratio of {math.ceil(max(lengths) / most)} or more, or a smaller window."
            )
        return list(zip(windows, counts, strict=True))

    def _total_latents(self, tokens, num_latents, ratio, window):
        """Latents of a text of so many encoder tokens, see `plan`; no more than the lowest ratio of the range gives."""
        if ratio is not None:
            total = int(tokens / ratio)
        elif num_latents is not None:
            total = math.ceil(tokens * num_latents / window)
        else:
            total = math.ceil(tokens * self.num_latents / self.default_window)
        return total if self.ratio_range is None else min(total, int(tokens / self.ratio_range[0]))

    def decode(self, ids, **kwargs):
        """Text of decoder ids, `list[int]` or a 1-D tensor; special tokens are left out."""
        return self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False, **kwargs)

    def context_inputs(self, contexts, num_latents, pack=False):
        """
        The encoder's input for a batch of windows, padded on the left.

        Args:
            contexts (`list[list[int]]`): text ids of each window.
            num_latents (`list[int]`): N of each window.
            pack (`bool`): whether short windows may share a row, see `C3Model.encode_context`.

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
        masks = [[1] * len(row) for row in rows]
        if pack:
            packed = pack_rows([len(row) for row in rows])
            if len(packed) < len(rows):
                masks = [[window + 1 for window in row for _ in rows[window]] for row in packed]
                rows = [[i for window in row for i in rows[window]] for row in packed]
        return BatchFeature({"context_input_ids": _pad_left(rows), "context_attention_mask": _pad_left(masks)})

    def prompt_inputs(self, spans, prompts=None, targets=None, labels=None):
        """
        The decoder's input for a batch of texts, padded on the left.

        Args:
            spans (`list[list[tuple[int, int]]]`): for each row its windows, as (latents, text tokens).
            prompts (`list`, *optional*): what to ask of each row, see `encode_prompt`; None asks for the text itself.
            targets (`list[list[int]]`, *optional*): the ids that follow in each row, for training; they become labels.
            labels (`list[list[int]]`, *optional*): one for each target id, -100 where nothing is learned; by default
                the targets.

        Returns:
            `BatchFeature` with `input_ids`, `attention_mask`, `position_ids`, all `(batch, length)`, and `labels`
            where there are targets.

        Raises:
            ValueError: not one prompt, or not one target, for each row.
        """
        for name, given in (("prompts", prompts), ("targets", targets)):
            if given is not None and (isinstance(given, str) or len(given) != len(spans)):
                raise ValueError(f"{name}: give a list of one for each of the {len(spans)} rows.")
        before, between, after = self._prompt_template_ids()
        rows, positions = [], []
        for row, row_spans in enumerate(spans):
            prompt = self.reconstruction_prompt if prompts is None else prompts[row]
            tail = between + self.encode_prompt(prompt) + after
            latents = [self.latent_token_id] * sum(n for n, _ in row_spans)
            target = [] if targets is None else list(targets[row])
            rows.append(before + latents + tail + target)
            positions.append(
                self._positions(len(before), row_spans, len(tail), len(target), replays_text=prompts is None)
            )
        fractional = self.latent_position_layout == "uniform"
        batch = {
            "input_ids": _pad_left(rows),
            "attention_mask": _mask(rows),
            "position_ids": _pad_left(positions, torch.float if fractional else torch.long),
        }
        if targets is not None:
            labels = targets if labels is None else labels
            learned = [[-100] * (len(row) - len(ids)) + list(ids) for row, ids in zip(rows, labels, strict=True)]
            batch["labels"] = _pad_left(learned, fill=-100)
        return BatchFeature(batch)

    def __call__(
        self,
        text,
        num_latents=None,
        labels=True,
        *,
        return_tensors="pt",
        padding=True,
        truncation=False,
        max_length=None,
    ):
        """
        Inputs of `C3Model.forward` for reconstruction: one row per text, all its windows in it.

        Args:
            text (`str` or `list[str]`): texts, in whatever `C3Model.compress` takes.
            num_latents (`int`, *optional*): latents of a full window, by default the processor's; shorter windows get
                what `C3Model.compress` gives them.
            labels (`bool`, defaults to `True`): whether the text follows the prompt, as labels.
            return_tensors, padding, truncation, max_length: as other processors are called. There are only PyTorch
                tensors, padded to the longest row, of whole texts: other values are refused.

        Returns:
            `BatchFeature` with the tensors of `context_inputs` and `prompt_inputs`.

        Raises:
            TypeError, ValueError: bad texts, a number of latents below 1 or above the window, or such a value.
        """
        if return_tensors not in (None, "pt"):
            raise ValueError(f"return_tensors must be 'pt': there are only PyTorch tensors, not {return_tensors!r}.")
        if padding not in (True, "longest"):
            raise ValueError(f"padding must be True: rows of a batch are padded to the longest, not {padding!r}.")
        if truncation not in (None, False, "do_not_truncate") or max_length is not None:
            raise ValueError("truncation, max_length: texts are not cut off but cut into windows; leave these out.")
        texts = list_texts(text)
        full = self.num_latents if num_latents is None else whole_number("num_latents", num_latents)
        most = self.default_window
        if full > most:
            raise ValueError(f"num_latents must lie between 1 and the default window of {most} tokens, not {full}.")
        rows = [self.plan(each, num_latents=full) for each in texts]
        spans = [[(n, len(window.text_ids)) for window, n in row] for row in rows]
        targets = [[i for window, _ in row for i in window.text_ids] for row in rows] if labels else None
        batch = self.context_inputs(
            [window.context_ids for row in rows for window, _ in row], [n for row in rows for _, n in row]
        )
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

    def _prompt_template_ids(self):
        """Ids before the latents, between them and the prompt, and after it."""
        before, rest = self.prompt_template.split("{latents}")
        return [self._encode_template(self.tokenizer, piece) for piece in (before, *rest.split("{prompt}"))]

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
    "default_window",
    "ratio_range",
    "latent_position_layout",
    "reconstruction_prompt",
    "prompt_template",
    "context_template",
    "query_token_id",
    "latent_token_id",
)


def except_context_tokenizer(files_timestamps):
    """
    The times with which transformers finds out what to upload, less that of the context tokenizer's folder: a folder
    keeps its time when a file in it is written anew, and would stay behind.
    """
    return {name: time for name, time in files_timestamps.items() if name != CONTEXT_TOKENIZER_FOLDER}


def is_conversation(prompt):
    """Whether a prompt is chat messages: a list of mappings."""
    return isinstance(prompt, (list, tuple)) and bool(prompt) and all(isinstance(each, dict) for each in prompt)


def list_texts(text):
    """
    What a caller gives as texts, `list`: one string, or strings in order, in any kind of sequence, column or iterator.
    What each of them is, is for `check_text` to say.

    Raises:
        TypeError: what holds no strings in order, as a mapping, whose keys would be taken for them, or a table.
        ValueError: nothing in it.
    """
    if isinstance(text, str):
        return [text]
    # Bytes, mappings, open files and sets could be iterated, but not over texts in their order.
    if not isinstance(text, Iterable) or getattr(text, "ndim", 1) != 1 or _instead_of(text):
        raise TypeError(f"text must be a string or strings, not {type(text).__name__}{_instead_of(text)}.")
    texts = text.to_pylist() if hasattr(text, "to_pylist") else list(text)  # Arrow's items are no strings yet
    if not texts:
        raise ValueError("No text: the list is empty.")
    return texts


def _instead_of(value):
    """What to pass instead of something that is no text; nothing where there is nothing to say."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return ": decode it first, for example with .decode('utf-8')"
    if isinstance(value, PathLike):
        return ": pass what the file holds, for example path.read_bytes().decode('utf-8')"
    if hasattr(value, "read"):
        return ": pass what it holds, for example file.read()"
    if isinstance(value, Mapping) or hasattr(value, "columns") or hasattr(value, "column_names"):
        return ": pick the text in it by its name, for example ['text']"
    if getattr(value, "ndim", 1) != 1:
        return f" of {value.ndim} dimensions: pass strings in one dimension"
    if isinstance(value, Set):
        return ", which has no order: pass a list"
    return ""


def check_text(text, what="text"):
    """Raises `TypeError` or `ValueError` for what cannot be compressed: no string, an empty one, lone surrogates."""
    if not isinstance(text, str):
        raise TypeError(f"{what} must be a string, not {type(text).__name__}{_instead_of(text)}.")
    if not text:
        raise ValueError(f"{what} is empty; give at least one character.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{what} is not valid Unicode: a lone surrogate U+{ord(text[error.start]):04X} at character {error.start}; "
            "decode the bytes again, for example with errors='replace'."
        ) from None


def _cut(ids, places):
    """`TextWindow`s of an array of ids from each place to the next; both of a window's lists are one."""

    def window(i):
        piece = ids[places[i] : places[i + 1]].tolist()
        return TextWindow(piece, piece)

    return LazySequence(window, len(places) - 1)


def _pad_left(rows, dtype=torch.long, fill=0):
    """Rows of numbers as a tensor `(rows, longest)`, filled up on the left."""
    longest = max(map(len, rows))
    padded = torch.full((len(rows), longest), fill, dtype=dtype)
    for i, row in enumerate(rows):
        padded[i, longest - len(row) :] = torch.tensor(row, dtype=dtype)
    return padded


def _mask(rows):
    """1 where `_pad_left` puts a row, 0 where it fills up."""
    return _pad_left([[1] * len(row) for row in rows])


C3Processor.register_for_auto_class()

__all__ = ["C3Processor", "TextWindow"]
