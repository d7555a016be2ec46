"""
Draws which package imports which, into docs/modules.svg, from the imports themselves:

    python docs/draw_modules.py

Fails, with a line for each, for what `module_graph.complaints` finds.
"""

import ast
import sys
from html import escape
from textwrap import wrap

from module_graph import (
    CARRIED,
    PACKAGE,
    ROOT,
    ROWS,
    complaints,
    find_arrows,
    find_imports,
    find_modules,
    make_boxes,
    reached,
)

WIDTH, MARGIN, GAP, PADDING, LINE = 1200, 20, 34, 8, 15
# Pixels of a letter of a module's name, and how many more letters of prose have room.
LETTER, PROSE = 6.7, 1.1
BLACK, GREY, RED = "#222", "#666", "#c00"
TITLE = (
    "An arrow: imports from. Left out is what a way of several arrows says already.",
    "Drawn by docs/draw_modules.py from the imports; it fails where one would go upwards.",
)
HEAD = """<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height:.0f}" \
viewBox="0 0 {width} {height:.0f}">
<style>text {{font: 12px sans-serif; fill: #222}} text.name {{font-weight: bold}} \
text.modules {{font: 11px monospace; fill: #444}}</style>
<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">\
<path d="M0 0 L8 4 L0 8 z" fill="{grey}"/></marker></defs>
<rect width="100%" height="100%" fill="white"/>
"""


def draw(root=ROOT):
    """The picture, `str` of SVG; the same for the same imports."""
    modules = find_modules(root)
    imports = find_imports(root, modules)
    boxes, _ = make_boxes(modules)
    lines = {name: _lines(box, root, modules, imports) for name, box in boxes.items()}
    places, top = {}, MARGIN + 3 * LINE
    for row in range(len(ROWS)):
        beside = [name for name, box in boxes.items() if box.row == row]
        places |= {name: (top, top + 2 * PADDING + LINE * len(lines[name])) for name in beside}
        top = max([places[name][1] + GAP for name in beside], default=top)
    shapes = [_arrow(boxes, places, *pair) for pair in _needed(boxes, find_arrows(boxes, imports))]
    shapes += [shape for name, box in boxes.items() for shape in _rectangle(box, places[name], lines[name])]
    said = [f'<text x="{MARGIN}" y="{MARGIN + LINE * row}">{line}</text>' for row, line in enumerate(TITLE)]
    return HEAD.format(height=top, width=WIDTH, grey=GREY) + "\n".join([*said, *shapes, "</svg>"]) + "\n"


def _needed(boxes, arrows):
    """Arrows that no longer way implies; those that go upwards all the same."""
    down = {name: set() for name in boxes}
    for source, target in arrows:
        if boxes[source].row < boxes[target].row:
            down[source].add(target)
    implied = {(name, far) for name in down for near in down[name] for far in reached(down, near)}
    return [pair for pair in sorted(arrows) if pair not in implied]


def _lines(box, root, modules, imports):
    """What is in a box, (class, text) each: its name, what it says of itself, its modules."""
    width = int((_x(box.right) - _x(box.left) - 2 * PADDING) / LETTER)
    if box.name == CARRIED:
        said = "The model and its processor; each line imports only from those below it."
        names = _by_depth(box.modules, imports)
    else:
        code = (root / modules[f"{PACKAGE}.{box.name}"]).read_text(encoding="utf-8")
        said = " ".join(ast.get_docstring(ast.parse(code)).split("\n\n")[0].split()).split(". ")[0].rstrip(".:") + "."
        said = said.replace("`", "")
        names = _by_folder(box)
    lines = [("name", box.name)] + [("said", each) for each in wrap(said, int(PROSE * width))]
    return lines + [("modules", each) for name in names for each in wrap(name, width, break_on_hyphens=False)]


def _by_folder(box):
    """A line for each sub-package with its modules, without what only says that it is a package or a command."""
    lines = {}
    for module in sorted(box.modules):
        inner = module.removeprefix(f"{PACKAGE}.{box.name}.")
        is_package = any(other.startswith(f"{module}.") for other in box.modules)
        if inner != module and inner != "__main__" and not is_package:
            *folders, name = inner.split(".")
            lines.setdefault("/".join(folders), []).append(name)
    return [f"{folder}: {' '.join(names)}" if folder else " ".join(names) for folder, names in lines.items()]


def _by_depth(names, imports):
    """Lines of modules, ordered by the longest way down from each."""
    depth = {}

    def measure(name):
        if name not in depth:
            depth[name] = 0  # ends a circle, of which there are complaints
            depth[name] = 1 + max([measure(each) for each in imports[name] if each in names], default=-1)
        return depth[name]

    levels = sorted({measure(name) for name in sorted(names)}, reverse=True)
    short = {name: name.removeprefix(f"{PACKAGE}.").removesuffix("_c3") for name in sorted(names)}
    return [" ".join(short[name] for name in short if depth[name] == level) for level in levels]


def _x(column):
    return MARGIN + column * (WIDTH - 2 * MARGIN) / 24


def _arrow(boxes, places, source, target):
    """Straight down where the two are above each other and nothing is between, else behind what is between."""
    above, below = boxes[source], boxes[target]
    is_upwards = above.row >= below.row
    left, right = max(above.left, below.left), min(above.right, below.right)
    if left < right:
        start = end = _free(boxes.values(), above.row, below.row, left, right)
    else:
        start, end = ((each.left + each.right) / 2 for each in (above, below))
    ends = (places[source][0], places[target][1]) if is_upwards else (places[source][1], places[target][0])
    return (
        f'<line x1="{_x(start):.1f}" y1="{ends[0]}" x2="{_x(end):.1f}" y2="{ends[1]}" '
        f'stroke="{RED if is_upwards else GREY}" stroke-width="1.3" marker-end="url(#head)">'
        f"<title>{escape(source)} imports {escape(target)}</title></line>"
    )


def _free(boxes, first, last, left, right):
    """The middle of the widest part of a span that no box between two rows covers; of the span where there is none."""
    covered = sorted((box.left, box.right) for box in boxes if first < box.row < last)
    parts, begin = [], left
    for start, end in [*covered, (right, right)]:
        parts.append((min(start, right) - begin, begin))
        begin = max(begin, end)
    width, begin = max(parts)
    return begin + width / 2 if width > 0 else (left + right) / 2


def _rectangle(box, place, lines):
    left, width, (top, bottom) = _x(box.left), _x(box.right) - _x(box.left), place
    yield (
        f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{bottom - top}" rx="4" fill="#f6f8fa" '
        f'stroke="{BLACK}"/>'
    )
    for row, (kind, text) in enumerate(lines):
        y = top + PADDING + LINE * (row + 0.75)
        yield f'<text class="{kind}" x="{left + PADDING:.1f}" y="{y:.1f}">{escape(text)}</text>'


def main():
    (ROOT / "docs" / "modules.svg").write_text(draw(), encoding="utf-8")
    found = complaints()
    for line in found:
        print(line, file=sys.stderr)
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
