"""What the tensors of latents must be: their types and shapes, and numbers that are finite."""

import math

import torch

VALUE_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def check_tensors(tensors: dict[str, torch.Tensor]) -> None:
    """Raises unless `values` are a matrix of one of `VALUE_DTYPES` and all others rows of integers of 1 or more.

    Raises `TypeError` for something that is not a tensor, `ValueError` for anything else that does not fit.
    """
    for name, tensor in tensors.items():
        rank, allowed = (2, VALUE_DTYPES) if name == "values" else (1, (torch.int64,))
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"{name} must be a torch.Tensor, got {type(tensor).__name__}")
        if tensor.dtype not in allowed:
            raise ValueError(f"{name} must be {' or '.join(map(str, allowed))}, not {tensor.dtype}")
        if tensor.dim() != rank:
            raise ValueError(f"{name} must have {rank} dimension(s), got shape {tuple(tensor.shape)}")
    for name, tensor in tensors.items():
        if name != "values" and (tensor < 1).any():
            index = int((tensor < 1).nonzero()[0])
            raise ValueError(f"{name} must be at least 1, but {name}[{index}] is {int(tensor[index])}")
    if not tensors["values"].shape[1]:
        raise ValueError(f"values has no columns: shape {tuple(tensors['values'].shape)}")


def check_corrections(corrections: tuple[bytes, ...], num_texts: int) -> None:
    """Raises `TypeError` or `ValueError` unless `corrections` are bytes for each text; what these say is not read."""
    if not isinstance(corrections, (tuple, list)) or not all(isinstance(each, bytes) for each in corrections):
        raise TypeError("corrections must be a tuple of bytes, one for each text")
    if len(corrections) != num_texts:
        raise ValueError(f"corrections are of {len(corrections)} texts, not of {num_texts}")


def check_correction_counts(counts: torch.Tensor, text_lengths: torch.Tensor) -> None:
    """Raises `TypeError` or `ValueError` unless `counts` has for each window a number from 0 to its text tokens."""
    if not isinstance(counts, torch.Tensor):
        raise TypeError(f"correction_counts must be a torch.Tensor, got {type(counts).__name__}")
    if counts.dtype != torch.int64 or counts.shape != text_lengths.shape:
        said = f"{counts.dtype} of shape {tuple(counts.shape)}"
        raise ValueError(
            f"correction_counts must be torch.int64, one for each of {len(text_lengths)} windows, not {said}"
        )
    is_wrong = (counts.cpu() < 0) | (counts.cpu() > text_lengths)
    if is_wrong.any():
        index = int(is_wrong.nonzero()[0])
        allowed = f"0 to {int(text_lengths[index])}, its window's text tokens"
        raise ValueError(f"correction_counts[{index}] must be {allowed}, but it is {int(counts[index])}")


def check_finite_values(values: torch.Tensor, rows: torch.Tensor | None = None) -> None:
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


__all__ = ["VALUE_DTYPES", "check_correction_counts", "check_corrections", "check_finite_values", "check_tensors"]
