"""
The most memory that compressing 50 kB, expanding 64 windows and answering a prompt about 4k tokens hold.

Baseline: what was held when the model was loaded, the same for all. Both are the GPU's memory in tensors on CUDA, where
those are the weights, and the resident memory of a process on a CPU, with Python and the libraries in it, and of what
the calls before left behind. Floor: 1.0, reached when nothing is held beside the model. No limit.
"""

import torch

from .contexts import PROMPT, context
from .fresh_process import forget_peak_memory, in_fresh_process, peak_memory
from .harness import Benchmark, Setup, value_row


def measure(setup):
    described = (setup.size, setup.device, setup.dtype, setup.smoke, setup.text_file, torch.get_num_threads())
    found = in_fresh_process(peaks, *described, time_limit=setup.time_limit)
    held = found.pop("loaded")
    where = "resident memory of the process" if setup.device == "cpu" else "the GPU's memory in tensors"
    return [
        value_row(
            f"{case}, {where}",
            peak / held,
            "x",
            ours={"median": peak, "unit": "B", "runs": 1},
            baseline={"median": held, "unit": "B", "runs": 1},
        )
        for case, peak in found.items()
    ]


def peaks(size, device, dtype, smoke, text_file, threads):
    """In a new process: bytes held once the model is loaded, and at most in each call, `dict[str, int]`."""
    torch.set_num_threads(threads)
    setup = Setup(size=size, device=device, dtype=dtype, smoke=smoke, text_file=text_file)
    model, text = setup.model, setup.text(setup.pick(50_000, 1_000))

    def peak_of(call):
        forget_peak_memory(device)
        call()
        return peak_memory(device)

    # What a call leaves behind on a CPU counts for those after it: first what is compared with, and each call's latents
    # are made when it is their turn.
    found = {"loaded": peak_of(lambda: None)}
    found[f"compress {len(text) // 1000} kB"] = peak_of(lambda: model.compress(text, show_progress=False))
    windows = setup.windows(setup.pick(64, 2), ratio=4)
    count = len(windows)
    found[f"expand {count} windows"] = peak_of(lambda: model.expand(windows, batch_size=count, show_progress=False))
    long, _ = context(setup, setup.pick(4096, 64))
    found[f"generate from {long.text_tokens} tokens"] = peak_of(lambda: model.generate(long, PROMPT, max_new_tokens=8))
    return found


BENCHMARK = Benchmark("compress, expand and generate: peak memory against the loaded model's", measure)
