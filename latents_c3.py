"""`C3Latents`: the latent contexts of a batch of texts.

A latent context is what Context Cascade Compression (C3, arXiv 2511.15244) keeps of a text: N projected vectors for
each window of the text. Windows may differ in N and texts in their number of windows, so the container is ragged: all
vectors lie in one matrix, with the lengths beside it.
"""

import io
import math
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import InitVar, dataclass, field, replace
from functools import cached_property
from itertools import accumulate, chain
from pathlib import Path
from typing import BinaryIO

import torch

from .decoder_rows_c3 import LatentSpan
from .latents_checks_c3 import check_finite_values, check_tensors
from .latents_file_c3 import (
    FORMAT_VERSION,
    LatentChecksumError,
    LatentFileWarning,
    LatentFormatError,
    StoredLatents,
    latents_file_in_parts,
    read_latents,
    write_latents,
    write_latents_file,
)
from .latents_index_c3 import picked_texts
from .latents_provenance_c3 import LatentMismatchError, LatentProvenance, common_provenance, from_metadata, to_metadata
from .quoting_c3 import quoted

LENGTH_FIELDS = ("latent_lengths", "text_lengths", "window_counts")
# Files of larger `values` are checked when these are first used, so that loading a large file stays instant.
CHECKED_AT_ONCE = 64 << 20
# Files that were warned of, each once.
_UNCHECKED_FILES = set()


