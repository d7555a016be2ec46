"""
Files and folders that appear whole or not at all: written beside their place, and moved there once they are on disk.

What is half written is removed whatever exception ends the writing. Nobody sees SIGKILL, nor SIGTERM in a process that
makes no exception of it, as our commands do (`support/termination.py`): these leave a hidden file that ends in `.tmp`.
"""

import errno
import os
import secrets
import shutil
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path


@contextmanager
def whole_file(path, mode=0o666):
    """
    Gives the path of a new empty file beside `path` to write to; it takes `path`'s place when the block ends without
    an error, and is removed otherwise. `mode` are its permissions, less the umask. Raises `OSError` when writing fails,
    or where something other than a file is.
    """
    path = _replaceable(path)
    temporary = _beside(path)
    try:
        with open(temporary, "xb", opener=partial(os.open, mode=mode)) as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
        yield temporary
        temporary.chmod(mode)  # safetensors leaves a file that only its owner can read, whatever the umask
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        _name(path, temporary, error)
        raise
    finally:
        with suppress(OSError):  # of a name that is too long, which has been said
            temporary.unlink(missing_ok=True)


def ensure_writable(path):
    """Raises `OSError`, before any work is done, where `whole_file` could make no file in this place."""
    path = _replaceable(path)
    temporary = _beside(path)
    try:
        temporary.touch(exist_ok=False)
    except OSError as error:
        _name(path, temporary, error)
        raise
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _replaceable(path):
    path = Path(path)
    if path.exists() and not path.is_file():  # a folder could not be replaced, and /dev/null must not be
        raise FileExistsError(errno.EEXIST, "Not an ordinary file", str(path))
    return path


def _beside(path):
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def _name(path, temporary, error):
    """Lets an error name the file that was asked for; where a disk is full it names none."""
    if error.strerror and error.filename in (None, str(temporary)):
        error.filename = str(path)


def write_whole(path, content, mode=0o666):
    """Writes bytes, or a string as UTF-8 with its line ends as they are, to a file with these permissions."""
    with whole_file(path, mode) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def whole_folder(folder):
    """
    Gives the path of a folder beside `folder`, which is to be made and filled; it takes `folder`'s place when the block
    ends without an error, and is removed otherwise.
    """
    folder = Path(folder)
    unfinished = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        yield unfinished
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


__all__ = ["ensure_writable", "whole_file", "whole_folder", "write_whole"]
