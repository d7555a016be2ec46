"""
The most memory that compressing 50 kB, expanding 64 windows and answering a prompt about 4k tokens hold.

Baseline: what was held when the model was loaded, the same for all. Both are the GPU's memory in tensors on CUDA, where
those are the weights, and the resident memory of a process on a CPU, with Python and the libraries in it. Floor: 1.0,
reached when nothing is held beside the model. No limit.
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
    windows, (answered, _) = setup.windows(setup.pick(64, 2), ratio=4), context(setup, setup.pick(4096, 64))
    calls = {
        "loaded": lambda: None,
        f"compress {len(text) // 1000} kB": lambda: model.compress(text, show_progress=False),
        f"expand {len(windows)} windows": lambda: model.expand(windows, batch_size=len(windows), show_progress=False),
        f"generate from {answered.text_tokens} tokens": lambda: model.generate(answered, PROMPT, max_new_tokens=8),
    }
    found = {}
    for case, call in calls.items():
        forget_peak_memory(device)
        call()
        found[case] = peak_memory(device)
    return found


BENCHMARK = Benchmark("compress, expand and generate: peak memory against the loaded model's", measure)
