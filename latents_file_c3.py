"""The file of a `C3Latents`: one safetensors file, with its provenance as JSON in the safetensors metadata.

Nothing is pickled: reading a file from elsewhere runs none of its code. A checksum says whether it holds what was
saved. It is a CRC-32: against accidents it does what a cryptographic hash does, at a multiple of the speed, and against
an attacker, who would write a new one, neither helps. What a file claims is therefore checked as well, here and, where
it takes the model to know, by the model that reads it.
"""

import io
import json
import os
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load

from .quoting_c3 import listed, printable, quoted
from .whole_files_c3 import whole_file

# 2 added the checksum, which a file of that version or a later one must have; 3 is 2 with corrections or
# fidelities, and no other.
FORMAT_VERSION, WITHOUT_CORRECTIONS = 3, 2
CORRECTED = {"corrections", "correction_counts"}
METADATA_KEY = "c3"
CHECKSUM_KEY = "crc32"
NO_CHECKSUM = "0" * 8
# Ours takes a thousand bytes; safetensors would read up to 100 MB of JSON, which takes ten times that in memory.
MAX_HEADER = 1 << 20
CHUNK_BYTES = 1 << 20
TYPE_NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64", torch.uint8: "U8"}


class LatentFormatError(ValueError):
    """A file does not hold C3 latents that can be read: `except LatentFormatError: compress_again()`."""


class LatentChecksumError(LatentFormatError):
    """A file of latents does not hold what was saved: `except LatentChecksumError: copy_again()`."""


class LatentFileWarning(UserWarning):
    """A file of latents can be read, but not checked; the message says why and what to do:
    `warnings.simplefilter("error", LatentFileWarning)`."""


@dataclass(frozen=True)
class StoredLatents:
    """What a file holds: tensors, and as they were stored the provenance and the checksum, None in old files."""

    source: str
    tensors: dict[str, torch.Tensor]
    version: int
    provenance: dict
    checksum: str | None

    def verify(self) -> None:
        """Raises `LatentChecksumError` where tensors and provenance are not those that were saved."""
        if self.checksum is None:
            return
        layout = _layout(self.tensors)
        found = _checksum(self.version, self.provenance, layout, (_as_bytes(self.tensors[name]) for name in layout))
        if found != self.checksum:
            raise LatentChecksumError(
                f"{self.source} is damaged: it does not hold what was saved (its checksum is {found}, that of what was "
                f"saved {quoted(self.checksum)}). Copy it again from where it came from, or compress the texts again"
            )


def write_latents(file: BinaryIO, tensors: Mapping[str, torch.Tensor], provenance: Mapping[str, str]) -> None:
    """Writes to a binary file object, from where it stands and in one go, so that it may be a pipe."""
    if isinstance(file, io.TextIOBase):
        raise TypeError("latents are bytes: open the file in binary mode ('wb'), or pass its .buffer")
    tensors = {name: tensor.detach().cpu() for name, tensor in tensors.items()}
    layout = _layout(tensors)
    pieces = [_as_bytes(tensors[name]) for name in layout]
    file.write(_header(provenance, layout, _checksum(_version(layout), provenance, layout, pieces)))
    for piece in pieces:
        file.write(piece)


