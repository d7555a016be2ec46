"""Fidelity: the share of the tokens of a window, or of whole texts, that their latents give back for certain."""

import warnings
from collections.abc import Sequence
from functools import cached_property

import torch

from .corrections_c3 import unpack
from .options_c3 import CompressionWarning


class LatentsFidelityMixin:
    """It needs of the class the fields of [`C3Latents`], `windows_of_texts` and `text_tokens`."""

    @cached_property
    def _uncertain_tokens(self) -> list[int] | None:
        """For each window how many of its tokens need a correction, all where it is kept as its tokens."""
        if self.corrections is None:
            return None if self.correction_counts is None else self.correction_counts.tolist()
        lengths = self.text_lengths.tolist()
        owners = zip(self.corrections, self.windows_of_texts, strict=True)
        return [len(each) for packed, owned in owners for each in unpack(packed, [lengths[i] for i in owned]).windows]

    @cached_property
    def window_fidelities(self) -> list[float] | None:
        """For each window the share of its tokens that need no correction, 0 where it is kept as its tokens; None for
        latents that were compressed without `exact`, `measure` and `min_fidelity`."""
        if self._uncertain_tokens is None:
            return None
        return list(map(share_certain, self._uncertain_tokens, self.text_lengths.tolist()))

    @property
    def fidelity(self) -> float | None:
        """The share of all tokens that need no correction, see `window_fidelities`."""
        return share_certain(sum(self._uncertain_tokens), self.text_tokens) if self._uncertain_tokens else None


def share_certain(uncertain: int, tokens: int) -> float:
    """The fidelity of `tokens`, of which so many are uncertain: the number that is written as that share."""
    return (tokens - uncertain) / tokens


def rounded_fidelity(fidelity: float) -> str:
    """Four digits, `"0.9873"`; `"1.0000"` only of what is certain as a whole."""
    return f"{fidelity if fidelity == 1 else min(fidelity, 0.9999):.4f}"


def joined_fidelity(parts: Sequence[LatentsFidelityMixin]) -> dict:
    """The fields `corrections` and `correction_counts` of all texts of `parts`: what every part has, or neither.

    Latents are exact, or measured, as a whole or not at all; corrections are a measurement too. Warns where the texts
    of some parts are exact no more."""
    is_exact = [part.corrections is not None for part in parts]
    if all(is_exact):
        return {"corrections": tuple(each for part in parts for each in part.corrections)}
    if any(is_exact):
        warnings.warn(
            "only some of these latents were compressed with exact=True: joined, they have no corrections, and their "
            "texts may come back wrong. Compress all of them so, or keep the two apart.",
            CompressionWarning,
            stacklevel=3,
        )
    if any(part._uncertain_tokens is None for part in parts):
        return {}
    return {"correction_counts": torch.tensor([n for part in parts for n in part._uncertain_tokens], dtype=torch.long)}


__all__ = ["LatentsFidelityMixin", "joined_fidelity", "rounded_fidelity", "share_certain"]
