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
from dataclasses import InitVar, asdict, dataclass, field, fields, replace
from functools import cached_property
from itertools import accumulate, chain
from pathlib import Path
from typing import BinaryIO

import torch

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
from .quoting_c3 import quoted

VALUE_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
LENGTH_FIELDS = ("latent_lengths", "text_lengths", "window_counts")
FINGERPRINT_FIELDS = ("config_fingerprint", "weights_fingerprint", "tokenizer_fingerprint")
MAX_PROVENANCE = 4096  # characters of a field
# Files of larger `values` are checked when these are first used, so that loading a large file stays instant.
CHECKED_AT_ONCE = 64 << 20

# Files that were warned of, each once.
_UNCHECKED_FILES = set()


class LatentMismatchError(ValueError):
    """Latents of one model met another model, or latents of another model."""


@dataclass(frozen=True)
class LatentProvenance:
    """Where latents come from. Every field is a string; an empty one means unknown and is never compared.

    The fingerprints are short hexadecimal digests (`fingerprints_c3.py`); `dtype` is the precision the model ran in.
    """

    model_name: str = ""
    config_fingerprint: str = ""
    weights_fingerprint: str = ""
    dtype: str = ""
    latent_position_layout: str = ""
    tokenizer_fingerprint: str = ""
    library_version: str = ""

    def __post_init__(self):
        for name, value in vars(self).items():
            if not isinstance(value, str):
                raise TypeError(f"provenance.{name} must be a str, got {type(value).__name__}: {quoted(value)}")
            if len(value) > MAX_PROVENANCE:
                raise ValueError(f"provenance.{name} has {len(value)} characters, more than {MAX_PROVENANCE}")


