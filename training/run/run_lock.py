"""One run at a time in an output folder."""

from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from c3.training.devices.distributed import LaunchError


@contextmanager
def run_lock(output_dir, held=True, patience=10.0):
    """
    Keeps a second run, or an unconnected copy of this one, out of `output_dir`. The operating system frees the lock
    when the process ends, however it ends.

    Args:
        output_dir (`str`): is made if it is not there.
        held (`bool`): False for the processes of a run that are not to hold it: all but the main one.
        patience (`float`): seconds to wait for workers of a killed run to end.

    Raises:
        LaunchError: another process trains there.
    """
    if not held:
        yield
        return
    Path(output_dir).mkdir(parents=True, exist_ok=True)
    lock = FileLock(Path(output_dir) / ".lock")
    try:
        lock.acquire(timeout=patience)
    except Timeout:
        raise LaunchError(
            f"Another process trains in {output_dir}: choose another output_dir, or wait for it to end. Processes that "
            "are to train together are started by torchrun, accelerate launch or deepspeed."
        ) from None
    try:
        yield
    finally:
        lock.release()
