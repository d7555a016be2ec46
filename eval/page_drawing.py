"""
A text on pages, as Glyph draws it (arXiv 2510.17800): black letters as wide as their font has them, words wrapped, page
after page.

The pictures that a C3 model reads are another matter (`text_rendering_c3.py`): there every character has a cell, so
that a picture stands for one text.
"""

import re
import unicodedata
from bisect import bisect_right
from functools import lru_cache

from c3.font_files_c3 import font_characters, load_font, pillow

# What stays together on a line: words, the characters of scripts without spaces, and white space, which may hang over.
_PIECES = re.compile(r" +|[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef]|[^ \u2e80-\u9fff\uf900-\ufaff\uff00-\uffef]+")
TAB = "    "


def draw_pages(text, settings):
    """
    The pages that a text takes, `list[PIL.Image.Image]`, in colour as vision-language models want them.

        first, *others = draw_pages("It was the best of times", read_page_settings("configs/glyph_like.yaml"))

    A line break ends a line, a tab is four spaces, and what the font lacks or nobody sees is drawn as its code point,
    `[U+1F525]`: nothing is left out. The same text gives the same pixels.

    Args:
        settings ([`PageSettings`]): of the page and its font.

    Raises:
        ImportError, ValueError: Pillow is not installed, or not a font.
    """
    font = load_font(settings.font, round(settings.pixels(settings.font_size)))
    width, num_lines = settings.text_size
    lines = wrap(spell(text, settings.font), font.getlength, width)
    pages = [lines[start : start + num_lines] for start in range(0, len(lines), num_lines)]
    return [_draw(page, font, settings, last=page is pages[-1]) for page in pages]


def spell(text, font):
    """A text with escapes for what a font's file (`str`) has no picture of, or what leaves none."""
    return text.translate({ord("\t"): TAB} | {ord(each): f"[U+{ord(each):04X}]" for each in not_drawn(text, font)})


def not_drawn(text, font):
    """The characters, `set[str]`, of which a text has escapes."""
    return {each for each in set(text) - {"\n", "\t"} if not _is_drawn(each, font)}


def wrap(text, length, width):
    """
    The lines of a text: each as many of its words as fit, or where a word is wider than a line as many characters.
    White space at the end of a line may hang over it. Joined, the lines of a paragraph are that paragraph.

    Args:
        length: `(str) -> float`, how wide a line is.
        width (`float`): that there is.

    Returns: `list[str]`, at least one.
    """
    return [line for paragraph in text.split("\n") for line in _wrap_paragraph(paragraph, length, width)]


def _wrap_paragraph(text, length, width):
    lines, line = [], ""
    for piece in _PIECES.findall(text):
        if line and not piece.isspace() and length(line + piece) > width:
            lines.append(line)
            line = ""
        while not piece.isspace() and len(piece) > 1 and length(piece) > width:
            fitting = bisect_right(range(1, len(piece) + 1), width, key=lambda count: length(piece[:count]))
            lines.append(piece[: max(fitting, 1)])
            piece = piece[max(fitting, 1) :]
        line += piece
    return [*lines, line]


def _draw(lines, font, settings, last):
    Image, _ = pillow()
    from PIL import ImageDraw

    width, height = map(settings.pixels, settings.page_size)
    inset = settings.pixels(settings.margin + settings.padding)
    line_height, margin = settings.pixels(settings.line_height), settings.pixels(settings.margin)
    if settings.crop:
        width = min(width, inset + max(font.getlength(line.rstrip(" ")) for line in lines) + margin)
        if last:
            height = min(height, inset + len(lines) * line_height + margin)
    page = Image.new("RGB", (max(round(width), 1), max(round(height), 1)), "white")
    draw = ImageDraw.Draw(page)
    for place, line in enumerate(lines):
        draw.text((round(inset), round(inset + place * line_height)), line, fill="black", font=font)
    return page


def _is_drawn(character, font):
    # Spaces of other widths are as blank as a space; what is invisible otherwise would be left out unseen.
    kind = unicodedata.category(character)
    return ord(character) in _characters(font) and kind[0] != "C" and kind not in ("Zl", "Zp")


@lru_cache(maxsize=8)
def _characters(font):
    return frozenset(font_characters(font).tolist())
