"""Files that appear whole or not at all: written beside their place, and moved there once they are on disk."""

import errno
import os
import secrets
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def whole_file(path):
    """
    Gives the path of a new empty file beside `path` to write to; it takes `path`'s place when the block ends without
    an error, and is removed otherwise. Raises `OSError` when writing fails.
    """
    path = Path(path)
    temporary = _beside(path)
    try:
        with open(temporary, "xb") as file:
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
    path = Path(path)
    if path.exists() and not path.is_file():  # a folder could not be replaced, and /dev/null must not be
        raise FileExistsError(errno.EEXIST, "Not an ordinary file", str(path))
    temporary = _beside(path)
    try:
        temporary.touch(exist_ok=False)
        temporary.unlink()
    except OSError as error:
        _name(path, temporary, error)
        raise


def _beside(path):
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def _name(path, temporary, error):
    """Lets an error name the file that was asked for."""
    if error.filename == str(temporary):
        error.filename = str(path)


def write_whole(path, content):
    """Writes bytes, or a string as UTF-8 with its line ends as they are."""
    with whole_file(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


__all__ = ["ensure_writable", "whole_file", "write_whole"]
