"""Converts a checkpoint of this package to the layout of the authors' release of C3; see `from_authors.py`."""

# Registered, so that the tokenizer of a C3 checkpoint is loaded without a question about its code.
from c3.auto_c3 import C3Config, C3Processor
from c3.quoting_c3 import listed, quoted

from .authors_layout import (
    FOLDERS,
    MODEL_TYPE,
    WRAPPING_FIELDS,
    check_writable,
    configs_for_authors,
    their_name,
    wrapping_tokens,
)
from .authors_tokenizer import RANKS_FILE, write_ranks
from .checkpoint_folder import (
    check_complete,
    local_folder,
    main_dtype,
    new_folder,
    read_json,
    summary,
    whole_checkpoint,
    write_json,
)
from .tensor_files import MAX_SHARD_BYTES, list_tensors, write_tensors

TOKENIZER_CONFIG = {
    "auto_map": {"AutoTokenizer": ["tokenization_qwen.QWenTokenizer", None]},
    "model_max_length": 8000,
    "tokenizer_class": "QWenTokenizer",
}


def convert_to_authors(source, output, max_shard_bytes=MAX_SHARD_BYTES):
    """
    Writes a checkpoint of this package in the authors' layout, for their code; that code itself is not written.

    Args:
        source (`str` or `PathLike`): a folder or a Hub id of a C3 model of two Qwen2, with the appended layout, a
            linear projector and the authors' templates.
        output (`str` or `PathLike`): the folder to make; only an empty one may be there.
        max_shard_bytes (`int`): of one file of weights.

    Returns: `list[str]`, what was written and what was not, a line each.

    Raises:
        ValueError: a model that this layout cannot hold, or as `convert_from_authors`.
    """
    output, folder = new_folder(output), local_folder(source)
    fields = read_json(folder / "config.json")
    if fields.get("model_type") != C3Config.model_type:
        hint = "; leave out --to-authors" if fields.get("model_type") == MODEL_TYPE else ""
        raise ValueError(
            f"{source} is a {quoted(fields.get('model_type'))} model, not a C3 model of this package{hint}."
        )
    config = C3Config.from_dict(fields)
    check_writable(config)
    has_tokenizer = (folder / "tokenizer.json").is_file()
    tokenizer = C3Processor.from_pretrained(folder).tokenizer if has_tokenizer else None
    wrapping_ids = _wrapping_ids(source, config, tokenizer)
    stored = list_tensors(folder)
    check_complete(stored, config)
    parts = {part: {} for part in FOLDERS}
    for name, tensor in stored.items():
        part, theirs = their_name(name)
        parts[part][theirs] = tensor
    root, encoder = configs_for_authors(config, wrapping_ids, main_dtype(stored))
    lines = ["The authors' code is not part of it: put modeling_C3.py and tokenization_qwen.py of their release there."]
    if config.prompt_adapter is not None:
        lines.append(f"Nor is the adapter {config.prompt_adapter}, by which the model answers prompts.")
    with whole_checkpoint(output, stored) as (temporary, progress):
        for part, settings in zip(FOLDERS, (root, encoder), strict=True):
            (temporary / part).mkdir(exist_ok=True)
            write_tensors(temporary / part, parts[part], max_shard_bytes, progress)
            write_json(temporary / part / "config.json", settings)
        generation = {"transformers_version": "4.49.0"}
        generation |= {name: root[name] for name in ("eos_token_id", "pad_token_id") if root[name] is not None}
        write_json(temporary / "generation_config.json", generation)
        lines += _write_authors_tokenizer(temporary, tokenizer)
    return [summary(output, stored), *lines]


def _wrapping_ids(source, config, tokenizer):
    """Ids of `<img>`, `</img>` and `<imgpad>`: what a conversion kept in the decoder's config, or the tokenizer's."""
    kept = [getattr(config.decoder_config, name, None) for name in WRAPPING_FIELDS]
    if None not in kept:
        return kept
    if tokenizer is None:
        raise ValueError(
            f"{source} has no tokenizer, which is needed for the ids of {listed(wrapping_tokens(config))}."
        )
    ids = tokenizer.convert_tokens_to_ids(wrapping_tokens(config))
    if None in ids or not all(i in tokenizer.all_special_ids for i in ids):
        raise ValueError(
            f"The tokens around the queries, {listed(wrapping_tokens(config))}, are no special ones of {source}."
        )
    return [*ids, config.query_token_id]


def _write_authors_tokenizer(folder, tokenizer):
    """Returns what there is to say, `list[str]`."""
    if tokenizer is None:
        return [f"No tokenizer: the source has none. Put the {RANKS_FILE} of the authors' release there."]
    try:
        write_ranks(tokenizer, folder / RANKS_FILE)
    except ValueError as error:
        return [f"No tokenizer: {error}. Put the one that their code is to use there."]
    write_json(folder / "tokenizer_config.json", TOKENIZER_CONFIG)
    return []


__all__ = ["convert_to_authors"]
