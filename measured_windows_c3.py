"""What is kept of windows that are measured while they are compressed: how many of their tokens need a correction, and
with `exact` the corrections themselves."""

import zlib

import torch

from .corrections_c3 import checksum_of_ids, pack_window, pack_windows
from .latents_fidelity_c3 import share_certain
from .text_pieces_c3 import joined_pieces

# Tokens that are decoded at once to see whether a text comes back from its tokens.
DECODED_AT_ONCE = 4096


class MeasuredWindows:
    """
    What `find_corrections` finds in windows, each measured once or, with different numbers of latents, several times.

        measured = MeasuredWindows([64, 64], exact=False)
        measured.note(0, {5: 70}, ids)
        measured.fidelity(0)  # 63 / 64

    Args:
        lengths (`list[int]`): text tokens of each window.
        exact (`bool`): whether to keep the corrections.
    """

    def __init__(self, lengths, exact):
        self.lengths, self.exact = lengths, exact
        # `torch.LongTensor` of shape `(windows,)`; above all tokens until a window is measured.
        self.counts = torch.tensor(lengths) + 1
        self._packed, self._checksums = [b""] * len(lengths), bytearray(len(lengths))

    def note(self, place, found, ids):
        """
        Keeps what was found in a window (`dict[int, int]`) with these ids, unless as little was found there before.

        Returns: `bool`, whether it is kept.
        """
        packed, count = pack_window(found, ids) if self.exact else (b"", len(found))
        if count >= self.counts[place]:
            return False
        self.counts[place] = count
        if self.exact:
            self._packed[place], self._checksums[place] = packed, checksum_of_ids(ids)
        return True

    def fidelity(self, place):
        """The share of a window's tokens that need no correction (`float`)."""
        return share_certain(int(self.counts[place]), self.lengths[place])

    def corrections(self, processor, plans, texts):
        """The packed corrections of texts, `tuple[bytes, …]`; `plans` (`list[WindowPlan]`) are their windows."""
        packed, start = [], 0
        for plan, text in zip(plans, texts, strict=True):
            end = start + len(plan.windows)
            lost = None if _decoded(processor, plan.windows) == text else text
            of_windows = self._packed[start:end], self._checksums[start:end]
            packed.append(pack_windows(*of_windows, zlib.crc32(text.encode()), lost))
            start = end
        return tuple(packed)


def _decoded(processor, windows):
    """What the ids of windows ([`TextWindows`]) give back, as `expand` joins them."""
    if not _joins_bytes(processor.tokenizer):
        return "".join(joined_pieces(processor, (window.text_ids for window in windows)))
    # Between whole characters the bytes may be cut anywhere, and nothing before a cut is needed.
    pieces, held = [], []
    for start in range(0, len(windows.ids), DECODED_AT_ONCE):
        held += windows.ids[start : start + DECODED_AT_ONCE].tolist()
        piece = processor.decode(held)
        if not piece.endswith("\ufffd"):
            pieces.append(piece)
            held = []
    return "".join([*pieces, processor.decode(held)])


def _joins_bytes(tokenizer):
    """Whether a tokenizer decodes each id to bytes, whatever stands beside it, and joins these."""
    decoder = getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", None)
    return type(decoder).__name__ == "ByteLevel"


__all__ = ["MeasuredWindows"]
