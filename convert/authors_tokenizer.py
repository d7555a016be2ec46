"""The authors' tokenizer, Qwen's BPE with their special tokens, as a fast tokenizer, and back to a file of ranks.

Their code reads it from `qwen.tiktoken`: one line `base64(bytes) rank` per token (Qwen's tokenization_qwen.py).
"""

import base64
import binascii
import json
from functools import partial
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, normalizers
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import TikTokenConverter, bytes_to_unicode

from c3.quoting_c3 import printable
from c3.support.word_pattern import WORDS

RANKS_FILE = "qwen.tiktoken"
END_OF_TEXT, END_OF_TURN = "<|endoftext|>", "<|im_end|>"
# Their ids follow the BPE's: 151643 … 151859 after the 151643 tokens of Qwen.
SPECIAL_TOKENS = [
    *(END_OF_TEXT, "<|im_start|>", END_OF_TURN),
    *(f"<|extra_{i}|>" for i in range(205)),
    *("<ref>", "</ref>", "<box>", "</box>", "<quad>", "</quad>", "<img>", "</img>", "<imgpad>"),
]


def load_authors_tokenizer(folder, wrapping_ids):
    """
    The tokenizer of a folder in the authors' layout, from its `tokenizer.json`, if that has their special tokens or is
    the BPE that they follow, or else its `qwen.tiktoken`.

    Args:
        folder (`str` or `PathLike`): the folder.
        wrapping_ids (`list[int]`): ids of `<img>`, `</img>` and `<imgpad>` in its config.json.

    Returns: `PreTrainedTokenizerFast`, or None where the folder has neither file.

    Raises:
        ValueError: a file that cannot be read, or none that gives these ids.
    """
    found = []
    from_json = partial(_from_json, last_id=max(wrapping_ids))
    for name, load in (("tokenizer.json", from_json), (RANKS_FILE, _from_ranks)):
        path = Path(folder) / name
        if not path.is_file():
            continue
        try:
            backend = load(path)
        except Exception as error:  # tokenizers raises bare ones
            raise ValueError(f"{path} is not a tokenizer that can be read: {printable(error)}") from error
        if backend.token_to_id(END_OF_TURN) is not None and all(map(backend.id_to_token, wrapping_ids)):
            return _fast(backend)
        found.append(name)
    if found:
        raise ValueError(
            f"{' and '.join(found)} in {folder} must hold {END_OF_TURN} and the tokens with the ids "
            f"{', '.join(map(str, wrapping_ids))} of config.json: put the checkpoint's own {RANKS_FILE} there."
        )
    return None


def write_ranks(tokenizer, path):
    """
    Writes the BPE of a byte-level tokenizer as `qwen.tiktoken`; special tokens are in the authors' code.

    Raises:
        ValueError: its special tokens are not the authors', so their code would give other ids.
    """
    vocabulary = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["vocab"]
    special = {name: len(vocabulary) + i for i, name in enumerate(SPECIAL_TOKENS)}
    if tokenizer.get_added_vocab() != special or sorted(vocabulary.values()) != list(range(len(vocabulary))):
        raise ValueError(f"its tokens after the {len(vocabulary)} of the BPE are not the authors'")
    byte = {character: value for value, character in bytes_to_unicode().items()}
    lines = [
        base64.b64encode(bytes(byte[character] for character in token)) + b" %d\n" % rank
        for token, rank in sorted(vocabulary.items(), key=lambda item: item[1])
    ]
    Path(path).write_bytes(b"".join(lines))


class _QwenConverter(TikTokenConverter):
    @staticmethod
    def load_tiktoken_bpe(path):
        # transformers would need the package tiktoken for these lines.
        lines = Path(path).read_bytes().splitlines()
        try:
            pairs = [line.split() for line in lines if line.strip()]
            return {base64.b64decode(token, validate=True): int(rank) for token, rank in pairs}
        except (ValueError, binascii.Error) as error:
            raise ValueError(f"it must hold lines of base64 and a rank ({error})") from None


def _from_ranks(path):
    backend = _QwenConverter(str(path), pattern=WORDS, extra_special_tokens=SPECIAL_TOKENS).converted()
    backend.normalizer = normalizers.NFC()
    return backend


def _from_json(path, last_id):
    backend = Tokenizer.from_file(str(path))
    size = backend.get_vocab_size(with_added_tokens=False)
    if backend.id_to_token(last_id) is None and last_id == size + len(SPECIAL_TOKENS) - 1:
        # Qwen's own, in which other special tokens follow the same BPE.
        state = json.loads(backend.to_str())
        backend = Tokenizer.from_str(json.dumps(state | {"added_tokens": [], "post_processor": None}))
        backend.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in SPECIAL_TOKENS])
    return backend


def _fast(backend):
    special = [token.content for token in backend.get_added_tokens_decoder().values() if token.special]
    pad = END_OF_TEXT if END_OF_TEXT in special else END_OF_TURN
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=END_OF_TURN,
        pad_token=pad,
        # All of them, so that a reconstruction, which is text, never holds one.
        extra_special_tokens=[token for token in special if token not in (END_OF_TURN, pad)],
        clean_up_tokenization_spaces=False,
    )


__all__ = ["load_authors_tokenizer", "write_ranks"]