@dataclass(frozen=True, eq=False, repr=False)
class C3Latents:
    """Latent contexts of T texts, cut into W windows in all; window w has N_w latents.

    Args:
        values (`torch.Tensor` of shape `(sum of N_w, D_dec)`): float32, float16 or bfloat16, projected to the decoder's
            width, windows one after the other.
        latent_lengths (`torch.LongTensor` of shape `(W,)`): N_w.
        text_lengths (`torch.LongTensor` of shape `(W,)`): text tokens that each window stands for, so that a
            reconstruction stops after exactly that many.
        window_counts (`torch.LongTensor` of shape `(T,)`): windows of each text.
        provenance (`LatentProvenance`): the model that made them.
        check_finite (`bool`): whether to look for NaN and infinities; False where they were looked for already.

    The lengths stay on the CPU, where cutting needs them; only `values` follows `to`. Texts are picked by an int, a
    slice, or a list, tensor or array of ints or, one for each text, of booleans, and come back as `C3Latents` again
    (sharing memory when they are neighbours); there may be none. `+` joins, `==` compares values, lengths and
    provenance.

    Raises `TypeError` for something that is not a tensor, `ValueError` for anything else that does not fit.
    """

    values: torch.Tensor
    latent_lengths: torch.Tensor
    text_lengths: torch.Tensor
    window_counts: torch.Tensor
    provenance: LatentProvenance = field(default_factory=LatentProvenance)
    check_finite: InitVar[bool] = True

    def __post_init__(self, check_finite: bool):
        for name, rank in (("values", 2), *((name, 1) for name in LENGTH_FIELDS)):
            tensor, allowed = getattr(self, name), VALUE_DTYPES if name == "values" else (torch.int64,)
            if not isinstance(tensor, torch.Tensor):
                raise TypeError(f"{name} must be a torch.Tensor, got {type(tensor).__name__}")
            if tensor.dtype not in allowed:
                raise ValueError(f"{name} must be {' or '.join(map(str, allowed))}, not {tensor.dtype}")
            if tensor.dim() != rank:
                raise ValueError(f"{name} must have {rank} dimension(s), got shape {tuple(tensor.shape)}")
        for name in LENGTH_FIELDS:
            lengths = getattr(self, name).cpu()
            object.__setattr__(self, name, lengths)  # frozen for everybody else
            if (lengths < 1).any():
                index = int((lengths < 1).nonzero()[0])
                raise ValueError(f"{name} must be at least 1, but {name}[{index}] is {int(lengths[index])}")
        windows = f"windows but latent_lengths has {self.num_windows}"
        rows = f"latents but values has {self.num_latents} rows"
        for name, count, held, against in (
            ("text_lengths describes", len(self.text_lengths), self.num_windows, windows),
            ("window_counts sums to", self._window_starts[-1], self.num_windows, windows),
            ("latent_lengths sums to", self._latent_starts[-1], self.num_latents, rows),
        ):
            if count != held:
                raise ValueError(f"{name} {count} {against}")
        if not self.hidden_size:
            raise ValueError(f"values has no columns: shape {tuple(self.values.shape)}")
        if check_finite:
            _check_finite(self.values)

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
                _check_finite(values)
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
        """Text tokens per latent over all texts, in tokens of the compressor's own tokenizer; NaN without texts."""
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
        picked = _picked(range(len(self)), index)
        first = picked[0] if picked else 0
        neighbours = picked == list(range(first, first + len(picked)))
        spans = [(first, first + len(picked))] if neighbours else [(text, text + 1) for text in picked]
        windows = [(self._window_starts[start], self._window_starts[end]) for start, end in spans]
        latents = [(self._latent_starts[start], self._latent_starts[end]) for start, end in windows]
        return C3Latents(
            _take(self.values, latents),
            _take(self.latent_lengths, windows),
            _take(self.text_lengths, windows),
            _take(self.window_counts, spans),
            self.provenance,
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

    def windows_of(self, text_index: int) -> list[torch.Tensor]:
        """The latents of each window of one text, views of shape `(N_w, D_dec)`."""
        return self[text_index].windows()

    def to(self, *args, **kwargs) -> "C3Latents":
        """`values` on another device and/or in another dtype, with the arguments of `torch.Tensor.to`.

        Raises `ValueError` when numbers overflow in the new dtype.
        """
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
        for name in FINGERPRINT_FIELDS:
            makers = {getattr(part.provenance, name): part.provenance for part in parts}
            makers.pop("", None)
            if len(makers) > 1:
                raise LatentMismatchError(
                    f"cannot concatenate latents of different models: {name} differs between "
                    f"{' and '.join(_describe(maker) for maker in list(makers.values())[:2])}"
                )
        common = {f.name: {getattr(part.provenance, f.name) for part in parts} for f in fields(LatentProvenance)}
        return cls(
            *(torch.cat([getattr(part, name) for part in parts]) for name in ("values", *LENGTH_FIELDS)),
            LatentProvenance(**{name: seen.pop() if len(seen) == 1 else "" for name, seen in common.items()}),
            check_finite=False,
        )

    def check_compatible(
        self, config_fingerprint: str, weights_fingerprint: str, model_name: str, tokenizer_fingerprint: str = ""
    ) -> None:
        """Raises `LatentMismatchError` unless the model described is the one that made these latents.

        Only fingerprints are compared, and only where both sides know theirs: a name may be a path.
        """
        model = LatentProvenance(
            model_name=model_name,
            config_fingerprint=config_fingerprint,
            weights_fingerprint=weights_fingerprint,
            tokenizer_fingerprint=tokenizer_fingerprint,
        )
        pairs = {name: {getattr(self.provenance, name), getattr(model, name)} for name in FINGERPRINT_FIELDS}
        differing = [name for name, values in pairs.items() if len(values) == 2 and "" not in values]
        if differing:
            raise LatentMismatchError(
                f"these latents were made by {_describe(self.provenance)}, but the model is {_describe(model)}: "
                f"{', '.join(differing)} differ(s). Latents are only readable by the model that made them: load that "
                "model or compress the texts again. allow_mismatch=True overrides this check"
            )

    def save(self, path: str | os.PathLike | BinaryIO) -> Path | None:
        """Writes one safetensors file and returns its path. A file already there is only replaced by a complete one.

        `path` may begin with `~`, or be a file object open for writing bytes, such as `sys.stdout.buffer`.

        Raises `FileNotFoundError` when the folder does not exist, `OSError` when writing fails; no half file is left.
        """
        tensors = {name: getattr(self, name) for name in ("values", *LENGTH_FIELDS)}
        write = write_latents if hasattr(path, "write") else write_latents_file
        return write(path, tensors, asdict(self.provenance))

    def to_bytes(self) -> bytes:
        """What `save` writes: what a column of a data set or of a database can hold. `from_bytes` reads it.

        With `datasets`, where a row holds the latents of one text:

            def compress(batch):
                return {"latents": [each.to_bytes() for each in model.compress(batch["text"], show_progress=False)]}

            rows = rows.map(compress, batched=True)
            latents = C3Latents.cat([C3Latents.from_bytes(each) for each in rows["latents"]])

        With `num_proc` the processes are forked, and hang once torch has computed with several threads. Either call
        `torch.set_num_threads(1)` before anything else; or have them started anew, with
        `multiprocess.set_start_method("spawn")` (the package `multiprocess`, which `datasets` uses).
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
    ) -> "C3Latents":
        """Saves latents while they are made, so that memory never holds all of them.

        Args:
            path: the file, as for `save`.
            parts: pairs of the rows of `values` that a part makes, `(n,)`, and their numbers, `(n, D_dec)`; each row is
                in one of them.
            lengths: `latent_lengths`, `text_lengths` and `window_counts`.
            provenance: the model that makes them.

        Returns what `load` would, memory-mapped. Raises as `save`, and `ValueError` when a number is not finite.
        """
        parts = iter(parts)
        first = next(parts)
        shape, dtype = (int(lengths["latent_lengths"].sum()), first[1].shape[1]), first[1].dtype
        with latents_file_in_parts(path, lengths, shape, dtype, asdict(provenance)) as write:
            for rows, values in chain([first], parts):
                _check_finite(values, rows)
                values = values.cpu()
                # One call for each run of rows that follow each other.
                cuts = (rows.diff() != 1).nonzero().flatten() + 1
                for run, piece in zip(rows.tensor_split(cuts), values.tensor_split(cuts), strict=True):
                    write(int(run[0]), piece)
        stored = read_latents(path, ("values", *LENGTH_FIELDS))
        return cls(**stored.tensors, provenance=provenance, check_finite=False)

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
        known = {f.name: stored.provenance[f.name] for f in fields(LatentProvenance) if f.name in stored.provenance}
        try:
            latents = cls(**stored.tensors, provenance=LatentProvenance(**known), check_finite=False)
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


def _picked(texts: range, index) -> list[int]:
    """The places that an index speaks of, 0 or more."""
    if isinstance(index, slice):
        return list(texts[index])
    if hasattr(index, "tolist"):  # a tensor or an array, whatever library it is of
        index = index.tolist()
    if isinstance(index, bool):
        raise TypeError("one boolean does not pick texts: pass a number, or one boolean for each text")
    items = list(index) if isinstance(index, (list, tuple, range)) else [index]
    masks = sum(isinstance(item, bool) for item in items)
    if masks:
        if not masks == len(items) == len(texts):
            raise IndexError(f"a mask holds one boolean for each of the {len(texts)} texts, nothing else")
        return [text for text, chosen in zip(texts, items, strict=True) if chosen]
    try:
        return [texts[item] for item in items]
    except IndexError:
        raise IndexError(f"text {index} is out of range: there are {len(texts)} texts") from None
    except TypeError:
        raise TypeError(
            f"texts are picked by an int, a slice, or ints or booleans in a list, not by {quoted(index)}"
        ) from None


def _take(tensor: torch.Tensor, spans: list[tuple[int, int]]) -> torch.Tensor:
    pieces = [tensor[start:end] for start, end in spans]
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def _check_finite(values: torch.Tensor, rows: torch.Tensor | None = None) -> None:
    """Raises `ValueError` naming the first latent with NaN or infinity; `rows` are their places where not 0, 1, …"""
    # aminmax propagates NaN and allocates nothing, where isfinite would build several matrices of this size.
    values = values.detach()
    if not len(values) or all(math.isfinite(bound) for bound in torch.aminmax(values)):
        return
    low, high = torch.aminmax(values, dim=1)
    first = int((~(low.isfinite() & high.isfinite())).nonzero()[0])
    bad = first if rows is None else int(rows[first])
    hint = "; float16 overflows above 65504, bfloat16 does not" if values.dtype == torch.float16 else ""
    raise ValueError(f"values is not finite (NaN or infinity), first in latent {bad} (row index){hint}")


def _describe(provenance: LatentProvenance) -> str:
    known = [f"{name} {quoted(getattr(provenance, name))}" for name in FINGERPRINT_FIELDS if getattr(provenance, name)]
    name = quoted(provenance.model_name) if provenance.model_name else "an unnamed model"
    return f"{name} ({', '.join(known)})"


__all__ = [
    "FORMAT_VERSION",
    "C3Latents",
    "LatentChecksumError",
    "LatentFileWarning",
    "LatentFormatError",
    "LatentMismatchError",
    "LatentProvenance",
]
