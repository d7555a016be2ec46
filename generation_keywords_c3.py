"""Keywords of `generate` about latents: what they may be, what they say, and what they are completed with."""

from copy import deepcopy
from inspect import signature

from transformers import GenerationConfig, GenerationMixin

from .decoder_rows_c3 import row_length
from .options_c3 import whole_number
from .position_limits_c3 import room_for_answers

# What transformers' `generate` is given here, so that the caller cannot give it too.
MADE_HERE = ("inputs", "input_ids", "inputs_embeds", "attention_mask", "position_ids")
TOKENIZERS = ("tokenizer", "assistant_tokenizer")


class GenerationKeywordsMixin:
    """
    Part of [`PromptingMixin`]. It needs of the model `config`, `processor`, `generation_config` and what
    `GenerationMixin` has.
    """

    def _check_keywords(self, kwargs, prompts=None, batch_size=None):
        if given := [name for name in MADE_HERE if kwargs.get(name) is not None]:
            raise TypeError(f"{given[0]} is made of latents and prompt: leave it out, or leave out those.")
        config = kwargs.get("generation_config")
        if not isinstance(config, (GenerationConfig, type(None))):
            raise TypeError(f"generation_config must be a GenerationConfig, not {type(config).__name__}.")
        for name in ("max_new_tokens", "max_length"):
            if (most := setting(kwargs, name)) is not None:
                whole_number(name, most)
        for name in ("streamer", "return_dict_in_generate"):
            if setting(kwargs, name) and batch_size is not None and batch_size < len(prompts or ()):
                raise ValueError(f"{name} is for one batch: leave batch_size out, or ask one prompt at a time.")
        self._check_strategy(kwargs)
        if kwargs.get("custom_generate") is None:
            known = {*vars(GenerationConfig()), *signature(GenerationMixin.generate).parameters, *TOKENIZERS}
            self._validate_model_kwargs({name: value for name, value in kwargs.items() if name not in known})

    def _check_strategy(self, kwargs):
        for name in ("assistant_model", "assistant_early_exit"):
            if setting(kwargs, name) is not None:
                raise ValueError(f"{name}: what drafts reads token ids, not latents; leave it out.")
        guided = setting(kwargs, "guidance_scale") not in (None, 1)
        if guided and kwargs.get("negative_prompt_ids") is None:
            raise ValueError("guidance_scale: latents hold no token ids to go without; give negative_prompt_ids too.")

    def _with_room(self, kwargs, rows, default, chunking=None):
        """
        Keywords with the new tokens that they allow after rows, by default as many as the decoder has positions for
        and at most `default`; raises where it has not as many as they ask for. With `chunking` ([`Chunking`]) what is
        generated gives positions back.
        """
        room = room_for_answers(self.config, rows)
        room = room if chunking is None else chunking.new_tokens(room)
        most = self._new_tokens(kwargs, max(map(row_length, rows)), None)
        if most is None:
            most = min(room, getattr(self.generation_config, "max_new_tokens", None) or default)
        if most > room:
            raise ValueError(
                f"After latents and prompt the decoder has positions for {room} new tokens, not for {most}: give a "
                "smaller max_new_tokens, compress at a higher ratio, or ask about a part of the text."
            )
        return with_settings(kwargs, max_new_tokens=most, max_length=None)

    def _new_tokens(self, kwargs, length, default):
        """How many new tokens `kwargs` allow after rows of so many positions."""
        new, whole = setting(kwargs, "max_new_tokens"), setting(kwargs, "max_length")
        if new is not None or whole is None:
            return default if new is None else new
        if whole <= length:
            raise ValueError(
                f"max_length={whole} leaves no room: latents and prompt count too, and are {length} long; give "
                "max_new_tokens instead."
            )
        return whole - length

    def _own_setting(self, kwargs, name):
        """As `setting`, or else what the model's own `generation_config` says."""
        value = setting(kwargs, name)
        return getattr(self.generation_config, name, None) if value is None else value

    def _with_tokenizer(self, kwargs):
        """Keywords with the tokenizer, which stop strings need, wherever they were set."""
        return kwargs | {"tokenizer": kwargs.get("tokenizer") or self.processor.tokenizer}


def setting(kwargs, name):
    """What keywords of `generate`, or else the `generation_config` among them, say; None where neither does."""
    value = kwargs.get(name)
    return getattr(kwargs.get("generation_config"), name, None) if value is None else value


def with_settings(kwargs, **settings):
    """Keywords of `generate` with these settings; in its `generation_config` where there is one, as it must be."""
    config = kwargs.get("generation_config")
    if config is None:
        return kwargs | settings
    config = deepcopy(config)
    config.update(**settings)
    return {name: value for name, value in kwargs.items() if name not in settings} | {"generation_config": config}


__all__ = ["GenerationKeywordsMixin", "setting", "with_settings"]
