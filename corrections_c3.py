"""
Corrections: the tokens of a text that its latents do not give back by themselves, stored beside them, so that the very
text comes back. One teacher-forced pass of the decoder finds them: where its most likely token is not the text's next
one, or leads by too little for another dtype, batch or device to choose alike. When the latents are expanded the
decoder takes the stored token at such a place and its own elsewhere.
"""

import math
import struct
import zlib
from dataclasses import dataclass

import torch

from .latents_file_c3 import LatentFormatError
from .teacher_forcing_c3 import token_leads

# By how much the most likely token's logit must lead. Measured with the default checkpoint on three pages: choices in
# bfloat16 differed from those in float32 where it led by at most 0.25.
MARGIN = 0.5
# By how much a stored text may shrink, so that what a file holds bounds the memory that it takes; more is not taken.
MOST_SHRINKING = 64


class InexactTextError(ValueError):
    """A text that was compressed exactly did not come back; the message says which, and in which window:
    `except InexactTextError: keep_the_text()`."""


@dataclass(frozen=True)
class TextCorrections:
    """
    What is stored beside the latents of a text.

    Args:
        windows (`list[dict[int, int]]`): for each window ids by their place among its tokens; all of them where these
            are cheaper than corrections.
        window_checksums (`list[int]`): of each window's ids, one byte.
        checksum (`int`): CRC-32 of the text in UTF-8.
        text (`str`, *optional*): the text itself, where the tokenizer does not give it back.
    """

    windows: list
    window_checksums: list
    checksum: int
    text: str | None = None


def checksum_of_ids(ids):
    """One byte that tells one window's ids from nearly all others (`int`)."""
    return zlib.crc32(struct.pack(f"<{len(ids)}I", *ids)) & 0xFF


@torch.no_grad()
def find_corrections(model, spans, latents, window_ids):
    """
    Where the decoder would not go on as the text does, by one teacher-forced pass.

    Args:
        model ([`C3Model`]): the model.
        spans (`list[LatentSpan]`): of a batch of windows.
        latents (`torch.Tensor` of shape `(latents, D_dec)`): theirs, in the dtype in which they are kept.
        window_ids (`list[list[int]]`): the tokens of each window.

    Returns: `list[dict[int, int]]`, for each window the ids to store by their place among its tokens.
    """
    suppressed = torch.tensor(special_ids(model.processor), dtype=torch.long)
    found = []
    for leads, ids in zip(token_leads(model, spans, latents, window_ids, suppressed), window_ids, strict=True):
        # So that what is not a number is not certain.
        found.append({place: ids[place] for place in (~(leads >= MARGIN)).nonzero().flatten().tolist()})
    return found


def special_ids(processor):
    """Ids that no text holds, sorted (`list[int]`): special tokens in a text are the characters they are written in."""
    return sorted(set(processor.tokenizer.all_special_ids))


def forced_tokens(corrections, length):
    """
    What is stored of a batch of windows, `torch.LongTensor` of shape `(windows, length)`: -1 where nothing is.

    Args:
        corrections (`list[dict[int, int]]`): of each window.
        length (`int`): tokens of the longest window.
    """
    forced = torch.full((len(corrections), length), -1)
    for row, stored in enumerate(corrections):
        if stored:
            forced[row, list(stored)] = torch.tensor(list(stored.values()))
    return forced


# ------------------------------------------------------------------------------------------------------------- bytes


def pack(corrections, text_lengths):
    """[`TextCorrections`] as bytes; `text_lengths` (`list[int]`) are the tokens of each window."""
    windows = list(map(_packed_window, corrections.windows, text_lengths))
    return pack_windows(windows, corrections.window_checksums, corrections.checksum, corrections.text)


