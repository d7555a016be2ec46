"""A process of its own, where memory, the allocator and imports are as at the start."""

import math
import multiprocessing
import re
import resource
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, wait
from pathlib import Path

import torch

from .time_limit import OutOfTime


def in_fresh_process(function, *arguments, time_limit=None):
    """
    What a function of a module returns when it is called in a new process, which ends then.

    Raises: `OutOfTime` where it takes longer than a [`TimeLimit`], *optional*, allows; the process is ended then, too.
    """
    seconds = math.inf if time_limit is None else time_limit.seconds_left()
    others = multiprocessing.active_children()
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        called = pool.submit(function, *arguments)
        if wait([called], None if seconds == math.inf else max(seconds, 0)).done:
            return called.result()
        for process in multiprocessing.active_children():
            if process not in others:
                process.kill()
    raise OutOfTime


def peak_memory(device="cpu"):
    """
    The most bytes that this process has held since it was started, or since `forget_peak_memory`: of main memory, or on
    a GPU (`"cuda"`, `"cuda:1"`) of that GPU's memory in tensors.
    """
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    try:
        # Not ru_maxrss where there is a choice: a new process inherits the peak of the one that started it.
        found = re.search(r"^VmHWM:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    except OSError:
        found = None
    if found:
        return int(found[1]) * 1024
    # In kilobytes, but on macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def forget_peak_memory(device="cpu"):
    """`peak_memory` counts from now on (of main memory on Linux alone)."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
        return
    path = Path("/proc/self/clear_refs")
    if path.exists():
        path.write_text("5")


def python_seconds(*argv):
    """Seconds from the start to the end of a Python process with these arguments, which must succeed."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *argv], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started
