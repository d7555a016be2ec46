"""A full disk, said in one line, whatever was being written."""

import errno
import shutil
from contextlib import contextmanager

from c3.training.checks import RecipeError, RunError

from .checkpoints import COMPLETE, last_whole_checkpoint


class TrainingError(RunError):
    """A run that cannot go on; the message says why, and from where it can be taken up again."""


@contextmanager
def full_disk_explained(output_dir, partial=None):
    """
    Raises `TrainingError` for an error in the block that says that the disk is full; others pass.

    Args:
        output_dir (`str`): whose last checkpoint the message names.
        partial (`Path`, *optional*): a folder that the block writes, to be removed if it could not be written whole,
            also when the run is interrupted or terminated meanwhile.
    """
    try:
        yield
    except (RecipeError, TrainingError):
        raise
    except Exception as error:
        if not _says_full(error):
            raise
        what = partial or getattr(error, "filename", None) or "A file"
        removed = ""
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
            removed = " It was removed again."
        raise TrainingError(
            f"{what} could not be written: {error}.{removed} {last_checkpoint_said(output_dir)}. Make room (or lower "
            "training.save_total_limit) and start the same command again."
        ) from error
    except BaseException:
        if partial is not None and not (partial / COMPLETE).is_file():
            shutil.rmtree(partial, ignore_errors=True)
        raise


def last_checkpoint_said(output_dir):
    """`str`: which checkpoint of a folder can be gone on from."""
    last = last_whole_checkpoint(output_dir)
    return f"The last checkpoint is {last}" if last else "There is no checkpoint yet"


def _says_full(error):
    """safetensors and torch hide the system's error in their own."""
    codes = {getattr(error, "errno", None), getattr(error.__cause__, "errno", None)}
    text = str(error).lower()
    return bool({errno.ENOSPC, errno.EDQUOT, errno.EFBIG} & codes) or any(
        words in text for words in ("no space left", "file too large", "unexpected pos", "file write failed")
    )
