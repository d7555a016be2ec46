"""The options of commands that load a model, and the model they ask for."""

from c3.support.arguments import MODEL_HELP, file_name, whole_number
from c3.support.loading import loaded_model


def add_debug(parser):
    parser.add_argument("--debug", action="store_true", help="show tracebacks and the libraries' own messages")


def add_model_options(parser):
    """Which model, where, in what precision; how many windows at once; `--quiet` and `--debug`."""
    add_debug(parser)
    parser.add_argument("--model", type=file_name, metavar="PATH_OR_ID", help=MODEL_HELP)
    parser.add_argument("--device", help="cpu, cuda, cuda:1, … (default: cuda where there is one, else cpu)")
    parser.add_argument(
        "--dtype",
        choices=("auto", "float32", "bfloat16", "float16"),
        default="auto",
        help="what the model computes in; auto is float32 on the CPU, elsewhere as stored",
    )
    parser.add_argument(
        "--batch-size", type=whole_number(1), default=8, metavar="N", help="windows at once (default: 8)"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def asked_model(args):
    """`loaded_model` for parsed options."""
    return loaded_model(args.model, args.device, args.dtype, args.debug)


def progress(args):
    """`show_progress` of the library's functions: not at all, or where it takes several batches."""
    return False if args.quiet else None
