"""Text as a grey picture: characters on a grid, copied from an atlas of glyphs."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .glyph_atlas_c3 import BLANK, glyph_atlas, tells_ascii_apart
from .options_c3 import whole_number

WHITE = 255
LINES_AT_ONCE = 16


def draw_text(text, columns, font=None, font_size=9, cell=(6, 10)):
    """
    A picture of as many lines as a text takes, `np.ndarray` of shape `(lines * height, columns * width)` of `uint8`.

        picture = draw_text("It was the best of times, it was the worst of times", columns=20)

    The text runs on behind its line breaks, which are marked, see [`GlyphAtlas`]: with the same columns one picture
    stands for one text.

    Args:
        columns (`int`): characters of a line.
        font (`str`, *optional*), font_size (`int`), cell (`tuple[int, int]`): see [`ContextPicture`].

    Raises:
        ImportError, ValueError: Pillow is not installed, a bad font, too small a cell, or lines without characters.
    """
    columns = whole_number("columns", columns)
    atlas = glyph_atlas(font, font_size, *cell)
    places = atlas.spell(text)
    return _pixels(atlas, _ended(places, atlas, columns * (len(places) // columns + 1)).reshape(-1, columns))


class TextRenderer:
    """
    The pictures of windows, each of the size that gives the latents it is to have.

        pixels = TextRenderer(ContextPicture()).draw("a text", 16)

    Where a text does not fit, cell and font get smaller, in the same proportions, until it does. Where it does not even
    in the smallest cells in which the characters of ASCII differ, `fits` says so, and `draw` makes a larger picture
    smaller: nothing is left out.

    Args:
        picture ([`ContextPicture`]): how it is drawn.

    Raises:
        ImportError, ValueError: Pillow is not installed, a bad font, or too small a cell.
    """

    def __init__(self, picture):
        self.picture = picture
        self._largest = glyph_atlas(picture.font, picture.font_size, *picture.cell)

    def draw(self, text, num_latents):
        """A text in black on white, `np.ndarray` of `uint8` and shape `picture.size(num_latents)`."""
        atlas, scale = self._fitting(text, num_latents, self._sizes), 1
        while atlas is None:
            scale += 1
            atlas = self._fitting(text, num_latents, self._sizes[-1:], scale)
        height, width = self.picture.size(num_latents)
        pixels = np.full((scale * height, scale * width), WHITE, dtype=np.uint8)
        page = self._lines(atlas.width, atlas.height, num_latents, scale).page(atlas, atlas.spell(text))
        drawn = _pixels(atlas, page)
        pixels[: drawn.shape[0], : drawn.shape[1]] = drawn
        if scale > 1:
            pixels = pixels.reshape(height, scale, width, scale).mean((1, 3)).round().astype(np.uint8)
        return pixels

    def fits(self, text, num_latents):
        """Whether all characters of a text can be told apart in the picture of so many latents (`bool`)."""
        return self._fitting(text, num_latents, self._sizes) is not None

    def _fitting(self, text, num_latents, sizes, scale=1):
        """The [`GlyphAtlas`] of the first of some sizes in which a text fits; None where there is none."""
        least = self._largest.count(text)
        for font_size, *cell in sizes:
            room = self._lines(*cell, num_latents, scale).room
            # In smaller cells more characters are escaped; an atlas takes time, and is made where it may do.
            if least <= room:
                atlas = glyph_atlas(self.picture.font, font_size, *cell)
                if atlas is self._largest or atlas.count(text) <= room:
                    return atlas
        return None

    @cached_property
    def _sizes(self):
        """Font size, width and height of cells, largest first, as long as the characters of ASCII differ."""
        nominal_width, nominal_height = self.picture.cell
        sizes = []
        for height in range(nominal_height, 0, -1):
            share = height / nominal_height
            size = max(round(share * self.picture.font_size), 1), max(round(share * nominal_width), 1), height
            if not tells_ascii_apart(self.picture.font, *size):
                break
            sizes.append(size)
        return sizes

    def _lines(self, width, height, num_latents, scale):
        """The [`_Lines`] of cells of a size in the picture of so many latents, drawn `scale` times as large."""
        whole, across, last = self.picture.latent_rows(num_latents)
        pixels = scale * self.picture.latent_pixels
        # A line that reaches into the last, shorter row of latents is as short as that.
        full = whole * pixels // height
        shorter = (whole + 1) * pixels // height - full if last else 0
        return _Lines(full, across * pixels // width, shorter, last * pixels // width)


@dataclass(frozen=True)
class _Lines:
    """Lines of a page: `full` ones of `columns` cells, then `shorter` ones of `fewer` cells."""

    full: int
    columns: int
    shorter: int
    fewer: int

    @property
    def room(self):
        """Cells of all lines."""
        return self.full * self.columns + self.shorter * self.fewer

    def page(self, atlas, places):
        """The cells of a text on the page, `np.ndarray` of shape `(lines, columns)`."""
        cells = _ended(places, atlas, self.room)
        whole = self.full * self.columns
        page = np.full((self.full + self.shorter, self.columns), BLANK, dtype=cells.dtype)
        page[: self.full] = cells[:whole].reshape(self.full, self.columns)
        page[self.full :, : self.fewer] = cells[whole:].reshape(self.shorter, self.fewer)
        return page


def _ended(places, atlas, length):
    """The cells of a text, the one that ends it, if there is room for it, and blank ones: `length` of them."""
    cells = np.full(length, BLANK, dtype=places.dtype)
    cells[: len(places)] = places
    cells[len(places) : len(places) + 1] = atlas.end
    return cells


def _pixels(atlas, page):
    """The picture, `(lines * height, columns * width)`, of the cells of a page, `(lines, columns)`."""
    lines, columns = page.shape
    # NumPy copies a cell whole, then its rows as numbers of as many bytes as fit; some lines at once stay in the cache.
    glyphs = atlas.cells.reshape(len(atlas.cells), -1).view(f"V{atlas.width * atlas.height}")[:, 0]
    number = f"u{math.gcd(atlas.width, 8)}"
    pixels = np.empty((lines, atlas.height, columns * atlas.width), dtype=np.uint8).view(number)
    pixels = pixels.reshape(lines, atlas.height, columns, -1)
    for start in range(0, lines, LINES_AT_ONCE):
        block = slice(start, start + LINES_AT_ONCE)
        copied = glyphs[page[block].astype(np.intp)].view(number).reshape(-1, columns, *pixels.shape[1::2])
        for index in range(pixels.shape[3]):
            pixels[block, ..., index] = copied[..., index].transpose(0, 2, 1)
    return pixels.view(np.uint8).reshape(lines * atlas.height, columns * atlas.width)


__all__ = ["WHITE", "TextRenderer", "draw_text"]
