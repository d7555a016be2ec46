"""Configuration of C3, Context Cascade Compression (arXiv 2511.15244)."""

import re
from dataclasses import field

from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

from .character_ranges_c3 import read_ranges
from .context_picture_c3 import MERGED, checked_picture, tower_config
from .options_c3 import plain_number, whole_number
from .other_auto_classes_c3 import refuse_other_auto_classes
from .quoting_c3 import listed, quoted

LATENT_POSITION_LAYOUTS = ("appended", "uniform")
PROMPT_POSITIONS = ("consecutive", "among_text")
PROJECTORS = ("linear", "mlp", "tanh")
POOLINGS = ("queries", "mean")  # of text
FOLDER = re.compile(r"\w[\w.-]*")
PLAIN_CONTEXT_TEMPLATE = "{context}{queries}"


def _checked(default, check):
    """A field of the config: what it is by default, and `(name, value) -> value`, which raises what cannot be."""
    return field(default=default, metadata={"check": check})


def _optional(check):
    return lambda name, value: None if value is None else check(name, value)


def _one_of(allowed):
    def check(name, value):
        if value not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {value!r}.")
        return value

    return check


def _truth(name, value):
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, not {value!r}.")
    return value


def _string(name, value):
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a string, not {value!r}.")
    return value


def _template(*fields):
    def check(name, value):
        if not isinstance(value, str) or any(value.count(each) != 1 for each in fields):
            raise ValueError(f"{name} must hold {' and '.join(fields)} once each, not {value!r}.")
        if value.index(fields[0]) > value.index(fields[1]):
            raise ValueError(f"{name} must hold {fields[0]} before {fields[1]}, not {value!r}.")
        return value

    return check


def _base_models(name, value):
    parts = set(value) if isinstance(value, dict) else set()
    if not parts or not (parts <= {"encoder", "decoder"} or parts == {"model"}):
        raise ValueError(f"{name} must name the model of encoder, decoder or both, or of the whole, not {value!r}.")
    if not all(isinstance(each, str) and each for each in value.values()):
        raise ValueError(f"{name} must be folders or Hub ids, not {value!r}.")
    return value


def _folder(name, value):
    if not isinstance(value, str) or not FOLDER.fullmatch(value):
        raise ValueError(f"{name} must be the name of a folder within the checkpoint, not {value!r}.")
    return value


def _placeholder(name, value):
    return whole_number(name, value, least=0)


def _deviation(name, value):
    number = plain_number(value)
    if number is None or not 0 <= number < float("inf"):
        raise ValueError(f"{name} must be a number of 0 or more, not {value!r}.")
    return float(number)


def _ratio_range(name, value):
    ratios = [plain_number(each) for each in value] if isinstance(value, (list, tuple)) else []
    if len(ratios) != 2 or None in ratios or not 1 <= ratios[0] <= ratios[1] < float("inf"):
        raise ValueError(f"{name} must be two numbers of 1 or more, the lowest ratio and the highest, not {value!r}.")
    return [each if isinstance(each, int) else float(each) for each in ratios]


def _characters(name, value):
    if not isinstance(value, dict) or not all(isinstance(each, str) for pair in value.items() for each in pair):
        raise ValueError(
            f"{name} must give the ranges of each kind of characters by its name, as in "
            f'{{"Japanese kana": "U+3041-30FF"}}, not {value!r}.'
        )
    for kind, ranges in value.items():
        try:
            read_ranges(ranges)
        except ValueError as error:
            raise ValueError(f"{name}, {kind!r}: {error}") from None
    return value


