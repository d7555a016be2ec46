"""The file of a `C3Latents`: one safetensors file, with its provenance as JSON in the safetensors metadata.

Nothing is pickled: reading a file from elsewhere runs none of its code.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .whole_files_c3 import whole_file

FORMAT_VERSION = 1
METADATA_KEY = "c3"
MAX_SAFETENSORS_HEADER = 100_000_000  # bytes, the limit of the format


class LatentFormatError(ValueError):
    """A file does not hold C3 latents that can be read."""


def write_latents_file(
    path: str | os.PathLike, tensors: Mapping[str, torch.Tensor], provenance: Mapping[str, str]
) -> Path:
    """Writes the file next to its place and moves it there once it is on disk: readers see the old or the new file.

    Raises `FileNotFoundError` when the folder does not exist, `OSError` when writing fails; no half file is left.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot save latents to {path}: the folder {path.parent} does not exist")
    metadata = {METADATA_KEY: json.dumps({"format_version": FORMAT_VERSION, "provenance": dict(provenance)})}
    # Lengths are cloned: safetensors refuses tensors that share memory, as one tensor passed for two lengths does.
    tensors = {name: tensor.clone() if tensor.dim() == 1 else tensor.contiguous() for name, tensor in tensors.items()}
    with whole_file(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)
    return path


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


__all__ = ["FORMAT_VERSION", "LatentFormatError", "read_latents_file", "write_latents_file"]
