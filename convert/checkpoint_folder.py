"""What both directions of a conversion share: the folders, their JSON files, and that no tensor is missing."""

import json
import shutil
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError
from tqdm.auto import tqdm

from c3.auto_c3 import C3Model
from c3.quoting_c3 import listed, printable, quoted
from c3.whole_files_c3 import ensure_writable

DOWNLOADED = ["*.json", "*.safetensors", "*.tiktoken"]
# For everything beside the weights: tokenizer, code, card.
SPARE_BYTES = 64 << 20


def local_folder(source):
    """The folder `source`, or that of its download from the Hub."""
    folder = Path(source)
    if folder.is_dir():
        return folder
    if folder.exists():
        raise ValueError(f"{source} is a file: name the folder of a checkpoint, or a Hub id.")
    try:
        return Path(snapshot_download(str(source), allow_patterns=DOWNLOADED))
    except HFValidationError:
        raise ValueError(f"There is no folder {source}, and it is no Hub id.") from None
    except Exception as error:  # network, rights, offline mode, no such repository, no space
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"There is no folder {source}, and it cannot be downloaded from the Hub: {reason}") from error


def new_folder(output):
    """`Path` of the folder to make, next to a folder that exists."""
    output = Path(output).absolute()
    is_empty = output.is_dir() and not output.is_symlink() and not any(output.iterdir())
    if (output.exists() or output.is_symlink()) and not is_empty:
        raise ValueError(f"{output} exists: name a new or an empty folder.")
    if not output.parent.is_dir():
        raise ValueError(f"There is no folder {output.parent} to make {output.name} in.")
    if _temporary(output).exists():
        raise ValueError(f"{_temporary(output)} is left from a conversion that was cut off, or still runs: delete it.")
    try:
        ensure_writable(_temporary(output))
    except OSError as error:
        raise ValueError(f"Cannot write {output}: {error.strerror}.") from error
    return output


@contextmanager
def whole_checkpoint(output, tensors):
    """Yields a folder to fill and a progress callback; the folder becomes `output` at the end, or is deleted."""
    total = sum(tensor.nbytes for tensor in tensors.values())
    free = shutil.disk_usage(output.parent).free
    if free < total + SPARE_BYTES:
        raise ValueError(
            f"Too little disk for {output}: {(total + SPARE_BYTES) / 1e9:.2f} GB are needed, {free / 1e9:.2f} GB are "
            "free."
        )
    temporary = _temporary(output)
    temporary.mkdir()
    try:
        # Only on a terminal.
        with tqdm(total=total, desc="Converting", unit="B", unit_scale=True, disable=None) as bar:
            yield temporary, bar.update
        if output.exists():
            output.rmdir()
        temporary.rename(output)
    except BaseException:
        shutil.rmtree(temporary)
        raise


def _temporary(output):
    return output.with_name(output.name + ".tmp")


def summary(output, tensors):
    size = sum(tensor.nbytes for tensor in tensors.values())
    return f"{output}: {len(tensors)} tensors, {size / 1e9:.2f} GB"


def check_complete(tensors, config, source_name=str):
    """
    Raises `ValueError` unless `dict[str, StoredTensor]` are exactly the tensors, and shapes, of the C3 model; the
    message calls a missing tensor what `source_name` makes of its name.
    """
    try:
        with torch.device("meta"):
            model = C3Model(config)
    except Exception as error:  # an activation, a kind of RoPE or sizes that transformers cannot make a model of
        raise ValueError(f"No model can be made of config.json: {type(error).__name__} {printable(error)}") from error
    tied = model.all_tied_weights_keys
    shapes = {name: tuple(each.shape) for name, each in model.state_dict().items() if name not in tied}
    missing = sorted(source_name(name) for name in shapes.keys() - tensors)
    unknown = sorted(tensors[name].name for name in tensors.keys() - shapes)
    for reason, names in (("lacks", missing), ("holds unknown", unknown)):
        if names:
            raise ValueError(f"The checkpoint {reason} tensors, {len(names)} in all, first {listed(names[:3])}.")
    for name, shape in shapes.items():
        if tensors[name].shape != shape:
            raise ValueError(
                f"{quoted(tensors[name].name)} in {tensors[name].path} is {list(tensors[name].shape)}, but config.json "
                f"asks for {list(shape)}."
            )


def main_dtype(tensors):
    """Name of the dtype that most weights have; each keeps its own in the file."""
    sizes = Counter()
    for tensor in tensors.values():
        sizes[str(tensor.dtype).removeprefix("torch.")] += tensor.nbytes
    return sizes.most_common(1)[0][0]


def read_json(path):
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"There is no {path}: name the folder of a checkpoint.") from None
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {printable(error)}") from None
    if not isinstance(fields, dict):
        raise ValueError(f"{path} must hold keys and values.")
    return fields


def write_json(path, fields):
    path.write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n", encoding="utf-8")
