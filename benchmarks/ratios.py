"""
Speed and memory of a C3 model, each as a ratio to a stated baseline within one run.

    c3 bench [--only NAME…] [--size mini|tiny|large] [--device DEVICE] [--output DIR]

Measures the default checkpoint on the CPU in about twelve minutes; `--device cuda --size large` measures random
weights in the shapes of Qwen2.5-1.5B and Qwen2.5-3B. Writes DIR/results.json after each benchmark, and from it
DIR/results.md (the table) and the figures. A run that was interrupted goes on where it stopped. `--list` says what
there is.

Exit code 1 where outputs that have to be equal are not; a ratio that is missed is reported, not an error.
"""

import argparse
import sys
import time
from pathlib import Path

from tqdm.auto import tqdm

from c3.eval.report import check_figures
from c3.eval.result_file import read_matching, write_json
from c3.support.arguments import Parser, whole_number
from c3.whole_files_c3 import ensure_writable

from .options import add_model_options, make_setup
from .registry import BENCHMARKS
from .report import draw, find_markers, insert_into, render
from .run_header import describe

DISAGREEING = 1
RESULT_FILE = "results.json"


def run(setup, names, path=None):
    """
    Runs what is not yet in the result file.

    Args:
        setup (`Setup`): sizes, device, runs.
        names (`list[str]`): of `BENCHMARKS`.
        path (`Path`, *optional*): the result file.

    Returns: `dict`, the result as it is in the file.

    Raises: `ValueError` for a result file of something else, or of a run with another header.
    """
    header = describe(setup)
    result = read_matching(path, header, ("benchmarks",)) or {**header, "benchmarks": {}}
    finished = result["benchmarks"]
    with tqdm(total=len(names), unit="benchmark", disable=None) as bar:
        for name in names:
            bar.set_description(name)
            if name not in finished:
                started = time.perf_counter()
                rows = BENCHMARKS[name].measure(setup)
                finished[name] = {"rows": rows, "seconds": time.perf_counter() - started}
                result["benchmarks"] = {each: finished[each] for each in BENCHMARKS if each in finished}
                if path:
                    write_json(path, result)
            bar.update()
    return result


def checks_failed(result):
    """Names of benchmarks whose outputs disagree, `list[str]`."""
    return [
        name
        for name, each in result["benchmarks"].items()
        if any(row.get("is_check") and not row["met"] for row in each["rows"])
    ]


def _parser(prog, epilog):
    parser = Parser(prog=prog, description=__doc__, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="what there is, and stop")
    parser.add_argument("--only", nargs="+", choices=list(BENCHMARKS), metavar="NAME", help="these only")
    add_model_options(parser)
    parser.add_argument("--runs", type=whole_number(1), help="timed runs of each side, default 5")
    parser.add_argument("--long", action="store_true", help="also what takes more than some minutes on a CPU")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder of the results; is made if need be")
    parser.add_argument(
        "--write-into", type=Path, metavar="FILE", help="put the table between the markers of a Markdown file"
    )
    return parser


def ratios_command(argv, prog, epilog=None):
    """
    Runs the command; `epilog` (`str`) ends its help. Returns its exit code.

    Raises: `OSError`, `ValueError` saying in one line what is wrong.
    """
    args = _parser(prog, epilog).parse_args(argv)
    if args.list:
        width = max(map(len, BENCHMARKS))
        print("\n".join(f"{name:<{width}}  {each.summary}" for name, each in BENCHMARKS.items()))
        return 0
    setup = make_setup(args, runs=args.runs or (1 if args.smoke else 5), warm_up=0 if args.smoke else 1, long=args.long)
    if args.write_into:
        find_markers(args.write_into)
    if args.output:
        check_figures()
        args.output.mkdir(parents=True, exist_ok=True)
        ensure_writable(args.output / RESULT_FILE)
    result = run(setup, args.only or list(BENCHMARKS), args.output and args.output / RESULT_FILE)
    table = render(result)
    print(table, flush=True)
    if args.output:
        (args.output / RESULT_FILE).with_suffix(".md").write_text(table + "\n", encoding="utf-8")
        draw(result, args.output)
    if args.write_into:
        insert_into(args.write_into, table)
    failed = checks_failed(result)
    if failed:
        print(f"outputs that have to be equal are not: {', '.join(failed)}", file=sys.stderr)
    return DISAGREEING if failed else 0
