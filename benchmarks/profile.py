"""
Where the time of `compress` and of `expand` goes, by `torch.profiler`.

    c3 bench profile [--only compress|expand] [--output DIR] [--write-into FILE]

Compresses 50 kB of text and expands 64 windows at 4x, each once after a warm-up, and prints for each the operations
that took most time of their own, until they account for 90 % of all of it. Python between two operations is time too:
it is that of the stage of our code in which it runs. Writes traces for Perfetto (https://ui.perfetto.dev) into DIR. On
CUDA the times are those of the GPU's kernels, each under the operation that started it, without what they wait for
Python.
"""

import argparse
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

from c3.eval.report import markdown_table
from c3.support.arguments import Parser

from .options import add_model_options, make_setup
from .report import describe_machine, find_markers, insert_into
from .run_header import describe

SHARE = 0.9
SECTION = "profile"
BATCH_SIZE = 64


def compress(setup):
    """Profiled: a text to latents, in batches of the default size."""
    text = setup.text(setup.pick(50_000, 1_000))
    return lambda: setup.model.compress(text, show_progress=False)


def expand(setup):
    """Profiled: 64 windows back to text, in one batch and as the model does by default."""
    latents = setup.windows(setup.pick(BATCH_SIZE, 2), ratio=4)
    return lambda: setup.model.expand(latents, batch_size=BATCH_SIZE, show_progress=False)


CALLS = {"compress": compress, "expand": expand}
# Our own functions, so that what Python does is told apart: (object, method) of a model.
STAGES = {
    "tokenise and cut": (lambda model: model.processor, "plan"),
    "build the encoder's input": (lambda model: model.processor, "context_inputs"),
    "put in the queries, positions": (lambda model: model, "encode_context"),
    "build the decoder's input": (lambda model: model.processor, "decoder_inputs"),
    "ids to text": (lambda model: model.processor, "decode"),
    "encoder": (lambda model: model.encoder, "forward"),
    "decoder": (lambda model: model.decoder, "forward"),
    "fingerprints": (lambda model: model, "latent_provenance"),
}


@contextmanager
def named_stages(model):
    """Meanwhile a profiler sees the calls of `STAGES` under their names."""

    def named(name, function):
        def call(*args, **kwargs):
            with record_function(f"({name})"):
                return function(*args, **kwargs)

        return call

    with ExitStack() as stack:
        for name, (part, method) in STAGES.items():
            owner = part(model)
            stack.enter_context(patch.object(owner, method, named(name, getattr(owner, method))))
        yield


def measure(setup, name, trace=None):
    """
    Profiles one call.

    Args:
        setup (`Setup`): the model, the sizes.
        name (`str`): of `CALLS`.
        trace (`Path`, *optional*): the Chrome trace.

    Returns:
        `list[tuple[str, int, float]]`: operation or stage, number of calls, share of the time that was its own; largest
        first. The shares sum to 1.
    """
    call = CALLS[name](setup)
    call()
    is_cuda = setup.device.startswith("cuda")
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * is_cuda
    with named_stages(setup.model), profile(activities=activities) as profiler, record_function("(the rest)"):
        call()
        setup.synchronize()
    if trace:
        profiler.export_chrome_trace(str(trace))
    own_time = "self_device_time_total" if is_cuda else "self_cpu_time_total"
    return shares(profiler.key_averages(), own_time)


def shares(events, own_time):
    """
    What `measure` returns, of a profiler's events; `own_time` is their attribute with the time that is each one's own.
    A kernel's time on the GPU counts once: with the operation that started it, and not by its own name.
    """
    events = [(e.key, e.count, getattr(e, own_time)) for e in events if e.device_type == DeviceType.CPU]
    total = sum(time for *_, time in events)
    return sorted(((key, count, time / total) for key, count, time in events), key=lambda row: -row[2])


def table(rows, share=SHARE):
    """Markdown of the largest rows, until they sum to a share."""
    lines, sum_ = [], 0.0
    for key, count, part in rows:
        sum_ += part
        lines.append([f"`{key}`" if not key.startswith("(") else key[1:-1], count, f"{part:.1%}", f"{sum_:.1%}"])
        if sum_ >= share:
            break
    return markdown_table(["operation, or stage less its operations", "calls", "own time", "summed up"], lines)


def profile_command(argv, prog):
    """Runs the command; raises `OSError`, `ValueError` saying in one line what is wrong."""
    args = _parser(prog).parse_args(argv)
    if args.write_into:
        find_markers(args.write_into, SECTION)
    if args.output:
        args.output.mkdir(parents=True, exist_ok=True)
    setup = make_setup(args)
    pieces = [describe_machine(describe(setup))]
    for name in args.only:
        rows = measure(setup, name, args.output and args.output / f"{name}.trace.json.gz")
        pieces += [f"**`{name}`**: {CALLS[name].__doc__.removeprefix('Profiled: ')}", table(rows)]
    section = "\n\n".join(pieces)
    print(section)
    if args.write_into:
        insert_into(args.write_into, section, SECTION)


def _parser(prog):
    parser = Parser(prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(CALLS), default=list(CALLS), metavar="NAME")
    add_model_options(parser)
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder of the traces; is made if need be")
    parser.add_argument("--write-into", type=Path, metavar="FILE", help="put the tables between a file's markers")
    return parser
