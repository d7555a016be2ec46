"""Converts the authors' release of C3 to this package's layout, and back; the work of `c3 convert`.

Tensors are copied bit for bit, file by file, so that memory holds one shard and never a model. Each source tensor must
be used once and each target tensor filled, and the output folder appears only when it is whole.
"""

import json
import shutil
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError
from tqdm.auto import tqdm
from transformers import GenerationConfig
from transformers.dynamic_module_utils import custom_object_save

# Registered, so that the tokenizer of a C3 checkpoint is loaded without a question about its code.
from c3.auto_c3 import C3Config, C3Model, C3Processor
from c3.quoting_c3 import listed, printable, quoted
from c3.whole_files_c3 import ensure_writable

from .authors_layout import (
    ENCODER_FOLDER,
    ENCODER_HEAD,
    MODEL_TYPE,
    PARTS,
    WRAPPING_FIELDS,
    check_writable,
    config_from_authors,
    configs_for_authors,
    our_name,
    their_name,
    wrapping_tokens,
)
from .authors_tokenizer import RANKS_FILE, load_authors_tokenizer, write_ranks
from .tensor_files import MAX_SHARD_BYTES, list_tensors, write_tensors

DOWNLOADED = ["*.json", "*.safetensors", "*.tiktoken"]
# For everything beside the weights: tokenizer, code, card.
SPARE_BYTES = 64 << 20
TOKENIZER_CONFIG = {
    "auto_map": {"AutoTokenizer": ["tokenization_qwen.QWenTokenizer", None]},
    "model_max_length": 8000,
    "tokenizer_class": "QWenTokenizer",
}
CARD = """---
license: other
license_name: qwen-research
license_link: https://huggingface.co/Qwen/Qwen2.5-3B/blob/main/LICENSE
library_name: transformers
tags: [context-compression, latent-tokens, long-context, c3]
---

# {name}: C3 by Fanfan Liu and Haibo Qiu

These are the weights of {source}, the authors' release of *Context Cascade Compression: Exploring the Upper Limits of
Text Compression* ([arXiv 2511.15244](https://arxiv.org/abs/2511.15244),
[code](https://github.com/liufanfanlff/C3-Context-Cascade-Compression)), converted to the layout of the package `c3` bit
for bit: {num_latents} latents of width {width} for a window of text. All credit for the model is theirs.

```python
from transformers import AutoModel

model = AutoModel.from_pretrained("{name}", trust_remote_code=True, dtype="auto")
latents = model.compress(text)  # {num_latents} latents for every {window} tokens
print(model.expand(latents))
print(model.chat(text, "Repeat the text: "))  # as in the authors' code, without no_repeat_ngram_size=20
```

## Licence

The authors' decoder is trained from Qwen2.5-3B, which is under the Qwen Research License: research, no commercial use.
Their encoder is trained from Qwen2.5-1.5B (Apache-2.0). The converted weights stay under the original terms.

## Citation

```bibtex
@article{{liu2025context,
  title={{Context Cascade Compression: Exploring the Upper Limits of Text Compression}},
  author={{Liu, Fanfan and Qiu, Haibo}},
  journal={{arXiv preprint arXiv:2511.15244}},
  year={{2025}}
}}
```
"""


def run_convert(args):
    """`c3 convert SOURCE OUTPUT [--to-authors]`: prints what was written."""
    convert = convert_to_authors if args.to_authors else convert_from_authors
    for line in convert(args.source, args.output):
        print(printable(line))


