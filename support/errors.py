"""Errors as one line on standard error that says what to do."""

import errno
from contextlib import contextmanager

from c3.quoting_c3 import printable

USER_ERROR = 2
# What torch says on a CPU, on Windows and on a GPU, C++, and who maps a file or a library into memory.
OUT_OF_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "bad_alloc",
    "Cannot allocate memory",
    "failed to map segment",
)


class UserError(ValueError):
    """What the caller of a command can put right."""


def is_out_of_memory(error):
    """Whether the machine or its GPU had too little memory."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    return isinstance(error, (ImportError, RuntimeError)) and any(each in str(error) for each in OUT_OF_MEMORY)


def one_line(error):
    """The first line of an error: what follows in transformers' and torch's messages is advice about their own API."""
    lines = str(error).strip().splitlines()
    return printable(lines[0].rstrip()) if lines else type(error).__name__


@contextmanager
def naming(file):
    """Lets an error of the system that says no file's name say this one, as one of reading or writing."""
    try:
        yield
    except OSError as error:
        if error.strerror and not error.filename:
            error.filename = file
        raise
