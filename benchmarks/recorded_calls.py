"""The forward passes of a part of a model, seen from outside: how many, with what, and when each began."""

import time
from contextlib import contextmanager


@contextmanager
def recorded_calls(module):
    """
    Yields a list that gets an entry for each forward pass of a module: `(seconds, keyword arguments)`, the time being
    `time.perf_counter()` at its beginning.
    """
    calls = []
    handle = module.register_forward_pre_hook(
        lambda _, __, kwargs: calls.append((time.perf_counter(), kwargs)), with_kwargs=True
    )
    try:
        yield calls
    finally:
        handle.remove()