def convert_from_authors(source, output, max_shard_bytes=MAX_SHARD_BYTES):
    """
    Writes a checkpoint of this package from one in the authors' layout.

    Args:
        source (`str` or `PathLike`): a folder, or a Hub id such as `liufanfanlff/C3-Context-Cascade-Compression`.
        output (`str` or `PathLike`): the folder to make; only an empty one may be there.
        max_shard_bytes (`int`): of one file of weights.

    Returns: `list[str]`, what was written and what was not, a line each.

    Raises:
        ValueError: not the authors' layout, tensors that are missing, unknown or of another shape, a tokenizer that
            does not fit, an output folder that exists, or too little disk.
    """
    output, folder = _new(output), _local(source)
    root = _read_json(folder / "config.json")
    if root.get("model_type") != MODEL_TYPE:
        hint = "; --to-authors converts the other way" if root.get("model_type") == C3Config.model_type else ""
        raise ValueError(f"{source} is a {quoted(root.get('model_type'))} model, not one in the authors' layout{hint}.")
    if not (folder / ENCODER_FOLDER / "config.json").is_file():
        raise ValueError(f"{source} has no {ENCODER_FOLDER}/config.json: the encoder belongs in {ENCODER_FOLDER}/.")
    encoder = _read_json(folder / ENCODER_FOLDER / "config.json")
    config = config_from_authors(root, encoder)
    wrapping_ids = [root[name] for name in WRAPPING_FIELDS]
    tokenizer = load_authors_tokenizer(folder, wrapping_ids)
    if tokenizer is not None:
        config = config_from_authors(root, encoder, tuple(tokenizer.convert_ids_to_tokens(wrapping_ids[:2])))
    tensors, lines = _from_authors(folder, config)
    generation = _generation_config(folder, tokenizer)
    with _whole(output, tensors) as (temporary, progress):
        write_tensors(temporary, tensors, max_shard_bytes, progress)
        _write_settings(temporary, config, generation, _main_dtype(tensors))
        if tokenizer is not None:
            C3Processor.from_config(config, tokenizer).save_pretrained(temporary)
        card = CARD.format(
            name=output.name,
            source=source if not Path(source).is_dir() else Path(source).resolve().name,
            num_latents=config.num_latents,
            width=config.hidden_size,
            window=config.window,
        )
        (temporary / "README.md").write_text(card, encoding="utf-8")
    if tokenizer is None:
        lines.append(
            f"No tokenizer: {source} has neither tokenizer.json nor {RANKS_FILE}, so the model takes ids, not text. "
            f"Add {RANKS_FILE} and convert again."
        )
    return [_summary(output, tensors), *lines]


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
    output, folder = _new(output), _local(source)
    fields = _read_json(folder / "config.json")
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
    _check_complete(stored, config)
    parts = {part: {} for part in PARTS}
    for name, tensor in stored.items():
        part, theirs = their_name(name)
        parts[part][theirs] = tensor
    root, encoder = configs_for_authors(config, wrapping_ids, _main_dtype(stored))
    lines = ["The authors' code is not part of it: put modeling_C3.py and tokenization_qwen.py of their release there."]
    with _whole(output, stored) as (temporary, progress):
        for part, settings in zip(PARTS, (root, encoder), strict=True):
            (temporary / part).mkdir(exist_ok=True)
            write_tensors(temporary / part, parts[part], max_shard_bytes, progress)
            _write_json(temporary / part / "config.json", settings)
        generation = {"transformers_version": "4.49.0"}
        generation |= {name: root[name] for name in ("eos_token_id", "pad_token_id") if root[name] is not None}
        _write_json(temporary / "generation_config.json", generation)
        lines += _write_authors_tokenizer(temporary, tokenizer)
    return [_summary(output, stored), *lines]


# -------------------------------------------------------------------------------------------------------- tensors


def _from_authors(folder, config):
    """Tensors of a folder in the authors' layout under our names, and what there is to say about them."""
    tensors, lines = {}, []
    for part in PARTS:
        stored = list_tensors(folder / part)
        if part == ENCODER_FOLDER and stored.pop(ENCODER_HEAD, None):
            lines.append(f"Left out: {ENCODER_FOLDER}'s {ENCODER_HEAD}, its LM head, which compression never uses.")
        tensors |= {our_name(part, name): tensor for name, tensor in stored.items()}
    queries = tensors.get("context_queries.weight")
    if queries is not None and queries.shape[0] != config.num_latents:
        raise ValueError(
            f"config.json says latent_token_len {config.num_latents}, but model.Q.weight holds {queries.shape[0]} "
            "queries."
        )
    head = tensors.pop("decoder.lm_head.weight", None) if config.decoder_config.tie_word_embeddings else None
    _check_complete(tensors, config, lambda name: "/".join(filter(None, their_name(name))))
    if head is not None:
        if not torch.equal(head.read(), tensors["decoder.model.embed_tokens.weight"].read()):
            raise ValueError("lm_head.weight differs from model.embed_tokens.weight, but config.json ties the two.")
        lines.append("Left out: lm_head.weight, which is the same as model.embed_tokens.weight.")
    return tensors, lines


def _check_complete(tensors, config, source_name=str):
    """
    Raises `ValueError` unless `dict[str, StoredTensor]` are exactly the tensors, and shapes, of the C3 model; the
    message calls a missing tensor what `source_name` makes of its name.
    """
    try:
        with torch.device("meta"):
            model = C3Model(config)
    except Exception as error:  # an activation, a kind of RoPE or sizes that transformers cannot make a model of
        raise ValueError(f"No model can be made of config.json: {type(error).__name__} {printable(error)}") from error
    tied = model.all_tied_weights_keys
    shapes = {name: tuple(each.shape) for name, each in model.state_dict().items() if name not in tied}
    missing = sorted(source_name(name) for name in shapes.keys() - tensors)
    unknown = sorted(tensors[name].name for name in tensors.keys() - shapes)
    for reason, names in (("lacks", missing), ("holds unknown", unknown)):
        if names:
            raise ValueError(f"The checkpoint {reason} tensors, {len(names)} in all, first {listed(names[:3])}.")
    for name, shape in shapes.items():
        if tensors[name].shape != shape:
            raise ValueError(
                f"{quoted(tensors[name].name)} in {tensors[name].path} is {list(tensors[name].shape)}, but config.json "
                f"asks for {list(shape)}."
            )


