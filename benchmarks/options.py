"""Options of the command line that the benchmarks and the profile share."""

from pathlib import Path

import torch

from c3.support.allocator import keep_freed_memory
from c3.support.arguments import whole_number
from c3.support.loading import find_device

from .harness import Setup
from .models import SIZES


def add_model_options(parser):
    """Adds to a parser what says on which model, where, and with what text to measure."""
    parser.add_argument("--size", choices=list(SIZES), help="default mini, the default checkpoint")
    parser.add_argument("--device", default="cpu", help="default cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], help="default float32 on a CPU")
    parser.add_argument("--threads", type=whole_number(1), help="of the CPU; default all cores")
    parser.add_argument("--text", type=Path, metavar="FILE", help="prose to measure with; default the package's own")
    parser.add_argument("--smoke", action="store_true", help="tiny, one run each: does all of it run, and agree?")


def make_setup(args, **options):
    """
    A [`Setup`] for parsed arguments; sets the number of threads, and keeps freed memory as `c3`'s commands do.

    Raises: `ValueError` where the device is not there.
    """
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"--device {args.device}: there is no CUDA GPU here")
    find_device(args.device)
    if args.threads:
        torch.set_num_threads(args.threads)
    return Setup(
        size=args.size or ("tiny" if args.smoke else "mini"),
        device=args.device,
        dtype=args.dtype or ("float32" if args.device == "cpu" else "bfloat16"),
        smoke=args.smoke,
        text_file=args.text,
        keeps_freed_memory=keep_freed_memory(),
        **options,
    )
