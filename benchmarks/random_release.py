"""A checkpoint of random weights in the layout of the authors' release, at its true sizes or tiny ones.

It is written shard by shard, so that memory holds one shard and never a model.
"""

import json
import shutil
import zlib
from dataclasses import dataclass
from itertools import islice, product
from math import prod

import torch
from tqdm.auto import tqdm

from c3 import C3Model
from c3.convert.authors_layout import FOLDERS, WRAPPING_FIELDS, config_from_authors, configs_for_authors, their_name
from c3.convert.authors_tokenizer import RANKS_FILE, SPECIAL_TOKENS
from c3.convert.tensor_files import MAX_SHARD_BYTES, write_tensors
from c3.support.loading import PACKAGE

from .models import QWEN_1_5B, QWEN_3B, TINY

WRAPPING = ("<img>", "</img>", "<imgpad>")
SHARED = {"model_type": "qwen2", "rms_norm_eps": 1e-6, "tie_word_embeddings": True}
# Encoder, decoder, latents. The vocabularies are those of the authors' release.
SIZES = {
    "qwen2.5-1.5b+3b": (QWEN_1_5B, QWEN_3B | {"vocab_size": 151860}, 32),
    "tiny": (TINY | {"vocab_size": 1250}, TINY | {"hidden_size": 48, "vocab_size": 1217}, 32),
}


@dataclass(frozen=True)
class RandomTensor:
    """Stands in for a `StoredTensor`: made when it is read, the same each time."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype = torch.bfloat16

    @property
    def nbytes(self):
        """Its size in bytes."""
        return prod(self.shape) * self.dtype.itemsize

    def read(self):
        """Ones for the scales of norms, else normal numbers of standard deviation 0.02."""
        if self.name.endswith("norm.weight"):
            return torch.ones(self.shape, dtype=self.dtype)
        seeded = torch.Generator().manual_seed(zlib.crc32(self.name.encode()))
        return torch.empty(self.shape, dtype=self.dtype).normal_(std=0.02, generator=seeded)


def make_config(size):
    """The [`C3Config`] of one of `SIZES`, in the authors' terms."""
    encoder, decoder, num_latents = SIZES[size]
    first = decoder["vocab_size"] - len(SPECIAL_TOKENS)
    wrapping = {
        name: first + SPECIAL_TOKENS.index(token) for name, token in zip(WRAPPING_FIELDS, WRAPPING, strict=True)
    }
    widths = {"latent_token_len": num_latents, "contexts_compression_llm_hidden_size": encoder["hidden_size"]}
    return config_from_authors(SHARED | decoder | widths | wrapping, SHARED | encoder)


def tensor_shapes(config):
    """Name to shape, `dict[str, tuple[int, ...]]`, of a C3 model's tensors; tied ones count once."""
    with torch.device("meta"):
        model = C3Model(config)
    tied = model.all_tied_weights_keys
    return {name: tuple(each.shape) for name, each in model.state_dict().items() if name not in tied}


def checkpoint_bytes(size, part="", dtype=torch.bfloat16):
    """Size of the weights, of all or of one part of the model."""
    shapes = tensor_shapes(make_config(size))
    return sum(prod(shape) for name, shape in shapes.items() if name.startswith(part)) * dtype.itemsize


def write_random_release(folder, size, tokenizer=None, max_shard_bytes=MAX_SHARD_BYTES):
    """
    Writes `config.json`, weights and tokenizer of the decoder, and `llm1/` of the encoder.

    Args:
        folder (`Path`): to make.
        size (`str`): one of `SIZES`.
        tokenizer (`Path`, *optional*): a folder whose `tokenizer.json` or `qwen.tiktoken` is taken; by default the
            repository's own BPE, filled up with joined pairs of its tokens, which words of text never become, to the
            size of the vocabulary.
        max_shard_bytes (`int`): of one file of weights.
    """
    config = make_config(size)
    parts = {part: {} for part in FOLDERS}
    for name, shape in tensor_shapes(config).items():
        part, theirs = their_name(name)
        parts[part][theirs] = RandomTensor(f"{part}/{theirs}", shape)
    wrapping = [getattr(config.decoder_config, name) for name in WRAPPING_FIELDS]
    with tqdm(total=checkpoint_bytes(size), desc="Writing", unit="B", unit_scale=True, disable=None) as bar:
        for part, settings in zip(FOLDERS, configs_for_authors(config, wrapping, "bfloat16"), strict=True):
            (folder / part).mkdir(parents=True)
            write_tensors(folder / part, parts[part], max_shard_bytes, bar.update)
            (folder / part / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    if tokenizer is None:
        _write_tokenizer(folder / "tokenizer.json", config.decoder_config.vocab_size - len(SPECIAL_TOKENS))
        return
    files = [tokenizer / name for name in ("tokenizer.json", RANKS_FILE) if (tokenizer / name).is_file()]
    if not files:
        raise ValueError(f"{tokenizer} holds neither tokenizer.json nor {RANKS_FILE}.")
    shutil.copy(files[0], folder)


def _write_tokenizer(path, num_tokens):
    state = json.loads((PACKAGE / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = state["model"]["vocab"]
    special = {token["content"] for token in state["added_tokens"]}
    # In the order of the merges, so that the first of them are a BPE too.
    tokens = [token for token in sorted(vocabulary, key=vocabulary.get) if token not in special][:num_tokens]
    merges = state["model"]["merges"][: num_tokens - (len(vocabulary) - len(special) - len(state["model"]["merges"]))]
    known = set(tokens)
    pairs = ([a, b] for a, b in product(tokens[::-1], tokens[::-1]) if a + b not in known and not known.add(a + b))
    added = list(islice(pairs, num_tokens - len(tokens)))
    state["model"]["vocab"] = {token: i for i, token in enumerate([*tokens, *map("".join, added)])}
    state["model"]["merges"] = merges + added
    path.write_text(json.dumps(state | {"added_tokens": []}), encoding="utf-8")


__all__ = ["SIZES", "checkpoint_bytes", "make_config", "write_random_release"]
