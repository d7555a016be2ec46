"""
Errors as one line on standard error that says what to do, and the exit codes of all commands: 2 for what the caller can
put right; 1 for what nobody foresaw, or what failed though the arguments were right; 130 when interrupted, 143 when
terminated (`termination.py`), both without half-written files; 141 when standard output was closed.
"""

import errno
import os
import sys
import traceback
from contextlib import contextmanager, suppress

from c3.quoting_c3 import in_one_line, printable, printable_lines

FAILED, USER_ERROR, INTERRUPTED, BROKEN_PIPE = 1, 2, 130, 141
STANDARD_OUTPUT = "standard output"
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


class CommandError(RuntimeError):
    """What ends a command though its arguments are right; the message is one line that says why and what to do."""


@contextmanager
def one_line_errors(prog, debug=None, advice=None):
    """
    For the `main` of a command: whatever goes wrong inside ends the process, by `SystemExit` with an exit code, after
    one line on standard error. What inside raises `SystemExit` itself, as argparse does, passes.

    Args:
        prog (`str`): the command, as `argparse` has it.
        debug (`bool`, *optional*): whether to show tracebacks of all errors. None for a command that has no `--debug`:
            only of those that nobody foresaw.
        advice (`str`, *optional*): what to do when memory ran out.
    """
    try:
        try:
            yield
        except SystemExit:
            _flush()
            raise
        _flush()
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:
        # Whoever read standard output is gone; without this Python complains once more when it closes it.
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(BROKEN_PIPE) from None
    except Exception as error:
        line, code = described(error), USER_ERROR
        if is_out_of_memory(error):
            line = "out of memory" + (f": {advice}" if advice else "")
        elif isinstance(error, CommandError):
            code = FAILED
        elif not isinstance(error, (ValueError, OSError, ImportError)):
            line, code = f"{type(error).__name__}: {one_line(error)}", FAILED
            line += " (--debug shows where)" if debug is not None else ""
            debug = debug is not False
        if debug:
            print(printable_lines(traceback.format_exc()), file=sys.stderr)
        # The library's messages name its Python arguments.
        line = in_one_line(line).replace("allow_mismatch=True", "--allow-mismatch")
        line = line.replace("load that model or compress", "name that one with --model, or compress")
        print(f"{command_name(prog)}: error: {line}", file=sys.stderr)
        raise SystemExit(code) from error


def command_name(prog):
    """What begins a line on standard error: the program, as `argparse` has it, without its commands."""
    return prog.removeprefix("python -m ").split()[0]


def described(error):
    """An error's message; of the system's errors with the file's name first."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split())


@contextmanager
def needing(extra):
    """Says, for imports inside, of a library that is not installed which extra of c3 brings it; see setup.cfg."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UserError(f"{error}. Install c3 with its extra {extra}, in a checkout: {pip_install(extra)}") from error


def pip_install(extra):
    """
    How to install what an extra of c3 brings, see setup.cfg: in a checkout, since no package index has c3.

        pip_install("eval")  # "pip install -e .[eval]"

    Args:
        extra (`str`): its name.

    Returns: `str`.
    """
    return f"pip install -e .[{extra}]"


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


def _flush():
    """Before the process ends, when nobody could say any more what goes wrong with it."""
    if sys.stdout is not None:
        with naming(STANDARD_OUTPUT):
            sys.stdout.flush()
