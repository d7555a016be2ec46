"""`c3 export-decoder`: the decoder of a model as a plain causal language model."""

from c3.quoting_c3 import printable
from c3.support.arguments import MODEL_HELP, file_name
from c3.support.loading import quiet_libraries

from .model_options import add_debug

SUMMARY = "the decoder as a causal language model of transformers' form, for vLLM"


def add_arguments(parser):
    add_debug(parser)
    parser.add_argument("source", type=file_name, metavar="MODEL", help=MODEL_HELP.partition(" (")[0])
    about = "folder to make; only an empty one may be there"
    parser.add_argument("output", type=file_name, metavar="OUTPUT", help=about)
    about = "what the weights are converted to (default: as stored)"
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="stored", help=about)


def run(args):
    """Prints what was written, and what to heed."""
    from c3.convert.export_decoder import export_decoder

    with quiet_libraries(args.debug):
        written = export_decoder(args.source, args.output, args.dtype)
    for line in written:
        print(printable(line))
