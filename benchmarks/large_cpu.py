"""
A C3 of 1.5B + 3B on a CPU: converting, loading, compressing and reconstructing at true sizes, and what they cost.

    c3 bench large-cpu [--size tiny] [--dtype float32] [--folder DIR [--stages …]] [--output FILE]

It writes a checkpoint of random weights in the layout of the authors' release (bfloat16, 9.3 GB), runs `c3 convert` on
it and measures the model that comes out. What the weights and the words of the text are changes no time. With
`--dtype float32` the part that a stage runs, encoder or decoder, computes in that: a CPU without instructions for
bfloat16 takes several times as long in bfloat16.

Baselines:

* Compressing against a bare forward pass of the encoder, a `Qwen2Model` without a cache, over as many positions: the
  text's tokens, the queries and the two tokens around them. The limit is 1.05 times its time.
* The encoder as the authors' code runs it, a `Qwen2ForCausalLM` with logits at all positions, the hidden states of all
  layers kept and a cache, against compressing.
* Reconstruction against a loop of the bare decoder, a `Qwen2ForCausalLM` with its cache, over the same prompt.

Times are taken in turn on the same weights in one process, and ratios are medians of the rounds'. Peak memory is the
largest resident set of a process of its own with no more loaded than it needs, of an encoder once it is loaded; what is
mapped of weights files counts.
With --folder the weights and what each stage found stay there, and a later call goes on from it; without it they are
deleted at the end.
"""

import argparse
import shutil
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch
from tqdm.auto import tqdm

from c3.eval.result_file import read_matching, write_json
from c3.support.arguments import Parser, whole_number

from .large_stages import AUTHORS, CONVERTED, STAGES, Options
from .random_release import SIZES, checkpoint_bytes
from .report import render
from .run_header import describe

RESULT_FILE = "large_cpu.json"
# Python with its libraries, activations, logits and a shard, beside the weights.
SPARE_MEMORY = 2 << 30
SPARE_DISK = 1 << 30


def run(options, names=tuple(STAGES), path=None):
    """
    Runs the stages that are not yet in the result file.

    Args:
        options (`Options`): what to measure.
        names (`list[str]`): of `STAGES`.
        path (`Path`, *optional*): the result file.

    Returns: `dict`, the result as it is in the file.

    Raises: `ValueError` for too little disk or memory, or a result file of another run.
    """
    header = describe(options.setup)
    header |= {"text_tokens": options.text_tokens, "new_tokens": options.new_tokens}
    result = read_matching(path, header, ("benchmarks",)) or {**header, "benchmarks": {}}
    finished = result["benchmarks"]
    todo = [name for name in names if name not in finished]
    if todo:
        check_room(options, todo)
    with tqdm(total=len(todo), unit="stage", disable=None) as bar:
        for name in todo:
            bar.set_description(name)
            started = time.perf_counter()
            rows = STAGES[name](options)
            finished[name] = {"rows": rows, "seconds": time.perf_counter() - started}
            result["benchmarks"] = finished = {each: finished[each] for each in STAGES if each in finished}
            if path:
                write_json(path, result)
            bar.update()
    return result


def check_room(options, names):
    """Raises `ValueError` unless the disk and the memory have room for the checkpoints and a model."""
    weights = checkpoint_bytes(options.size)
    decoder = checkpoint_bytes(options.size, "decoder.", getattr(torch, options.dtype))
    copies = [folder for name, folder in (("write", AUTHORS), ("convert", CONVERTED)) if name in names]
    held = sum(each.stat().st_size for copy in copies for each in (options.folder / copy).rglob("*.safetensors"))
    for what, needed, free in (
        (
            f"disk in {options.folder}",
            len(copies) * weights + SPARE_DISK - held,
            shutil.disk_usage(options.folder).free,
        ),
        ("memory", max(weights, decoder) + SPARE_MEMORY, psutil.virtual_memory().available),
    ):
        if needed > free:
            raise ValueError(
                f"too little {what}: {needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free; --size tiny "
                "tries it all with little"
            )
    # What a stage reads, and which stage makes it.
    for folder, maker, readers in (
        (AUTHORS, "write", {"convert", "memory"}),
        (CONVERTED, "convert", {"load", "compress", "memory", "expand"}),
    ):
        is_needed = maker not in names and readers & set(names)
        if is_needed and not (options.folder / folder / "config.json").is_file():
            raise ValueError(f"{options.folder} lacks {folder}: run the stage {maker} first")


@contextmanager
def workplace(folder):
    """The folder, made if need be, or one that is deleted at the end."""
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with tempfile.TemporaryDirectory() as temporary:
        yield Path(temporary)


def large_cpu_command(argv, prog):
    """Runs the command; raises `OSError`, `ValueError` saying in one line what is wrong."""
    args = _parser(prog).parse_args(argv)
    with workplace(args.folder) as folder:
        options = Options(folder, args.size, args.tokenizer, args.text_tokens, args.new_tokens, args.runs, args.dtype)
        result = run(options, args.stages, folder / RESULT_FILE)
    print(render(result))
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        write_json(args.output, result)
        args.output.with_suffix(".md").write_text(render(result) + "\n", encoding="utf-8")


def _parser(prog):
    parser = Parser(prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=list(SIZES), default=next(iter(SIZES)))
    parser.add_argument("--folder", type=Path, metavar="DIR", help="keeps the weights and the results there")
    parser.add_argument("--stages", nargs="+", choices=list(STAGES), default=list(STAGES), metavar="NAME")
    parser.add_argument(
        "--tokenizer", type=Path, metavar="DIR", help="default: the repository's, filled up to Qwen's vocabulary"
    )
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16", help="to compute in")
    parser.add_argument("--text-tokens", type=whole_number(1), default=1000)
    parser.add_argument("--new-tokens", type=whole_number(1), default=32, help="reconstructed of them")
    parser.add_argument("--runs", type=whole_number(1), default=3, help="timed rounds")
    parser.add_argument("--output", type=Path, metavar="FILE", help="the JSON, too, with the table in a .md beside it")
    return parser
