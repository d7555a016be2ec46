"""The encoder of a C3 checkpoint, with its queries, as the encoder of a new pair, whose decoder learns to read it."""

from transformers.utils import has_file

# What the config of a checkpoint says of how its encoder reads a window and where its queries stand.
ENCODER_FIELDS = (
    "context_modality",
    "context_picture",
    "latent_position_layout",
    "pooling",
    "context_template",
    "query_token_id",
)


def is_c3(config):
    """Whether this is a [`C3Config`], whichever module it was loaded from."""
    return getattr(config, "model_type", None) == "c3"


def pair_fields(encoder_config, decoder_config, fields):
    """
    Fields of the [`C3Config`] of a new pair.

        C3Config(**pair_fields(AutoConfig.from_pretrained("org/c3"), AutoConfig.from_pretrained("org/llm"), {}))

    Args:
        encoder_config (`PreTrainedConfig`): of the encoder, or of the C3 checkpoint that it is taken from, whose
            `ENCODER_FIELDS` the new config takes over.
        decoder_config (`PreTrainedConfig`): of the decoder.
        fields (`dict`): the others.

    Raises:
        ValueError: a field that contradicts the checkpoint's.
    """
    if is_c3(encoder_config):
        taken = {name: getattr(encoder_config, name) for name in ENCODER_FIELDS}
        for name, value in taken.items():
            if fields.get(name, value) != value:
                raise ValueError(
                    f"{name} is {value!r} in the C3 checkpoint that the encoder is taken from, not {fields[name]!r}: "
                    "give that, or leave it out."
                )
        fields, encoder_config = fields | taken, encoder_config.encoder_config
    return {"encoder_config": encoder_config, "decoder_config": decoder_config} | fields


def encoder_and_queries(model):
    """
    The encoder of what was loaded as one, and the queries that it was trained with: of a [`C3Model`] its own two, of
    any other model itself and None.
    """
    return (model.encoder, model.context_queries) if is_c3(model.config) else (model, None)


def take_queries(model, queries):
    """
    Puts queries (`nn.Embedding`) that the encoder of a new [`C3Model`] was trained with in the place of its new ones.

    Raises:
        ValueError: there are not as many.
    """
    ours, theirs = model.context_queries.weight.shape[0], queries.weight.shape[0]
    if ours != theirs:
        raise ValueError(f"num_latents must be {theirs}, as in the C3 checkpoint that the encoder is from, not {ours}.")
    model.context_queries = queries


def encoder_subfolder(name, subfolder, options):
    """
    Where in what is called `name` the encoder's tokenizer lies (`str`): in `subfolder` of a C3 checkpoint whose encoder
    has one for itself, else in no subfolder. `options` are those of `from_pretrained`.
    """
    options = {key: options[key] for key in ("revision", "token", "local_files_only", "cache_dir") if key in options}
    return subfolder if has_file(name, f"{subfolder}/tokenizer_config.json", **options) else ""


__all__ = ["encoder_and_queries", "encoder_subfolder", "pair_fields", "take_queries"]
