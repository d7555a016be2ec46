"""
`c3 eval`: the suites, and the card.

    c3 eval SUITE [--model PATH_OR_ID] [--data PAGES…] [--output DIR]
    c3 eval card --results DIR

Writes DIR/SUITE.json (every example), DIR/SUITE.md (the tables) and DIR/SUITE.png and .svg (the figure). Decoding is
greedy and free-running. A run that was interrupted goes on where it stopped; the same arguments give the same numbers.
"""

import argparse
import sys
from pathlib import Path

import torch

from c3.eval.baselines import METHODS, PAGE_READERS
from c3.eval.suites import SUITES
from c3.quoting_c3 import in_one_line, printable, printable_lines
from c3.support.arguments import MODEL_HELP, Parser, whole_number

from .card import add_arguments as add_card_arguments
from .card import write_cards
from .engine import run, suite_options
from .report import check_figures


def _parser(prog):
    parser = Parser(prog=prog, description="Measure what comes back from latents, greedily decoded.")
    shared = argparse.ArgumentParser(add_help=False)
    about = f"{MODEL_HELP}; for {' and '.join(PAGE_READERS)} of a vision-language model"
    shared.add_argument("--model", metavar="PATH_OR_ID", help=about)
    shared.add_argument(
        "--data",
        nargs="+",
        metavar="PAGES",
        help=".parquet or .jsonl files with a column `text`; or the Fox benchmark: its zip, its folder or its "
        "en_page_ocr.json, or `fox` to fetch it from the Hub",
    )
    shared.add_argument("--output", type=Path, metavar="DIR", help="folder of the results; is made if need be")
    shared.add_argument("--count-with", metavar="PATH_OR_ID", help="tokenizer of the ratios; default the model's own")
    shared.add_argument("--leave-out-texts", action="store_true", help="keep what came back out of the JSON file")
    shared.add_argument("--limit", type=whole_number(1), help="read the first so many pages of each file only")
    shared.add_argument("--window", type=whole_number(1), help="tokens of a window; default the model's")
    shared.add_argument("--batch-size", type=whole_number(1), default=64, help="windows at once (default 64)")
    shared.add_argument("--steps", type=whole_number(1), default=200, help="steps of optimised-latents (default 200)")
    shared.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    shared.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], help="default float32 on a CPU")
    of_methods = argparse.ArgumentParser(add_help=False)
    methods = [*METHODS, *PAGE_READERS]
    of_methods.add_argument(
        "--methods",
        nargs="+",
        choices=methods,
        default=["c3"],
        help=f"default c3, the model; {' or '.join(PAGE_READERS)} alone, with a vision-language model as --model",
    )
    of_methods.add_argument(
        "--page-settings", metavar="FILE", help="how pages are drawn and asked for; default the method's, in configs/"
    )
    commands = parser.add_subparsers(dest="suite", metavar="SUITE", required=True)
    for name, suite in SUITES.items():
        parents = [shared] if suite.methods else [shared, of_methods]
        command = commands.add_parser(name, help=suite.summary, description=suite.summary, parents=parents)
        suite.add_arguments(command)
    commands.add_parser("all", help="every suite with its own defaults", parents=[shared, of_methods])
    about = "write the model card's tables, figures and metadata anew from result files"
    add_card_arguments(commands.add_parser("card", help=about, description=about))
    return parser


def evaluate(argv, prog):
    """Runs suites or writes the card. Raises `OSError`, `ValueError` saying in one line what is wrong."""
    args = _parser(prog).parse_args(argv)
    if args.suite == "card":
        for path in write_cards(args):
            print(printable(str(path)))
        return
    args.dtype = args.dtype or ("float32" if args.device == "cpu" else "bfloat16")
    if args.output:
        if args.output.is_file():
            raise ValueError(f"--output {args.output} is a file: name a folder")
        check_figures()
        args.output.mkdir(parents=True, exist_ok=True)
    if args.suite != "all":
        _run_and_report(args.suite, args)
        return
    failed = []
    for name in SUITES:
        try:
            _run_and_report(name, args)
        except (OSError, ValueError) as error:
            failed.append(name)
            print(f"{name}: not measured: {in_one_line(error)}", file=sys.stderr)
    if failed:
        raise ValueError(f"{len(failed)} of {len(SUITES)} suites could not be measured: {', '.join(failed)}")


def _run_and_report(name, args):
    """Runs a suite; prints its report and, with --output, writes it and the figure."""
    suite = SUITES[name]
    result = run(name, argparse.Namespace(**(suite_options(suite) | vars(args))))
    report = suite.report(result)
    print(printable_lines(report), flush=True)
    if args.output:
        (args.output / f"{name}.md").write_text(report + "\n", encoding="utf-8")
        suite.draw(result, args.output / name)