class C3Config(PreTrainedConfig):
    r"""
    Two language models in cascade: a context encoder that leaves `num_latents` vectors per window of text, and a
    decoder that reads them (arXiv 2511.15244, section 3).

        backbone = {"model_type": "qwen3", "vocab_size": 8192, "hidden_size": 512, "num_hidden_layers": 4}
        config = C3Config(encoder_config=backbone, decoder_config=backbone, num_latents=8, window=512)

    Args:
        encoder_config (`PreTrainedConfig` or `dict`):
            Config of any causal LM of transformers; its backbone, without the LM head, is the context encoder.
        decoder_config (`PreTrainedConfig` or `dict`):
            Config of any causal LM of transformers.
        num_latents (`int`, defaults to 32):
            Latents of a default window when the caller asks for none. With the `appended` layout also the largest
            number.
        window (`int`, defaults to 1024):
            Text tokens of a window at most, counted with the decoder's tokenizer: the longest window that the model is
            trained for.
        default_window (`int`, *optional*):
            Text tokens of a window when the caller asks for none: the length that measures best. By default `window`.
        ratio_range (`list[float]`, *optional*):
            The lowest and the highest number of text tokens per latent that the weights are good for; by default not
            known. Below the lowest a text would come back worse and take more latents, so that nobody gets fewer; the
            highest is what can be promised. For the `uniform` layout, where N is the caller's choice.
        unreliable_characters (`dict[str, str]`, *optional*):
            Characters that the weights may not give back, whatever the ratio: the name of each kind, as a sentence
            needs it, and its ranges as in CSS's `unicode-range`, such as `{"Japanese kana": "U+3041-30FF"}`. By default
            not known. `compress` warns of texts that hold any.
        context_modality (`str`, defaults to `"text"`):
            What the encoder reads: `"text"`, the ids of a window's tokens; `"image"`, a picture of its text, read by a
            vision tower of the kind `siglip_vision_model` or `siglip2_vision_model`; or another kind of
            `CONTEXT_MODALITIES` (`context_modalities_c3.py`), for which the encoder may be any model of transformers.
        context_picture (`dict`, *optional*):
            How windows are drawn with `context_modality="image"`: `font`, `font_size`, `cell` and `latents_across`, see
            [`ContextPicture`], which has defaults for all.
        latent_position_layout (`str`, defaults to `"appended"`):
            `"appended"`, the paper's: query i follows the text, at position L + i, and the decoder's tokens are
            numbered consecutively. `"uniform"`: query i, and latent i in the decoder, sit at (i + 0.5) * L / N - 0.5
            among the text's own positions 0 … L-1, so that copying is local and any N can be asked for at run time.
        prompt_positions (`str`, defaults to `"consecutive"`):
            Where the decoder was trained to read latents and a prompt about them; the text itself it gives back as
            `latent_position_layout` says. `"consecutive"`: latents and prompt at 0, 1, 2, …, as any causal LM's
            tokens, so that positions do not outgrow the decoder with the length of the text. `"among_text"`, for the
            `uniform` layout: the latents among the positions of their text, the prompt behind that; so were prompts
            trained before there was a choice, and a stored config of that layout that does not say means this.
        latents_see_chunk (`bool`, defaults to `True`):
            Where the decoder reads text chunk by chunk, each followed by its latents (global compression, VIST2,
            arXiv 2601.10378): whether latents see, beside all latents before them, the text of their own chunk, as in
            that paper. Without it a chunk that is known from its start need not go through the decoder.
        pooling (`str`, defaults to `"queries"`):
            `"queries"`, the paper's: the latents are the encoder's states at learned queries. `"mean"`: the encoder
            reads the text alone, and latent i of N is the mean of its states over the i-th of N consecutive stretches
            of the window (`context_text_c3.py`); there are no queries, and their placeholders only tell N. In the
            decoder the latents sit where the layout says. `"patches"`, for `context_modality="image"` and no other: the
            states of two by two neighbouring patches, side by side (`context_image_c3.py`).
        projector (`str`, defaults to `"linear"`):
            `"linear"` (the paper's), `"mlp"` (two layers with GELU) or `"tanh"` (tanh(vW + b), VIST2's).
        reconstruction_prompt (`str`): what the decoder is asked to give a text back.
        reconstruction_only (`bool`, defaults to `False`): whether the weights were trained to give texts back and for
            no other prompt, so that `generate` and `chat` refuse others. Training says so of the models that it makes.
        prompt_adapter (`str`, *optional*):
            Folder of the checkpoint with a LoRA adapter on the decoder, and a config of its own, by which prompts are
            answered; texts are compressed and given back without it, see `prompt_adapter_c3.py`.
        prompt_template (`str`): the decoder's input; holds `{latents}` once and, after it, `{prompt}` once. A space at
            its end belongs to the answer, whose first token is then as it would be within a line. Special tokens
            written in it are special; those in a prompt or a text never are.
        context_template (`str`): the encoder's input; holds `{context}` once and, after it, `{queries}` once, and with
            `pooling="mean"` nothing else.
        use_mask_embedding (`bool`, defaults to `False`):
            Whether the decoder has a learned embedding for hidden input tokens (decoder-input dropout in training).
        tie_word_embeddings (`bool`, defaults to `False`):
            Whether the encoder shares the decoder's input embeddings (one tokenizer, one width).
        query_token_id, latent_token_id, mask_token_id (`int`, *optional*):
            Placeholder ids in the encoder's and the decoder's ids. By default ids just beyond the vocabulary, which no
            text can produce.
        base_models (`dict[str, str]`, *optional*):
            Of a checkpoint that holds no weights of its encoder, its decoder or both: the models (folders or Hub ids)
            that these are, to be loaded from there, as `{"decoder": "org/llm"}`; see `base_models_c3.py`. Of one that
            holds none at all the C3 checkpoint whose they are, `{"model": "org/c3"}`.
        initializer_range (`float`, defaults to 0.02):
            Standard deviation of the queries, the projector and the mask embedding of a new model.

    Raises:
        ValueError: a field has a value that is not allowed; the message names both.
    """

    model_type = "c3"
    sub_configs = {"encoder_config": AutoConfig, "decoder_config": AutoConfig}

    encoder_config: PreTrainedConfig | dict | None = _checked(None, lambda name, value: value)
    decoder_config: PreTrainedConfig | dict | None = _checked(None, lambda name, value: value)
    num_latents: int = _checked(32, whole_number)
    window: int = _checked(1024, whole_number)
    default_window: int | None = _checked(None, _optional(whole_number))
    ratio_range: list[float] | None = _checked(None, _optional(_ratio_range))
    unreliable_characters: dict[str, str] | None = _checked(None, _optional(_characters))
    context_modality: str = _checked("text", _string)
    context_picture: dict | None = _checked(None, lambda name, value: value)
    latent_position_layout: str = _checked("appended", _one_of(LATENT_POSITION_LAYOUTS))
    prompt_positions: str = _checked("consecutive", _one_of(PROMPT_POSITIONS))
    latents_see_chunk: bool = _checked(True, _truth)
    pooling: str = _checked("queries", _one_of((*POOLINGS, "patches")))
    projector: str = _checked("linear", _one_of(PROJECTORS))
    reconstruction_prompt: str = _checked("repeat the text: ", _string)
    reconstruction_only: bool = _checked(False, _truth)
    prompt_adapter: str | None = _checked(None, _optional(_folder))
    prompt_template: str = _checked("{latents}{prompt}", _template("{latents}", "{prompt}"))
    context_template: str = _checked(PLAIN_CONTEXT_TEMPLATE, _template("{context}", "{queries}"))
    use_mask_embedding: bool = _checked(False, _truth)
    tie_word_embeddings: bool = _checked(False, _truth)
    query_token_id: int | None = _checked(None, _placeholder)
    latent_token_id: int | None = _checked(None, _placeholder)
    mask_token_id: int | None = _checked(None, _placeholder)
    base_models: dict[str, str] | None = _checked(None, _optional(_base_models))
    initializer_range: float = _checked(0.02, _deviation)

    def __post_init__(self, **kwargs):
        self._reject_unknown(kwargs)
        is_image = self.context_modality == "image"
        self.encoder_config = _as_config(
            "encoder_config", self.encoder_config, "siglip_vision_model" if is_image else "qwen2"
        )
        self.decoder_config = _as_config("decoder_config", self.decoder_config)
        if is_image:
            self.encoder_config = tower_config(self.encoder_config)
        self._check_backbones()
        decoder_vocabulary = self.decoder_config.vocab_size
        defaults = {
            "query_token_id": getattr(self.encoder_config, "vocab_size", 0),
            "latent_token_id": decoder_vocabulary,
            "mask_token_id": decoder_vocabulary + 1,
        }
        for name, default in defaults.items():
            if getattr(self, name) is None:
                setattr(self, name, default)
        # Generation reads these off the top config.
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            kwargs.setdefault(name, getattr(self.decoder_config, name, None))
        super().__post_init__(**kwargs)
        self.check_fields()

    @property
    def hidden_size(self):
        """Width of the latents as the decoder reads them (also what DeepSpeed's "auto" settings look up)."""
        return self.decoder_config.hidden_size

    @property
    def context_size(self):
        """Width of what the encoder leaves of a window for each latent, before the projector."""
        return self.encoder_config.hidden_size * (MERGED**2 if self.pooling == "patches" else 1)

    @property
    def num_queries(self):
        """Rows of the context query table: none without queries; with the uniform layout one serves every latent."""
        if self.pooling != "queries":
            return 0
        return 1 if self.latent_position_layout == "uniform" else self.num_latents

    def get_text_config(self, decoder=None, encoder=None):
        """The decoder's config: generation and caches are the decoder's."""
        return self.decoder_config

    @classmethod
    def from_dict(cls, config_dict, **kwargs):
        if config_dict.get("latent_position_layout") == "uniform":
            # Where it does not say, it was written before there was a choice.
            config_dict = {"prompt_positions": "among_text"} | config_dict
        # transformers sets these keywords as attributes of the finished config, past its checks.
        loaded = super().from_dict(config_dict, **kwargs)
        (loaded[0] if isinstance(loaded, tuple) else loaded).check_fields()
        return loaded

    def _reject_unknown(self, kwargs):
        # transformers keeps unknown keywords as attributes, which would hide a misspelt field.
        unknown = sorted(name for name in kwargs if name not in INHERITED_FIELDS and not name.startswith("_"))
        if unknown:
            raise ValueError(f"C3Config has no field {listed(unknown)}; its own fields are {', '.join(OWN_FIELDS)}.")

    def _check_backbones(self):
        _check_backbone("encoder_config", self.encoder_config, is_language_model=self.context_modality == "text")
        _check_backbone("decoder_config", self.decoder_config, is_language_model=True)

    def _check_picture(self):
        is_image = self.context_modality == "image"
        if is_image != (self.pooling == "patches"):
            raise ValueError("context_modality image needs pooling patches, which no other kind of context has.")
        if is_image:
            self.context_picture = checked_picture(self.context_picture, self.encoder_config)
        elif self.context_picture is not None:
            raise ValueError("context_picture is for context_modality image.")

    def check_fields(self):
        """Each field by itself, and then what must hold between them."""
        for name in OWN_FIELDS:
            # In config.json only Python's own numbers can stand.
            setattr(self, name, type(self).__dataclass_fields__[name].metadata["check"](name, getattr(self, name)))
        self._check_backbones()
        self._check_picture()
        for name, most in (("default_window", "window"), ("num_latents", "default_window"), ("num_latents", "window")):
            ours, theirs = getattr(self, name), getattr(self, most)
            if None not in (ours, theirs) and ours > theirs:
                raise ValueError(f"{name} ({ours}) must not exceed {most} ({theirs}).")
        if self.ratio_range is not None and self.latent_position_layout != "uniform":
            raise ValueError("ratio_range is for latent_position_layout uniform; with appended num_latents says it.")
        if self.prompt_positions == "among_text" and self.latent_position_layout != "uniform":
            raise ValueError(
                "prompt_positions among_text is for latent_position_layout uniform; with appended all is consecutive."
            )
        if self.pooling == "mean" and self.context_template != PLAIN_CONTEXT_TEMPLATE:
            raise ValueError(
                f"pooling mean reads the text alone: context_template must be {PLAIN_CONTEXT_TEMPLATE}, "
                f"not {self.context_template!r}."
            )
        if self.latent_token_id == self.mask_token_id:
            raise ValueError(f"latent_token_id and mask_token_id must differ; both are {self.latent_token_id}.")
        if self.tie_word_embeddings:
            for name in ("vocab_size", "hidden_size"):
                ours, theirs = getattr(self.encoder_config, name, None), getattr(self.decoder_config, name)
                if ours != theirs:
                    raise ValueError(
                        f"tie_word_embeddings needs an encoder and a decoder of one {name}, not {ours} and {theirs}."
                    )


