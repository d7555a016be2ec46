"""`c3 demo`: compresses a text at several ratios, reads it back and shows what was lost."""

import os
import sys
import time
from itertools import accumulate

from c3.quoting_c3 import printable, printable_lines
from c3.support.arguments import compression_ratio, file_name
from c3.support.errors import UserError
from c3.support.loading import PACKAGE, load_tokenizer

from .inputs import read_text
from .model_options import add_model_options, asked_model, progress
from .text_difference import COLOUR_UNCERTAIN, PLAIN_UNCERTAIN, mark_difference

SUMMARY = "compress a text at several ratios, read it back and show what was lost"
EXAMPLE = PACKAGE / "examples" / "jefferson_1805.txt"
RATIOS = (4.0, 8.0, 16.0)
# The model is unsure of a token whose logit leads the next by less. Measured with the default checkpoint on 16 pages at
# 20 and 25 tokens per latent: 0.2 and 0.7 % of all characters are in such tokens, 63 and 47 % of the wrong ones, and
# all and 90 % of the wrong ones are within 20 characters of such a token.
UNSURE_BELOW = 2.0


def add_arguments(parser):
    add_model_options(parser)
    about = "a UTF-8 text, - for standard input (default: an example)"
    parser.add_argument("file", type=file_name, nargs="?", metavar="FILE", help=about)
    parser.add_argument(
        "--ratio", type=compression_ratio, default=8.0, metavar="R", help="the ratio shown as text (default: 8)"
    )
    about = "count tokens with this tokenizer too"
    parser.add_argument("--count-with", type=file_name, metavar="PATH_OR_ID", help=about)


def run(args):
    """
    Prints a table with a line per ratio, then the text read back at `args.ratio`.

    Raises:
        UserError: no text, model or tokenizer to work with; see `support.loading`.
    """
    from c3.eval.metrics import precision

    if args.file is None and not EXAMPLE.is_file():
        raise UserError(f"the example text is not installed ({EXAMPLE}): give a text, as in c3 demo FILE")
    text = read_text(args.file or str(EXAMPLE))
    other = load_tokenizer(args.count_with) if args.count_with else None
    options = {"batch_size": args.batch_size, "show_progress": progress(args)}
    start = time.perf_counter()
    with asked_model(args) as model:
        model.latent_provenance()  # reads all weights once; not the first compression's time
        load_seconds = time.perf_counter() - start
        rows, read_back = [], {}
        for asked in sorted({*RATIOS, args.ratio}):
            start = time.perf_counter()
            latents = model.compress(text, ratio=asked, **options)
            middle = time.perf_counter()
            read_back[asked] = model.expand(latents, return_scores=True, **options)
            end = time.perf_counter()
            rows.append((latents, precision(text, read_back[asked].text), middle - start, end - middle))
        print(printable(f"model   {args.model or PACKAGE}"))
        dtype = str(model.dtype).removeprefix("torch.")
        print(f"        {model.num_parameters() / 1e6:.1f} M parameters, {dtype} on {model.device}", end="")
        print(f", windows of {model.processor.default_window} tokens")
        print(f"        loaded in {load_seconds:.2f} s, with torch and transformers")
    print(printable(f"text    {args.file or EXAMPLE}"))
    own_tokens = rows[0][0].text_tokens
    print(f"        {len(text)} characters, {len(text.encode())} bytes, {own_tokens} own tokens", end="")
    other_tokens = None
    if other is not None:
        other_tokens = len(other(text, add_special_tokens=False, verbose=False)["input_ids"])
        print(printable(f", {other_tokens} tokens of {args.count_with}"), end="")
    print("\n")
    _print_table(rows, other_tokens)
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    marks = "what was lost in red, what was added in green" if colour else "[-lost-]{+added+}"
    print(f"\nThe text read back at {args.ratio:g}x, {marks};")
    unsure = "unsure".join(COLOUR_UNCERTAIN if colour else PLAIN_UNCERTAIN)
    print(
        f"{unsure}: tokens whose logit led the next by less than {UNSURE_BELOW:g}, with most errors in or near them:\n"
    )
    print(_marked(text, read_back[args.ratio], colour))


def _marked(text, expanded, colour=False):
    """`mark_difference` of a text and the [`ExpandedText`] that came back, with what a terminal obeys escaped."""
    places = [0, *accumulate(len(printable_lines(each)) for each in expanded.text)]
    uncertain = [(places[start], places[end]) for start, end in expanded.uncertain_spans(UNSURE_BELOW)]
    return mark_difference(printable_lines(text), printable_lines(expanded.text), colour, uncertain)


def _print_table(rows, other_tokens):
    """`rows`: (latents, precision, seconds to compress, seconds to expand); `other_tokens`: int or None."""
    heads = ["own tokens", "other tokens", "texts, windows,", "latent", "precision", "compress", "expand"]
    units = ["per latent", "per latent", "latents x width", "bytes", "(characters)", "seconds", "seconds"]
    table = [heads, units]
    for latents, score, compress_seconds, expand_seconds in rows:
        shape = f"{len(latents)}, {latents.num_windows}, {latents.num_latents} x {latents.hidden_size}"
        other_ratio = f"{other_tokens / latents.num_latents:.2f}x" if other_tokens is not None else ""
        times = [f"{compress_seconds:.2f}", f"{expand_seconds:.2f}"]
        table.append([f"{latents.ratio:.2f}x", other_ratio, shape, str(latents.nbytes), f"{score:.2%}", *times])
    if other_tokens is None:
        table = [[cell for column, cell in enumerate(row) if column != 1] for row in table]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print("\nprecision = 1 - edit distance / length of the longer text, in characters, decoding greedily")
