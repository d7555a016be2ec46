"""Latents to files and bytes, and back; mixed into [`C3Latents`]."""

import io
import os
import warnings
from collections.abc import Iterable
from itertools import accumulate, chain
from pathlib import Path
from typing import BinaryIO

import torch

from .latents_checks_c3 import check_finite_values
from .latents_file_c3 import (
    WITHOUT_CORRECTIONS,
    LatentFileWarning,
    LatentFormatError,
    StoredLatents,
    latents_file_in_parts,
    read_latents,
    write_latents,
    write_latents_file,
)
from .latents_provenance_c3 import LatentProvenance, from_metadata, to_metadata

LENGTH_FIELDS = ("latent_lengths", "text_lengths", "window_counts")
CORRECTION_FIELDS = ("correction_lengths", "corrections")
COUNTS_FIELD = "correction_counts"
# Files of larger `values` are checked when these are first used, so that loading a large file stays instant.
CHECKED_AT_ONCE = 64 << 20
# Files that were warned of, each once.
_UNCHECKED_FILES = set()


class LatentsStorageMixin:
    """It needs of the class the fields of [`C3Latents`]."""

    def __getattr__(self, name: str):
        # `values` alone may be missing, in what `load` returns, until somebody wants them.
        if name == "values" and (unchecked := vars(self).get("_unchecked")):
            values, stored = unchecked
            stored.verify()
            try:
                check_finite_values(values)
            except ValueError as error:
                raise _damaged(stored, error) from error
            vars(self)["values"] = values
            vars(self).pop("_unchecked", None)
        if name == "values" and name in vars(self):  # now, or meanwhile in another thread
            return vars(self)[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def save(self, path: str | os.PathLike | BinaryIO) -> Path | None:
        """Writes one safetensors file and returns its path. A file already there is only replaced by a complete one.

            model.compress("a long text").save("text.c3")

        `path` may begin with `~`, or be a file object open for writing bytes, such as `sys.stdout.buffer`. Raises
        `FileNotFoundError` when the folder does not exist, `OSError` when writing fails; no half file is left.
        """
        tensors = {name: getattr(self, name) for name in ("values", *LENGTH_FIELDS)}
        tensors |= correction_tensors(self.corrections)
        tensors |= {} if self.correction_counts is None else {COUNTS_FIELD: self.correction_counts}
        write = write_latents if hasattr(path, "write") else write_latents_file
        return write(path, tensors, to_metadata(self.provenance, self.single))

    def to_bytes(self) -> bytes:
        """What `save` writes: what a column of a data set or of a database can hold. `from_bytes` reads it.

        With `datasets`, where a row holds the latents of one text:

            def compress(batch):
                return {"latents": [each.to_bytes() for each in model.compress(batch["text"], show_progress=False)]}

            rows = rows.map(compress, batched=True)
            latents = C3Latents.cat([C3Latents.from_bytes(each) for each in rows["latents"]])

        With `num_proc` call `torch.set_num_threads(1)` first, or `multiprocess.set_start_method("spawn")`: processes
        that are forked after torch has computed with several threads hang.
        """
        file = io.BytesIO()
        self.save(file)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "LatentsStorageMixin":
        """Reads what `to_bytes` returned, `C3Latents.from_bytes(row["latents"])`. Raises as `load`, and `TypeError`."""
        if data is None:  # a missing value of a column, which BytesIO would take for no bytes
            raise TypeError("from_bytes reads what to_bytes returned, not None")
        return cls.load(io.BytesIO(data))

    @classmethod
    def save_parts(
        cls,
        path: str | os.PathLike,
        parts: Iterable[tuple[torch.Tensor, torch.Tensor]],
        lengths: dict[str, torch.Tensor],
        provenance: LatentProvenance,
        single: bool = False,
    ) -> "LatentsStorageMixin":
        """Saves latents while they are made, so that memory never holds all of them.

        Args:
            path: the file, as for `save`.
            parts: pairs of the rows of `values` that a part makes, `(n,)`, and their numbers, `(n, D_dec)`; each row is
                in one of them.
            lengths: `latent_lengths`, `text_lengths` and `window_counts`; perhaps `correction_counts`, which need not
                be known before the last part.
            provenance, single: as in [`C3Latents`].

        Returns what `load` would, memory-mapped. Raises as `save`, and `ValueError` when a number is not finite.
        """
        parts = iter(parts)
        first = next(parts)
        shape, dtype = (int(lengths["latent_lengths"].sum()), first[1].shape[1]), first[1].dtype
        with latents_file_in_parts(path, lengths, shape, dtype, to_metadata(provenance, single)) as write:
            for rows, values in chain([first], parts):
                check_finite_values(values, rows)
                values = values.cpu()
                # One call for each run of rows that follow each other.
                cuts = (rows.diff() != 1).nonzero().flatten() + 1
                for run, piece in zip(rows.tensor_split(cuts), values.tensor_split(cuts), strict=True):
                    write(int(run[0]), piece)
        stored = read_latents(path, ("values", *LENGTH_FIELDS), optional=(COUNTS_FIELD,))
        return cls(**stored.tensors, provenance=provenance, single=single, check_finite=False)

    @classmethod
    def load(cls, path: str | os.PathLike | BinaryIO, device: str | torch.device = "cpu") -> "LatentsStorageMixin":
        """Reads what `save` wrote. On the CPU `values` stays memory-mapped.

            text = model.expand(C3Latents.load("text.c3"))

        `path` may begin with `~`, or be a file object open for reading bytes, such as `sys.stdin.buffer`, which is read
        to its end. Whether the file holds what was saved is checked at once up to 64 MiB of `values`, above when they
        are first used. That a model can have made them is checked by the model that is to read them.

        Raises `FileNotFoundError` when there is no file, `LatentFormatError` when it is truncated, of another kind,
        of a newer format, or holds tensors that do not fit together or are not finite, or corrections that are not of
        its texts; `LatentChecksumError`, which is one too, when it is damaged in another way. Warns with
        `LatentFileWarning` of a file without a checksum, once.
        """
        stored = read_latents(path, ("values", *LENGTH_FIELDS), optional=(*CORRECTION_FIELDS, COUNTS_FIELD))
        try:
            tensors = dict(stored.tensors)
            corrections = corrections_of(tensors.pop(name, None) for name in CORRECTION_FIELDS)
            provenance, single = from_metadata(stored.provenance, len(tensors["window_counts"]))
            about = {"provenance": provenance, "single": single, "corrections": corrections}
            latents = cls(**tensors, **about, check_finite=False)
        except (TypeError, ValueError) as error:
            raise _damaged(stored, error) from error
        if stored.checksum is None and stored.source not in _UNCHECKED_FILES:
            _UNCHECKED_FILES.add(stored.source)
            warnings.warn(
                f"{stored.source} was saved without a checksum, by an older c3, so that damage may go unnoticed: "
                "load it and save it anew",
                LatentFileWarning,
                stacklevel=2,
            )
        vars(latents)["_unchecked"] = vars(latents).pop("values"), stored
        if latents.nbytes <= CHECKED_AT_ONCE:
            latents.values  # noqa: B018  checks them
            try:
                latents.fidelity  # noqa: B018  unpacks the corrections
            except LatentFormatError as error:
                raise _damaged(stored, error) from error
        if stored.version > WITHOUT_CORRECTIONS and latents.corrections is None and latents.correction_counts is None:
            # Without its corrections a text that was compressed exactly could come back wrong.
            raise _damaged(stored, f"format version {stored.version} without the corrections it is for")
        return latents if latents.device == torch.device(device) else latents.to(device)


def correction_tensors(corrections: tuple[bytes, ...] | None) -> dict[str, torch.Tensor]:
    """Corrections as a file holds them: bytes one text after the other, and how many each text has."""
    if corrections is None:
        return {}
    joined = bytearray(b"".join(corrections))
    data = torch.frombuffer(joined, dtype=torch.uint8) if joined else torch.empty(0, dtype=torch.uint8)
    return {"correction_lengths": torch.tensor(list(map(len, corrections)), dtype=torch.long), "corrections": data}


def corrections_of(tensors: Iterable[torch.Tensor | None]) -> tuple[bytes, ...] | None:
    """What `correction_tensors` was given. Raises `ValueError` for tensors that it does not make."""
    lengths, data = tensors
    if lengths is None and data is None:
        return None
    if lengths is None or data is None or (lengths.dtype, data.dtype) != (torch.int64, torch.uint8):
        raise ValueError("corrections must be bytes and how many each text has")
    if lengths.dim() != 1 or data.dim() != 1 or (lengths < 0).any() or sum(lengths.tolist()) != len(data):
        raise ValueError("correction_lengths do not sum to the bytes of corrections")
    joined = data.numpy().tobytes()
    ends = [0, *accumulate(lengths.tolist())]
    return tuple(joined[start:end] for start, end in zip(ends, ends[1:], strict=False))


def _damaged(stored: StoredLatents, error: Exception | str) -> LatentFormatError:
    return LatentFormatError(f"{stored.source} holds damaged latents: {error}. Compress the texts again")


__all__ = ["LENGTH_FIELDS", "LatentsStorageMixin"]
