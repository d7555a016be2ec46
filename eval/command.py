"""
The suites on one command.

    python -m c3.eval SUITE [--model PATH_OR_ID] [--data PAGES…] [--output DIR]
    python -m c3.eval card --results DIR

Writes DIR/SUITE.json (every example), DIR/SUITE.md (the tables) and DIR/SUITE.png and .svg (the figure). Decoding is
greedy and free-running. A run that was interrupted goes on where it stopped; the same arguments give the same numbers.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
import transformers
from tqdm.auto import tqdm

from c3 import __version__
from c3.quoting_c3 import in_one_line, printable, printable_lines
from c3.support.arguments import MODEL_HELP, Parser, positive
from c3.support.loading import load_model
from c3.support.termination import cleaned_up_when_terminated
from c3.whole_files_c3 import ensure_writable

from .baselines import METHODS
from .card import add_arguments as add_card_arguments
from .card import write_cards
from .fox_data import read_data
from .harness import Options, chunks, leave_out_impossible, result_row
from .page_data import describe_counter, load_counter
from .report import check_figures
from .result_file import read_examples, write_json
from .suites import SUITES
from .words import check_segmenter

# Windows of a chunk of examples, in batches: after each chunk the result file is written anew.
CHUNK_BATCHES = 4


def run(name, args):
    """
    Measures what is not yet in the output file.

    Returns: `dict`, the result as it is in the file.

    Raises: `OSError`, `ValueError` saying in one line what is wrong.
    """
    suite = SUITES[name]
    if suite.needs_data and not args.data:
        raise ValueError(f"the suite {name} measures pages: say with --data which")
    path = args.output and args.output / f"{name}.json"
    if path:
        ensure_writable(path)
    count_with = args.count_with or suite.default_count_with
    counter = load_counter(count_with)
    pages, data, left_out = read_data(args.data or [], args.limit)
    model = load_model(args.model, args.device, args.dtype)
    options = Options(
        model.processor.default_window if args.window is None else args.window, args.batch_size, args.steps
    )
    examples, more = suite.prepare(args, pages, model, counter, options.window)
    examples, impossible = leave_out_impossible(model, examples, options.window)
    more += impossible
    if suite.methods:
        methods, depends_on = suite.methods(args, model, examples)
    else:
        methods, depends_on = {each: METHODS[each] for each in args.methods}, {}
        check_segmenter(example.page.text for example in examples)
    own = {key: value for key, value in vars(args).items() if key in suite_options(suite)}
    header = {
        "suite": name,
        "model": asdict(model.latent_provenance()),
        "counted_with": describe_counter(count_with, counter),
        "data": data,
        "left_out": left_out + more,
        "options": {**asdict(options), **own, "limit": args.limit, "device": args.device, "dtype": args.dtype},
        **depends_on,
        "methods": list(methods),
        "versions": {"c3": __version__, "torch": torch.__version__, "transformers": transformers.__version__},
    }
    # As it comes back from the file.
    header = json.loads(json.dumps(header))
    rows, seconds = read_examples(path, header)
    result = {**header, "n_examples": len(examples) * len(header["methods"]), "examples": rows, "timing": seconds}
    for line in header["left_out"]:
        print(printable(f"{name}: left out: {line}"), file=sys.stderr)
    for method, function in methods.items():
        _measure(suite, method, function, model, examples, options, result, path, args.leave_out_texts)
    return result


def _measure(suite, method, function, model, examples, options, result, path, leave_out_texts):
    rows = result["examples"]
    finished = {(row["method"], row["setting"], row["group"], row["id"]) for row in rows}
    with tqdm(total=len(examples), desc=method, unit="text") as bar:
        # Whole chunks, always cut alike: what is padded together is the same in every run, and so are the numbers.
        for chunk in chunks(examples, CHUNK_BATCHES * options.batch_size):
            if not all(example.key(method) in finished for example in chunk):
                started = time.perf_counter()
                outputs = function(model, chunk, options)
                seconds = time.perf_counter() - started
                for example, output in zip(chunk, outputs, strict=True):
                    make_row = suite.row or partial(result_row, measure=suite.measure)
                    row = make_row(method, example, output)
                    if leave_out_texts:
                        row.pop("output", None)
                    rows.append(row)
                result["timing"][method] = result["timing"].get(method, 0) + seconds
                if path:
                    write_json(path, result)
            bar.update(len(chunk))


def suite_options(suite):
    """Names and defaults of a suite's own options."""
    parser = argparse.ArgumentParser()
    suite.add_arguments(parser)
    return vars(parser.parse_args([]))


def _parser(prog):
    parser = Parser(prog=prog, description="Measure what comes back from latents, greedily decoded.")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--model", metavar="PATH_OR_ID", help=MODEL_HELP)
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
    shared.add_argument("--limit", type=positive, help="read the first so many pages of each file only")
    shared.add_argument("--window", type=positive, help="encoder tokens of a window; default the model's")
    shared.add_argument("--batch-size", type=positive, default=64, help="windows at once (default 64)")
    shared.add_argument("--steps", type=positive, default=200, help="steps of optimised-latents (default 200)")
    shared.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    shared.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], help="default float32 on a CPU")
    of_methods = argparse.ArgumentParser(add_help=False)
    of_methods.add_argument("--methods", nargs="+", choices=list(METHODS), default=["c3"], help="default c3, the model")
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


@cleaned_up_when_terminated()
def main(argv=None):
    try:
        evaluate(sys.argv[1:] if argv is None else list(argv), "python -m c3.eval")
    except (OSError, ValueError) as error:
        raise SystemExit(f"c3.eval: error: {in_one_line(error)}") from error