def write_latents_file(
    path: str | os.PathLike, tensors: Mapping[str, torch.Tensor], provenance: Mapping[str, str]
) -> Path:
    """Writes the file next to its place and moves it there once it is on disk: readers see the old or the new file.

    Raises `FileNotFoundError` when the folder does not exist, `OSError` when writing fails; no half file is left.
    """
    path = check_folder(path)
    with whole_file(path) as temporary, open(temporary, "rb+") as file:
        write_latents(file, tensors, provenance)
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
    call brings; every row has to be written. `lengths` are written last, as they are then. The file takes its place
    when the block ends without an error.

    Raises as `write_latents_file`.
    """
    path = check_folder(path)
    # On the meta device a tensor has a shape and a type, but no memory.
    layout = _layout({**lengths, "values": torch.empty(tuple(shape), dtype=dtype, device="meta")})
    header = _header(provenance, layout, NO_CHECKSUM)

    with whole_file(path) as temporary, open(temporary, "rb+") as file:

        def write_at(offset, tensor):
            file.seek(len(header) + offset)
            file.write(_as_bytes(tensor.detach().cpu()))

        file.write(header)
        row_bytes = prod(shape[1:]) * dtype.itemsize
        yield lambda row, values: write_at(layout["values"]["data_offsets"][0] + row * row_bytes, values)
        for name, tensor in lengths.items():  # after the values, with which what they say may change
            write_at(layout[name]["data_offsets"][0], tensor)
        # Parts come in any order, a checksum does not: read once more, in the order of the file.
        file.seek(len(header))
        checksum = _checksum(_version(layout), provenance, layout, iter(lambda: file.read(CHUNK_BYTES), b""))
        file.seek(0)
        file.write(_header(provenance, layout, checksum))


def check_folder(path: str | os.PathLike) -> Path:
    """The path of a file to be made; `FileNotFoundError` when its folder does not exist, `OSError` when it is one."""
    path = _as_path(path)
    if path.is_dir():
        raise IsADirectoryError(f"cannot save latents to {path}: it is a folder; name a file in it")
    if not path.parent.is_dir():
        where = f"{path}: the folder {path.parent} does not exist"
        raise FileNotFoundError(f"cannot save latents to {printable(where)}")
    return path


def begins_latents(data: bytes) -> bool:
    """Whether nine or more bytes begin a file of latents; no text does, which would hold five NUL characters."""
    return data[8:9] == b"{" and int.from_bytes(data[:8], "little") <= MAX_HEADER


def read_latents(
    source: str | os.PathLike | BinaryIO, names: Sequence[str], optional: Sequence[str] = ()
) -> StoredLatents:
    """The tensors called `names`, and those of `optional` that are there: from a path memory-mapped on the CPU, from a
    binary file object read to its end.

    Raises `FileNotFoundError` when there is no file, `LatentFormatError` when it is truncated, of another kind or of a
    newer format, or lacks a tensor. What the tensors hold is for the caller to check, with `verify` among others.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        raise TypeError("load reads a path or a file object: for bytes there is C3Latents.from_bytes")
    is_stream = hasattr(source, "read")
    where = printable(_name_of(source) if is_stream else _as_path(source))
    metadata, held, tensors = (_read_stream if is_stream else _read_file)(source, where, (*names, *optional))
    version, provenance, checksum = _read_metadata(where, metadata, held)
    missing = [name for name in names if name not in tensors]
    if missing:
        raise LatentFormatError(f"{where} lacks the tensor(s) {', '.join(missing)}. Compress the texts again")
    return StoredLatents(where, tensors, version, provenance, checksum)


# --------------------------------------------------------------------------------------------------------- writing


