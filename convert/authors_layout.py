"""The layout of the authors' release (`liufanfanlff/C3-Context-Cascade-Compression`), in names and settings.

Its root folder is a Qwen2 decoder of `model_type` C3 that also holds the queries and the projector; its sub-folder
`llm1` is the encoder, a plain `Qwen2ForCausalLM`.
"""

from transformers import Qwen2Config

from c3.configuration_c3 import C3Config
from c3.quoting_c3 import printable, quoted

MODEL_TYPE = "C3"
BACKBONE_TYPE = Qwen2Config.model_type
ENCODER_FOLDER = "llm1"
# Of the decoder, with queries and projector, and of the encoder.
FOLDERS = ("", ENCODER_FOLDER)
# Of Qwen2ForCausalLM; compression reads hidden states only, so our encoder has none.
ENCODER_HEAD = "lm_head.weight"
OWN_NAMES = {
    "model.Q.weight": "context_queries.weight",
    "model.mm_projector.weight": "projector.linear_1.weight",
    "model.mm_projector.bias": "projector.linear_1.bias",
}
# What the authors' `chat` wraps latents and prompt in.
PROMPT_TEMPLATE = (
    "<|im_start|>system\nYou should follow the instructions carefully and explain your answers in detail.<|im_end|>"
    "<|im_start|>user\n%s{latents}%s\n{prompt}<|im_end|><|im_start|>assistant\n"
)
CONTEXT_TEMPLATE = "{context}%s{queries}%s"
RECONSTRUCTION_PROMPT = "Repeat the text: "
# <img>, </img> and <imgpad> in their tokenizer.
WRAPPING_FIELDS = ("im_start_token", "im_end_token", "im_patch_token")
REQUIRED_FIELDS = ("latent_token_len", "contexts_compression_llm_hidden_size", *WRAPPING_FIELDS)
# The paper's highest ratio, text tokens per latent: longer texts are cut into windows.
TOKENS_PER_LATENT = 40
# Fields of a Qwen2 config in transformers 4.49, which the authors' code needs.
QWEN2_FIELDS = (
    "attention_dropout bos_token_id eos_token_id hidden_act hidden_size initializer_range intermediate_size "
    "max_position_embeddings max_window_layers num_attention_heads num_hidden_layers num_key_value_heads pad_token_id "
    "rms_norm_eps sliding_window tie_word_embeddings use_cache use_sliding_window vocab_size"
).split()
NOT_BACKBONE_FIELDS = ("model_type", "architectures", "auto_map", "_name_or_path", "transformers_version")


def our_name(part, name):
    """
    Args:
        part (`str`): the empty string for the root folder, or `llm1`.
        name (`str`): of a tensor there.

    Returns: `str`, what `C3Model` calls it.

    Raises:
        ValueError: no such tensor in the layout.
    """
    if part == ENCODER_FOLDER:
        if name.startswith("model."):
            return "encoder." + name.removeprefix("model.")
    elif name in OWN_NAMES:
        return OWN_NAMES[name]
    elif name.startswith("model.") or name == "lm_head.weight":
        return "decoder." + name
    raise ValueError(
        f"Unknown tensor {quoted(name)} in {part or 'the root folder'}: this is not the authors' layout of C3."
    )


def their_name(name):
    """Part and name, `tuple[str, str]`, in the authors' layout of a tensor of `C3Model`: the inverse of `our_name`."""
    for theirs, ours in OWN_NAMES.items():
        if name == ours:
            return "", theirs
    owner, rest = name.split(".", 1)
    return ("", rest) if owner == "decoder" else (ENCODER_FOLDER, "model." + rest)


def config_from_authors(root, encoder, wrapping=("<img>", "</img>")):
    """
    Args:
        root, encoder (`dict`): config.json of the root folder and of `llm1`.
        wrapping (`tuple[str, str]`): the tokens before and after queries and latents.

    Returns: [`C3Config`]. The decoder's keeps the authors' fields, with which the way back finds their token ids.

    Raises:
        ValueError: a field is missing or two do not fit together.
    """
    missing = [name for name in REQUIRED_FIELDS if not isinstance(root.get(name), int)]
    if missing:
        raise ValueError(f"config.json of the authors' layout must hold the whole number(s) {', '.join(missing)}.")
    if encoder.get("model_type") != BACKBONE_TYPE:
        raise ValueError(
            f"The encoder in {ENCODER_FOLDER} is a {quoted(encoder.get('model_type'))} model, not a Qwen2."
        )
    num_latents, width = root["latent_token_len"], root["contexts_compression_llm_hidden_size"]
    if width != encoder.get("hidden_size"):
        raise ValueError(
            f"config.json says contexts_compression_llm_hidden_size {width}, but the encoder in llm1 is "
            f"{quoted(encoder.get('hidden_size'))} wide: the two do not belong together."
        )
    encoder_config, decoder_config = _backbone(encoder, ENCODER_FOLDER), _backbone(root, "the root folder")
    # Room for the queries and the two tokens around them.
    most = encoder_config.max_position_embeddings - num_latents - 2
    config = C3Config(
        encoder_config=encoder_config,
        decoder_config=decoder_config,
        num_latents=num_latents,
        window=min(TOKENS_PER_LATENT * num_latents, most),
        latent_position_layout="appended",
        projector="linear",
        reconstruction_prompt=RECONSTRUCTION_PROMPT,
        prompt_template=PROMPT_TEMPLATE % wrapping,
        context_template=CONTEXT_TEMPLATE % wrapping,
        query_token_id=root["im_patch_token"],
        latent_token_id=root["im_patch_token"],
    )
    for part, vocabulary in (("encoder", encoder_config.vocab_size), ("decoder", decoder_config.vocab_size)):
        for name in WRAPPING_FIELDS:
            if not 0 <= root[name] < vocabulary:
                raise ValueError(f"{name} is {root[name]}, outside the {part}'s vocabulary of {vocabulary} tokens.")
    return config