def _main_dtype(tensors):
    """Name of the dtype that most weights have; each keeps its own in the file."""
    sizes = Counter()
    for tensor in tensors.values():
        sizes[str(tensor.dtype).removeprefix("torch.")] += tensor.nbytes
    return sizes.most_common(1)[0][0]


# --------------------------------------------------------------------------------------------------------- settings


def _generation_config(folder, tokenizer):
    """Greedy until the end of the turn; without a tokenizer the token ids of the source's own settings."""
    if tokenizer is not None:
        return GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    fields = {}
    for file in ("config.json", "generation_config.json"):
        settings = _read_json(folder / file) if (folder / file).is_file() else {}
        fields |= {name: settings[name] for name in ("eos_token_id", "pad_token_id") if settings.get(name) is not None}
    return GenerationConfig(**fields)


def _write_settings(folder, config, generation, dtype):
    """config.json, generation_config.json and the code, as `save_pretrained` writes them."""
    config.architectures = [C3Model.__name__]
    config.dtype = dtype
    config.eos_token_id, config.pad_token_id = generation.eos_token_id, generation.pad_token_id
    with torch.device("meta"):
        custom_object_save(C3Model(config), folder, config=config)
    config.save_pretrained(folder)
    generation.save_pretrained(folder)


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
    _write_json(folder / "tokenizer_config.json", TOKENIZER_CONFIG)
    return []


# ------------------------------------------------------------------------------------------------------------ files


def _local(source):
    """The folder `source`, or that of its download from the Hub."""
    folder = Path(source)
    if folder.is_dir():
        return folder
    if folder.exists():
        raise ValueError(f"{source} is a file: name the folder of a checkpoint, or a Hub id.")
    try:
        return Path(snapshot_download(str(source), allow_patterns=DOWNLOADED))
    except HFValidationError:
        raise ValueError(f"There is no folder {source}, and it is no Hub id.") from None
    except Exception as error:  # network, rights, offline mode, no such repository, no space
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"There is no folder {source}, and it cannot be downloaded from the Hub: {reason}") from error


def _new(output):
    """`Path` of the folder to make, next to a folder that exists."""
    output = Path(output).absolute()
    is_empty = output.is_dir() and not output.is_symlink() and not any(output.iterdir())
    if (output.exists() or output.is_symlink()) and not is_empty:
        raise ValueError(f"{output} exists: name a new or an empty folder.")
    if not output.parent.is_dir():
        raise ValueError(f"There is no folder {output.parent} to make {output.name} in.")
    if _temporary(output).exists():
        raise ValueError(f"{_temporary(output)} is left from a conversion that was cut off, or still runs: delete it.")
    try:
        ensure_writable(_temporary(output))
    except OSError as error:
        raise ValueError(f"Cannot write {output}: {error.strerror}.") from error
    return output


def _temporary(output):
    return output.with_name(output.name + ".tmp")


@contextmanager
def _whole(output, tensors):
    """Yields a folder to fill and a progress callback; the folder becomes `output` at the end, or is deleted."""
    total = sum(tensor.nbytes for tensor in tensors.values())
    free = shutil.disk_usage(output.parent).free
    if free < total + SPARE_BYTES:
        raise ValueError(
            f"Too little disk for {output}: {(total + SPARE_BYTES) / 1e9:.2f} GB are needed, {free / 1e9:.2f} GB are "
            "free."
        )
    temporary = _temporary(output)
    temporary.mkdir()
    try:
        # Only on a terminal.
        with tqdm(total=total, desc="Converting", unit="B", unit_scale=True, disable=None) as bar:
            yield temporary, bar.update
        if output.exists():
            output.rmdir()
        temporary.rename(output)
    except BaseException:
        shutil.rmtree(temporary)
        raise


def _summary(output, tensors):
    size = sum(tensor.nbytes for tensor in tensors.values())
    return f"{output}: {len(tensors)} tensors, {size / 1e9:.2f} GB"


def _read_json(path):
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"There is no {path}: name the folder of a checkpoint.") from None
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {printable(error)}") from None
    if not isinstance(fields, dict):
        raise ValueError(f"{path} must hold keys and values.")
    return fields


def _write_json(path, fields):
    path.write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n", encoding="utf-8")


__all__ = ["convert_from_authors", "convert_to_authors"]
