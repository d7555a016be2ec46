"""
`compress` on a text of 5 MB: peak memory, and time per token.

Baseline: the same on 50 kB. Each peak is that of a process of its own, with Python, the libraries and the model in it
(on CUDA that of the GPU's memory). Floor: 1.0. 1.3x the memory and 1.1x the time per token, or less, are to be reached,
with the latents written to a file while they are made (`output=`, as `c3 compress` does). Latents that are returned in
memory grow with the text, so that the ratio of that is reported, and not judged; on CPUs with --long only.

A long text is compressed once, and the short one in the same process before and after it. On CPUs the long text has
1 MB unless --long is given.
"""

import statistics
import tempfile
import time
from pathlib import Path

import torch

from .fresh_process import in_fresh_process, peak_memory
from .harness import Benchmark, Setup, at_most, summarize, value_row


def measure(setup):
    short = setup.pick(50_000, 1_000)
    is_whole = setup.long or setup.device != "cpu"
    long = setup.pick(5_000_000 if is_whole else 1_000_000, 10_000)
    described = (setup.size, setup.device, setup.dtype, setup.text_file, torch.get_num_threads(), short)
    case = f"{long / 1e6:g} MB against {short // 1000} kB"
    rows = []
    for to_file in (True, False) if is_whole or setup.smoke else (True,):
        # Of latents in memory only the peak is wanted.
        runs = -(-setup.runs // 2) if to_file else 0
        limited = {"time_limit": setup.time_limit}
        on_short = in_fresh_process(compress, *described, short, to_file, 0, **limited)
        on_long = in_fresh_process(compress, *described, long, to_file, runs, **limited)
        where = "in a file" if to_file else f"in memory, {on_long['latents'] / 1e6:.0f} MB"
        limit = at_most(1.3) if to_file else None
        rows.append(_memory_row(f"peak memory, {case}, latents {where}", on_long, on_short, limit))
        if to_file:
            rows.append(_time_row(f"time per token, {case}", on_long))
    return rows


def compress(size, device, dtype, text_file, threads, short, characters, to_file, runs):
    """In a new process: what a text of so many characters costs, with `runs` of a short one before and after it."""
    torch.set_num_threads(threads)
    setup = Setup(size=size, device=device, dtype=dtype, text_file=text_file)
    model = setup.model
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "latents.c3" if to_file else None

        def per_token(text):
            started = time.perf_counter()
            latents = model.compress(text, show_progress=False, output=output)
            setup.synchronize()
            return (time.perf_counter() - started) / latents.text_tokens, latents.nbytes

        # The first warms up.
        before = [per_token(setup.text(short))[0] for _ in range(1 + runs)][1:]
        seconds, latent_bytes = per_token(setup.text(characters))
        peak = peak_memory(device)
        after = [per_token(setup.text(short))[0] for _ in range(runs)]
    return {"seconds": seconds, "short_seconds": before + after, "peak": peak, "latents": latent_bytes}


def _memory_row(case, long, short, limit):
    ours, baseline = ({"median": each["peak"], "unit": "B", "runs": 1} for each in (long, short))
    return value_row(case, long["peak"] / short["peak"], "x", limit, ours=ours, baseline=baseline)


def _time_row(case, long):
    return value_row(
        case,
        long["seconds"] / statistics.median(long["short_seconds"]),
        "x",
        at_most(1.1),
        of="time",
        ours=summarize([long["seconds"]]) | {"unit": "s"},
        baseline=summarize(long["short_seconds"]) | {"unit": "s"},
    )


BENCHMARK = Benchmark("compress: peak memory and time per token of a long text against a short one", measure)
