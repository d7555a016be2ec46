"""The pictures of a font's characters in cells of one size, and how a text is spelled with them."""

from functools import lru_cache

import numpy as np

from .font_files_c3 import font_characters, load_font, pillow

ASCII = [chr(code) for code in range(0x20, 0x7F)]
# White space that would look like another, as an escape of programming languages names it: "\n" is an n.
MARKS = {"\n": "n", "\t": "t", "\r": "r"}
BEFORE, AFTER, DIGITS = "[U+", "]", "0123456789ABCDEF"
# What there is in white on black: a space ends the text.
NEGATIVES = [" ", *MARKS.values(), *BEFORE, *AFTER, *DIGITS]
BLANK = 0  # the place of a space among the cells
NOT_DRAWN = -1


class GlyphAtlas:
    """
    Cells of one size, each with a character in it, and a text as the cells that spell it. No two cells are alike, so
    that a row of cells stands for one text alone:

    * A character that the font has is one cell, black on white.
    * A line break, a tab and a carriage return are an `n`, a `t` and an `r` in white on black.
    * Any other character is its code point in white on black, `[U+1F525]`: one that the font lacks, white space that
      looks like a space, and one whose picture in such cells is that of a character of ASCII or of a lower code point,
      as Cyrillic `А` is `A`'s. What a text writes itself, `[U+1F525]`, stays black on white.
    * A black cell ends a text.

    Args:
        font (`str`, *optional*), font_size (`int`): see `load_font`.
        width, height (`int`): pixels of a cell. A character that is too wide for it is made narrower.

    Raises:
        ValueError: a cell in which not all printable characters of ASCII differ; a bad font.
    """

    def __init__(self, font, font_size, width, height):
        if not tells_ascii_apart(font, font_size, width, height):
            raise ValueError(
                f"In cells of {width} x {height} pixels and a font_size of {font_size} some characters of ASCII look "
                "alike: take larger cells, or another font."
            )
        self.width, self.height = width, height
        cells = _cells_of_ascii(font, font_size, width, height)
        self._negatives = {character: len(ASCII) + place for place, character in enumerate(NEGATIVES)}
        self._digits = np.array([self._negatives[digit] for digit in DIGITS])
        self.end = self._negatives[" "]
        self._place_of = np.full(0x110000, NOT_DRAWN, dtype=np.int32)
        self._place_of[list(map(ord, ASCII))] = range(len(ASCII))
        loaded, taken = load_font(font, font_size), {cell.tobytes() for cell in cells}
        for code in font_characters(font).tolist():
            cell = _draw(loaded, chr(code), width, height)
            if (picture := cell.tobytes()) not in taken:
                taken.add(picture)
                self._place_of[code] = len(cells)
                cells.append(cell)
        for character, letter in MARKS.items():
            self._place_of[ord(character)] = self._negatives[letter]
        self.cells = np.stack(cells)

    def count(self, text):
        """How many cells a text takes (`int`), without the one that ends it."""
        codes = _code_points(text)
        escaped = codes[self._place_of[codes] == NOT_DRAWN]
        return len(codes) + (int((_lengths(escaped) - 1).sum()) if len(escaped) else 0)

    def spell(self, text):
        """
        The cells of a text, `np.ndarray` of shape `(cells,)`: places in `cells`, of shape `(…, height, width)`.

            cells = atlas.cells[atlas.spell("a text")]
        """
        codes = _code_points(text)
        places = self._place_of[codes]
        escaped = np.flatnonzero(places == NOT_DRAWN)
        if not len(escaped):
            return places
        lengths = np.ones(len(codes), dtype=np.int64)
        lengths[escaped] = _lengths(codes[escaped])
        starts = lengths.cumsum() - lengths
        spelled = np.empty(lengths.sum(), dtype=places.dtype)
        spelled[starts] = places
        for length in np.unique(lengths[escaped]).tolist():
            chosen = escaped[lengths[escaped] == length]
            spelled[starts[chosen, None] + np.arange(length)] = self._escapes(codes[chosen], length)
        return spelled

    def _escapes(self, codes, length):
        """The cells, `(characters, length)`, of code points with as many digits as that takes."""
        shifts = 4 * np.arange(length - len(BEFORE) - len(AFTER))[::-1]
        digits = self._digits[codes[:, None].astype(np.int64) >> shifts & 15]
        before, after = ([[self._negatives[each] for each in piece]] * len(codes) for piece in (BEFORE, AFTER))
        return np.concatenate([before, digits, after], axis=1)


@lru_cache(maxsize=64)
def glyph_atlas(font, font_size, width, height):
    """The [`GlyphAtlas`] of these, made once: a font of 3000 characters takes a third of a second."""
    return GlyphAtlas(font, font_size, width, height)


@lru_cache(maxsize=256)
def tells_ascii_apart(font, font_size, width, height):
    """Whether in such cells all printable characters of ASCII, and what is in white on black, differ (`bool`)."""
    cells = _cells_of_ascii(font, font_size, width, height)
    return len({cell.tobytes() for cell in cells}) == len(cells)


def _cells_of_ascii(font, font_size, width, height):
    """Of `ASCII`, and then of `NEGATIVES`, `list[np.ndarray]`."""
    loaded = load_font(font, font_size)
    cells = {character: _draw(loaded, character, width, height) for character in ASCII}
    return [*cells.values(), *(255 - cells[character] for character in NEGATIVES)]


def _code_points(text):
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


def _lengths(codes):
    """Cells of each escaped code point, which has four digits or more."""
    return len(BEFORE) + 4 + (codes > 0xFFFF).astype(np.int64) + (codes > 0xFFFFF) + len(AFTER)


def _draw(font, character, width, height):
    """A character in the middle of a cell, black on white, `np.ndarray` of shape `(height, width)`."""
    mask, (_, top) = font.getmask2(character, mode="L", anchor="ls")
    drawn = mask.size[0]
    cell = np.zeros((height, max(width, drawn)), dtype=np.uint8)
    if drawn:
        ink = np.frombuffer(bytes(mask), dtype=np.uint8).reshape(-1, drawn)
        ascent, descent = font.getmetrics()
        first, left = (height + ascent - descent) // 2 + top, (cell.shape[1] - drawn) // 2
        rows = slice(max(first, 0), max(first + len(ink), 0))
        cell[rows, left : left + drawn] = ink[max(-first, 0) :][: len(cell[rows])]
    if drawn > width:
        Image, _ = pillow()
        cell = np.asarray(Image.fromarray(cell).resize((width, height), Image.Resampling.BOX))
    return 255 - cell


__all__ = ["ASCII", "BLANK", "MARKS", "GlyphAtlas", "glyph_atlas", "tells_ascii_apart"]