@dataclass(frozen=True, eq=False, repr=False)
class C3Latents:
    """Latent contexts of T texts, cut into W windows in all; window w has N_w latents.

        model.compress(["one text", "another"]).save("texts.c3")
        second = C3Latents.load("texts.c3")[1]

    Args:
        values (`torch.Tensor` of shape `(sum of N_w, D_dec)`): float32, float16 or bfloat16, projected to the decoder's
            width, windows one after the other.
        latent_lengths (`torch.LongTensor` of shape `(W,)`): N_w.
        text_lengths (`torch.LongTensor` of shape `(W,)`): text tokens that each window stands for, so that a
            reconstruction stops after exactly that many.
        window_counts (`torch.LongTensor` of shape `(T,)`): windows of each text.
        provenance (`LatentProvenance`): the model that made them.
        single (`bool`): whether one text was given by itself, and not in a list, so that `expand` and `generate` give
            one `str` back. `latents[i]` is such a text.
        check_finite (`bool`): whether to look for NaN and infinities; False where they were looked for already.

    The lengths stay on the CPU; only `values` follows `to`. Texts are picked by an int, a slice, or a list, tensor or
    array of ints or booleans, one for each text, and come back as `C3Latents` again (sharing memory when they are
    neighbours); there may be none. `+` joins, `==` compares values, lengths and provenance.

    Raises `TypeError` for something that is not a tensor, `ValueError` for anything else that does not fit.
    """

    values: torch.Tensor
    latent_lengths: torch.Tensor
    text_lengths: torch.Tensor
    window_counts: torch.Tensor
    provenance: LatentProvenance = field(default_factory=LatentProvenance)
    single: bool = False
    check_finite: InitVar[bool] = True

    def __post_init__(self, check_finite: bool):
        check_tensors({name: getattr(self, name) for name in ("values", *LENGTH_FIELDS)})
        for name in LENGTH_FIELDS:
            object.__setattr__(self, name, getattr(self, name).cpu())  # frozen for everybody else
        windows = f"windows but latent_lengths has {self.num_windows}"
        rows = f"latents but values has {self.num_latents} rows"
        for name, count, held, against in (
            ("text_lengths describes", len(self.text_lengths), self.num_windows, windows),
            ("window_counts sums to", self._window_starts[-1], self.num_windows, windows),
            ("latent_lengths sums to", self._latent_starts[-1], self.num_latents, rows),
        ):
            if count != held:
                raise ValueError(f"{name} {count} {against}")
        if self.single and len(self) != 1:
            raise ValueError(f"single is for one text, but window_counts describes {len(self)}")
        if check_finite:
            check_finite_values(self.values)

    # Python sums and not torch's: lengths from a hostile file must not wrap around to a sum that fits.
    @cached_property
    def _window_starts(self) -> list[int]:
        return [0, *accumulate(self.window_counts.tolist())]

    @cached_property
    def _latent_starts(self) -> list[int]:
        return [0, *accumulate(self.latent_lengths.tolist())]

    @cached_property
    def text_tokens(self) -> int:
        """Text tokens of all texts together."""
        return sum(self.text_lengths.tolist())

    @property
    def num_windows(self) -> int:
        return len(self.latent_lengths)

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

    @property
    def _unread(self) -> torch.Tensor:
        """`values` for their shape and type, which can be told before the numbers are checked."""
        unchecked = vars(self).get("_unchecked")
        return unchecked[0] if unchecked else self.values

    @property
    def num_latents(self) -> int:
        return self._unread.shape[0]

    @property
    def hidden_size(self) -> int:
        return self._unread.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        return self._unread.dtype

    @property
    def device(self) -> torch.device:
        return self._unread.device

    @property
    def nbytes(self) -> int:
        """Bytes of `values`."""
        return self._unread.numel() * self.dtype.itemsize

    @property
    def ratio(self) -> float:
        """Text tokens per latent over all texts, counted with the decoder's tokenizer; NaN without texts."""
        return self.text_tokens / self.num_latents if self.num_latents else math.nan

    @property
    def ratios(self) -> list[float]:
        """`ratio` of each text."""
        return [text.ratio for text in self]

    def __len__(self) -> int:
        return len(self.window_counts)

    def __iter__(self) -> Iterator["C3Latents"]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index) -> "C3Latents":
        picked, is_one = picked_texts(range(len(self)), index)
        first = picked[0] if picked else 0
        neighbours = picked == list(range(first, first + len(picked)))
        spans = [(first, first + len(picked))] if neighbours else [(text, text + 1) for text in picked]
        windows = [(self._window_starts[start], self._window_starts[end]) for start, end in spans]
        rows = [(self._latent_starts[start], self._latent_starts[end]) for start, end in windows]
        return C3Latents(
            _take(self.values, rows),
            _take(self.latent_lengths, windows),
            _take(self.text_lengths, windows),
            _take(self.window_counts, spans),
            self.provenance,
            single=is_one,
            check_finite=False,
        )

    def __add__(self, other: "C3Latents") -> "C3Latents":
        return C3Latents.cat([self, other]) if isinstance(other, C3Latents) else NotImplemented

    def __eq__(self, other) -> bool:
        if not isinstance(other, C3Latents):
            return NotImplemented
        return (
            hash(self) == hash(other)
            and all(torch.equal(getattr(self, name), getattr(other, name)) for name in LENGTH_FIELDS)
            and self.provenance == other.provenance
            and torch.equal(self.values, other.values.to(self.device))
        )

    def __hash__(self) -> int:
        return hash((self.provenance, self.dtype, self.hidden_size, len(self), self.num_windows, self.text_tokens))

    def __repr__(self) -> str:
        power = max(self.nbytes.bit_length() - 1, 0) // 10
        parts = [
            f"texts={len(self)}, windows={self.num_windows}, latents={self.num_latents}, width={self.hidden_size}",
            f"dtype={str(self.dtype).removeprefix('torch.')}, text_tokens={self.text_tokens}, ratio={self.ratio:.1f}x",
            f"{self.nbytes / 1024**power:.1f} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[power]}",
        ]
        parts += [f"device={self.device}"] if self.device.type != "cpu" else []
        parts += [f"model={quoted(self.provenance.model_name)}"] if self.provenance.model_name else []
        return f"C3Latents({', '.join(parts)})"

    def windows(self) -> list[torch.Tensor]:
        """The latents of each window, W views of shape `(N_w, D_dec)`."""
        return list(self.values.split(self.latent_lengths.tolist()))

    @property
    def windows_of_texts(self) -> list[range]:
        """The places of each text's windows among all."""
        return [range(*each) for each in zip(self._window_starts, self._window_starts[1:], strict=False)]

    @property
    def spans(self) -> list[list[LatentSpan]]:
        """For each text its windows' latents as segments of a decoder row, see `decoder_rows_c3.py`."""
        windows = list(map(LatentSpan, self.latent_lengths.tolist(), self.text_lengths.tolist()))
        return [[windows[place] for place in owned] for owned in self.windows_of_texts]

    def to(self, *args, **kwargs) -> "C3Latents":
        """`values` on another device and/or in another dtype, with the arguments of `torch.Tensor.to`.

        Raises `ValueError` when numbers overflow in it."""
        values = self.values.to(*args, **kwargs)
        return self if values is self.values else replace(self, values=values, check_finite=values.dtype != self.dtype)

    def half(self) -> "C3Latents":
        return self.to(torch.float16)

    def bfloat16(self) -> "C3Latents":
        return self.to(torch.bfloat16)

    def float(self) -> "C3Latents":
        return self.to(torch.float32)

    def cpu(self) -> "C3Latents":
        return self.to("cpu")

    def cuda(self) -> "C3Latents":
        return self.to("cuda")

    @classmethod
    def cat(cls, parts: Sequence["C3Latents"]) -> "C3Latents":
        """All texts of `parts`, in order. A field of the provenance is kept where all parts agree, else left empty.

        Raises `TypeError` for anything else, `ValueError` when width, dtype or device differ, `LatentMismatchError`
        when known fingerprints differ.
        """
        parts = list(parts)
        if not parts:
            raise ValueError("parts is empty: C3Latents.cat needs at least one C3Latents")
        for part in parts:
            if not hasattr(part, "latent_lengths"):
                remedy = ": read them with C3Latents.from_bytes first" if isinstance(part, bytes) else ""
                raise TypeError(f"parts must be C3Latents, not {type(part).__name__}{remedy}")
        for name, remedy in (
            ("hidden_size", "they were made for different decoders"),
            ("dtype", "convert with .to(dtype) first"),
            ("device", "move with .to(device) first"),
        ):
            found = dict.fromkeys(str(getattr(part, name)) for part in parts)
            if len(found) > 1:
                raise ValueError(f"cannot concatenate latents of different {name} ({', '.join(found)}): {remedy}")
        return cls(
            *(torch.cat([getattr(part, name) for part in parts]) for name in ("values", *LENGTH_FIELDS)),
            common_provenance([part.provenance for part in parts]),
            check_finite=False,
        )

    def save(self, path: str | os.PathLike | BinaryIO) -> Path | None:
        """Writes one safetensors file and returns its path. A file already there is only replaced by a complete one.

        `path` may begin with `~`, or be a file object open for writing bytes, such as `sys.stdout.buffer`. Raises
        `FileNotFoundError` when the folder does not exist, `OSError` when writing fails; no half file is left.
        """
        tensors = {name: getattr(self, name) for name in ("values", *LENGTH_FIELDS)}
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
    def from_bytes(cls, data: bytes) -> "C3Latents":
        """Reads what `to_bytes` returned. Raises as `load`, and `TypeError` for what is no bytes."""
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
    ) -> "C3Latents":
        """Saves latents while they are made, so that memory never holds all of them.

        Args:
            path: the file, as for `save`.
            parts: pairs of the rows of `values` that a part makes, `(n,)`, and their numbers, `(n, D_dec)`; each row is
                in one of them.
            lengths: `latent_lengths`, `text_lengths` and `window_counts`.
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
        stored = read_latents(path, ("values", *LENGTH_FIELDS))
        return cls(**stored.tensors, provenance=provenance, single=single, check_finite=False)

    @classmethod
    def load(cls, path: str | os.PathLike | BinaryIO, device: str | torch.device = "cpu") -> "C3Latents":
        """Reads what `save` wrote. On the CPU `values` stays memory-mapped.

        `path` may begin with `~`, or be a file object open for reading bytes, such as `sys.stdin.buffer`, which is read
        to its end. Whether the file holds what was saved is checked at once up to 64 MiB of `values`, above when they
        are first used. That a model can have made them is checked by the model that is to read them.

        Raises `FileNotFoundError` when there is no file, `LatentFormatError` when it is truncated, of another kind,
        of a newer format, or holds tensors that do not fit together or are not finite, `LatentChecksumError`, which is
        one too, when it is damaged in another way. Warns with `LatentFileWarning` of a file without a checksum, once.
        """
        stored = read_latents(path, ("values", *LENGTH_FIELDS))
        try:
            provenance, single = from_metadata(stored.provenance, len(stored.tensors["window_counts"]))
            latents = cls(**stored.tensors, provenance=provenance, single=single, check_finite=False)
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
        return latents if latents.device == torch.device(device) else latents.to(device)


def _damaged(stored: StoredLatents, error: Exception) -> LatentFormatError:
    return LatentFormatError(f"{stored.source} holds damaged latents: {error}. Compress the texts again")


def _take(tensor: torch.Tensor, spans: list[tuple[int, int]]) -> torch.Tensor:
    pieces = [tensor[start:end] for start, end in spans]
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


__all__ = [
    "FORMAT_VERSION",
    "C3Latents",
    "LatentChecksumError",
    "LatentFileWarning",
    "LatentFormatError",
    "LatentMismatchError",
    "LatentProvenance",
]
