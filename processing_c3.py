"""C3Processor: texts to windows of token ids with placeholders for queries and latents, and ids back to text."""

import inspect
import warnings
from itertools import chain
from pathlib import Path

from transformers import AutoTokenizer, BatchFeature, ProcessorMixin

from .configuration_c3 import C3Config
from .context_modalities_c3 import context_modality
from .conversations_c3 import contexts_of, conversation_pieces, is_conversation, special_tokens_around
from .decoder_rows_c3 import TextSegment, decoder_rows
from .fingerprints_c3 import fingerprint_tokenizer
from .known_ids_c3 import known_ids
from .lossy_tokenizers_c3 import lossy_text
from .options_c3 import CompressionWarning, whole_number
from .prompt_template_c3 import PromptTemplateMixin
from .texts_c3 import check_text, list_texts
from .trained_encoders_c3 import encoder_subfolder
from .window_planning_c3 import WindowPlanningMixin

CONTEXT_TOKENIZER_FOLDER = "context_tokenizer"


class C3Processor(WindowPlanningMixin, PromptTemplateMixin, ProcessorMixin):
    r"""
    Builds the ids that [`C3Model`] reads; the model itself knows no templates.

        processor = C3Processor.from_config(model.config, AutoTokenizer.from_pretrained("Qwen/Qwen2.5-3B"))
        loss = model(**processor(["a text", "another"], return_tensors="pt")).loss

    Args:
        tokenizer (`PreTrainedTokenizerBase`): the decoder's tokenizer.
        context_tokenizer (`PreTrainedTokenizerBase`, *optional*): the encoder's, where it is another one; the decoder's
            must then know the offsets of its tokens (all tokenizers of the `tokenizers` library do).
        **settings: fields of [`C3Config`], which `C3Processor.from_config` copies from there.

    Raises:
        ValueError: no placeholder ids, or a kind of context that there is not.
    """

    def __init__(
        self,
        tokenizer=None,
        context_tokenizer=None,
        # The settings: named here for transformers, which reads them off this signature; defaults are the config's.
        num_latents=None,
        window=None,
        default_window=None,
        ratio_range=None,
        context_modality=None,
        context_picture=None,
        latent_position_layout=None,
        prompt_positions=None,
        reconstruction_prompt=None,
        prompt_template=None,
        context_template=None,
        query_token_id=None,
        latent_token_id=None,
        mask_token_id=None,
    ):
        given = {name: value for name, value in locals().items() if name in SETTINGS}
        if query_token_id is None or latent_token_id is None:
            raise ValueError(
                "A processor needs the model's query_token_id and latent_token_id: "
                "make it with C3Processor.from_config(model.config, tokenizer)."
            )
        super().__init__(tokenizer)
        self._context_tokenizer = context_tokenizer
        for name, value in given.items():
            setattr(self, name, getattr(C3Config, name) if value is None else value)
        self.default_window = self.window if default_window is None else default_window
        if prompt_positions is None and self.latent_position_layout == "uniform":
            # A file of before there was a choice, see `C3Config`.
            self.prompt_positions = "among_text"
        self.modality  # noqa: B018  raises for one that there is not

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
            encoder, decoder (`str`): Hub ids or folders; of a C3 checkpoint as the encoder its encoder's tokenizer.
            **kwargs: as for `AutoTokenizer.from_pretrained`.

        Raises:
            OSError, ValueError: no tokenizer in one of them.
        """
        has_own = context_modality(config.context_modality).has_tokenizer
        tokenizers = []
        sources = [(decoder, "")]
        if has_own:
            sources.append((encoder, encoder_subfolder(encoder, CONTEXT_TOKENIZER_FOLDER, kwargs)))
        for name, subfolder in sources:
            tokenizers.append(AutoTokenizer.from_pretrained(name, subfolder=subfolder, **kwargs))
            # Where a folder has no tokenizer, transformers may make an empty one, which gives no ids.
            if not tokenizers[-1]("a")["input_ids"]:
                raise ValueError(f"{name} has no tokenizer.")
        different = len(set(map(fingerprint_tokenizer, tokenizers))) > 1
        return cls.from_config(config, tokenizers[0], tokenizers[1] if different else None)

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

            ids = processor.encode("a text")

        Special tokens are neither recognised nor added: it is all text, and comes back as it was.
        """
        return self._encode(self.tokenizer, text)

    def encode_with_offsets(self, text):
        """As `encode`, and where in the text each token begins and ends: `list[int]`, `list[tuple[int, int]]`."""
        encoded = self._call(self.tokenizer, text, return_offsets_mapping=True)
        return encoded["input_ids"], encoded["offset_mapping"]

    def encode_context(self, text):
        """As `encode`, with the encoder's tokenizer where it is another one: `processor.encode_context("a text")`."""
        return self._encode(self.context_tokenizer or self.tokenizer, text)

    def encode_prompt(self, prompt):
        """
        The decoder's ids, `list[int]`, of what it is asked: a string as with `encode`, or chat messages laid out by the
        chat template of the decoder's tokenizer, which then asks for an answer.

            ids = processor.encode_prompt([{"role": "user", "content": "What is it about?"}])

        Args:
            prompt (`str` or `list[dict]`): messages have a `role` and a `content`, which is a string or a list of parts
                `{"type": "text", "text": …}`. Special tokens of the template are special; those written in a message
                never are.

        Raises:
            TypeError: neither of the two.
            ValueError: text that is not valid Unicode, messages without a role or a content, or with latents in it, a
                tokenizer without a chat template, or a `prompt_template` that is a conversation already.
        """
        if isinstance(prompt, str):
            if prompt:
                check_text(prompt, "prompt")
            return self.encode(prompt)
        if not is_conversation(prompt):
            raise TypeError(f"A prompt must be a string or chat messages, not {type(prompt).__name__}.")
        if contexts_of(prompt):
            raise ValueError("These messages hold latents: give them by themselves, model.generate(messages).")
        if set(chain(*self.prompt_template_ids())) & set(self.tokenizer.all_special_ids):
            said = "This model's prompt_template is a conversation already: give the prompt as a string, or messages"
            raise ValueError(f"{said} that hold the latents, in parts of their content.")
        return [token for segment in self.conversation_row(prompt, ()) for token in segment.ids]

    def conversation_row(self, messages, spans):
        """
        The segments of a decoder row for chat messages that may hold latents, laid out by the chat template of the
        decoder's tokenizer, which then asks for an answer. Of `prompt_template` only the special tokens that stand
        directly around its latents have a part in it: they stand around each context.

            messages = [{"role": "user", "content": [{"type": "context", "latents": latents[0]}, …]}]
            row = processor.conversation_row(messages, latents[0].spans)

        Args:
            messages (`list[dict]`): as for `encode_prompt`, with parts `{"type": "context", "latents": …}` too.
            spans (`list[list[LatentSpan or TextSegment]]`): of each of these parts the windows, in order.

        Returns: `list`, for `decoder_inputs`.

        Raises:
            ValueError: as `encode_prompt`; a chat template that leaves latents out.
        """
        if self.tokenizer.chat_template is None:
            raise ValueError("The decoder's tokenizer has no chat template: give the prompt as a string.")
        opening, closing = special_tokens_around(*self.prompt_template_ids()[:2], self.tokenizer.all_special_ids)
        row, left = [], iter(spans)
        for piece in conversation_pieces(self.tokenizer, messages):
            if isinstance(piece, str):
                row.append(TextSegment(self._encode_template(self.tokenizer, piece)))
            elif piece["type"] == "text":
                row.append(TextSegment(self.encode(piece["text"])))
            else:
                row += [TextSegment(opening), *next(left), TextSegment(closing)]
        return row

    def decode(self, ids, **kwargs):
        """Text of decoder ids, `list[int]` or a 1-D tensor, `processor.decode(ids)`; special tokens are left out."""
        return self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False, **kwargs)

    def context_inputs(self, contexts, num_latents, pack=False):
        """
        The encoder's input for a batch of windows, see `ContextModality.inputs`.

            batch = processor.context_inputs([ids, other_ids], [4, 2])

        Args:
            contexts (`list`): what the encoder reads of each window, as in [`TextWindow`].
            num_latents (`list[int]`): N of each window.
            pack (`bool`): whether short windows may share a row, see `C3Model.encode_context`.

        Returns:
            `BatchFeature`; for text with `context_input_ids` and `context_attention_mask`, `(windows, length)`.
        """
        return BatchFeature(self.modality.inputs(self, contexts, num_latents, pack))

    def context_template_ids(self):
        """The encoder's ids before the context, between it and the queries, and after these: three `list[int]`."""
        tokenizer = self.context_tokenizer or self.tokenizer
        before, rest = self.context_template.split("{context}")
        return [known_ids(tokenizer, piece, self._encode_template) for piece in (before, *rest.split("{queries}"))]

    def row(self, spans, prompt=None, target=None, labels=None, hidden=None):
        """
        The segments of a decoder row: latents, what is asked, and what follows.

            row = processor.row(latents.spans[0], "What is it about?")

        Args:
            spans (`list[LatentSpan or TextSegment]`): the latents, or the text, of each window.
            prompt (`str` or `list[dict]`, *optional*): what to ask, see `encode_prompt`; None asks for the text itself.
            target (`list[int]`, *optional*): the ids that follow, for training; they become labels.
            labels (`list[int]`, *optional*): one for each target id, -100 where nothing is learned; by default the
                target.
            hidden (`Sequence[bool]`, *optional*): which of the target's ids the decoder does not see.

        Returns: `list`, for `decoder_inputs`.
        """
        before, between, after = self.prompt_template_ids()
        if prompt is None:
            asked = known_ids(self.tokenizer, self.reconstruction_prompt, self._encode)
        else:
            asked = self.encode_prompt(prompt)
        learned = labels if labels is not None else target
        answer = TextSegment([] if target is None else target, learned, hidden, replays=prompt is None)
        return [TextSegment(before), *spans, TextSegment(between + asked + after), answer]

    def decoder_inputs(self, rows):
        """
        The decoder's input for a batch of rows of segments, padded on the left.

            batch = processor.decoder_inputs([processor.row(spans, "Who is it about?") for spans in latents.spans])

        Returns:
            `BatchFeature` of `input_ids`, `attention_mask` and `position_ids`, all `(rows, length)`, with `labels`
            where there are targets, see `decoder_rows_c3.py`.
        """
        placeholders = self.latent_token_id, self.mask_token_id
        return BatchFeature(decoder_rows(rows, self.latent_position_layout, *placeholders, self.prompt_positions))

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

            loss = model(**processor(["a text", "another"])).loss

        Args:
            text (`str` or `list[str]`): texts, in whatever `C3Model.compress` takes.
            num_latents (`int`, *optional*): latents of a full window, by default the processor's; shorter windows get
                what `C3Model.compress` gives them.
            labels (`bool`, defaults to `True`): whether the text follows the prompt, as labels.
            return_tensors, padding, truncation, max_length: as other processors are called. There are only PyTorch
                tensors, padded to the longest row, of whole texts: other values are refused.

        Returns:
            `BatchFeature` with the tensors of `context_inputs` and `decoder_inputs`.

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
        plans = [self.plan(each, num_latents=full) for each in texts]
        contexts = [window.context for plan in plans for window in plan.windows]
        batch = self.context_inputs(contexts, [n for plan in plans for n in plan.num_latents])
        rows = []
        for plan in plans:
            rows.append(self.row(plan.spans, target=list(plan.windows.ids) if labels else None))
        batch.update(self.decoder_inputs(rows))
        return batch

    @staticmethod
    def _call(tokenizer, text, **kwargs):
        return tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False, **kwargs)

    @staticmethod
    def _encode(tokenizer, text):
        return C3Processor._call(tokenizer, text)["input_ids"]

    @staticmethod
    def _encode_template(tokenizer, piece):
        return tokenizer(piece, add_special_tokens=False)["input_ids"] if piece else []


# What a processor copies from the config: all that its signature names.
SETTINGS = tuple(inspect.signature(C3Processor.__init__).parameters)[3:]


def except_context_tokenizer(files_timestamps):
    """
    The times with which transformers finds out what to upload, less that of the context tokenizer's folder: a folder
    keeps its time when a file in it is written anew, and would stay behind.
    """
    return {name: time for name, time in files_timestamps.items() if name != CONTEXT_TOKENIZER_FOLDER}


C3Processor.register_for_auto_class()

__all__ = ["C3Processor"]
