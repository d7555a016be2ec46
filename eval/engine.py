"""The engine of the suites: measures what is not yet in a suite's result file, a chunk of examples at a time."""

import argparse
import json
import sys
import time
from dataclasses import asdict
from functools import partial

import torch
import transformers
from tqdm.auto import tqdm

from c3 import __version__
from c3.eval.baselines import METHODS
from c3.eval.suites import SUITES
from c3.quoting_c3 import printable
from c3.support.loading import load_model
from c3.whole_files_c3 import ensure_writable

from .harness import Options, chunks, leave_out_impossible, result_row
from .page_data import describe_counter, load_counter
from .page_files import read_data
from .result_file import read_matching, write_json
from .words import check_segmenter

# Windows of a chunk of examples, in batches: what is measured, and kept, together.
CHUNK_BATCHES = 4
# The result file, which grows long, is written anew after a chunk that ends so much later, and at the end.
SECONDS_BETWEEN_WRITES = 20


def run(name, args):
    """
    Measures what is not yet in the output file.

    Returns: `dict`, the result as it is in the file: what the numbers depend on, `examples` with a row for each method
        and example, and `timing` with the seconds of each method.

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
        "n_examples": len(examples) * len(methods),
    }
    # As it comes back from the file.
    header = json.loads(json.dumps(header))
    result = read_matching(path, header, ("examples", "timing")) or {**header, "examples": [], "timing": {}}
    for line in header["left_out"]:
        print(printable(f"{name}: left out: {line}"), file=sys.stderr)
    for method, function in methods.items():
        _measure(suite, method, function, model, examples, options, result, path, args.leave_out_texts)
    return result


def _measure(suite, method, function, model, examples, options, result, path, leave_out_texts):
    rows = result["examples"]
    finished = {(row["method"], row["setting"], row["group"], row["id"]) for row in rows}
    make_row = suite.row or partial(result_row, measure=suite.measure)
    written, num_written = time.perf_counter(), len(rows)
    try:
        with tqdm(total=len(examples), desc=method, unit="text") as bar:
            # Whole chunks, always cut alike: what is padded together is the same in every run, and so are the numbers.
            for chunk in chunks(examples, CHUNK_BATCHES * options.batch_size):
                if not all(example.key(method) in finished for example in chunk):
                    started = time.perf_counter()
                    outputs = function(model, chunk, options)
                    seconds = time.perf_counter() - started
                    new = [make_row(method, example, output) for example, output in zip(chunk, outputs, strict=True)]
                    for row in new if leave_out_texts else ():
                        row.pop("output", None)
                    rows += new
                    result["timing"][method] = result["timing"].get(method, 0) + seconds
                    if path and time.perf_counter() - written > SECONDS_BETWEEN_WRITES:
                        write_json(path, result)
                        written, num_written = time.perf_counter(), len(rows)
                bar.update(len(chunk))
    finally:
        # Also where it is interrupted: whole chunks only are in the rows.
        if path and len(rows) > num_written:
            write_json(path, result)


def suite_options(suite):
    """Names and defaults of a suite's own options."""
    parser = argparse.ArgumentParser()
    suite.add_arguments(parser)
    return vars(parser.parse_args([]))
