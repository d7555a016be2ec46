"""
Reading a file of saved latents of 100 MB.

Baseline: reading the file's bytes. Both come from the operating system's cache. Floor: 0, as nothing has to be copied;
the numbers of so large a file are checked when they are first used. 2x or less is to be reached, and that they stay
memory-mapped.
"""

import sys
import tempfile
from pathlib import Path

import torch

from c3 import C3Latents

from .harness import Benchmark, at_most, check_row, of_cpu_alone, ratio_row

LATENTS_PER_WINDOW = 16


def measure(setup):
    width = setup.model.config.hidden_size
    count = setup.pick(100_000_000, 1_000_000) // (4 * width * LATENTS_PER_WINDOW)
    lengths = torch.full((count,), LATENTS_PER_WINDOW)
    values = torch.randn(count * LATENTS_PER_WINDOW, width, generator=torch.Generator().manual_seed(0))
    latents = C3Latents(values, lengths, 4 * lengths, torch.tensor([count]))
    with tempfile.TemporaryDirectory() as folder:
        path = latents.save(Path(folder) / "latents.c3")
        seconds = setup.alternate(lambda: C3Latents.load(path), path.read_bytes)
        loaded = C3Latents.load(path)
        rows = [ratio_row(f"{path.stat().st_size / 1e6:.0f} MB", seconds, "time", at_most(2))]
        if sys.platform.startswith("linux"):
            rows.append(check_row("memory-mapped", float(_is_mapped(loaded.values, path))))
        rows.append(check_row("numbers as they were saved", float(torch.equal(loaded.values, values))))
    return rows


def _is_mapped(tensor, path):
    """Whether a tensor's memory is that file's."""
    address = tensor.data_ptr()
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, end = (int(each, 16) for each in line.split()[0].split("-"))
        if start <= address < end:
            return line.endswith(str(path.resolve()))
    return False


BENCHMARK = Benchmark("C3Latents.load: a file of 100 MB against reading its bytes", measure, why_not=of_cpu_alone)
