"""
`compress` on a text of 5 MB: peak memory, and time per token.

Baseline: the same on 50 kB. Each peak is that of a process of its own, with Python, the libraries and the model in it
(on CUDA that of the GPU's memory). Floor: 1.0 for the time; for the memory the latents themselves, which grow with the
text, and which the ratio counts: what remains without them is given in a row of its own. 1.3x the memory and 1.1x the
time per token, or less, are to be reached.

A long text is compressed once, and the short one in the same process before and after it. On CPUs the long text has
1 MB unless --long is given.
"""

import statistics
import time

import torch

from .fresh_process import in_fresh_process, peak_memory
from .harness import Benchmark, Setup, at_most, summarize, value_row


def measure(setup):
    short = setup.pick(50_000, 1_000)
    long = setup.pick(5_000_000 if setup.long or setup.device != "cpu" else 1_000_000, 10_000)
    described = (setup.size, setup.device, setup.dtype, setup.runs, setup.text_file, torch.get_num_threads(), short)
    on_short = in_fresh_process(compress, *described, None)
    on_long = in_fresh_process(compress, *described, long)
    return list(_rows(on_short, on_long, f"{long / 1e6:g} MB against {short // 1000} kB"))


def compress(size, device, dtype, runs, text_file, threads, short, long):
    """In a new process: what a text of `long` characters costs beside one of `short`, or the short one alone."""
    torch.set_num_threads(threads)
    setup = Setup(size=size, device=device, dtype=dtype, text_file=text_file)
    model = setup.model

    def per_token(text):
        started = time.perf_counter()
        latents = model.compress(text, show_progress=False)
        setup.synchronize()
        return (time.perf_counter() - started) / latents.text_tokens, latents.nbytes

    texts = [setup.text(short)] * (1 + runs)
    before = [per_token(text)[0] for text in texts][1:]
    seconds, latent_bytes = per_token(setup.text(long or short))
    peak = torch.cuda.max_memory_allocated() if device.startswith("cuda") else peak_memory()
    after = [per_token(text)[0] for text in texts][1:]
    return {"seconds": seconds, "short_seconds": before + after, "peak": peak, "latents": latent_bytes}


def _rows(short, long, case):
    kept = [each["peak"] - each["latents"] for each in (long, short)]
    yield _memory_row(f"peak memory, {case}", long["peak"], short["peak"], at_most(1.3), latents=long["latents"])
    yield _memory_row(f"the same less the latents' own {long['latents'] / 1e6:.0f} MB", *kept)
    baseline = summarize(long["short_seconds"])
    yield value_row(
        f"time per token, {case}",
        long["seconds"] / statistics.median(long["short_seconds"]),
        "x",
        at_most(1.1),
        of="time",
        ours=summarize([long["seconds"]]) | {"unit": "s"},
        baseline=baseline | {"unit": "s"},
    )


def _memory_row(case, ours, baseline, limit=None, **facts):
    sides = {"ours": {"median": ours, "unit": "B", "runs": 1}, "baseline": {"median": baseline, "unit": "B", "runs": 1}}
    return value_row(case, ours / baseline, "x", limit, **sides, **facts)


BENCHMARK = Benchmark("compress: peak memory and time per token of a long text against a short one", measure)
