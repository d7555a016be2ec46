"""Random texts of every kind that encodes to UTF-8, each from its own random.Random."""

import math
import random

from c3.training.data.exact_strings import document
from tiny_models import TEXTS

SURROGATES = range(0xD800, 0xE000)
PLANE = 0x10000
CONTROLS = [*map(chr, range(32)), "\x7f", "\x85", "\xa0", "\u200b", "\u2028", "\u202e", "\u2066", "\ufeff", "\ufffd"]
LINES = ["\r\n", "\n", "\r", "\n\n", "\t", " ", "   ", "a line", "“quoted”", "x = 1"]
JOINED = [
    "👩‍👩‍👧‍👦",
    "👍🏽",
    "🏳️‍🌈",
    "🇺🇳",
    "1️⃣",
    "e\u0301",
    "n\u0303\u0327",
    "ﬁ",
    "Å",
    "שָׁלוֹם",
    "مرحبا",
    "नमस्ते",
    "각",
    "ｆｕｌｌ",
    "ß",
    "İ",
]
SPECIAL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>\n",
    "</s>",
    "<s>",
    "[CLS]",
    "[SEP]",
    "[UNK]",
    "<imgpad>",
    "<0x0A>",
]
SPECIAL += ["▁", "##ing", "Ġ", "<unk>", "\ufffd"]


def random_text(draw, length):
    """
    A text of some `length` bytes.

        text = random_text(random.Random(3), 200)

    Args:
        draw (`random.Random`): where it comes from.
        length (`int`): about how long it is in UTF-8; a byte is at most one token of most tokenizers.
    """
    pieces, left = [], length
    while left > 0:
        # Mostly of one kind, so that windows have some chance of being kept as latents.
        part = max(1, left if draw.random() < 0.6 else draw.randrange(left) + 1)
        piece = _begin(draw.choice(KINDS)(draw, part), part)
        pieces.append(piece)
        left -= max(1, len(piece.encode()))
    return "".join(pieces)


def text_groups(count, seed, most):
    """Random texts of up to `most` bytes, in groups that are compressed together, each with a `random.Random`."""
    while count > 0:
        draw = random.Random(f"exact texts {seed} {count}")
        size = min(count, draw.randrange(1, 20))
        yield draw, [random_text(draw, _random_length(draw, most)) for _ in range(size)]
        count -= size


def _random_length(draw, most):
    """A length up to `most`, short ones as often as long ones."""
    return int(math.exp(draw.random() * math.log(most))) or 1


def _begin(text, length):
    """As much of a text as fits into so many bytes, but a character at least."""
    return text.encode()[:length].decode(errors="ignore") or text[:1] or " "


def _anything(draw, length):
    """Any code points: half of them of the first planes, where most are assigned."""
    found = []
    for _ in range(length):
        point = draw.randrange(draw.choice([0x80, 0x800, PLANE, 17 * PLANE]))
        found.append(chr(point) if point not in SURROGATES else "\ud7ff")
    return "".join(found)


def _stretch(draw, length):
    """Neighbours of one code point, such as a script's letters."""
    start = draw.choice([draw.randrange(0x3000), draw.randrange(0x1F000, 0x1FB00), draw.randrange(17 * PLANE - 64)])
    points = [start + draw.randrange(48) for _ in range(length)]
    return "".join(chr(each) if each not in SURROGATES else " " for each in points)


def _of(parts):
    return lambda draw, length: "".join(draw.choice(parts) for _ in range(length))


def _repeat(draw, length):
    what = draw.choice([_anything, _stretch, _of(JOINED), _of(CONTROLS), _prose])(draw, draw.randrange(1, 12))
    return (what[: draw.randrange(1, 12)] or "a") * length


def _prose(draw, length):
    words = " ".join(TEXTS).split(" ")
    return " ".join(draw.choice(words) for _ in range(length))


def _strings(draw, length):
    text = document(draw)
    start = draw.randrange(max(1, len(text) - length))
    return text[start : start + length]


KINDS = [_anything, _stretch, _of(CONTROLS), _of(LINES), _of(JOINED), _of(SPECIAL), _repeat]
KINDS += [_prose, _prose, _strings, _strings, _strings]
