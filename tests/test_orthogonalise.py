"""Iterated polynomials against singular value decompositions. Run: pytest tests/test_orthogonalise.py"""

import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from c3.training import orthogonalise as module
from c3.training.orthogonalise import POLAR_EXPRESS, orthogonalise, product_dtype

NEWTON_SCHULZ = ((3.4445, -4.775, 2.0315),) * 5


def applied(polynomials, values):
    for a, b, c in polynomials:
        values = values * (a + b * values**2 + c * values**4)
    return values


@pytest.fixture(autouse=True)
def in_float32(monkeypatch):
    monkeypatch.setattr(module, "product_dtype", lambda device: torch.float32)


@pytest.mark.parametrize("polynomials", [NEWTON_SCHULZ, POLAR_EXPRESS], ids=["newton-schulz", "polar-express"])
@pytest.mark.parametrize("shape", [(3, 16, 16), (3, 16, 20), (3, 16, 64), (2, 1, 7)])
@pytest.mark.parametrize("rank", [16, 3])
def test_singular_values_go_through_the_polynomials(polynomials, shape, rank):
    """Whichever way it is computed, and of matrices of low rank too."""
    generator = torch.Generator().manual_seed(0)
    rank = min(rank, shape[1])
    matrices = torch.randn((*shape[:2], rank), generator=generator)
    matrices = matrices @ torch.randn((shape[0], rank, shape[2]), generator=generator)
    left, values, right = torch.linalg.svd(matrices.double(), full_matrices=False)
    values = applied(polynomials, values / values.norm(dim=-1, keepdim=True))
    expected = (left * values[:, None]) @ right
    torch.testing.assert_close(orthogonalise(matrices, polynomials).double(), expected, rtol=0, atol=2e-3)


def test_polar_express_comes_as_close_as_newton_schulz_in_fewer_iterations():
    values = torch.logspace(math.log10(0.0023), 0, 100_000, dtype=torch.float64)
    for polynomials, lowest, highest in ((POLAR_EXPRESS, 0.66, 1.301), (NEWTON_SCHULZ, 0.68, 1.21)):
        found = applied(polynomials, values)
        assert lowest < float(found.min()) and float(found.max()) < highest
        assert float(found.max()) > highest - 0.02
    # An update would point elsewhere if some values came out negative.
    assert float(applied(POLAR_EXPRESS, torch.linspace(0, 1, 10_000)).min()) >= 0


@pytest.mark.parametrize(("columns", "iterates_on"), [(16, "x"), (64, "gram")])
def test_the_way_with_fewer_products_is_taken(columns, iterates_on):
    with FlopCounterMode(display=False) as counter:
        orthogonalise(torch.randn(2, 16, columns), POLAR_EXPRESS)
    products = {"x": 4 * (2 * columns + 16), "gram": 2 * columns + 13 * 16}
    assert counter.get_total_flops() == 2 * 2 * 16 * 16 * products[iterates_on]
    assert products[iterates_on] == min(products.values())


def test_zeros_stay_zeros():
    for shape in ((1, 4, 4), (1, 4, 32)):
        assert not orthogonalise(torch.zeros(shape), POLAR_EXPRESS).any()


def test_a_coefficient_that_has_no_square():
    with pytest.raises(ValueError, match="third coefficient must be positive, not 0"):
        orthogonalise(torch.randn(1, 3, 4), [(1.5, -0.5, 0)])


def test_the_dtype_of_products(monkeypatch):
    """bfloat16, but for CPUs that would emulate it; on matrices themselves there, however wide they are."""
    monkeypatch.setattr(module, "product_dtype", product_dtype)
    matrices = torch.randn(2, 8, 64, generator=torch.Generator().manual_seed(0))
    for fast, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(module, "has_fast_bfloat16", lambda fast=fast: fast)
        found = orthogonalise(matrices, POLAR_EXPRESS)
        assert found.dtype == expected
        values = torch.linalg.svdvals(found.float())
        assert 0.6 < float(values.min()) and float(values.max()) < 1.35
    assert product_dtype(torch.device("cuda")) == torch.bfloat16
