"""Configuration of C3, Context Cascade Compression (arXiv 2511.15244)."""

from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

from .character_ranges_c3 import read_ranges
from .options_c3 import plain_number, whole_number
from .other_auto_classes_c3 import refuse_other_auto_classes
from .quoting_c3 import listed, quoted

LATENT_POSITION_LAYOUTS = ("appended", "uniform")
PROJECTORS = ("linear", "mlp")
POOLINGS = ("queries", "mean")
PLAIN_CONTEXT_TEMPLATE = "{context}{queries}"


class C3Config(PreTrainedConfig):
    r"""
    Two language models in cascade: a context encoder that leaves `num_latents` vectors per window of text, and a
    decoder that reads them (arXiv 2511.15244, section 3).

    Args:
        encoder_config (`PreTrainedConfig` or `dict`):
            Config of any causal LM of transformers; its backbone, without the LM head, is the context encoder.
        decoder_config (`PreTrainedConfig` or `dict`):
            Config of any causal LM of transformers.
        num_latents (`int`, defaults to 32):
            Latents of a default window when the caller asks for none. With the `appended` layout also the largest
            number.
        window (`int`, defaults to 1024):
            Text tokens that one encoder pass takes at most, counted with the encoder's tokenizer: the longest window
            that the model is trained for.
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
        latent_position_layout (`str`, defaults to `"appended"`):
            `"appended"`, the paper's: query i follows the text, at position L + i, and the decoder's tokens are
            numbered consecutively. `"uniform"`: query i, and latent i in the decoder, sit at (i + 0.5) * L / N - 0.5
            among the text's own positions 0 … L-1, so that copying is local and any N can be asked for at run time.
        pooling (`str`, defaults to `"queries"`):
            `"queries"`, the paper's: the latents are the encoder's states at learned queries. `"mean"`: the encoder
            reads the text alone, and latent i of N is the mean of its states over the i-th of N consecutive stretches
            of the window (`pooling_c3.py`); there are no queries, and their placeholders only tell N. In the decoder
            the latents sit where the layout says.
        projector (`str`, defaults to `"linear"`): `"linear"` (the paper's) or `"mlp"` (two layers with GELU).
        reconstruction_prompt (`str`): what the decoder is asked to give a text back.
        reconstruction_only (`bool`, defaults to `False`): whether the weights were trained to give texts back and for
            no other prompt, so that `generate` and `chat` refuse others. Training says so of the models that it makes.
        prompt_template (`str`): the decoder's input; holds `{latents}` once and, after it, `{prompt}` once.
            Special tokens written in it are special; those in a prompt or a text never are.
        context_template (`str`): the encoder's input; holds `{context}` once and, after it, `{queries}` once, and with
            `pooling="mean"` nothing else.
        use_mask_embedding (`bool`, defaults to `False`):
            Whether the decoder has a learned embedding for hidden input tokens (decoder-input dropout in training).
        tie_word_embeddings (`bool`, defaults to `False`):
            Whether the encoder shares the decoder's input embeddings (one tokenizer, one width).
        query_token_id, latent_token_id, mask_token_id (`int`, *optional*):
            Placeholder ids in the encoder's and the decoder's ids. By default ids just beyond the vocabulary, which no
            text can produce.
        initializer_range (`float`, defaults to 0.02):
            Standard deviation of the queries, the projector and the mask embedding of a new model.

    Raises:
        ValueError: a field has a value that is not allowed; the message names both.
    """

    model_type = "c3"
    sub_configs = {"encoder_config": AutoConfig, "decoder_config": AutoConfig}

    def __init__(
        self,
        encoder_config=None,
        decoder_config=None,
        num_latents=32,
        window=1024,
        default_window=None,
        ratio_range=None,
        unreliable_characters=None,
        latent_position_layout="appended",
        pooling="queries",
        projector="linear",
        reconstruction_prompt="repeat the text: ",
        reconstruction_only=False,
        prompt_template="{latents}{prompt}",
        context_template=PLAIN_CONTEXT_TEMPLATE,
        use_mask_embedding=False,
        tie_word_embeddings=False,
        query_token_id=None,
        latent_token_id=None,
        mask_token_id=None,
        initializer_range=0.02,
        **kwargs,
    ):
        self.encoder_config = _as_config("encoder_config", encoder_config)
        self.decoder_config = _as_config("decoder_config", decoder_config)
        self.num_latents = num_latents
        self.window = window
        self.default_window = default_window
        self.ratio_range = ratio_range
        self.unreliable_characters = unreliable_characters
        self.latent_position_layout = latent_position_layout
        self.pooling = pooling
        self.projector = projector
        self.reconstruction_prompt = reconstruction_prompt
        self.reconstruction_only = reconstruction_only
        self.prompt_template = prompt_template
        self.context_template = context_template
        self.use_mask_embedding = use_mask_embedding
        self.initializer_range = initializer_range
        decoder_vocabulary = self.decoder_config.vocab_size
        self.query_token_id = self.encoder_config.vocab_size if query_token_id is None else query_token_id
        self.latent_token_id = decoder_vocabulary if latent_token_id is None else latent_token_id
        self.mask_token_id = decoder_vocabulary + 1 if mask_token_id is None else mask_token_id
        # Generation reads these off the top config.
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            kwargs.setdefault(name, getattr(self.decoder_config, name, None))
        self._reject_unknown(kwargs)
        super().__init__(tie_word_embeddings=tie_word_embeddings, **kwargs)
        self._check_fields()

    @property
    def hidden_size(self):
        """Width of the latents as the decoder reads them (also what DeepSpeed's "auto" settings look up)."""
        return self.decoder_config.hidden_size

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
        # transformers sets these keywords as attributes of the finished config, past its checks.
        loaded = super().from_dict(config_dict, **kwargs)
        (loaded[0] if isinstance(loaded, tuple) else loaded)._check_fields()
        return loaded

    def _reject_unknown(self, kwargs):
        # transformers keeps unknown keywords as attributes, which would hide a misspelt field.
        unknown = sorted(name for name in kwargs if name not in INHERITED_FIELDS and not name.startswith("_"))
        if unknown:
            raise ValueError(f"C3Config has no field {listed(unknown)}; its own fields are {', '.join(OWN_FIELDS)}.")

    def _check_fields(self):
        for name in ("encoder_config", "decoder_config"):
            _check_backbone(name, getattr(self, name))
        sizes = {name: getattr(self, name) for name in ("num_latents", "window", "default_window")}
        if self.default_window is None:
            del sizes["default_window"]
        for name, value in sizes.items():
            sizes[name] = whole_number(name, value)
            setattr(self, name, sizes[name])  # in config.json only Python's own numbers can stand
        for name, most in (("default_window", "window"), ("num_latents", "default_window"), ("num_latents", "window")):
            if {name, most} <= set(sizes) and sizes[name] > sizes[most]:
                raise ValueError(f"{name} ({sizes[name]}) must not exceed {most} ({sizes[most]}).")
        for name, allowed in (
            ("latent_position_layout", LATENT_POSITION_LAYOUTS),
            ("pooling", POOLINGS),
            ("projector", PROJECTORS),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {getattr(self, name)!r}.")
        self._check_ratio_range()
        self._check_characters()
        for name in ("reconstruction_only", "use_mask_embedding", "tie_word_embeddings"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be true or false, not {getattr(self, name)!r}.")
        if not isinstance(self.reconstruction_prompt, str):
            raise ValueError(f"reconstruction_prompt must be a string, not {self.reconstruction_prompt!r}.")
        for name, fields in (
            ("prompt_template", ("{latents}", "{prompt}")),
            ("context_template", ("{context}", "{queries}")),
        ):
            template = getattr(self, name)
            if not isinstance(template, str) or any(template.count(field) != 1 for field in fields):
                raise ValueError(f"{name} must hold {' and '.join(fields)} once each, not {template!r}.")
            if template.index(fields[0]) > template.index(fields[1]):
                raise ValueError(f"{name} must hold {fields[0]} before {fields[1]}, not {template!r}.")
        if self.pooling == "mean" and self.context_template != PLAIN_CONTEXT_TEMPLATE:
            raise ValueError(
                f"pooling mean reads the text alone: context_template must be {PLAIN_CONTEXT_TEMPLATE}, "
                f"not {self.context_template!r}."
            )
        for name in ("query_token_id", "latent_token_id", "mask_token_id"):
            setattr(self, name, whole_number(name, getattr(self, name), least=0))
        deviation = plain_number(self.initializer_range)
        if deviation is None or not 0 <= deviation < float("inf"):
            raise ValueError(f"initializer_range must be a number of 0 or more, not {self.initializer_range!r}.")
        self.initializer_range = float(deviation)
        if self.latent_token_id == self.mask_token_id:
            raise ValueError(f"latent_token_id and mask_token_id must differ; both are {self.latent_token_id}.")
        if self.tie_word_embeddings:
            for name in ("vocab_size", "hidden_size"):
                ours, theirs = getattr(self.encoder_config, name), getattr(self.decoder_config, name)
                if ours != theirs:
                    raise ValueError(
                        f"tie_word_embeddings needs an encoder and a decoder of one {name}, not {ours} and {theirs}."
                    )

    def _check_ratio_range(self):
        if self.ratio_range is None:
            return
        given = self.ratio_range
        ratios = [plain_number(each) for each in given] if isinstance(given, (list, tuple)) else []
        if len(ratios) != 2 or None in ratios or not 1 <= ratios[0] <= ratios[1] < float("inf"):
            raise ValueError(
                f"ratio_range must be two numbers of 1 or more, the lowest ratio and the highest, not {given!r}."
            )
        self.ratio_range = [each if isinstance(each, int) else float(each) for each in ratios]
        if self.latent_position_layout != "uniform":
            raise ValueError("ratio_range is for latent_position_layout uniform; with appended num_latents says it.")

    def _check_characters(self):
        given = {} if self.unreliable_characters is None else self.unreliable_characters
        if not isinstance(given, dict) or not all(isinstance(each, str) for pair in given.items() for each in pair):
            raise ValueError(
                "unreliable_characters must give the ranges of each kind of characters by its name, as in "
                f'{{"Japanese kana": "U+3041-30FF"}}, not {given!r}.'
            )
        for name, ranges in given.items():
            try:
                read_ranges(ranges)
            except ValueError as error:
                raise ValueError(f"unreliable_characters, {name!r}: {error}") from None


OWN_FIELDS = (
    "encoder_config",
    "decoder_config",
    "num_latents",
    "window",
    "default_window",
    "ratio_range",
    "unreliable_characters",
    "latent_position_layout",
    "pooling",
    "projector",
    "reconstruction_prompt",
    "reconstruction_only",
    "prompt_template",
    "context_template",
    "use_mask_embedding",
    "tie_word_embeddings",
    "query_token_id",
    "latent_token_id",
    "mask_token_id",
    "initializer_range",
)
# Fields of every config of transformers that a config.json, or a caller, may give.
INHERITED_FIELDS = frozenset(PreTrainedConfig.__dataclass_fields__) | frozenset(
    "torch_dtype attn_implementation experts_implementation output_attentions auto_map name_or_path model_type "
    "num_labels bos_token_id eos_token_id pad_token_id use_cache quantization_config".split()
)


def _as_config(name, value):
    """A sub-config from a config, a dict with `model_type`, or None (a Qwen2, so that `C3Config()` works)."""
    if value is None:
        return AutoConfig.for_model("qwen2")
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
    _check_backbone(name, value)
    return value


def _check_backbone(name, value):
    # Not isinstance: the config may have been loaded as remote code.
    if not hasattr(value, "vocab_size") or not hasattr(value, "hidden_size"):
        raise ValueError(f"{name} must be the config of a causal language model, not {type(value).__name__}.")


C3Config.register_for_auto_class()
refuse_other_auto_classes(C3Config)

__all__ = ["C3Config"]
