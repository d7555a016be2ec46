"""A process of its own, where memory, the allocator and imports are as at the start."""

import multiprocessing
import re
import resource
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path


def in_fresh_process(function, *arguments):
    """What a function of a module returns when it is called in a new process, which ends then."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def peak_memory():
    """The most bytes of main memory that this process has held since it was started."""
    try:
        # Not ru_maxrss where there is a choice: a new process inherits the peak of the one that started it.
        found = re.search(r"^VmHWM:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    except OSError:
        found = None
    if found:
        return int(found[1]) * 1024
    # In kilobytes, but on macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def forget_peak_memory():
    """`peak_memory` counts from now on (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def python_seconds(*argv):
    """Seconds from the start to the end of a Python process with these arguments, which must succeed."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *argv], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started
