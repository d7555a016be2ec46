"""Font files: how they are loaded, and which characters they have a picture of."""

import struct
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np

UNICODE_TABLES = {(3, 10): 12, (0, 6): 12, (0, 4): 12, (3, 1): 4, (0, 3): 4}  # by platform and encoding: their format


def load_font(path, size):
    """
    A font of Pillow's, without ligatures and the like: letters are drawn one by one.

        font = load_font(None, 9)

    Args:
        path (`str`, *optional*): a file with TrueType or OpenType outlines; by default the font that Pillow brings.
        size (`int`): pixels of an em.

    Raises:
        ImportError: Pillow is not installed, or without FreeType.
        ValueError: no such file, or not a font.
    """
    _, ImageFont = pillow()
    try:
        return ImageFont.truetype(BytesIO(_font_bytes(path)), size, layout_engine=ImageFont.Layout.BASIC)
    except OSError:
        raise ValueError(f"{path} is no font that Pillow reads: give a TrueType or OpenType file.") from None


def pillow():
    """Pillow's modules `Image` and `ImageFont`; `ImportError` says what to install where it is missing."""
    try:
        from PIL import Image, ImageFont
    except ImportError:
        raise ImportError("Contexts as pictures are drawn by Pillow, 10.1 or later: pip install -e .[image]") from None
    return Image, ImageFont


@lru_cache(maxsize=8)
def _font_bytes(path):
    if path is None:
        return pillow()[1].load_default(size=10).font_bytes
    try:
        return Path(path).read_bytes()
    except OSError:
        raise ValueError(
            f"There is no font file {path}, with which this model's pictures are drawn: put it there, or give another "
            "place of the same file in the config's context_picture."
        ) from None


@lru_cache(maxsize=8)
def font_characters(path):
    """
    The code points that a font, `path` as in `load_font`, has a glyph for, sorted: `np.ndarray`.

    Read from the font's table of characters, as Pillow does not tell (OpenType specification, "cmap", formats 4, 12).

    Raises:
        ValueError: a font without such a table.
    """
    data = _font_bytes(path)
    start = struct.unpack_from(">I", data, 12)[0] if data[:4] == b"ttcf" else 0  # the first font of a collection
    count = struct.unpack_from(">H", data, start + 4)[0]
    tables = {data[at : at + 4]: at for at in range(start + 12, start + 12 + 16 * count, 16)}
    if b"cmap" in tables:
        table = struct.unpack_from(">I", data, tables[b"cmap"] + 8)[0]
        for platform, encoding, kind in ((*key, kind) for key, kind in UNICODE_TABLES.items()):
            for record in range(struct.unpack_from(">H", data, table + 2)[0]):
                found = struct.unpack_from(">HHI", data, table + 4 + 8 * record)
                if found[:2] == (platform, encoding):
                    at = table + found[2]
                    if struct.unpack_from(">H", data, at)[0] == kind:
                        return np.unique((_segments if kind == 4 else _groups)(data, at))
    raise ValueError(f"{path} has no table of Unicode characters: give another font.")


def _segments(data, at):
    """The code points of a table of format 4, whose segments end with one for U+FFFF."""
    count = struct.unpack_from(">H", data, at + 6)[0] // 2
    words = np.frombuffer(data, ">u2", offset=at + 14, count=(len(data) - at - 14) // 2).astype(np.int64)
    ends, (starts, deltas, offsets) = words[:count], words[count + 1 : 4 * count + 1].reshape(3, count)
    found = []
    for index, (first, last) in enumerate(zip(starts, ends, strict=True)):
        codes = np.arange(first, last + 1)
        glyphs = codes
        if offsets[index]:
            # From the place of the offset itself, in bytes.
            glyphs = words[3 * count + 1 + index + offsets[index] // 2 + codes - first]
            codes, glyphs = codes[glyphs > 0], glyphs[glyphs > 0]
        found.append(codes[(glyphs + deltas[index]) % 65536 > 0])
    return np.concatenate(found)


def _groups(data, at):
    """The code points of a table of format 12."""
    count = struct.unpack_from(">I", data, at + 12)[0]
    groups = np.frombuffer(data, ">u4", offset=at + 16, count=3 * count).astype(np.int64).reshape(count, 3)
    found = []
    for first, last, glyph in groups:
        codes = np.arange(first, last + 1)
        found.append(codes[codes - first + glyph > 0])
    return np.concatenate(found)


__all__ = ["font_characters", "load_font", "pillow"]
