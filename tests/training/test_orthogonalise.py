"""Iterated polynomials against singular value decompositions. Run: pytest tests/training/test_orthogonalise.py"""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from c3.training.optim import orthogonalise as module
from c3.training.optim.orthogonalise import orthogonalise, product_dtype

NEWTON_SCHULZ = ((3.4445, -4.775, 2.0315),) * 5
# Any polynomials will do, one after the other: these are two of Polar Express (arXiv 2505.16932).
UNLIKE = ((3.6119, -2.5972, 0.4895), (2.6794, -1.9181, 0.4158))


def applied(polynomials, values):
    for a, b, c in polynomials:
        values = values * (a + b * values**2 + c * values**4)
    return values


@pytest.fixture(autouse=True)
def in_float32(monkeypatch):
    monkeypatch.setattr(module, "product_dtype", lambda device: torch.float32)


@pytest.mark.parametrize("polynomials", [NEWTON_SCHULZ, UNLIKE], ids=["alike", "unlike"])
@pytest.mark.parametrize("shape", [(3, 16, 16), (3, 16, 20), (3, 17, 64), (2, 1, 7)])
@pytest.mark.parametrize("smallest_half", [1, 128])
@pytest.mark.parametrize("rank", [16, 3])
def test_singular_values_go_through_the_polynomials(polynomials, shape, smallest_half, rank, monkeypatch):
    """Whichever way it is computed, and of matrices of low rank too."""
    monkeypatch.setattr(module, "SMALLEST_HALF", smallest_half)
    generator = torch.Generator().manual_seed(0)
    rank = min(rank, shape[1])
    matrices = torch.randn((*shape[:2], rank), generator=generator)
    matrices = matrices @ torch.randn((shape[0], rank, shape[2]), generator=generator)
    left, values, right = torch.linalg.svd(matrices.double(), full_matrices=False)
    values = applied(polynomials, values / values.norm(dim=-1, keepdim=True))
    expected = (left * values[:, None]) @ right
    torch.testing.assert_close(orthogonalise(matrices, polynomials).double(), expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize(("columns", "iterates_on"), [(16, "x"), (64, "gram")])
def test_the_way_with_fewer_products_is_taken(columns, iterates_on):
    with FlopCounterMode(display=False) as counter:
        orthogonalise(torch.randn(2, 16, columns), NEWTON_SCHULZ)
    products = {"x": 5 * (2 * columns + 16), "gram": 2 * columns + 17 * 16}
    assert counter.get_total_flops() == 2 * 2 * 16 * 16 * products[iterates_on]
    assert products[iterates_on] == min(products.values())


def test_zeros_stay_zeros():
    for shape in ((1, 4, 4), (1, 4, 32)):
        assert not orthogonalise(torch.zeros(shape), NEWTON_SCHULZ).any()


def test_a_coefficient_that_has_no_square():
    with pytest.raises(ValueError, match="third coefficient must be positive, not 0"):
        orthogonalise(torch.randn(1, 3, 4), [(1.5, -0.5, 0)])


def test_the_dtype_of_products(monkeypatch):
    """bfloat16, but for CPUs that would emulate it; on matrices themselves there, however wide they are."""
    monkeypatch.setattr(module, "product_dtype", product_dtype)
    matrices = torch.randn(2, 8, 64, generator=torch.Generator().manual_seed(0))
    for fast, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(module, "has_fast_bfloat16", lambda fast=fast: fast)
        found = orthogonalise(matrices, NEWTON_SCHULZ)
        assert found.dtype == expected
        values = torch.linalg.svdvals(found.float())
        assert 0.6 < float(values.min()) and float(values.max()) < 1.35
    assert product_dtype(torch.device("cuda")) == torch.bfloat16
