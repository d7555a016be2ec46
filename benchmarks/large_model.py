"""
Compressing and expanding with random weights in the shapes of Qwen2.5-1.5B and Qwen2.5-3B, in bfloat16, made on the
device.

Baseline: of compressing the bare encoder's forward on the same batches (`compress_text.py`), of expanding the bare
decoder's, one token for each row (`decode_step.py`). How many tokens come back in a second, and the most memory that
all of it holds, have none. Greedily, as drafts of random weights are never right.
"""

from dataclasses import replace

from . import compress_text
from .decode_step import RATIO, step_row
from .fresh_process import forget_peak_memory, peak_memory
from .harness import Benchmark, summarize, value_row


def measure(setup):
    large = replace(setup, size=setup.pick("large", "tiny"), dtype="bfloat16")
    if not setup.device.startswith("cpu"):
        forget_peak_memory(setup.device)
    count = large.pick(64, 2)
    rows = [*compress_text.measure(large), step_row(large, count), _speed_row(large, count)]
    where = "resident memory of the process" if setup.device == "cpu" else "the GPU's memory in tensors"
    return [*rows, value_row(f"peak memory, {where}", peak_memory(setup.device), "B")]


def _speed_row(setup, count):
    latents = setup.windows(count, RATIO)
    (seconds,) = setup.alternate(
        lambda: setup.model.expand(latents, method="greedy", batch_size=count, show_progress=False)
    )
    found = summarize(seconds) | {"unit": "s"}
    return value_row(f"expand {count} windows", latents.text_tokens / found["median"], " tokens/s", ours=found)


def _why_not(setup):
    if setup.device == "cpu" and not (setup.long or setup.smoke):
        return "takes an hour on a CPU: with --long"
    return None


BENCHMARK = Benchmark("1.5B + 3B of random weights in bfloat16: compress and expand", measure, why_not=_why_not)
