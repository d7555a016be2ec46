"""Pictures of text: what they show is the text and no other. Run: pytest tests/test_text_rendering.py"""

import random
import sys
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from c3.context_picture_c3 import ContextPicture
from c3.font_files_c3 import font_characters, load_font
from c3.glyph_atlas_c3 import ASCII, MARKS, GlyphAtlas, glyph_atlas
from c3.text_rendering_c3 import TextRenderer, draw_text
from tiny_models import LONG, TEXTS

# It comes with a library of the tests.
MONOSPACE = str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSansMono.ttf"))
FONTS = [None, MONOSPACE]
ODD = ["[U+1F525]", "🔥", "[U+1F525", "\U0010ffff", "é", "А", "█", "▙", "\xa0", "\u200b", "e\u0301", "\x00", "\n", "\r"]
ODD += ["\t", "n", " ", "  ", "", "\\n", "]", "短い", "\u2028", "\xad"]


@lru_cache
def alphabet(font, font_size, cell):
    """The characters in black, and those of ASCII in white, by their pixels: two `dict`."""
    line = "".join(map(chr, font_characters(font).tolist()))
    cells = {each: draw_text(each, 20, font, font_size, cell)[:, : cell[0]] for each in line}
    letters = {cells[each].tobytes(): each for each in [*line, *ASCII]}  # where some look alike, ASCII's
    return letters, {(255 - cells[each]).tobytes(): each for each in ASCII}


def read(picture, font, font_size, cell, columns=None):
    """The text that a picture shows, from its pixels; `columns` of each line, by default all."""
    width, height = cell
    letters, negatives = alphabet(font, font_size, cell)
    text, escape = [], None
    for line in range(len(picture) // height):
        for column in range(columns[line] if columns else picture.shape[1] // width):
            pixels = picture[line * height : (line + 1) * height, column * width : (column + 1) * width].tobytes()
            negative = negatives.get(pixels)
            if negative == " ":
                return "".join(text)
            if escape is not None:
                escape += negative
                if negative == "]":
                    text.append(chr(int(escape.removeprefix("U+").removesuffix("]"), 16)))
                    escape = None
            elif negative == "[":
                escape = ""
            else:
                text.append({letter: mark for mark, letter in MARKS.items()}[negative] if negative else letters[pixels])
    return "".join(text)


@pytest.mark.parametrize("font", FONTS)
@pytest.mark.parametrize(("font_size", "cell"), [(9, (6, 10)), (5, (4, 6))])
def test_a_picture_is_read_back(font, font_size, cell):
    """So no two texts have the same one, whatever white space, escapes and characters that look alike they hold."""
    draw = random.Random(0)
    for length in [1] * 10 + [40] * 30:
        text = "".join(draw.choice([*ASCII, *ODD, *ODD]) for _ in range(draw.randrange(1, length + 1)))
        columns = draw.randrange(1, 30)
        picture = draw_text(text, columns, font, font_size, cell)
        assert picture.dtype == np.uint8 and picture.shape[1] == columns * cell[0]
        assert read(picture, font, font_size, cell) == text


def test_what_the_font_lacks_is_escaped_and_only_that():
    own, escaped = (glyph_atlas(font, 9, 6, 10) for font in FONTS[::-1])
    assert own.count("é") == 1 and escaped.count("é") == len("[U+00E9]")
    assert own.count("🔥") == len("[U+1F525]") == len(own.spell("🔥"))
    assert own.count("\U0010ffff") == len("[U+10FFFF]")
    # Looks like Latin A; looks like a space.
    for character in "А\xa0":
        assert own.count(character) == len("[U+0410]")
    assert own.count("\n\t\r [U+1F525]") == 13
    assert len({cell.tobytes() for cell in own.cells}) == len(own.cells) > 2000


@pytest.mark.parametrize("font", FONTS)
def test_characters_of_a_font(font):
    """Its table says what Pillow draws as something else than what it draws for no character."""
    loaded, held = load_font(font, 10), set(font_characters(font).tolist())
    missing = bytes(loaded.getmask("\U0010fffe"))
    codes = random.Random(0).sample(range(0x21, 0x3000), 500) + random.Random(1).sample(range(0x1D400, 0x1F700), 100)
    for code in [*codes, *map(ord, ASCII[1:])]:
        assert (bytes(loaded.getmask(chr(code))) != missing) == (code in held), hex(code)


@pytest.mark.parametrize(("across", "counts"), [(4, (1, 3, 4, 7, 8)), (1, (2,))])
def test_a_picture_has_the_size_of_its_latents(across, counts):
    """Text goes into the squares that become latents and nowhere else, in smaller letters where there is more of it."""
    picture = ContextPicture(latent_pixels=32, latents_across=across)
    renderer, sizes = TextRenderer(picture), set()
    for n in counts:
        whole, columns, last = picture.latent_rows(n)
        assert whole * columns + last == n
        for text in ("short", "é🔥\n", TEXTS[0][: 12 * n], (LONG * 4)[: 40 * n]):
            pixels = renderer.draw(text, n)
            assert pixels.shape == picture.size(n) and renderer.fits(text, n)
            assert (pixels[whole * 32 :, last * 32 :] == 255).all() or not last
            size, width, height = next(each for each in renderer._sizes if renderer._fitting(text, n, [each]))
            lines = [
                columns * 32 // width if (line + 1) * height <= whole * 32 else last * 32 // width
                for line in range(len(pixels) // height)
            ]
            assert read(pixels, None, size, (width, height), lines) == text
            sizes.add(height)
    assert max(sizes) == 10 and len(sizes) > 1
    assert ContextPicture().size(256) == (512, 512)  # VIST2's, for 1024 tokens


def test_more_text_than_can_be_read():
    """It is drawn all the same, so that training takes any window, and it is said."""
    renderer = TextRenderer(ContextPicture(latents_across=4))
    text = "🔥" * 200
    assert not renderer.fits(text, 4) and renderer.fits(text, 16)
    pictures = [renderer.draw(each, 4) for each in (text, text + "🔥", "n" + text)]
    assert {each.shape for each in pictures} == {(32, 128)}
    assert len({each.tobytes() for each in pictures}) == 3
    # The smallest cells are those below which letters look alike.
    size, width, height = renderer._sizes[-1]
    with pytest.raises(ValueError, match="look alike: take larger cells"):
        GlyphAtlas(None, max(round(9 * (height - 1) / 10), 1), max(round(6 * (height - 1) / 10), 1), height - 1)


def test_it_is_the_same_every_time():
    before = draw_text(LONG, 40, MONOSPACE)
    glyph_atlas.cache_clear()
    assert np.array_equal(draw_text(LONG, 40, MONOSPACE), before)


@pytest.mark.parametrize("columns", [0, -1, 1.5, None])
def test_lines_have_characters(columns):
    with pytest.raises((TypeError, ValueError), match=f"columns must be .*{columns}"):
        draw_text("a", columns)


def test_without_pillow_or_a_font(monkeypatch, tmp_path):
    (tmp_path / "text.ttf").write_text("no font")
    with pytest.raises(ValueError, match="text.ttf is no font that Pillow reads"):
        draw_text("a", 5, str(tmp_path / "text.ttf"))
    with pytest.raises(ValueError, match="There is no font file missing.ttf"):
        draw_text("a", 5, "missing.ttf")
    monkeypatch.setitem(sys.modules, "PIL", None)
    glyph_atlas.cache_clear()
    with pytest.raises(ImportError, match=r"by Pillow.*pip install -e .\[image\]"):
        draw_text("a", 5)
