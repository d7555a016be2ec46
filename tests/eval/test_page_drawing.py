"""Texts on pages, and the files that say how. Run: pytest tests/eval/test_page_drawing.py"""

import random
from dataclasses import asdict, replace

import pytest
import yaml

from c3.eval.page_drawing import draw_pages, spell, wrap
from c3.eval.page_reader import CONFIGS
from c3.eval.page_settings import read_page_settings
from c3.font_files_c3 import load_font
from eval_files import PAGES

GLYPH = CONFIGS / "glyph_like.yaml"


@pytest.fixture(scope="module")
def settings():
    return read_page_settings(GLYPH)


@pytest.fixture
def small(settings):
    """Pages of three lines, some ten letters wide."""
    return replace(settings, page_size=[100, 62])


def test_glyphs_settings(settings):
    """Those of its config_en.json."""
    published = {"font_size": 9, "line_height": 10, "page_size": [595, 842], "margin": 10, "dpi": 72, "crop": True}
    drawn = asdict(settings)
    assert {name: drawn[name] for name in published} == published
    page = draw_pages("\n".join(PAGES * 40), settings)[0]
    assert page.height == 842 and page.width <= 595


@pytest.mark.parametrize("width", [3, 20, 45.5, 200])
def test_lines_fit_and_hold_the_text(width, settings):
    length = load_font(settings.font, 9).getlength
    draw = random.Random(0)
    for _ in range(20):
        pieces = ["word", "a", " ", "  ", "\n", "W" * 30, "短い文章", "i.e.", "\n\n", "é"]
        text = "".join(draw.choice(pieces) for _ in range(40))
        lines = wrap(text, length, width)
        assert "".join(lines) == text.replace("\n", "")
        assert all(length(line.rstrip(" ")) <= width or len(line.rstrip(" ")) == 1 for line in lines)
        assert all(wrap(line, length, width) == [line] for line in lines)
    assert wrap("", length, width) == [""] and wrap("a\n", length, width) == ["a", ""]


def test_words_stay_whole(settings):
    length = load_font(settings.font, 9).getlength
    lines = wrap(PAGES[0] * 5, length, 150)
    assert [word for line in lines for word in line.split()] == (PAGES[0] * 5).split()
    # As many of them as fit.
    assert all(length(line + after.split()[0]) > 150 for line, after in zip(lines, lines[1:], strict=False))


def test_nothing_is_left_out(small):
    """Every character of a text changes its pages, wherever it stands."""
    text = PAGES[0][:60] + "\n\nx 🔥\u200b\tA" + "W" * 30 + " z"
    pages = [page.tobytes() for page in draw_pages(text, small)]
    assert len(pages) > 2
    for place, character in enumerate(text):
        if character not in " \n":
            others = [page.tobytes() for page in draw_pages(text[:place] + "#" + text[place + 1 :], small)]
            assert others != pages, (place, character)


def test_escapes(settings):
    wanted = "[U+1F525][U+200B][U+0000]    A\u00a0é\n[U+2028][U+10FFFF]"
    assert spell("🔥\u200b\x00\tA\u00a0é\n\u2028\U0010ffff", settings.font) == wanted


def test_the_same_text_gives_the_same_pages_and_more_text_more_of_them(settings, small):
    lines = [f"line {number}" for number in range(100)]
    for count in (1, 2, 3, 4, 6, 7):
        pages = draw_pages("\n".join(lines[:count]), small)
        assert len(pages) == -(-count // 3)
        again = draw_pages("\n".join(lines[:count]), small)
        assert [page.tobytes() for page in pages] == [page.tobytes() for page in again]
        # Only the last page is cut.
        assert {page.height for page in pages[:-1]} <= {62} and pages[-1].height == 26 + 10 * ((count - 1) % 3 + 1)
    (empty,) = draw_pages("", small)
    assert empty.height == 36
    (page,) = draw_pages("a", replace(settings, crop=False))
    (double,) = draw_pages("a", replace(settings, crop=False, dpi=144))
    assert page.size == (595, 842) and double.size == (1190, 1684)
    assert page.getbbox() == (0, 0, 595, 842) and page.getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"font_size": None}, "font_size must be a number above 0, not None"),
        ({"dpi": True}, "dpi must be a number above 0, not True"),
        ({"margin": -1}, "margin must be a number of 0 or more, not -1"),
        ({"page_size": [595]}, r"page_size must be a width and a height, not \[595\]"),
        ({"crop": 1}, "crop must be true or false, not 1"),
        ({"prompt": " "}, "prompt must be a text, not ' '"),
        ({"font": "none.ttf"}, "there is no font file none.ttf"),
        ({"page_size": [30, 842]}, "a page has no room for text"),
        ({"page_size": [595, 30]}, "a page has no room for text"),
        ({"dpi": 4}, "letters of less than a pixel"),
        ({"colour": "red"}, "must have a line for each of font, font_size, .*, and no other"),
    ],
)
def test_errors_of_settings(change, message, tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(GLYPH.read_text()) | change))
    with pytest.raises((OSError, ValueError), match=f"settings.yaml: {message}|settings.yaml {message}") as caught:
        read_page_settings(path)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_settings(tmp_path):
    path = tmp_path / "settings.yaml"
    with pytest.raises(FileNotFoundError, match="no such file of page settings: .*settings.yaml"):
        read_page_settings(path)
    for content, message in (
        (b"a: [", "is not YAML"),
        (b"\xff", "is not YAML"),
        (b"text", "must have a line for each"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"settings.yaml {message}"):
            read_page_settings(path)
