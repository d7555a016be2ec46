"""Latents and a prompt in, text out: `generate`, and `chat`, which compresses the text first."""

import warnings
from copy import deepcopy
from inspect import signature

import torch
from transformers import GenerationConfig, GenerationMixin, StoppingCriteriaList

from .adapters_c3 import active_adapters
from .conversations_c3 import is_conversation
from .corrections_c3 import special_ids
from .decoder_rows_c3 import LatentSpan
from .options_c3 import CompressionWarning, plain_options, whole_number
from .raw_windows_c3 import checked_raw_below, with_raw_windows
from .texts_c3 import check_text
from .window_decoding_c3 import StopAtLengths, prompt_embeds

DEFAULT_NEW_TOKENS = 256
CHAT_NEW_TOKENS = 4096
# What transformers' `generate` is given here, so that the caller cannot give it too.
MADE_HERE = ("inputs", "input_ids", "inputs_embeds", "attention_mask", "position_ids")
TOKENIZERS = ("tokenizer", "assistant_tokenizer")


class PromptingMixin:
    """
    Prompts about latents; mixed into [`C3Model`]. It needs of the model `embed_prompt`, `encode_context`,
    `check_positions` and `config`, `processor` and `check_latents` of [`CheckpointMixin`], `compress` and
    `encode_windows` of [`CompressionMixin`], and behind it, as `super()`, `GenerationMixin`.
    """

    @torch.no_grad()
    def generate(self, latents=None, prompt=None, *, allow_mismatch=False, raw_below=None, **kwargs):
        """
        Generates text from latents and a prompt with all of `GenerationMixin` (sampling, beams, stop strings,
        streamers, `return_dict_in_generate`) but an assistant model. All windows of a text are read together; only
        where the text itself is asked for each is given back by itself, as in `expand`.

            answer = model.generate(model.compress("a long text"), "What is it about?", max_new_tokens=64)

        Args:
            latents ([`C3Latents`]): what `compress` returned. Token ids (`torch.LongTensor`) or only keywords such as
                `input_ids` go to transformers' own `generate`; with `context_input_ids` or a tensor of latents beside
                them it returns the new ids only.
            prompt (`str`, chat messages as `list[dict]`, or a `list` of one of these for each text, *optional*): what
                to ask; by default, as with the reconstruction prompt, for the text itself, which is what `expand`
                gives, unless keywords ask for another way of decoding. Messages are laid out, after the latents, by
                the chat template of the decoder's tokenizer; `instruction_data` in training are not: ask a model that
                was trained on them in strings.
            allow_mismatch (`bool`): read latents that another model made.
            raw_below (`float`, *optional*): for a prompt, have the decoder read windows of a lower fidelity as the
                tokens of their text, which take more room, in the place of their latents. For latents that were
                compressed with `exact=True`; those windows are expanded first.
            **kwargs: as for `GenerationMixin.generate`. At most 256 new tokens without `max_new_tokens` or
                `max_length`, which counts latents and prompt too; of the text itself no more than it had.

        Returns:
            `str` where one text was compressed by itself, `list[str]` where a list was, or with several
            `num_return_sequences`; with `return_dict_in_generate` what
            transformers returns, where the text itself is asked for with a row for each window.

        Warns:
            CompressionWarning: keywords ask for another way of decoding a text that was compressed with `exact=True`.

        Raises:
            LatentMismatchError: the latents are another model's.
            InexactTextError: with `raw_below`, a window's text did not come back as it was.
            TypeError, ValueError: a prompt or keyword that cannot be used, or any prompt but the reconstruction prompt
                where the model was trained for nothing else (`config.reconstruction_only`).
        """
        kwargs = plain_options(kwargs)
        if latents is None or isinstance(latents, torch.Tensor):
            for name, given in (("A prompt", prompt), ("raw_below", raw_below)):
                if given is not None:
                    raise ValueError(f"{name} needs latents from compress; token ids already hold their prompt.")
            return self._generate_from_ids(latents, kwargs)
        self.check_latents(latents, allow_mismatch)
        prompts = self._checked_prompts(prompt, len(latents))
        raw_below = checked_raw_below(raw_below, latents)
        if raw_below is not None and prompts is None and len(latents):
            raise ValueError("raw_below is for prompts: leave it out, the text itself comes back by its corrections.")
        self._check_keywords(kwargs)
        if not len(latents):
            return []
        if prompts is None:
            texts = self._repeat(latents, kwargs)
        else:
            read = (latents.spans, latents.values)
            read = read if raw_below is None else with_raw_windows(self, latents, raw_below)
            texts = self._answer(*read, prompts, kwargs, DEFAULT_NEW_TOKENS)
        return _alone(texts) if latents.single else texts

    @torch.no_grad()
    def chat(self, context, prompt=None, **kwargs):
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
            **kwargs: as for `generate`, in place of these settings.

        Returns: as `generate` for one text; answers without surrounding whitespace.

        Raises:
            TypeError, ValueError: as `generate`, a bad text, or one that is longer than the encoder's positions.
        """
        check_text(context, "context")
        kwargs = plain_options(kwargs)
        prompts = self._checked_prompts(prompt, 1)
        self._check_keywords(kwargs)
        in_windows = self.config.latent_position_layout == "uniform" or self.config.reconstruction_only
        if in_windows or not self.processor.modality.has_tokenizer:
            latents = self.compress(context, show_progress=False)
            if prompts is None:
                return _alone(self._repeat(latents, kwargs))
            spans, values = latents.spans, latents.values
        else:
            ids = self.processor.encode_context(context)
            most = self.config.encoder_config.max_position_embeddings - self.config.num_latents
            if len(ids) > most:
                raise ValueError(
                    f"context is {len(ids)} tokens long, and chat compresses it at once, but the encoder has room for "
                    f"{most}; use compress and generate, which cut it into windows."
                )
            spans = [[LatentSpan(self.config.num_latents, len(self.processor.encode(context)))]]
            whole = self.processor.modality.from_text(self.processor, context)
            values = self.encode_windows([whole], [self.config.num_latents])
        defaults = {"do_sample": False, "num_beams": 1}
        greedy = {name: value for name, value in defaults.items() if _setting(kwargs, name) is None}
        answers = self._answer(spans, values, prompts, _with_settings(kwargs, **greedy), CHAT_NEW_TOKENS)
        return _alone([each.strip() for each in answers] if isinstance(answers, list) else answers)

    # ---------------------------------------------------------------------------------------------- ways to generate

    def _answer(self, spans, latents, prompts, kwargs, most):
        """
        `list[str]` of answers to prompts (None: for the text itself) about texts, whose windows are `spans` (or text
        segments) and `latents`, `(latents, D_dec)`; at most `most` tokens each unless `kwargs` say otherwise.
        """
        prompts = [None] * len(spans) if prompts is None else prompts
        inputs = prompt_embeds(self, list(map(self.processor.row, spans, prompts)), latents)
        most = self._new_tokens(kwargs, inputs, getattr(self.generation_config, "max_new_tokens", None) or most)
        kwargs = _with_settings(kwargs, max_new_tokens=most, max_length=None)
        output = super().generate(**inputs, **self._with_tokenizer(kwargs))
        return [self.processor.decode(row) for row in output] if isinstance(output, torch.Tensor) else output

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
        most = self._new_tokens(kwargs, inputs, sum(lengths))
        for owned in latents.windows_of_texts:
            left = most
            for window in owned:
                lengths[window] = min(lengths[window], left)
                left -= lengths[window]
        special = special_ids(self.processor)
        suppressed = sorted({*special, *(_setting(kwargs, "suppress_tokens") or ())})
        settings = {"max_new_tokens": max(lengths), "max_length": None, "suppress_tokens": suppressed or None}
        # No token of a text, so that it shows where a row was stopped.
        settings["pad_token_id"] = special[0] if special else 0
        if _setting(kwargs, "do_sample") is None:
            settings["do_sample"] = False
        kwargs = self._with_tokenizer(_with_settings(kwargs, **settings))
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
            if kwargs.get("inputs_embeds") is None and self._only_repeats():
                raise ValueError(
                    "There are no latents: this model was trained to give texts back from latents and nothing else "
                    "(config.reconstruction_only); use model.expand(model.compress(text))."
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

    # ------------------------------------------------------------------------------------------------------- checks

    def _only_repeats(self):
        # What an adapter was trained for, the config of its base does not know.
        return self.config.reconstruction_only and not active_adapters(self)

    def _checked_prompts(self, prompt, count):
        """What is asked of each of `count` texts, or None where that is the text itself; raises what cannot be."""
        if prompt is None:
            return None
        prompts = [prompt] * count if isinstance(prompt, str) or is_conversation(prompt) else prompt
        if not isinstance(prompts, (list, tuple)):
            kind = type(prompt).__name__
            raise TypeError(f"prompt must be a string, chat messages or a list of one for each text, not {kind}.")
        if len(prompts) != count:
            raise ValueError(f"There are {len(prompts)} prompts for {count} texts; give one, or one each.")
        for each in prompts:
            self.processor.encode_prompt(each)
        asked = [each for each in prompts if each != self.config.reconstruction_prompt]
        if not asked:
            return None
        if self._only_repeats():
            raise ValueError(
                f"This model cannot answer {str(asked[0])[:60]!r}: it was trained to give texts back and nothing else "
                "(config.reconstruction_only). Use expand for the text, and for answers a model trained on prompts."
            )
        if len(asked) < count:
            raise ValueError("Some of the prompts ask for the text itself; do that in a call of its own, or by expand.")
        return list(prompts)

    def _check_keywords(self, kwargs):
        if given := [name for name in MADE_HERE if kwargs.get(name) is not None]:
            raise TypeError(f"{given[0]} is made of latents and prompt: leave it out, or leave out those.")
        config = kwargs.get("generation_config")
        if not isinstance(config, (GenerationConfig, type(None))):
            raise TypeError(f"generation_config must be a GenerationConfig, not {type(config).__name__}.")
        for name in ("max_new_tokens", "max_length"):
            if (most := _setting(kwargs, name)) is not None:
                whole_number(name, most)
        self._check_strategy(kwargs)
        if kwargs.get("custom_generate") is None:
            known = {*vars(GenerationConfig()), *signature(GenerationMixin.generate).parameters, *TOKENIZERS}
            self._validate_model_kwargs({name: value for name, value in kwargs.items() if name not in known})

    def _check_strategy(self, kwargs):
        for name in ("assistant_model", "assistant_early_exit"):
            if _setting(kwargs, name) is not None:
                raise ValueError(f"{name}: what drafts reads token ids, not latents; leave it out.")
        guided = _setting(kwargs, "guidance_scale") not in (None, 1)
        if guided and kwargs.get("negative_prompt_ids") is None:
            raise ValueError("guidance_scale: latents hold no token ids to go without; give negative_prompt_ids too.")

    def _new_tokens(self, kwargs, inputs, default):
        """How many new tokens `kwargs` allow."""
        new, whole = _setting(kwargs, "max_new_tokens"), _setting(kwargs, "max_length")
        if new is not None or whole is None:
            return default if new is None else new
        length = inputs["inputs_embeds"].shape[1]
        if whole <= length:
            raise ValueError(
                f"max_length={whole} leaves no room: latents and prompt count too, and are {length} long; give "
                "max_new_tokens instead."
            )
        return whole - length

    def _with_tokenizer(self, kwargs):
        """Keywords with the tokenizer, which stop strings need, wherever they were set."""
        return kwargs | {"tokenizer": kwargs.get("tokenizer") or self.processor.tokenizer}


def _setting(kwargs, name):
    """What keywords of `generate`, or else the `generation_config` among them, say; None where neither does."""
    value = kwargs.get(name)
    return getattr(kwargs.get("generation_config"), name, None) if value is None else value


def _with_settings(kwargs, **settings):
    """Keywords of `generate` with these settings; in its `generation_config` where there is one, as it must be."""
    config = kwargs.get("generation_config")
    if config is None:
        return kwargs | settings
    config = deepcopy(config)
    config.update(**settings)
    return {name: value for name, value in kwargs.items() if name not in settings} | {"generation_config": config}


def _alone(texts):
    """One text as it is; several, or what transformers returned, as they are."""
    return texts[0] if isinstance(texts, list) and len(texts) == 1 else texts