# Those declared above, with their checks.
OWN_FIELDS = tuple(name for name, each in C3Config.__dataclass_fields__.items() if "check" in each.metadata)
# Fields of every config of transformers that a config.json, or a caller, may give.
INHERITED_FIELDS = frozenset(PreTrainedConfig.__dataclass_fields__) | frozenset(
    "torch_dtype attn_implementation experts_implementation output_attentions auto_map name_or_path model_type "
    "num_labels bos_token_id eos_token_id pad_token_id use_cache quantization_config".split()
)


def _as_config(name, value, default="qwen2"):
    """A sub-config from a config, a dict with `model_type`, or None (one of a type, so that `C3Config()` works)."""
    if value is None:
        return AutoConfig.for_model(default)
    if isinstance(value, dict):
        fields = dict(value)
        model_type = fields.pop("model_type", None)
        if model_type is None:
            raise ValueError(f"{name} must name its model_type, for example qwen2, qwen3 or llama.")
        if model_type not in CONFIG_MAPPING:
            raise ValueError(
                f"{name} has an unknown model_type {quoted(model_type)}; for example qwen2, qwen3 or llama."
            )
        value = AutoConfig.for_model(model_type, **fields)
    return value


def _check_backbone(name, value, is_language_model):
    # Not isinstance: the config may have been loaded as remote code.
    if not hasattr(value, "hidden_size") or (is_language_model and not hasattr(value, "vocab_size")):
        kind = "a causal language model" if is_language_model else "an encoder"
        raise ValueError(f"{name} must be the config of {kind}, not {type(value).__name__}.")


C3Config.register_for_auto_class()
refuse_other_auto_classes(C3Config)

__all__ = ["C3Config"]
