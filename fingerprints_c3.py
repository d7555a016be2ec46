"""Short fingerprints that say whether two configurations, sets of weights or tokenizers are the same.

A latent context is only readable by the decoder that it was made for, so latents carry the fingerprints of their model
(see `latents_c3.py`). A fingerprint is the first 16 hexadecimal digits of a SHA-256: it finds accidents, not attacks.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from weakref import WeakKeyDictionary

import torch

FINGERPRINT_DIGITS = 16
# Tensors above the threshold are sampled, so that a model of billions of weights takes about a second.
FULL_HASH_BYTES = 1 << 20
SAMPLE_BYTES = 1 << 18
CHUNK = 255  # words of eight bytes that a checksum adds up at once
# What loading, saving or upgrading a library changes without changing what the model computes.
VOLATILE_CONFIG_KEYS = frozenset(
    "_attn_implementation _commit_hash _name_or_path architectures attn_implementation auto_map dtype torch_dtype "
    "transformers_version use_cache".split()
)

# What was found for a tokenizer, as long as it lives: a vocabulary of 150 000 tokens takes most of a second.
_TOKENIZERS = WeakKeyDictionary()


def fingerprint_config(config: Mapping) -> str:
    """Fingerprint of a configuration as a dictionary (`config.to_dict()`): SHA-256 of its canonical JSON.

    The order of keys does not count, and `VOLATILE_CONFIG_KEYS` are left out at every depth. Raises `TypeError` for a
    value that JSON cannot hold.
    """

    def canonical(value):
        if isinstance(value, Mapping):
            # Keys become strings before they are sorted: {2: .., 10: ..} must equal its own reloaded JSON.
            return {str(key): canonical(item) for key, item in value.items() if key not in VOLATILE_CONFIG_KEYS}
        return [canonical(item) for item in value] if isinstance(value, (list, tuple)) else value

    return _digest(_canonical_json(canonical(config)))


def fingerprint_tensors(
    tensors: Mapping[str, torch.Tensor], prepare: Callable[[torch.Tensor], torch.Tensor] = torch.Tensor.detach
) -> str:
    """Fingerprint of named tensors (`model.state_dict()`): SHA-256 over names, dtypes, shapes and raw bytes.

    It depends neither on the device nor on the order of names. A tensor over `FULL_HASH_BYTES` (1 MiB) counts with a
    fixed sample: every k-th row of its first dimension and the last row, k chosen for about `SAMPLE_BYTES` (256 KiB).
    A training step that moves every row is noticed; an edit of a few rows of a large table may not be.

    `prepare` changes a tensor value by value, for example to another dtype: the fingerprint is that of the tensors that
    it would make, but it is given the samples only.
    """
    sha = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach()
        dtype = prepare(tensor.new_empty(0)).dtype
        sha.update(_canonical_json([name, str(dtype), list(tensor.shape)]))
        # As bytes, because NumPy has no bfloat16.
        sha.update(prepare(_sample(tensor, dtype)).cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return sha.hexdigest()[:FINGERPRINT_DIGITS]


def checksum_tensors(
    tensors: Mapping[str, torch.Tensor], prepare: Callable[[torch.Tensor], torch.Tensor] = torch.Tensor.detach
) -> tuple:
    """What changes when the fingerprint that `fingerprint_tensors` makes of the same does, at the speed of memory.

    It says whether tensors are still what they were, however they were written to, and nothing more: it is another one
    on another device, and finds accidents, not attacks.
    """
    known_by, pieces, prepared = [], {}, {}
    for name, tensor in tensors.items():
        tensor = tensor.detach()
        known_by.append((name, tensor.dtype, tensor.shape, tensor.device))
        if tensor.dtype not in prepared:
            prepared[tensor.dtype] = prepare(tensor.new_empty(0)).dtype
        pieces.setdefault(tensor.device, []).extend(map(_as_bytes, _sampled(tensor, prepared[tensor.dtype])))
    words = {}
    for device, own in pieces.items():
        # On a GPU it is the number of calls that takes time, on a CPU the copy.
        words[device] = list(map(_as_words, own if device.type == "cpu" else [torch.cat(own)]))
    return tuple(known_by), tuple(_checksum(each) for each in words.values())


def _sample(tensor, dtype):
    """What of a tensor counts in the fingerprint of one of this dtype."""
    pieces = _sampled(tensor, dtype)
    return torch.cat(pieces) if len(pieces) > 1 else pieces[0].view(tensor.shape)


def _sampled(tensor, dtype):
    """The same as views of it, of one dimension or more."""
    size = tensor.numel() * dtype.itemsize
    if size <= FULL_HASH_BYTES:
        return [tensor if tensor.dim() else tensor.view(1)]
    return [tensor[:: -(-size // SAMPLE_BYTES)], tensor[-1:]]


def _as_bytes(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def _as_words(data):
    """Bytes as `torch.LongTensor` of one dimension."""
    if data.numel() % 8 or data.storage_offset() % 8:
        data = torch.nn.functional.pad(data, (0, -data.numel() % 8))
    return data.view(torch.int64)


def _checksum(tensors):
    """One number, modulo 2^64, of all words of tensors on one device, each with a weight by its place."""
    weights = _mixed(torch.arange(CHUNK, device=tensors[0].device)) | 1
    sums = []
    for words in tensors:
        whole = words.numel() // CHUNK * CHUNK
        rest = words[whole:]
        sums += [(words[:whole].view(-1, CHUNK) * weights).sum(1), (rest * weights[: len(rest)]).sum().view(1)]
    sums = torch.cat(sums)
    return _mixed(sums + _mixed(torch.arange(len(sums), device=sums.device))).sum().item()


def _mixed(numbers):
    """Each number with all of its bits in all places (the end of SplitMix64)."""
    for shift, factor in ((30, 0x3F58476D1CE4E5B9), (27, 0x14D049BB133111EB)):
        numbers = (numbers ^ (numbers >> shift)) * factor
    return numbers ^ (numbers >> 31)


def fingerprint_tokenizer(tokenizer) -> str:
    """Fingerprint of a tokenizer: of its `tokenizers` backend where there is one, else of its vocabulary.

    Truncation and padding are left out of the backend: every call of a tokenizer may set them. Asked again about the
    same tokenizer it notices added tokens and other components, but not another model of as many tokens.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not hasattr(backend, "to_str"):
        return _digest(_canonical_json(sorted(tokenizer.get_vocab().items())))
    components = (backend.normalizer, backend.pre_tokenizer, backend.post_processor, backend.decoder)
    known_by = (
        backend.get_vocab_size(),
        sorted((i, repr(token)) for i, token in backend.get_added_tokens_decoder().items()),
        [component and component.__getstate__() for component in components],
    )
    if _TOKENIZERS.get(tokenizer, (None,))[0] != known_by:
        state = json.loads(backend.to_str())
        digest = _digest(_canonical_json({k: v for k, v in state.items() if k not in ("truncation", "padding")}))
        _TOKENIZERS[tokenizer] = known_by, digest
    return _TOKENIZERS[tokenizer][1]


def _canonical_json(value) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:FINGERPRINT_DIGITS]


__all__ = ["checksum_tensors", "fingerprint_config", "fingerprint_tensors", "fingerprint_tokenizer"]