def configs_for_authors(config, wrapping_ids, dtype):
    """
    Args:
        config ([`C3Config`]): that `check_writable` found nothing wrong with.
        wrapping_ids (`list[int]`): ids of `<img>`, `</img>` and `<imgpad>`.
        dtype (`str`): of the weights, for example `bfloat16`.

    Returns: two `dict`s, config.json of the root folder and of `llm1`, as transformers 4.49 reads them.
    """
    root = _qwen2_fields(config.decoder_config) | {
        "architectures": ["C3QwenForCausalLM"],
        "auto_map": {"AutoConfig": "modeling_C3.C3Config", "AutoModel": "modeling_C3.C3QwenForCausalLM"},
        "contexts_compression_llm_hidden_size": config.encoder_config.hidden_size,
        "latent_token_len": config.num_latents,
        "model_type": MODEL_TYPE,
        "torch_dtype": dtype,
        "use_im_start_end": True,
        **dict(zip(WRAPPING_FIELDS, wrapping_ids, strict=True)),
    }
    encoder = _qwen2_fields(config.encoder_config) | {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": BACKBONE_TYPE,
        # Their class has a head, which they never use: tied, it needs no weights of its own.
        "tie_word_embeddings": True,
        "torch_dtype": dtype,
    }
    return root, encoder


def check_writable(config):
    """Raises `ValueError` for a [`C3Config`] that the authors' layout cannot express; the message says why."""
    for name, needed in (
        ("latent_position_layout", "appended"),
        ("projector", "linear"),
        ("use_mask_embedding", False),
        ("tie_word_embeddings", False),
    ):
        if getattr(config, name) != needed:
            raise ValueError(f"The authors' layout needs {name} {needed!r}; this model's is {getattr(config, name)!r}.")
    for name in ("encoder_config", "decoder_config"):
        backbone = getattr(config, name)
        if backbone.model_type != BACKBONE_TYPE:
            raise ValueError(f"The authors' layout needs Qwen2 models; {name} is a {quoted(backbone.model_type)}.")
        if config.latent_token_id >= backbone.vocab_size:
            raise ValueError(
                f"The authors' layout needs a placeholder of the vocabulary (their <imgpad>), but latent_token_id "
                f"{config.latent_token_id} is beyond the {backbone.vocab_size} tokens of {name}."
            )
    if config.query_token_id != config.latent_token_id:
        raise ValueError(
            f"The authors' layout has one placeholder; query_token_id is {config.query_token_id}, latent_token_id "
            f"{config.latent_token_id}."
        )
    before, rest = config.context_template.split("{context}")
    wrapping = tuple(rest.split("{queries}"))
    if before or not all(wrapping) or config.prompt_template != PROMPT_TEMPLATE % wrapping:
        raise ValueError(
            "The authors' layout needs their templates, which their code holds: "
            f"context_template {CONTEXT_TEMPLATE % ('<img>', '</img>')!r} and prompt_template "
            f"{PROMPT_TEMPLATE % ('<img>', '</img>')!r}."
        )


def wrapping_tokens(config):
    """The tokens, `list[str]`, that a [`C3Config`] in the authors' terms has before and after the queries."""
    return config.context_template.removeprefix("{context}").split("{queries}")


def _backbone(fields, folder):
    kept = {name: value for name, value in fields.items() if name not in NOT_BACKBONE_FIELDS}
    try:
        return Qwen2Config(**kept)
    except Exception as error:  # transformers raises what each check of it happens to meet
        raise ValueError(f"config.json of {folder} is not that of a Qwen2: {printable(error)}") from error


def _qwen2_fields(backbone):
    fields = {name: getattr(backbone, name, None) for name in QWEN2_FIELDS}
    rope = dict(backbone.rope_parameters)
    fields["rope_theta"] = rope.pop("rope_theta")
    fields["rope_scaling"] = None if rope.get("rope_type", "default") == "default" else rope
    return fields | {"transformers_version": "4.49.0"}


__all__ = ["check_writable", "config_from_authors", "configs_for_authors", "our_name", "their_name"]
