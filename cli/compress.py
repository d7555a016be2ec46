"""`c3 compress`: texts to latents."""

import argparse
import os
import sys

from c3.quoting_c3 import in_one_line, printable
from c3.support.arguments import fidelity, file_name
from c3.support.errors import STANDARD_OUTPUT, UserError, described, naming

from .inputs import check_standard_input, naming_files, of_file, read_text
from .model_options import add_amount_options, add_model_options, amount, asked_model, progress
from .outputs import check_output

SUMMARY = "texts to latents"
NOTHING_LEFT = "none of the texts can be compressed"


def add_arguments(parser):
    add_model_options(parser)
    about = "UTF-8 texts, one per file, of any length; - for standard input"
    parser.add_argument("files", type=file_name, nargs="+", metavar="FILE", help=about)
    parser.add_argument(
        "-o",
        "--output",
        type=file_name,
        metavar="OUT",
        help="one file for the latents of all texts, - for standard output (default: FILE.c3 beside each FILE)",
    )
    add_amount_options(parser)
    parser.add_argument(
        "--latents-dtype",
        choices=("bfloat16", "float16", "float32"),
        help="precision of the latents (default: bfloat16, or float16 where the model computes in that)",
    )
    parser.add_argument(
        "--exact",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep corrections too, so that expand gives the very text back or says that it cannot; without them c3 "
        "compress takes half as long, and what comes back may be wrong (default: --exact)",
    )
    parser.add_argument(
        "--measure",
        action="store_true",
        help="with --no-exact find out the fidelity of each window, the share of its tokens that would need "
        "no correction; c3 info shows it",
    )
    parser.add_argument(
        "--min-fidelity",
        type=fidelity,
        metavar="F",
        help="give windows of a lower fidelity, such as 0.99, more latents, up to the model's lowest ratio",
    )
    parser.add_argument(
        "--on-error",
        choices=["raise", "skip"],
        default="raise",
        help="stop before any work at a text that cannot be compressed, or leave it out and say so (default: raise)",
    )


def run(args):
    check_standard_input(args.files)
    if "-" in args.files and args.output is None:
        raise UserError("text from standard input has no file name: say with -o where the latents go")
    to_standard_output = args.output == "-"
    if to_standard_output and sys.stdout.isatty():
        raise UserError("latents are bytes, not for a terminal: name a file with -o, or send them on with | or >")
    if args.output and not to_standard_output:
        check_output(args.output, args.files)
    files, texts = _read_texts(args)
    outputs = [args.output] if args.output else [f"{file}.c3" for file in files]
    skipped = {}
    with asked_model(args) as model, naming_files(files):
        latents = model.compress(
            texts[0] if len(texts) == 1 else texts,
            **amount(args),
            batch_size=args.batch_size,
            show_progress=progress(args),
            output=None if to_standard_output or len(outputs) > 1 else outputs[0],
            on_error=args.on_error,
            dtype=args.latents_dtype,
            exact=args.exact,
            measure=args.measure,
            min_fidelity=args.min_fidelity,
        )
    if args.on_error == "skip":
        latents, skipped = latents
    for reason in skipped.values():
        _say_skipped(of_file(reason, files))
    if latents is None:
        raise UserError(NOTHING_LEFT)
    parts = [latents.to("cpu")]
    if to_standard_output:
        with naming(STANDARD_OUTPUT):
            parts[0].save(sys.stdout.buffer)
        return
    if len(outputs) > 1:
        outputs = [output for index, output in enumerate(outputs) if index not in skipped]
        parts = list(parts[0])
        for output, part in zip(outputs, parts, strict=True):
            part.save(output)
    for output, part in zip(outputs, parts, strict=True):
        print(printable(f"{output}: {part!r}"))


def _read_texts(args):
    """The files to compress and their texts; with `--on-error skip` less those that cannot be read."""
    files, texts, outputs = [], [], set()
    for file in args.files:
        try:
            text = read_text(file)
            if args.output is None:
                output = os.path.realpath(f"{file}.c3")
                if output in outputs:
                    raise UserError(
                        f"{file} is given twice, for one file of latents: give it once, or name one with -o"
                    )
                check_output(f"{file}.c3", args.files)
                outputs.add(output)
            files.append(file)
            texts.append(text)
        except (UserError, OSError) as error:
            if args.on_error == "raise":
                raise
            _say_skipped(described(error))
    if not files:
        raise UserError(NOTHING_LEFT)
    return files, texts


def _say_skipped(reason):
    print(f"c3: skipped: {in_one_line(reason)}", file=sys.stderr)
