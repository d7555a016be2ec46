"""
Speed and memory of a C3 model, each as a ratio to a stated baseline within one run.

    c3 bench [--only NAME…] [--size mini|tiny|large] [--device DEVICE] [--minutes M] [--output DIR]

Measures the default checkpoint on the CPU in about seventeen minutes; `--size large` measures random weights in the
shapes of Qwen2.5-1.5B and Qwen2.5-3B. Writes DIR/results.json and DIR/results.md (the table) after each benchmark, and
figures at the end. A run that was interrupted goes on where it stopped. `--list` says what there is.

With --minutes the most telling ones run first: training step, compress and expand of the default model and of random
weights of 1.5B + 3B, first token, cache, memory; then the others. One that is not likely to end in time, from what
those before it took, is not begun; one that does not end in time is not counted; one that fails is passed over. The
results name each that was left out, and why.

Exit code 1 where outputs that have to be equal are not, or a benchmark failed; a ratio that is missed is reported, not
an error.
"""

import argparse
import sys
import traceback
from pathlib import Path

from tqdm.auto import tqdm

from c3.eval.report import check_figures
from c3.eval.result_file import read_matching, write_json
from c3.support.arguments import Parser, whole_number
from c3.support.errors import one_line
from c3.whole_files_c3 import ensure_writable, write_whole

from .options import add_model_options, make_setup
from .registry import BENCHMARKS
from .report import draw, find_markers, insert_into, render
from .run_header import describe
from .time_limit import OutOfTime, TimeLimit, expected_seconds

DISAGREEING = 1
RESULT_FILE = "results.json"
FAILED = "failed: "


def run(setup, names, path=None):
    """
    Runs what is not yet in the result file, as far as there is time.

    Args:
        setup (`Setup`): sizes, device, runs, until when.
        names (`list[str]`): of `BENCHMARKS`.
        path (`Path`, *optional*): the result file; the table goes beside it, as .md.

    Returns: `dict`, the result as it is in the file.

    Raises: `ValueError` for a result file of something else, or of a run with another header. Where time is not
    limited, what a benchmark raises.
    """
    header = describe(setup)
    result = read_matching(path, header, ("benchmarks",)) or {**header, "benchmarks": {}}
    finished = result["benchmarks"]
    left = {name: "not begun" for name in setup.time_limit.in_order(names) if name not in finished}
    reasons = {name: why for name in left if (why := BENCHMARKS[name].why_not(setup))}
    left |= reasons
    todo = [name for name in left if name not in reasons]
    _save(result, finished, left, path)
    with tqdm(total=len(todo), unit="benchmark", disable=None) as bar:
        while name := _next(setup, todo, left, finished):
            bar.set_description(name)
            started = setup.time_limit.clock()
            todo.remove(name)
            try:
                rows = BENCHMARKS[name].measure(setup)
            except OutOfTime:
                left[name] = "begun, but not at its end when the time was over"
            except Exception as error:
                if setup.time_limit.minutes is None:
                    raise
                traceback.print_exc()
                left[name] = f"{FAILED}{type(error).__name__}: {one_line(error)}"
            else:
                finished[name] = {"rows": rows, "seconds": setup.time_limit.clock() - started}
                del left[name]
            _save(result, finished, left, path)
            bar.update()
    _save(result, finished, left, path)
    return result


def _next(setup, todo, left, finished):
    """The first of `todo` for which there is time, or None; of those before it `left` says why they are not it."""
    taken = {name: each["seconds"] for name, each in finished.items()}
    for name in todo:
        if setup.time_limit.minutes is None:
            return name
        seconds, seconds_left = expected_seconds(name, setup.device, taken), setup.time_limit.seconds_left()
        if seconds < seconds_left:
            return name
        left[name] = f"not begun: {seconds:.0f} s were expected, {max(seconds_left, 0):.0f} s were left"
    return None


def _save(result, finished, left, path):
    """Puts into the result, and writes to the file and the table, what there is and what is left out."""
    result["benchmarks"] = {name: finished[name] for name in BENCHMARKS if name in finished}
    result["left_out"] = dict(left)
    if path:
        write_json(path, result)
        write_whole(path.with_suffix(".md"), render(result) + "\n")


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
    parser.add_argument("--minutes", type=whole_number(1), metavar="M", help="end in time, most telling ones first")
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
    time_limit = TimeLimit(args.minutes)
    runs, warm_up = (1, 0) if args.smoke else (5, 1)
    setup = make_setup(args, runs=args.runs or runs, warm_up=warm_up, long=args.long, time_limit=time_limit)
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
        draw(result, args.output)
    if args.write_into:
        insert_into(args.write_into, table)
    failed = [name for name, why in result["left_out"].items() if why.startswith(FAILED)]
    disagreeing = checks_failed(result)
    for what, those in (("outputs that have to be equal are not", disagreeing), ("failed", failed)):
        if those:
            print(f"{what}: {', '.join(those)}", file=sys.stderr)
    return DISAGREEING if disagreeing or failed else 0
