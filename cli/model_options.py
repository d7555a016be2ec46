"""The options of commands that load a model, and the model they ask for."""

import json

from c3.support.arguments import MODEL_HELP, compression_ratio, file_name, whole_number
from c3.support.loading import PACKAGE, loaded_model


def add_debug(parser):
    parser.add_argument("--debug", action="store_true", help="show tracebacks and the libraries' own messages")


def add_model_options(parser, quiet="no progress bars"):
    """Which model, where, in what precision; how many windows at once; `--quiet` and `--debug`."""
    add_debug(parser)
    parser.add_argument("--model", type=file_name, metavar="PATH_OR_ID", help=MODEL_HELP)
    add_device_options(parser)
    parser.add_argument("--quiet", action="store_true", help=quiet)


def add_device_options(parser):
    """Where a model computes, in what precision, and how many windows at once."""
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


def add_amount_options(parser):
    """How many latents a text is to become, keywords of `C3Model.compress`, see `amount`."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--num-latents", type=whole_number(1), metavar="N", help="latents of a full window")
    group.add_argument(
        "--ratio",
        type=compression_ratio,
        metavar="R",
        help=f"text tokens per latent, over each text as a whole (default: the model's own{_default_ratio()})",
    )
    parser.add_argument(
        "--window",
        type=whole_number(1),
        metavar="TOKENS",
        help="text tokens of a window (default: the model's own)",
    )


def amount(args):
    """The keywords of `C3Model.compress` that `add_amount_options` asks for."""
    return {"num_latents": args.num_latents, "ratio": args.ratio, "window": args.window}


def asked_model(args):
    """`loaded_model` for parsed options."""
    return loaded_model(args.model, args.device, args.dtype, args.debug)


def progress(args):
    """`show_progress` of the library's functions: not at all, or where it takes several batches."""
    return False if args.quiet else None


def _default_ratio():
    """What the help says of the ratio of the checkpoint that comes with the package; nothing where there is none."""
    try:
        config = json.loads((PACKAGE / "config.json").read_text(encoding="utf-8"))
        default = (config.get("default_window") or config["window"]) / config["num_latents"]
    except (OSError, ValueError, KeyError):
        return ""
    return f", {default:g} for the one that comes with c3"
