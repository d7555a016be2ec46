"""
`compress` and `expand` where the C library keeps freed memory (`support/allocator.py`).

Baseline: the same in a process where it gives large blocks back to the kernel at once, as it does by default; the two
processes take turns. No limit: the ratio is what the setting is worth. 1.0 where the C library has no such setting.
"""

import multiprocessing
import resource
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack

import torch

from c3.support.allocator import keep_freed_memory

from .harness import Benchmark, Setup, of_cpu_alone, ratio_row

_work = {}


def measure(setup):
    facts = (setup.size, setup.device, setup.dtype, setup.smoke, setup.text_file, torch.get_num_threads())
    rows = []
    with ExitStack() as stack:
        spawn = multiprocessing.get_context("spawn")
        pools = [
            stack.enter_context(ProcessPoolExecutor(1, spawn, initializer=_prepare, initargs=(keep, *facts)))
            for keep in (True, False)
        ]
        for name in ("compress", "expand"):
            faults = [[], []]

            def call(side, name=name, faults=faults):
                faults[side].append(pools[side].submit(_run, name).result())

            seconds = setup.alternate(lambda call=call: call(0), lambda call=call: call(1))
            last = [each[-1] for each in faults]
            case = f"{name}, page faults {last[0] / 1e3:.0f} instead of {last[1] / 1e3:.0f} thousand"
            rows.append(ratio_row(case, seconds, "speed", page_faults=last))
    return rows


def _prepare(keep, size, device, dtype, smoke, text_file, threads):
    torch.set_num_threads(threads)
    if keep:
        keep_freed_memory()
    setup = Setup(size=size, device=device, dtype=dtype, smoke=smoke, text_file=text_file)
    model, text = setup.model, setup.text(setup.pick(50_000, 1_000))
    latents = setup.windows(setup.pick(64, 2), ratio=4)
    _work["compress"] = lambda: model.compress(text, batch_size=64, show_progress=False)
    _work["expand"] = lambda: model.expand(latents, batch_size=64, show_progress=False)


def _run(name):
    """Page faults of a call."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    _work[name]()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


BENCHMARK = Benchmark("compress and expand with freed memory kept against given back", measure, why_not=of_cpu_alone)
