"""The file of a `C3Latents`: one safetensors file, with its provenance as JSON in the safetensors metadata.

Nothing is pickled: reading a file from elsewhere runs none of its code.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .whole_files_c3 import whole_file

FORMAT_VERSION = 1
METADATA_KEY = "c3"
MAX_SAFETENSORS_HEADER = 100_000_000  # bytes, the limit of the format
TYPE_NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}


class LatentFormatError(ValueError):
    """A file does not hold C3 latents that can be read."""


def write_latents_file(
    path: str | os.PathLike, tensors: Mapping[str, torch.Tensor], provenance: Mapping[str, str]
) -> Path:
    """Writes the file next to its place and moves it there once it is on disk: readers see the old or the new file.

    Raises `FileNotFoundError` when the folder does not exist, `OSError` when writing fails; no half file is left.
    """
    path = check_folder(path)
    # Lengths are cloned: safetensors refuses tensors that share memory, as one tensor passed for two lengths does.
    tensors = {name: tensor.clone() if tensor.dim() == 1 else tensor.contiguous() for name, tensor in tensors.items()}
    with whole_file(path) as temporary:
        save_file(tensors, temporary, metadata=_metadata(provenance))
    return path


@contextmanager
def latents_file_in_parts(
    path: str | os.PathLike,
    lengths: Mapping[str, torch.Tensor],
    shape: Sequence[int],
    dtype: torch.dtype,
    provenance: Mapping[str, str],
) -> Iterator[Callable[[int, torch.Tensor], None]]:
    """The file that `write_latents_file` would write, byte for byte, while its `values` are still being made.

    Gives `write(row, values)` for the values of shape `shape` and type `dtype`, of which memory holds no more than a
    call brings; every row has to be written. The file takes its place when the block ends without an error.

    Raises as `write_latents_file`.
    """
    path = check_folder(path)
    # safetensors has no writer for a tensor that does not exist yet. It puts the widest numbers first, then goes by
    # name, and fills its header up to a multiple of eight bytes.
    header, position = {"__metadata__": _metadata(provenance)}, 0
    tensors = {name: (tensor.dtype, tensor.shape) for name, tensor in lengths.items()} | {"values": (dtype, shape)}
    for name, (kind, size) in sorted(tensors.items(), key=lambda item: (-item[1][0].itemsize, item[0])):
        offsets = [position, position := position + prod(size) * kind.itemsize]
        header[name] = {"dtype": TYPE_NAMES[kind], "shape": list(size), "data_offsets": offsets}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    begin = 8 + len(text)

    with whole_file(path) as temporary, open(temporary, "rb+") as file:

        def write_at(offset, tensor):
            file.seek(begin + offset)
            # As bytes, because NumPy has no bfloat16.
            file.write(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())

        file.write(len(text).to_bytes(8, "little") + text)
        for name, tensor in lengths.items():
            write_at(header[name]["data_offsets"][0], tensor)
        row_bytes = prod(shape[1:]) * dtype.itemsize
        yield lambda row, values: write_at(header["values"]["data_offsets"][0] + row * row_bytes, values)


def check_folder(path: str | os.PathLike) -> Path:
    """The path of a file to be made; raises `FileNotFoundError` when its folder does not exist."""
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot save latents to {path}: the folder {path.parent} does not exist")
    return path


def _metadata(provenance):
    return {METADATA_KEY: json.dumps({"format_version": FORMAT_VERSION, "provenance": dict(provenance)})}


def read_latents_file(path: str | os.PathLike, names: Sequence[str]) -> tuple[dict[str, torch.Tensor], dict]:
    """The tensors called `names`, memory-mapped on the CPU, and the provenance as it was stored.

    Raises `FileNotFoundError` when there is no file, `LatentFormatError` when it is truncated, of another kind or of a
    newer format, or lacks a tensor. What the tensors hold is for the caller to check.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no latents file at {path}{' (it is a folder)' if path.is_dir() else ''}")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            held = sorted(file.keys())
            provenance = _read_provenance(path, file.metadata() or {}, held)
            missing = [name for name in names if name not in held]
            if missing:
                raise LatentFormatError(f"{path} lacks the tensor(s) {', '.join(missing)}. Compress the texts again")
            return {name: file.get_tensor(name) for name in names}, provenance
    except SafetensorError as error:
        raise LatentFormatError(f"{path} {_why_unreadable(path)} [{error}]") from error


def _read_provenance(path: Path, metadata: Mapping[str, str], held: Sequence[str]) -> dict:
    if METADATA_KEY not in metadata:
        raise LatentFormatError(
            f"{path} is a safetensors file but not one of C3 latents (no {METADATA_KEY!r} in its metadata; tensors: "
            f"{', '.join(held[:5])}{', ...' if len(held) > 5 else ''}). Pass a file written by C3Latents.save"
        )
    try:
        header = json.loads(metadata[METADATA_KEY])
        version = header["format_version"]
        if version <= FORMAT_VERSION:
            return dict(header["provenance"])
    except (KeyError, RecursionError, TypeError, ValueError) as error:
        raise LatentFormatError(f"{path} has damaged C3 metadata ({error!r}). Compress the texts again") from error
    raise LatentFormatError(
        f"{path} has latent format version {version}, this c3 reads up to {FORMAT_VERSION}: upgrade c3"
    )


def _why_unreadable(path: Path) -> str:
    """Says what a file is that safetensors cannot open."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(9)  # eight bytes of header length, then the header's "{"
    if len(head) < 9:
        return f"is truncated: it has only {size} bytes. Copy or compress it again"
    if head[8:] == b"{" and int.from_bytes(head[:8], "little") <= MAX_SAFETENSORS_HEADER:
        return f"is truncated or damaged: its {size} bytes are not what its header says. Copy or compress it again"
    pickled = head[:2] in (b"PK", b"\x80\x02", b"\x80\x04", b"\x80\x05")
    kind = " (it looks pickled, as torch.save writes; C3 never unpickles)" if pickled else ""
    return f"is not a safetensors file{kind}. Pass a file written by C3Latents.save"


__all__ = [
    "FORMAT_VERSION",
    "LatentFormatError",
    "check_folder",
    "latents_file_in_parts",
    "read_latents_file",
    "write_latents_file",
]
