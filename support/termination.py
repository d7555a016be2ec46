"""SIGTERM, by which `timeout`, schedulers and containers end a command, cleans up as Ctrl-C does."""

import os
import signal
import threading
from contextlib import contextmanager

TERMINATED = 128 + signal.SIGTERM  # the exit status, by convention


@contextmanager
def cleaned_up_when_terminated():
    """
    For the `main` of a command, as a decorator: SIGTERM raises `SystemExit(143)` there, so that files that are half
    written are removed. It leaves a process alone that has said itself what SIGTERM does, and so do other threads.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    process = os.getpid()

    def end(number, frame):
        if os.getpid() != process:
            # A child that was forked, such as a worker that reads data, has nothing of ours to clean up.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTERM)
        raise SystemExit(TERMINATED)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
