"""Latents and a prompt in, text out: `generate`, and `chat`, which compresses the text first."""

import warnings
from functools import partial
from itertools import chain

import torch
from transformers import StoppingCriteriaList

from .adapters_c3 import active_adapters
from .chunked_generation_c3 import ChunkedGenerationMixin
from .conversations_c3 import are_conversations, contexts_of, is_conversation
from .corrections_c3 import special_ids
from .decoder_rows_c3 import LatentSpan
from .generation_keywords_c3 import GenerationKeywordsMixin, setting, with_settings
from .options_c3 import CompressionWarning, plain_options, whole_number
from .prompt_adapter_c3 import PromptAdapterMixin
from .prompt_batches_c3 import batches_about_one_text, batches_of_rows, can_share
from .prompt_checks_c3 import PromptChecksMixin
from .raw_windows_c3 import RawText, checked_raw_below, spans_as_read, with_raw_windows
from .stored_weights_c3 import execution_device
from .texts_c3 import check_text
from .window_decoding_c3 import StopAtLengths, prompt_embeds

DEFAULT_NEW_TOKENS = 256
CHAT_NEW_TOKENS = 4096


class PromptingMixin(ChunkedGenerationMixin, PromptAdapterMixin, PromptChecksMixin, GenerationKeywordsMixin):
    """
    Prompts about latents; mixed into [`C3Model`]. It needs of the model `embed_prompt`, `encode_context`,
    `check_positions` and `config`, `processor` and `check_latents` of [`CheckpointMixin`], `compress` and
    `encode_windows` of [`CompressionMixin`], and behind it, as `super()`, `GenerationMixin`.
    """

    @torch.no_grad()
    def generate(
        self,
        latents=None,
        prompt=None,
        *,
        allow_mismatch=False,
        raw_below=None,
        batch_size=None,
        compress_every=None,
        ratio=None,
        **kwargs,
    ):
        """
        Generates text from latents and a prompt with all of `GenerationMixin` (sampling, beams, stop strings,
        streamers, `return_dict_in_generate`) but an assistant model. All windows of a text are read together; only
        where the text itself is asked for each is given back by itself, as in `expand`.

            latents = model.compress("a long text")
            answer = model.generate(latents, "What is it about?", max_new_tokens=64)
            answers = model.generate(latents, ["What is it about?", "Who wrote it?"])  # latents are read once
            answer = model.generate([latents, others, "a short text"], "In which of them …?")  # one after the other
            parts = [{"type": "context", "latents": latents}, {"type": "text", "text": "What is it about?"}]
            answer = model.generate([{"role": "user", "content": parts}])
            answer = model.generate(None, "a long prompt", compress_every=64, ratio=4)  # compressed as it is written

        Args:
            latents ([`C3Latents`]): what `compress` returned. Or a list of such contexts, which are read together, all
                their texts in order; a `str` among them is read as its tokens, in the place of latents. Or chat
                messages that hold latents, each of one text, in parts of their content, as above, or a list of such
                conversations; all is laid out by the chat template of the decoder's tokenizer.
                Token ids (`torch.LongTensor`) or only keywords such as `input_ids` go to transformers' own `generate`;
                with `context_input_ids` or a tensor of latents beside them it returns the new ids only.
            prompt (`str`, chat messages as `list[dict]`, or a `list` of these, *optional*): what to ask; a list asks
                one for each text, or all about one text or contexts that are read together. By default, as with the
                reconstruction prompt, for the text itself, which is what `expand` gives, unless keywords ask for
                another way of decoding. Messages are laid out, after the latents, by the chat template;
                `instruction_data` in training are not: ask a model that was trained on them in strings.
            allow_mismatch (`bool`): read latents that another model made.
            raw_below (`float`, *optional*): for a prompt, have the decoder read windows of a lower fidelity as the
                tokens of their text, which take more room, in the place of their latents. For latents that were
                compressed with `exact=True`; those windows are expanded first.
            batch_size (`int`, *optional*): prompts that are answered at once, by default all. Each takes a cache of
                `latents.cache_bytes(model)` and of what follows, also where the latents are read once.
            compress_every (`int`, *optional*): compress what is generated, too (global compression, VIST2, arXiv
                2601.10378): whenever so many tokens are complete they are encoded, their latents are read, and their
                keys leave the cache. A prompt, which is a string then, is cut into chunks of as many; what is left over
                at its end stays text unless that is longer than a chunk's latents. Latents may be None. Greedy and by
                sampling; with `return_dict_in_generate` [`ChunkedGenerationOutput`] says what was compressed.
                docs/global_compression.md.
            ratio (`float`, *optional*): with `compress_every`, tokens per latent of a chunk, as for `compress`.
            **kwargs: as for `GenerationMixin.generate`. At most 256 new tokens, where the decoder has positions for
                them, without `max_new_tokens` or `max_length`, which counts latents and prompt too; of the text itself
                no more than it had.

        Returns:
            `str` where one text was compressed by itself, for contexts that are read together, or for messages;
            `list[str]` where a list of texts was, for a list of prompts or of conversations, or with several
            `num_return_sequences`; with `return_dict_in_generate` what transformers returns, where the text itself is
            asked for with a row for each window.

        Warns:
            CompressionWarning: keywords ask for another way of decoding a text that was compressed with `exact=True`.

        Raises:
            LatentMismatchError: the latents are another model's.
            InexactTextError: with `raw_below`, a window's text did not come back as it was.
            TypeError, ValueError: a prompt or keyword that cannot be used, latents, prompt and answer that take more
                positions than the decoder was made for, or any prompt but the reconstruction prompt where the model
                was trained for nothing else (`config.reconstruction_only`).
        """
        if (answering := self._who_answers(latents, prompt)) is not self:
            options = {"allow_mismatch": allow_mismatch, "raw_below": raw_below, "batch_size": batch_size}
            options |= {"compress_every": compress_every, "ratio": ratio}
            return answering.generate(latents, prompt, **options, **kwargs)
        kwargs = plain_options(kwargs)
        batch_size = None if batch_size is None else whole_number("batch_size", batch_size)
        chunking = self._checked_chunking(compress_every, ratio, prompt, kwargs)
        messages = prompt if latents is None else latents
        if is_conversation(messages) or are_conversations(messages):
            if messages is not prompt and prompt is not None:
                raise ValueError("Messages that hold latents hold what is asked too: leave prompt out.")
            return self._answer_messages(messages, allow_mismatch, raw_below, batch_size, kwargs)
        if isinstance(latents, (list, tuple)) and latents:
            return self._ask_together(latents, prompt, allow_mismatch, raw_below, batch_size, kwargs, chunking)
        if latents is None and chunking is not None:
            if raw_below is not None:
                raise ValueError("raw_below needs latents from compress, whose windows it is about: leave it out.")
            answers = self._ask_without_latents(prompt, batch_size, kwargs, chunking)
            return answers if _is_list(prompt) else _alone(answers)
        if latents is None or isinstance(latents, torch.Tensor):
            for name, given in (("A prompt", prompt), ("raw_below", raw_below), ("batch_size", batch_size)):
                if given is not None:
                    raise ValueError(f"{name} needs latents from compress; token ids already hold their prompt.")
            return self._generate_from_ids(latents, kwargs)
        self.check_latents(latents, allow_mismatch)
        prompts = self._checked_prompts(prompt, len(latents))
        raw_below = checked_raw_below(raw_below, latents)
        for name, given, instead in (
            ("raw_below", raw_below, "the text itself comes back by its corrections"),
            ("batch_size", batch_size, "or use expand, which has its own"),
            ("compress_every", compress_every, "the text itself is read from its latents"),
        ):
            if given is not None and prompts is None and len(latents):
                raise ValueError(f"{name} is for prompts: leave it out, {instead}.")
        self._check_keywords(kwargs, prompts, batch_size)
        if not len(latents):
            return []
        if prompts is None:
            texts = self._repeat(latents, kwargs)
        else:
            texts = self._ask_about(latents, prompts, raw_below, kwargs, batch_size, chunking)
        return _alone(texts) if latents.single and not _is_list(prompt) else texts

    @torch.no_grad()
    def chat(self, context, prompt=None, *, batch_size=None, **kwargs):
        """
        Answers a prompt about a text as the `chat` of the authors' code does: the whole text, however long, goes into
        the encoder at once and becomes `config.num_latents` latents; greedy, at most 4096 new tokens, until the end of
        the turn. Unlike theirs, special tokens written in a text or a prompt are text, and `no_repeat_ngram_size=20`,
        with which no text that repeats itself can be given back, is off unless it is asked for.

        A model with the uniform layout, which knows only windows, one that was trained to give texts back and nothing
        else, and one whose encoder reads something else than text get the text in windows. Asked for the text itself,
        they give what `expand` gives.

            answer = model.chat("a long text", "What is it about?")

        Args:
            context (`str`): the text.
            prompt (`str` or chat messages, *optional*): what to ask, see `generate`; by default for the text itself.
            batch_size, **kwargs: as for `generate`, in place of these settings.

        Returns: as `generate` for one text; answers without surrounding whitespace.

        Raises:
            TypeError, ValueError: as `generate`, a bad text, or one that is longer than the encoder's positions.
        """
        check_text(context, "context")
        if (answering := self._who_answers(context, prompt)) is not self:
            return answering.chat(context, prompt, batch_size=batch_size, **kwargs)
        kwargs = plain_options(kwargs)
        batch_size = None if batch_size is None else whole_number("batch_size", batch_size)
        prompts = self._checked_prompts(prompt, 1)
        self._check_keywords(kwargs, prompts, batch_size)
        defaults = {"do_sample": False, "num_beams": 1}
        greedy = {name: value for name, value in defaults.items() if setting(kwargs, name) is None}
        in_windows = self.config.latent_position_layout == "uniform" or self.config.reconstruction_only
        if in_windows or not self.processor.modality.has_tokenizer:
            if prompts is None:
                return _alone(self._repeat(self.compress(context, show_progress=False), kwargs))
            rows = self._rows(prompts, [self.plan_windows(context).spans])
            kwargs = self._with_room(with_settings(kwargs, **greedy), rows, CHAT_NEW_TOKENS)
            values = self.compress(context, show_progress=False).values
        else:
            ids = self.processor.encode_context(context)
            most = self.config.encoder_config.max_position_embeddings - self.config.num_latents
            if len(ids) > most:
                raise ValueError(
                    f"context is {len(ids)} tokens long, and chat compresses it at once, but the encoder has room for "
                    f"{most}; use compress and generate, which cut it into windows."
                )
            span = LatentSpan(self.config.num_latents, len(self.processor.encode(context)))
            rows = self._rows(prompts or [None], [[span]])
            kwargs = self._with_room(with_settings(kwargs, **greedy), rows, CHAT_NEW_TOKENS)
            whole = self.processor.modality.from_text(self.processor, context)
            values = self.encode_windows([whole], [self.config.num_latents])
        answers = self._answer(rows, values, kwargs, batch_size, is_shared=len(rows) > 1)
        answers = [each.strip() for each in answers] if isinstance(answers, list) else answers
        return answers if _is_list(prompt) else _alone(answers)

    # ---------------------------------------------------------------------------------------------- ways to generate

    def _answer_messages(self, messages, allow_mismatch, raw_below, batch_size, kwargs):
        """The answer to chat messages that hold latents, or those to several conversations."""
        conversations = [messages] if is_conversation(messages) else messages
        contexts = list(map(contexts_of, conversations))
        if not all(contexts):
            raise ValueError(
                "A prompt needs latents from compress: give them first, or as parts {'type': 'context', 'latents': …} "
                "of a message's content."
            )
        contexts = list(chain(*contexts))
        for latents in contexts:
            self.check_latents(latents, allow_mismatch)
            if len(latents) != 1:
                raise ValueError(
                    f"A context in a message must be one text, not {len(latents)}: give latents[i], each in a part of "
                    "its own."
                )
            checked_raw_below(raw_below, latents)
        self.check_answers(conversations[0])
        self._check_keywords(kwargs, conversations, batch_size)

        def to_rows(spans):
            left = iter(spans)  # of which each row takes what it holds
            return [self.processor.conversation_row(each, left) for each in conversations]

        answers = self._ask(contexts, raw_below, to_rows, kwargs, batch_size)
        return _alone(answers) if conversations is not messages else answers

    def _ask_about(self, latents, prompts, raw_below, kwargs, batch_size, chunking):
        """The answers to a prompt about each text of [`C3Latents`], or to several about the only one."""
        to_rows = partial(self._rows, prompts, chunking=chunking)
        return self._ask([latents], raw_below, to_rows, kwargs, batch_size, len(prompts) > len(latents), chunking)

    def _ask_together(self, contexts, prompt, allow_mismatch, raw_below, batch_size, kwargs, chunking):
        """The answers to one or several prompts about [`C3Latents`] and texts that are read one after another."""
        contexts = [RawText(self, each) if isinstance(each, str) else each for each in contexts]
        for latents in contexts:
            if not isinstance(latents, RawText):
                self.check_latents(latents, allow_mismatch)
                raw_below = checked_raw_below(raw_below, latents)
        prompts = self._checked_prompts(prompt, 1)
        if prompts is None:
            raise ValueError("A list of contexts is read to answer a prompt: give one, or expand each of them.")
        if not any(map(len, contexts)):
            raise ValueError("None of these contexts holds a text.")
        self._check_keywords(kwargs, prompts, batch_size)

        def to_rows(spans):
            return self._rows(prompts, [list(chain(*spans))], chunking)

        answers = self._ask(contexts, raw_below, to_rows, kwargs, batch_size, len(prompts) > 1, chunking)
        return answers if _is_list(prompt) else _alone(answers)

    def _rows(self, prompts, spans, chunking=None):
        """Rows for a prompt (None: for the text itself) about each text, or several about one; `spans` are of texts."""
        lay_out = self.processor.row if chunking is None else chunking.row
        return list(map(lay_out, spans * len(prompts) if len(spans) == 1 else spans, prompts))

    def _ask(self, contexts, raw_below, to_rows, kwargs, batch_size=None, is_shared=False, chunking=None):
        """
        What is answered to rows about latents.

        Args:
            contexts (`list[C3Latents or RawText]`): whose latents the rows hold, in order.
            raw_below (`float`, *optional*): see `generate`.
            to_rows (`Callable`): from the windows' spans of all texts to rows.
            kwargs, batch_size: see `generate`.
            is_shared (`bool`): whether each of the rows holds all latents.
            chunking ([`Chunking`], *optional*): of the rows, and of what is generated.

        Returns: see `_answer`.
        """
        rows = to_rows([text for latents in contexts for text in spans_as_read(latents, raw_below)])
        kwargs = self._with_room(kwargs, rows, DEFAULT_NEW_TOKENS, chunking)
        read = [with_raw_windows(self, latents, raw_below) for latents in contexts]
        if raw_below is not None:
            rows = to_rows([text for spans, _ in read for text in spans])
        device = execution_device(self.get_input_embeddings())
        none = torch.empty(0, self.config.hidden_size, dtype=self.dtype, device=device)
        values = torch.cat([values.to(device) for _, values in read]) if read else none
        if chunking is not None:
            return self._answer_in_chunks(rows, values, kwargs, batch_size, is_shared, chunking)
        return self._answer(rows, values, kwargs, batch_size, is_shared)

    def _answer(self, rows, latents, kwargs, batch_size=None, is_shared=False):
        """
        `list[str]` of what follows rows, which hold `latents`, `(latents, D_dec)`, in order; all of them each where
        these are shared. With `return_dict_in_generate` what transformers returns.
        """
        size = batch_size or len(rows)
        in_one = self._own_setting(kwargs, "return_dict_in_generate") or kwargs.get("streamer") is not None
        settings = partial(self._own_setting, kwargs)
        if is_shared and not in_one and can_share(self, rows, settings):
            copies = max(settings("num_beams") or 1, settings("num_return_sequences") or 1)
            batches = batches_about_one_text(self, rows, latents, size, copies)
        else:
            batches = batches_of_rows(self, rows, latents.repeat(len(rows), 1) if is_shared else latents, size)
        answers = [[] for _ in rows]
        for places, inputs in batches:
            output = super().generate(**inputs, **self._with_tokenizer(kwargs))
            if not isinstance(output, torch.Tensor):
                return output
            for place, ids in zip(places, output.chunk(len(places)), strict=True):
                answers[place] = [self.processor.decode_answer(row) for row in ids]
        return [text for texts in answers for text in texts]

    def _repeat(self, latents, kwargs):
        """`list[str]` of the texts themselves: as trained, every window is given back by itself, to its own length."""
        if all(value is None for value in kwargs.values()):
            texts = self.expand(latents, show_progress=False, allow_mismatch=True)
            return [texts] if isinstance(texts, str) else texts
        if latents.corrections is not None:
            given = ", ".join(name for name, value in kwargs.items() if value is not None)
            warnings.warn(
                f"With {given} the text is read from the latents alone, without its corrections, and may come back "
                "wrong: expand gives the very text.",
                CompressionWarning,
                stacklevel=4,
            )
        if kwargs.get("streamer") is not None and latents.num_windows > 1:
            raise ValueError(
                f"streamer: these latents are {latents.num_windows} windows, which are given back side by side; use "
                "expand(latents, stream=True)."
            )
        lengths = latents.text_lengths.tolist()
        rows = [self.processor.row([span]) for text in latents.spans for span in text]
        inputs = prompt_embeds(self, rows, latents.values)
        most = self._new_tokens(kwargs, inputs["inputs_embeds"].shape[1], sum(lengths))
        for owned in latents.windows_of_texts:
            left = most
            for window in owned:
                lengths[window] = min(lengths[window], left)
                left -= lengths[window]
        special = special_ids(self.processor)
        suppressed = sorted({*special, *(setting(kwargs, "suppress_tokens") or ())})
        settings = {"max_new_tokens": max(lengths), "max_length": None, "suppress_tokens": suppressed or None}
        # No token of a text, so that it shows where a row was stopped.
        settings["pad_token_id"] = special[0] if special else 0
        if setting(kwargs, "do_sample") is None:
            settings["do_sample"] = False
        kwargs = self._with_tokenizer(with_settings(kwargs, **settings))
        criteria = [*(kwargs.pop("stopping_criteria", None) or ()), StopAtLengths(lengths)]
        output = super().generate(**inputs, **kwargs, stopping_criteria=StoppingCriteriaList(criteria))
        return self._joined(output, latents, lengths, special) if isinstance(output, torch.Tensor) else output

    def _joined(self, ids, latents, lengths, special):
        """Texts, `list[str]`, of rows of ids, one or several for each window; a text ends where a row was stopped."""
        copies = len(ids) // len(lengths)
        ids, texts = ids.tolist(), []
        for owned in latents.windows_of_texts:
            for copy in range(copies):
                text = []
                for window in owned:
                    row = ids[window * copies + copy][: lengths[window]]
                    end = next((i for i, token in enumerate(row) if token in special), len(row))
                    text += row[:end]
                    if end < lengths[window]:
                        break
                texts.append(self.processor.decode(text))
        return texts

    def _generate_from_ids(self, inputs, kwargs):
        """transformers' own `generate`; contexts and latents are put into the embeddings once, before it begins."""
        kwargs["latents" if inputs is not None and inputs.is_floating_point() else "inputs"] = inputs
        context = {name: kwargs.pop(name) for name in list(kwargs) if name.startswith("context_")}
        latents = kwargs.pop("latents", None)
        if not context and latents is None:
            if kwargs.get("inputs_embeds") is None and self.config.reconstruction_only and not active_adapters(self):
                raise ValueError(
                    "There are no latents: these weights were trained to read nothing else (reconstruction_only). Give "
                    "latents or messages first, unnamed, or use model.expand(model.compress(text))."
                )
            return super().generate(**kwargs)
        self._check_strategy(kwargs)
        if context:
            latents = self.encode_context(**context)
        input_ids = kwargs.pop("input_ids", None)
        input_ids = kwargs.pop("inputs", None) if input_ids is None else input_ids
        if input_ids is None:
            raise ValueError("Latents as a tensor need input_ids with their placeholders; or give C3Latents.")
        self.check_positions(kwargs.get("position_ids"))
        return super().generate(inputs_embeds=self.embed_prompt(input_ids, latents), **kwargs)


def _is_list(prompt):
    """Whether a prompt is several."""
    return isinstance(prompt, (list, tuple)) and not is_conversation(prompt)


def _alone(texts):
    """One text as it is; several, or what transformers returned, as they are."""
    return texts[0] if isinstance(texts, list) and len(texts) == 1 else texts