def _layout(tensors: Mapping[str, torch.Tensor]) -> dict[str, dict]:
    """The tensors' entries in the header, in the order of the file: the widest numbers first, as safetensors does."""
    layout, position = {}, 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (-item[1].dtype.itemsize, item[0])):
        offsets = [position, position := position + tensor.numel() * tensor.dtype.itemsize]
        kind = TYPE_NAMES.get(tensor.dtype, str(tensor.dtype))
        layout[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": offsets}
    return layout


def _version(layout: Mapping[str, dict]) -> int:
    return FORMAT_VERSION if CORRECTED & set(layout) else WITHOUT_CORRECTIONS


def _header(provenance: Mapping[str, str], layout: Mapping[str, dict], checksum: str) -> bytes:
    """Its length in eight bytes and the JSON, filled up to a multiple of eight; as long for every checksum."""
    said = {"format_version": _version(layout), CHECKSUM_KEY: checksum, "provenance": dict(provenance)}
    header = {"__metadata__": {METADATA_KEY: json.dumps(said)}, **layout}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _checksum(version: int, provenance: Mapping, layout: Mapping[str, dict], pieces: Iterable[bytes]) -> str:
    """Of what a file says and, in the order of the layout, holds; eight hexadecimal digits."""
    described = [[name, entry["dtype"], entry["shape"]] for name, entry in layout.items()]
    said = json.dumps([version, dict(provenance), described], sort_keys=True, separators=(",", ":"))
    checksum = zlib.crc32(said.encode())
    for piece in pieces:
        checksum = zlib.crc32(piece, checksum)
    return f"{checksum:0{len(NO_CHECKSUM)}x}"


def _as_bytes(tensor: torch.Tensor):
    """The memory of a tensor on the CPU, as a buffer; not as numbers, because NumPy has no bfloat16."""
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy()


def _as_path(path: str | os.PathLike) -> Path:
    return Path(os.path.expanduser(path))


# --------------------------------------------------------------------------------------------------------- reading


def _read_file(path, where, names):
    """The metadata, the names of all tensors, and those tensors that are asked for."""
    path = _as_path(path)
    if path.is_dir() or not path.exists():
        raise FileNotFoundError(f"no latents file at {where}{' (it is a folder)' if path.is_dir() else ''}")
    if not path.is_file():  # a pipe, such as a shell's <(…), cannot be mapped
        with open(path, "rb") as file:
            return _read_stream(file, where, names)
    with open(path, "rb") as file:
        head = file.read(9)
    _check_head(where, head, path.stat().st_size)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            held = sorted(file.keys())
            return file.metadata() or {}, held, {name: file.get_tensor(name) for name in names if name in held}
    except SafetensorError as error:
        raise _not_what_it_says(where, path.stat().st_size, error) from error


def _read_stream(file, where, names):
    """As `_read_file`; no more is read, or allocated, than the header speaks of and the stream holds."""
    data = bytearray()
    _read_up_to(file, data, 9)
    _check_head(where, bytes(data), len(data))
    length = int.from_bytes(data[:8], "little")
    try:
        _read_up_to(file, data, 8 + length)
        header = json.loads(data[8:])
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        _read_up_to(file, data, 8 + length + max(ends, default=0) + 1)
        tensors = load(bytes(data))
        metadata = dict(header.get("__metadata__") or {})
    except (SafetensorError, AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise _not_what_it_says(where, len(data), error) from error
    return metadata, sorted(tensors), {name: tensors[name] for name in names if name in tensors}


def _read_up_to(file, data, size):
    """Appends to `data` what comes, until it holds `size` bytes or nothing comes any more."""
    while len(data) < size and (piece := file.read(min(CHUNK_BYTES, size - len(data)))):
        if isinstance(piece, str):
            raise TypeError("latents are bytes: open the file in binary mode ('rb'), or pass its .buffer")
        data += piece


def _read_metadata(where: str, metadata: Mapping[str, str], held: Sequence[str]) -> tuple[int, dict, str | None]:
    """The version, the provenance and the checksum."""
    if METADATA_KEY not in metadata:
        raise LatentFormatError(
            f"{where} is a safetensors file but not one of C3 latents (no {METADATA_KEY!r} in its metadata; tensors: "
            f"{listed(held)}). Pass a file written by C3Latents.save"
        )
    try:
        said = json.loads(metadata[METADATA_KEY])
        version = said["format_version"]
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise ValueError(f"format_version is {quoted(version)}")
        if version <= FORMAT_VERSION:
            checksum = said.get(CHECKSUM_KEY) if version < 2 else said[CHECKSUM_KEY]
            strings = [*said["provenance"].values(), *([] if checksum is None and version < 2 else [checksum])]
            if not all(isinstance(each, str) for each in strings):
                raise TypeError("checksum and provenance must be strings")
            return version, said["provenance"], checksum
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise LatentFormatError(
            f"{where} has damaged C3 metadata ({type(error).__name__}: {quoted(str(error))}). Compress the texts again"
        ) from error
    raise LatentFormatError(
        f"{where} has latent format version {quoted(version)}, this c3 reads up to {FORMAT_VERSION}: upgrade c3"
    )


def _check_head(where: str, head: bytes, size: int) -> None:
    """Raises `LatentFormatError` unless eight bytes of header length and the header's "{" begin a file of ours."""
    if len(head) < 9:
        raise LatentFormatError(f"{where} is truncated: it has only {size} bytes. Copy or compress it again")
    if not begins_latents(head):
        pickled = head[:2] in (b"PK", b"\x80\x02", b"\x80\x04", b"\x80\x05")
        kind = " (it looks pickled, as torch.save writes; C3 never unpickles)" if pickled else ""
        raise LatentFormatError(
            f"{where} is not a safetensors file of latents{kind}. Pass a file written by C3Latents.save"
        )


def _not_what_it_says(where: str, size: int, error: Exception) -> LatentFormatError:
    return LatentFormatError(
        f"{where} is truncated or damaged: its {size} bytes are not what its header says. Copy or compress it again "
        f"[{quoted(str(error))}]"
    )


def _name_of(file) -> str:
    """A file object's name, or what it is."""
    if file is getattr(sys.stdin, "buffer", None):
        return "standard input"
    name = getattr(file, "name", None)
    return name if isinstance(name, str) else f"the {type(file).__name__}"


__all__ = [
    "FORMAT_VERSION",
    "LatentChecksumError",
    "LatentFileWarning",
    "LatentFormatError",
    "StoredLatents",
    "begins_latents",
    "check_folder",
    "latents_file_in_parts",
    "read_latents",
    "write_latents",
    "write_latents_file",
]
