"""`C3Latents`: the latent contexts of a batch of texts.

A latent context is what Context Cascade Compression (C3, arXiv 2511.15244) keeps of a text: N projected vectors for
each window of the text. Windows may differ in N and texts in their number of windows, so the container is ragged: all
vectors lie in one matrix, with the lengths beside it.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import InitVar, dataclass, field, replace
from functools import cached_property
from itertools import accumulate, pairwise

import torch

from .cache_size_c3 import cache_bytes
from .decoder_rows_c3 import LatentSpan
from .latents_checks_c3 import check_correction_counts, check_corrections, check_finite_values, check_tensors
from .latents_fidelity_c3 import LatentsFidelityMixin, joined_fidelity, rounded_fidelity
from .latents_file_c3 import FORMAT_VERSION, LatentChecksumError, LatentFileWarning, LatentFormatError
from .latents_index_c3 import picked_texts
from .latents_provenance_c3 import LatentMismatchError, LatentProvenance, common_provenance
from .latents_storage_c3 import LENGTH_FIELDS, LatentsStorageMixin
from .quoting_c3 import quoted


@dataclass(frozen=True, eq=False, repr=False)
class C3Latents(LatentsFidelityMixin, LatentsStorageMixin):
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
        corrections (`tuple[bytes, ...]`, *optional*): for each text what its latents do not hold, as
            `corrections_c3.py` packs it.
        correction_counts (`torch.LongTensor` of shape `(W,)`, *optional*): tokens of each window that its latents do
            not give back for certain, where they were measured and no corrections, which say it too, are kept.
        check_finite (`bool`): whether to look for NaN and infinities; False where they were looked for already.

    The lengths stay on the CPU; only `values` follows `to`. Texts are picked by an int, a slice, or a list, tensor or
    array of ints or booleans, one for each text, and come back as `C3Latents` again (sharing memory when they are
    neighbours); there may be none. `+` joins, `==` compares values, lengths, provenance and corrections.

    Raises `TypeError` for something that is not a tensor, `ValueError` for anything else that does not fit.
    """

    values: torch.Tensor
    latent_lengths: torch.Tensor
    text_lengths: torch.Tensor
    window_counts: torch.Tensor
    provenance: LatentProvenance = field(default_factory=LatentProvenance)
    single: bool = False
    corrections: tuple[bytes, ...] | None = None
    correction_counts: torch.Tensor | None = None
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
        if self.corrections is not None:
            check_corrections(self.corrections, len(self))
            object.__setattr__(self, "corrections", tuple(self.corrections))
        if self.correction_counts is not None:
            if self.corrections is not None:
                raise ValueError("correction_counts are for latents without corrections, which say as much")
            check_correction_counts(self.correction_counts, self.text_lengths)
            object.__setattr__(self, "correction_counts", self.correction_counts.cpu())
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
        """Windows of all texts."""
        return len(self.latent_lengths)

    @property
    def _unread(self) -> torch.Tensor:
        """`values` for their shape and type, which can be told before the numbers are checked."""
        unchecked = vars(self).get("_unchecked")
        return unchecked[0] if unchecked else self.values

    @property
    def num_latents(self) -> int:
        """Latents of all windows, the rows of `values`."""
        return self._unread.shape[0]

    @property
    def hidden_size(self) -> int:
        """Width of a latent, the decoder's."""
        return self._unread.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """Of `values`."""
        return self._unread.dtype

    @property
    def device(self) -> torch.device:
        """Where `values` are."""
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

    def cache_bytes(self, model) -> int:
        """Bytes of keys and values that the latents take in the cache of a model's decoder, whatever is asked about
        them: `latents.cache_bytes(model)`. Of several texts together; see `cache_size_c3.py`."""
        starts = [self._latent_starts[window] for window in self._window_starts]
        return sum(cache_bytes(model, end - start) for start, end in pairwise(starts))

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
            corrections=self.corrections and tuple(self.corrections[text] for text in picked),
            correction_counts=None if self.correction_counts is None else _take(self.correction_counts, windows),
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
            and (self.provenance, self.corrections) == (other.provenance, other.corrections)
            and _same(self.correction_counts, other.correction_counts)
            and torch.equal(self.values, other.values.to(self.device))
        )

    def __hash__(self) -> int:
        return hash((self.provenance, self.dtype, self.hidden_size, len(self), self.num_windows, self.text_tokens))

    def __repr__(self) -> str:
        try:
            fidelity = self.fidelity
        except ValueError:  # what a damaged file, or a stranger, says of corrections
            fidelity = None
        power = max(self.nbytes.bit_length() - 1, 0) // 10
        parts = [
            f"texts={len(self)}, windows={self.num_windows}, latents={self.num_latents}, width={self.hidden_size}",
            f"dtype={str(self.dtype).removeprefix('torch.')}, text_tokens={self.text_tokens}, ratio={self.ratio:.1f}x",
            f"{self.nbytes / 1024**power:.1f} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[power]}",
        ]
        parts += [] if fidelity is None else [f"fidelity={rounded_fidelity(fidelity)}"]
        parts += [] if self.corrections is None else [f"corrections={sum(map(len, self.corrections))} B"]
        parts += [f"device={self.device}"] if self.device.type != "cpu" else []
        parts += [f"model={quoted(self.provenance.model_name)}"] if self.provenance.model_name else []
        return f"C3Latents({', '.join(parts)})"

    def windows(self) -> list[torch.Tensor]:
        """The latents of each window, W views of shape `(N_w, D_dec)`: `latents[0].windows()` are one text's."""
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
        """`values` elsewhere or otherwise, `latents.to("cuda", torch.float16)`: the arguments are those of `Tensor.to`.

        Raises `ValueError` when numbers overflow in it."""
        values = self.values.to(*args, **kwargs)
        return self if values is self.values else replace(self, values=values, check_finite=values.dtype != self.dtype)

    def half(self) -> "C3Latents":
        """In float16; `latents.half().save("small.c3")`."""
        return self.to(torch.float16)

    def bfloat16(self) -> "C3Latents":
        """In bfloat16; `latents.bfloat16()`."""
        return self.to(torch.bfloat16)

    def float(self) -> "C3Latents":
        """In float32; `latents.float()`."""
        return self.to(torch.float32)

    def cpu(self) -> "C3Latents":
        """On the CPU; `latents.cpu()`."""
        return self.to("cpu")

    def cuda(self) -> "C3Latents":
        """On the current GPU; `latents.cuda()`."""
        return self.to("cuda")

    @classmethod
    def cat(cls, parts: Sequence["C3Latents"]) -> "C3Latents":
        """All texts of `parts`, in order. A field of the provenance is kept where all parts agree, else left empty;
        corrections where all parts have them, else a `CompressionWarning` says that they are left out.

            latents = C3Latents.cat([model.compress(each) for each in texts])

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
            **joined_fidelity(parts),
            check_finite=False,
        )


def _same(left: torch.Tensor | None, right: torch.Tensor | None) -> bool:
    return left is right or (left is not None and right is not None and torch.equal(left, right))


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
