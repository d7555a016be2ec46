"""
Drawing text for encoders that read pictures of it: characters per second, on one core.

Baseline: Pillow's own `ImageDraw.text`, a line of the text at a time, in the same font. Ours copies characters from an
atlas that is made before, keeps to a grid and marks line breaks and escapes. 10 MB of text a second are to be reached.
"""

from c3.font_files_c3 import load_font, pillow
from c3.glyph_atlas_c3 import glyph_atlas
from c3.text_rendering_c3 import draw_text

from .harness import Benchmark, at_least, check_row, of_cpu_alone, ratio_row, summarize, value_row

COLUMNS, FONT_SIZE, CELL = 85, 9, (6, 10)  # 512 pixels


def measure(setup):
    Image, ImageFont = pillow()
    from PIL import ImageDraw

    text = setup.text(setup.pick(100_000, 4_000))
    lines = [text[start : start + COLUMNS].replace("\n", " ") for start in range(0, len(text), COLUMNS)]
    font = load_font(None, FONT_SIZE)
    atlas = glyph_atlas(None, FONT_SIZE, *CELL)

    def line_by_line():
        picture = Image.new("L", (COLUMNS * CELL[0], len(lines) * CELL[1]), 255)
        draw = ImageDraw.Draw(picture)
        for place, line in enumerate(lines):
            draw.text((0, place * CELL[1]), line, fill=0, font=font)
        return picture

    ours, baseline = setup.alternate(lambda: draw_text(text, COLUMNS), line_by_line)
    case = f"{len(text) / 1e3:.0f} kB of text"
    # Cell by cell, without the end of the text.
    cells = draw_text(text, COLUMNS).reshape(-1, CELL[1], COLUMNS, CELL[0]).transpose(0, 2, 1, 3)
    places = atlas.spell(text)
    equal = (cells.reshape(-1, *CELL[::-1])[: len(places)] == atlas.cells[places]).all((1, 2)).mean()
    return [
        ratio_row(case, [ours, baseline], "speed", at_least(1)),
        value_row(case, len(text.encode()) / 1e6 / summarize(ours)["median"], "MB/s", at_least(10)),
        check_row("characters in their places", float(equal)),
    ]


BENCHMARK = Benchmark("text to pictures, against Pillow's own drawing of lines", measure, why_not=of_cpu_alone)
