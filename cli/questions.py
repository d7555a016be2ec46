"""`c3 data questions`: questions about texts of a corpus, to train on and to measure with."""

import sys
from itertools import islice
from pathlib import Path

from c3.eval.questions.splits import SPLITS
from c3.eval.questions.tasks import FAMILIES
from c3.quoting_c3 import printable
from c3.support.arguments import depth, file_name, whole_number
from c3.support.errors import UserError, naming
from c3.support.loading import PACKAGE, load_tokenizer

from .model_options import add_debug
from .outputs import check_output

SUMMARY = "questions about texts of a corpus, with short exact answers"
# 1 to 64 windows of 64 tokens.
LENGTHS = 64, 128, 256, 512, 1024, 2048, 4096


def add_arguments(parser):
    add_debug(parser)
    about = ".parquet or .jsonl files with a column `text`, or .txt files, a text each"
    parser.add_argument("corpus", type=file_name, nargs="+", metavar="CORPUS", help=about)
    about = "a .jsonl or .parquet file: rows of `context` and `messages`, and what they are"
    parser.add_argument("-o", "--output", type=file_name, required=True, metavar="FILE", help=about)
    about = f"names of tasks, or how they begin: {', '.join(FAMILIES)}; as single-numbers-prose (default: all)"
    parser.add_argument("--tasks", nargs="+", metavar="TASK", help=about)
    parser.add_argument(
        "--lengths",
        type=whole_number(16, 10**6),
        nargs="+",
        default=LENGTHS,
        metavar="TOKENS",
        help=f"tokens of a text, at most (default: {' '.join(map(str, LENGTHS))})",
    )
    about = "where in the text the answer stands, 0 its start and 1 its end (default: spread evenly)"
    parser.add_argument("--depths", type=depth, nargs="+", metavar="D", help=about)
    about = (
        "questions about a text, at most: of all but the first the row says no more than what to answer (default: 1)"
    )
    parser.add_argument("--questions", type=whole_number(1, 1000), default=1, metavar="N", help=about)
    about = "rows (default: 10000)"
    parser.add_argument("--number", type=whole_number(1, 10**8), default=10_000, metavar="N", help=about)
    about = "train and test have other documents, words, numbers and seeds (default: train)"
    parser.add_argument("--split", choices=SPLITS, default="train", help=about)
    parser.add_argument(
        "--seed", type=whole_number(0, 2**32), default=0, help="other rows for another one (default: 0)"
    )
    about = "tokenizer of the lengths (default: that of the checkpoint which comes with c3)"
    parser.add_argument("--count-with", type=file_name, metavar="PATH_OR_ID", help=about)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args):
    """
    Writes the rows, and prints how many there are of each family of tasks.

    Raises:
        UserError: no corpus, tokenizer or task to work with, or no place to write to.
    """
    from c3.eval.questions.material import Material, read_corpus
    from c3.eval.questions.row_files import check_ending
    from c3.eval.questions.rows import find_impossible
    from c3.eval.questions.tasks import TASKS, find_tasks

    check_ending(args.output)
    check_output(args.output, args.corpus)
    tasks, lengths = find_tasks(args.tasks or TASKS), sorted(set(args.lengths))
    tokenizer = load_tokenizer(args.count_with or str(PACKAGE))
    material = Material(read_corpus(args.corpus), tokenizer, args.split)
    impossible = find_impossible(material, tasks, lengths, args.seed)
    _check_possible(args.tasks or [], lengths, tasks, impossible)
    if impossible:
        print(f"c3: left out: {_described(impossible)}", file=sys.stderr)
    counts = _write(args, material, tasks, lengths, impossible)
    listed = ", ".join(f"{name} {count}" for name, count in counts.items())
    print(printable(f"{args.output}: {sum(counts.values())} rows ({listed})"))


def _check_possible(names, lengths, tasks, impossible):
    """Raises `UserError` where nothing is left of what was asked for."""
    from c3.eval.questions.tasks import find_tasks

    advice = "give other --lengths, or a larger corpus of whole sentences"
    for name in names:
        pairs = [(task, length) for task in find_tasks([name]) for length in lengths]
        if all(pair in impossible for pair in pairs):
            raise UserError(f"--tasks {name}: {impossible[pairs[-1]]}: {advice}")
    for length in lengths:
        if all((task, length) in impossible for task in tasks):
            raise UserError(f"--lengths {length}: {impossible[tasks[0], length]}: {advice}")


def _described(impossible):
    """What is left out and why, `str`, by reason."""
    by_reason = {}
    for (task, length), reason in impossible.items():
        by_reason.setdefault(reason, {}).setdefault(length, []).append(task)
    return "; ".join(
        f"at {length} tokens {', '.join(tasks)} ({reason})"
        for reason, by_length in by_reason.items()
        for length, tasks in by_length.items()
    )


def _write(args, material, tasks, lengths, impossible):
    """Writes the rows; returns how many of each family of tasks, `dict[str, int]`."""
    from tqdm.auto import tqdm

    from c3.eval.questions.row_files import row_writer
    from c3.eval.questions.rows import make_rows, wanted_rows
    from c3.eval.questions.tasks import family
    from c3.whole_files_c3 import whole_file

    counts = {}
    wanted = islice(wanted_rows(tasks, lengths, impossible, args.depths), args.number)
    rows = make_rows(material, wanted, args.seed, args.questions)
    with naming(args.output), whole_file(args.output) as temporary:
        with row_writer(temporary, Path(args.output).suffix) as write:
            for row in tqdm(rows, total=args.number, desc="Questions", unit="row", disable=args.quiet):
                write(row)
                counts[family(row["task"])] = counts.get(family(row["task"]), 0) + 1
    return counts
