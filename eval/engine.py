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
from c3.eval.baselines import METHOD_CHECKS, METHODS, PAGE_READERS
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
    reader = None if suite.methods else _page_reader(name, args)
    pages, data, left_out = read_data(args.data or [], args.limit)
    model, options, about = (_load_reader if reader else _load_c3)(args)
    for method in () if suite.methods else METHOD_CHECKS.keys() & set(args.methods):
        METHOD_CHECKS[method](model)
    examples, more = suite.prepare(args, pages, model, counter, options.window)
    if reader:
        examples, impossible = model.examples(examples)
    else:
        examples, impossible = leave_out_impossible(model, examples, options.window)
    more += impossible
    if suite.methods:
        methods, depends_on = suite.methods(args, model, examples)
    else:
        known = {reader: PAGE_READERS[reader].reconstruct} if reader else METHODS
        methods, depends_on = {each: known[each] for each in args.methods}, {}
        check_segmenter(example.page.text for example in examples)
    own = {key: value for key, value in vars(args).items() if key in suite_options(suite)}
    header = {
        "suite": name,
        "model": about,
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


def _page_reader(name, args):
    """The one of `PAGE_READERS` that is to be measured, by name, or None."""
    found = [each for each in args.methods if each in PAGE_READERS]
    if not found:
        if args.page_settings:
            raise ValueError(f"--page-settings is for --methods {' or '.join(PAGE_READERS)}")
        return None
    if len(args.methods) > 1:
        raise ValueError(f"--methods {found[0]} is measured alone, as its --model is a vision-language model")
    if not SUITES[name].takes_page_readers:
        suites = ", ".join(each for each, suite in SUITES.items() if suite.takes_page_readers)
        raise ValueError(f"--methods {found[0]} is measured by the suites {suites}, not by {name}")
    if not args.model:
        raise ValueError(f"--methods {found[0]} needs a vision-language model: name its folder or Hub id with --model")
    if args.window is not None:
        raise ValueError(f"--methods {found[0]} reads texts whole: leave --window out")
    return found[0]


def _load_reader(args):
    """As `_load_c3`, of a [`PageReader`], which reads a text at a time."""
    (name,) = args.methods
    model = PAGE_READERS[name].load(args.model, args.device, args.dtype, args.page_settings)
    return model, Options(None, 1, args.steps), model.description()


def _load_c3(args):
    """The model, the [`Options`] of methods, and what a result file says of the model."""
    model = load_model(args.model, args.device, args.dtype)
    window = model.processor.default_window if args.window is None else args.window
    return model, Options(window, args.batch_size, args.steps), asdict(model.latent_provenance())


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
