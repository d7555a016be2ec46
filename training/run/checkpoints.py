"""Checkpoints of a run: which are whole, which is the last, and which may go."""

import json
import shutil
from pathlib import Path

import xxhash

from c3.whole_files_c3 import write_whole

COMPLETE = "complete"  # the file that marks a folder as wholly written; of a checkpoint it lists the files


def checkpoints(output_dir):
    """Folders of checkpoints, whole or not, oldest first."""
    steps = {each: each.name.removeprefix("checkpoint-") for each in Path(output_dir).glob("checkpoint-*")}
    return sorted((each for each in steps if steps[each].isdigit()), key=lambda each: int(steps[each]))


def mark_complete(folder, layout):
    """
    Marks a checkpoint as wholly written, with size and hash of each of its files.

    Args:
        folder (`Path`): the checkpoint.
        layout (`dict`): `resuming.batch_layout` and, as `recipe`, `recipe_changes.recipe_notes`.
    """
    files = {
        str(each.relative_to(folder)): [each.stat().st_size, _hash(each)]
        for each in sorted(folder.rglob("*"))
        if each.is_file() and each.name != COMPLETE
    }
    write_whole(folder / COMPLETE, json.dumps({"layout": layout, "files": files}, indent=1))


def layout_of(folder):
    """The `layout` with which a whole checkpoint was marked."""
    return json.loads((Path(folder) / COMPLETE).read_text(encoding="utf-8"))["layout"]


def damage(folder):
    """What is wrong with a checkpoint that was wholly written once, `str`; None if nothing is."""
    try:
        files = json.loads((folder / COMPLETE).read_text(encoding="utf-8"))["files"]
    except (ValueError, KeyError):
        return f"{COMPLETE} is not readable"
    for name, (size, digest) in files.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes instead of {size}"
        if _hash(path) != digest:
            return f"{name} has other contents than were written"
    return None


def remove_checkpoint(folder):
    """Deletes a checkpoint; a kill midway leaves one that no longer counts as whole."""
    (folder / COMPLETE).unlink(missing_ok=True)
    shutil.rmtree(folder)


def last_whole_checkpoint(output_dir):
    """The newest checkpoint that was wholly written, or None."""
    whole = [each for each in checkpoints(output_dir) if (each / COMPLETE).is_file()]
    return str(whole[-1]) if whole else None


def checkpoint_to_resume(output_dir, say):
    """
    The newest sound checkpoint, `str`, or None; the way to it is cleared.

    Checkpoints that were not wholly written are removed. Damaged ones are set aside under another name, so that a run
    goes on from an older one and nothing is lost.

    Args:
        say (`Callable[[str], None]`): is told what was removed or set aside.
    """
    for folder in checkpoints(output_dir):
        if not (folder / COMPLETE).is_file():
            say(f"Removing {folder}: it was not wholly written.")
            remove_checkpoint(folder)
    for folder in reversed(checkpoints(output_dir)):
        reason = damage(folder)
        if reason is None:
            return str(folder)
        aside = folder.with_name(f"damaged-{folder.name}")
        if aside.exists():
            shutil.rmtree(aside)
        folder.rename(aside)
        say(f"{folder} is damaged ({reason}): set aside as {aside.name}; looking for an older one.")
    return None


def _hash(path):
    digest = xxhash.xxh3_64()
    with path.open("rb") as file:
        while chunk := file.read(1 << 22):
            digest.update(chunk)
    return digest.hexdigest()
