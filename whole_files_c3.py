"""Files that appear whole or not at all: written beside their place, and moved there once they are on disk."""

import os
import secrets
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path):
    """
    Gives the path of a new empty file beside `path` to write to; it takes `path`'s place when the block ends without
    an error, and is removed otherwise. Raises `OSError` when writing fails.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
        yield temporary
        temporary.chmod(mode)  # safetensors leaves a file that only its owner can read, whatever the umask
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path, content):
    """Writes bytes, or a string as UTF-8 with its line ends as they are."""
    with whole_file(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


__all__ = ["whole_file", "write_whole"]