def pack_window(found, ids):
    """
    What is stored of a window, for `pack_windows`: what `find_corrections` found in it (`dict[int, int]`), or all of
    its `ids` (`list[int]`), where these take no more bytes.

    Returns: `bytes`, and how many tokens they hold.
    """
    packed = _packed_window(found, len(ids))
    if len(packed) > len(ids):  # else fewer bytes than ids
        whole = _packed_window(dict(enumerate(ids)), len(ids))
        if len(whole) <= len(packed):
            return whole, len(ids)
    return packed, len(found)


def pack_windows(windows, window_checksums, checksum, text=None):
    """As `pack`, of windows that are packed already (`list[bytes]`); the rest are fields of [`TextCorrections`]."""
    packed = [checksum.to_bytes(4, "little"), bytes(window_checksums), *windows]
    return b"".join(packed if text is None else [*packed, _packed_text(text.encode())])


def unpack(data, text_lengths, vocab_size=math.inf):
    """
    What `pack` was given, with ids below `vocab_size`.

    Raises:
        LatentFormatError: bytes that `pack` does not make of a text with such windows.
    """
    try:
        return _unpacked(data, text_lengths, vocab_size)
    except (ValueError, zlib.error) as error:
        raise LatentFormatError(f"damaged corrections: {error}. Copy or compress these texts again") from error


def _unpacked(data, text_lengths, vocab_size):
    count = len(text_lengths)
    checksum, window_checksums = int.from_bytes(data[:4], "little"), list(data[4 : 4 + count])
    if len(window_checksums) < count:
        raise ValueError(f"they end before their {count} windows")
    numbers, windows = _Numbers(data, 4 + count), []
    for length in text_lengths:
        stored, is_whole = divmod(numbers.next(), 2)
        if stored > length or (is_whole and stored != length):
            raise ValueError(f"they have {stored} tokens for a window of {length}")
        window, place = {}, -1
        for _ in range(stored):
            place += 1 if is_whole else 1 + numbers.next()
            window[place] = numbers.next()
            if window[place] >= vocab_size:
                raise ValueError(f"they have the token {window[place]}, but there are {vocab_size}")
        if place >= length:
            raise ValueError(f"they have a token at {place} in a window of {length}")
        windows.append(window)
    return TextCorrections(windows, window_checksums, checksum, _unpacked_text(numbers.rest()))


def _packed_text(data):
    packed = zlib.compress(data, 9)
    return packed if len(data) < MOST_SHRINKING * len(packed) else zlib.compress(data, 0)


def _unpacked_text(data):
    if not data:
        return None
    unpacker = zlib.decompressobj()
    text = unpacker.decompress(data, MOST_SHRINKING * len(data))
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError("they hold half a text, or more than a text")
    return text.decode("utf-8")


def _packed_window(stored, length):
    """Twice the number of tokens, and one more where these are all; the tokens, each after the gap before it."""
    is_whole = len(stored) == length
    packed, before = _packed_number(2 * len(stored) + is_whole), -1
    for place, token in stored.items():
        if not is_whole:
            packed += _packed_number(place - before - 1)
        packed += _packed_number(token)
        before = place
    return bytes(packed)


def _packed_number(number):
    """Seven bits a byte, the lowest first; the eighth says that more follow (LEB128)."""
    packed = bytearray()
    while number > 0x7F:
        packed.append(number & 0x7F | 0x80)
        number >>= 7
    packed.append(number)
    return packed


class _Numbers:
    """Reads what `_packed_number` has written."""

    def __init__(self, data, start):
        self.data, self.place = data, start

    def next(self):
        number = shift = 0
        while True:
            if self.place >= len(self.data) or shift > 56:
                raise ValueError("they end in the middle of a number, or hold one that is too large")
            byte = self.data[self.place]
            self.place += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
            shift += 7

    def rest(self):
        return self.data[self.place :]


__all__ = [
    "InexactTextError",
    "TextCorrections",
    "checksum_of_ids",
    "find_corrections",
    "forced_tokens",
    "pack",
    "pack_window",
    "pack_windows",
    "special_ids",
    "unpack",
]
