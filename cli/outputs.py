"""Where the commands write."""

from pathlib import Path

from c3.support.errors import UserError
from c3.whole_files_c3 import ensure_writable


def check_output(output, inputs):
    """
    Before the work, not after it.

    Raises:
        UserError: no file can be written there, or it is one of the inputs.
    """
    path = Path(output)
    if path.is_dir():
        raise UserError(f"cannot write {output}: it is a folder; name a file with -o")
    if not path.parent.is_dir():
        raise UserError(f"cannot write {output}: there is no folder {path.parent}")
    for each in inputs:
        if each != "-" and path.exists() and Path(each).exists() and path.samefile(each):
            raise UserError(f"{output} would overwrite the input: name another file with -o")
    try:
        ensure_writable(path)
    except OSError as error:
        raise UserError(f"cannot write {output}: {error.strerror}") from error
