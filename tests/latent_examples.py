"""Latents of three texts, their provenance, and what the tests of latents compare. Fixtures are in conftest.py."""

import torch

from c3.latents_c3 import LatentProvenance

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
PROVENANCE = LatentProvenance(
    model_name="org/c3",
    config_fingerprint="c0ffee0123456789",
    weights_fingerprint="beef000011112222",
    dtype="bfloat16",
    latent_position_layout="uniform",
    tokenizer_fingerprint="70ce000000000001",
    library_version="0.1.0",
)
FIELDS = ("values", "latent_lengths", "text_lengths", "window_counts")


def long(*numbers):
    return torch.tensor(numbers, dtype=torch.long)


def make_parts(dtype=torch.float32, width=4):
    """Three texts of 1, 3 and 2 windows; 2, 1, 3, 2, 1, 4 latents."""
    values = torch.arange(13 * width, dtype=torch.float32).reshape(13, width).to(dtype)
    return dict(
        values=values,
        latent_lengths=long(2, 1, 3, 2, 1, 4),
        text_lengths=long(8, 5, 12, 8, 3, 16),
        window_counts=long(1, 3, 2),
    )


def assert_same(left, right):
    for name in FIELDS:
        a, b = getattr(left, name), getattr(right, name)
        assert a.dtype == b.dtype and torch.equal(a, b), name
    assert left.provenance == right.provenance
