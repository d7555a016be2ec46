"""
The model card from result files: what stands between two markers is written anew, the prose around them is kept.

    c3 eval card --results DIR [--card README.md] [--texts model_card.md docs/results.md] [--check]

    <!-- results: NAME -->
    written from the files of DIR by the function of that name in card_parts.py
    <!-- end of results -->

The card is what the Hub shows as the model's page: its metadata get a `model-index` too, and `.eval_results/pages.yaml`
beside it the same results. The figures are drawn anew beside the result files.
"""

import re
from pathlib import Path

from c3.whole_files_c3 import write_whole

from .card_parts import CARD_FIGURES, CARD_TABLES, PAGES
from .hub_results import FILE, entries_as_yaml, eval_entries, with_model_index
from .report import check_figures
from .result_file import Results

ROOT = Path(__file__).parents[1]
TEXTS = ("model_card.md", "docs/results.md")
PART = re.compile(r"<!-- results: (?P<name>\S+) -->.*?<!-- end of results -->", re.DOTALL)
MARKER = re.compile(r"<!-- (?:results: \S+|end of results) -->")


def add_arguments(parser):
    parser.add_argument("--results", required=True, type=Path, metavar="DIR", help="folder of the result files")
    parser.add_argument(
        "--card",
        type=Path,
        default=ROOT / "README.md",
        help=f"gets tables and metadata, and {FILE} beside it; default this package's README.md",
    )
    parser.add_argument(
        "--texts", nargs="*", type=Path, help=f"get tables alone; default {' and '.join(TEXTS)} beside the card"
    )
    parser.add_argument("--check", action="store_true", help="write nothing; an error if a text would be changed")


def write_cards(args):
    """
    Writes the card, the Hub's entries, the other texts and the figures; with `args.check` compares all but the figures.

    Returns: `list[Path]`, what was written.

    Raises: `OSError`, `ValueError` saying in one line what is wrong; then nothing was written.
    """
    results = Results(args.results)
    measured = {name: results[file] for name, file in PAGES.items() if file in results}
    beside = [args.card.parent / name for name in TEXTS if (args.card.parent / name).is_file()]
    changed = {}
    for path in [args.card, *(beside if args.texts is None else args.texts)]:
        # As bytes: line ends stay as they are.
        before = path.read_bytes().decode("utf-8")
        after = with_parts(before, results, path)
        after = with_model_index(after, measured, path) if path == args.card else after
        if after != before:
            changed[path] = after
    path, content = args.card.parent / FILE, entries_as_yaml(eval_entries(measured))
    before = path.read_text(encoding="utf-8") if path.exists() else None
    if before != content and (measured or before):
        changed[path] = content
    if args.check:
        if changed:
            names = " and ".join(path.name for path in changed)
            raise ValueError(f"{names}: not what {args.results} says; write anew without --check")
        return []
    check_figures()
    figures = {name: draw for name, (needed, draw) in CARD_FIGURES.items() if needed in results}
    for name, draw in figures.items():
        draw(results, args.results / name)
    for path, text in changed.items():
        path.parent.mkdir(exist_ok=True)
        write_whole(path, text)
    return [*changed, *(args.results / f"{name}.{ending}" for name in figures for ending in ("png", "svg"))]


def with_parts(text, results, path):
    """A text with all of its parts written anew; `path` is for error messages."""

    def part(match):
        name = match["name"]
        if name not in CARD_TABLES:
            raise ValueError(f"{path} wants results `{name}`, but there are only {', '.join(CARD_TABLES)}")
        return f"<!-- results: {name} -->\n\n{CARD_TABLES[name](results)}\n\n<!-- end of results -->"

    if len(MARKER.findall(text)) != 2 * len(PART.findall(text)):
        raise ValueError(f"{path} has a `<!-- results: NAME -->` without its `<!-- end of results -->`, or the reverse")
    return PART.sub(part, text)
