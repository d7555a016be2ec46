"""Converts the authors' release of C3 to this package's layout.

Tensors are copied bit for bit, file by file, so that memory holds one shard and never a model. Each source tensor must
be used once and each target tensor filled, and the output folder appears only when it is whole.
"""

from pathlib import Path

import torch
from transformers import GenerationConfig
from transformers.dynamic_module_utils import custom_object_save

# Registered, so that the tokenizer of a C3 checkpoint is loaded without a question about its code.
from c3.auto_c3 import C3Config, C3Model, C3Processor
from c3.quoting_c3 import quoted

from .authors_layout import (
    ENCODER_FOLDER,
    ENCODER_HEAD,
    FOLDERS,
    MODEL_TYPE,
    WRAPPING_FIELDS,
    config_from_authors,
    our_name,
    their_name,
)
from .authors_tokenizer import RANKS_FILE, load_authors_tokenizer
from .checkpoint_folder import (
    check_complete,
    local_folder,
    main_dtype,
    new_folder,
    read_json,
    summary,
    whole_checkpoint,
)
from .tensor_files import MAX_SHARD_BYTES, list_tensors, write_tensors

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

`trust_remote_code=True` runs the `*_c3.py` beside this card. From the Hub give `revision="<commit>"` too, the 40 digits
of a commit that you have looked at; with the package installed `import c3` makes it needless.

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
    output, folder = new_folder(output), local_folder(source)
    root = read_json(folder / "config.json")
    if root.get("model_type") != MODEL_TYPE:
        hint = "; --to-authors converts the other way" if root.get("model_type") == C3Config.model_type else ""
        raise ValueError(f"{source} is a {quoted(root.get('model_type'))} model, not one in the authors' layout{hint}.")
    if not (folder / ENCODER_FOLDER / "config.json").is_file():
        raise ValueError(f"{source} has no {ENCODER_FOLDER}/config.json: the encoder belongs in {ENCODER_FOLDER}/.")
    encoder = read_json(folder / ENCODER_FOLDER / "config.json")
    config = config_from_authors(root, encoder)
    wrapping_ids = [root[name] for name in WRAPPING_FIELDS]
    tokenizer = load_authors_tokenizer(folder, wrapping_ids)
    if tokenizer is not None:
        config = config_from_authors(root, encoder, tuple(tokenizer.convert_ids_to_tokens(wrapping_ids[:2])))
    tensors, lines = _from_authors(folder, config)
    generation = _generation_config(folder, tokenizer)
    with whole_checkpoint(output, tensors) as (temporary, progress):
        write_tensors(temporary, tensors, max_shard_bytes, progress)
        _write_settings(temporary, config, generation, main_dtype(tensors))
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
    return [summary(output, tensors), *lines]


def _from_authors(folder, config):
    """Tensors of a folder in the authors' layout under our names, and what there is to say about them."""
    tensors, lines = {}, []
    for part in FOLDERS:
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
    check_complete(tensors, config, lambda name: "/".join(filter(None, their_name(name))))
    if head is not None:
        if not torch.equal(head.read(), tensors["decoder.model.embed_tokens.weight"].read()):
            raise ValueError("lm_head.weight differs from model.embed_tokens.weight, but config.json ties the two.")
        lines.append("Left out: lm_head.weight, which is the same as model.embed_tokens.weight.")
    return tensors, lines


def _generation_config(folder, tokenizer):
    """Greedy until the end of the turn; without a tokenizer the token ids of the source's own settings."""
    if tokenizer is not None:
        return GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    fields = {}
    for file in ("config.json", "generation_config.json"):
        settings = read_json(folder / file) if (folder / file).is_file() else {}
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


__all__ = ["convert_from_authors"]
