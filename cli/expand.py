"""`c3 expand`: latents to texts."""

import sys

from c3.expanded_text_c3 import named_windows
from c3.options_c3 import BEAMS_LIMIT, MOST_BEAMS
from c3.quoting_c3 import printable
from c3.support.arguments import file_name, whole_number
from c3.support.errors import STANDARD_OUTPUT, UserError, naming
from c3.whole_files_c3 import write_whole

from .inputs import add_latents_options, load_texts, source_name
from .model_options import add_model_options, asked_model, progress
from .outputs import check_output

SUMMARY = "latents to texts"
INDEX = "{index}"


def add_arguments(parser):
    parser.description = (
        "Writes the text exactly as it was read, without a line end of its own. A file of several texts needs "
        f"--text-index, or -o with {INDEX} for a file of each."
    )
    add_model_options(parser)
    add_latents_options(parser)
    parser.add_argument(
        "-o",
        "--output",
        type=file_name,
        default="-",
        metavar="OUT",
        help=f"file to write; {INDEX} becomes 0, 1, … (default: - for standard output)",
    )
    parser.add_argument(
        "--method",
        choices=["greedy", "parallel", "search"],
        help="one token a pass, or windows drafted in one and corrected: the same text (default: what the model can); "
        "search looks further where that text is wrong, which takes many times as long",
    )
    parser.add_argument(
        "--beams",
        type=whole_number(1, BEAMS_LIMIT),
        metavar="N",
        help=f"beams of --method search, at most: up to {BEAMS_LIMIT} (default: {MOST_BEAMS})",
    )
    parser.add_argument(
        "--no-check",
        action="store_true",
        help="do not encode what came back once more, which tells wrong windows from right ones",
    )


def run(args):
    latents, indices = load_texts(args)
    if not indices:
        raise UserError(f"{source_name(args.file)} holds no texts: there is nothing to expand")
    if len(indices) > 1 and INDEX not in args.output:
        raise UserError(
            f"{source_name(args.file)} holds {len(indices)} texts: pick one with --text-index (0 to "
            f"{len(indices) - 1}), or write each to a file of its own with -o 'NAME-{INDEX}.txt'"
        )
    outputs = [] if args.output == "-" else [args.output.replace(INDEX, str(index)) for index in indices]
    for output in outputs:
        check_output(output, [args.file])
    with asked_model(args) as model:
        texts = model.expand(
            latents,
            method=args.method,
            batch_size=args.batch_size,
            show_progress=progress(args),
            allow_mismatch=args.allow_mismatch,
            check=not args.no_check,
            beams=args.beams,
        )
    texts = texts if isinstance(texts, list) else [texts]
    if not args.no_check:
        for index, expanded in zip(indices, texts, strict=True):
            if expanded.lost_windows:
                _warn_of_lost(f"text {index} of {source_name(args.file)}", expanded, args.method)
        texts = [expanded.text for expanded in texts]
    if not outputs:
        with naming(STANDARD_OUTPUT):
            sys.stdout.write(texts[0])
    for output, text in zip(outputs, texts if outputs else [], strict=True):
        write_whole(output, text)


def _warn_of_lost(name, expanded, method):
    lost = expanded.lost_windows
    remedy = "give more --beams" if method == "search" else "--method search looks for the right text"
    print(
        f"c3: warning: {printable(name)}: {len(lost)} of {len(expanded.windows)} windows came back wrong "
        f"({named_windows(lost)}): the latents of what was read are not those in the file; {remedy}",
        file=sys.stderr,
    )
