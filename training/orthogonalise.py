"""The orthogonal factors of many matrices, by iterated polynomials: matrix products alone."""

import torch

# Polar Express (arXiv 2505.16932): of all four odd polynomials of degree 5, those that bring singular values from
# 0.0021 to 1 closest to 1, for values divided by 1.02 before each, since rounding errors above 1 would explode. Values
# from 0.0023 end between 0.66 and 1.3; five iterations of Muon's own polynomial leave them between 0.68 and 1.21.
POLAR_EXPRESS = (
    (8.2558, -23.476, 16.7325),
    (4.0218, -2.8765, 0.5201),
    (3.6119, -2.5972, 0.4895),
    (2.6794, -1.9181, 0.4158),
)


def orthogonalise(matrices, polynomials, eps=1e-7):
    """
    Newton-Schulz iterations (https://kellerjordan.github.io/posts/muon): X becomes (a + b XX' + c (XX')^2) X.

    Every iteration is computed as ((G + h)^2 + e) X, with G = XX' of an X that is scaled to make this the same; nothing
    but products and sums on diagonals is left, so that no matrix is copied. Wide matrices iterate on G alone and are
    multiplied once, at the end (https://github.com/Dao-AILab/gram-newton-schulz), where the dtype is float32: in
    bfloat16 that diverges.

    Args:
        matrices (`torch.Tensor` of shape `(matrices, rows, columns)`): with no more rows than columns.
        polynomials (`Sequence[tuple[float, float, float]]`): a, b and c of each iteration; c must be positive.
        eps (`float`): least norm.

    Returns: `torch.Tensor` of their shape, in `product_dtype`.

    Raises:
        ValueError: a c that is not positive.
    """
    scale, shifts = _completed_squares(polynomials)
    x = matrices.to(product_dtype(matrices.device))
    *_, rows, columns = x.shape
    if x.dtype == torch.float32 and _gram_pays(rows, columns, len(shifts)):
        return _by_gram_matrix(x, scale, shifts, eps)
    x = x * (scale / x.norm(dim=(-2, -1), keepdim=True).clamp(min=eps))
    for inner, outer in shifts:
        shifted = _add_to_diagonal(x @ x.mT, inner)
        x = _add_to_diagonal(shifted @ shifted, outer) @ x
    return x


def _by_gram_matrix(x, scale, shifts, eps):
    gram = x @ x.mT
    norm = gram.diagonal(dim1=-2, dim2=-1).sum(-1).sqrt().clamp(min=eps)[:, None, None]
    gram *= (scale / norm) ** 2
    product = None
    for index, (inner, outer) in enumerate(shifts):
        shifted = _add_to_diagonal(gram.clone(), inner)
        factor = _add_to_diagonal(shifted @ shifted, outer)
        product = factor if product is None else product @ factor
        if index + 1 < len(shifts):
            gram = factor @ gram @ factor
    return product.mul_(scale / norm) @ x


def _gram_pays(rows, columns, iterations):
    """Whether iterating on the Gram matrix takes fewer products, counted in rows^2."""
    plain = iterations * (2 * columns + rows)
    return 2 * columns + (4 * iterations - 3) * rows < plain


def _completed_squares(polynomials):
    """
    What X is to be multiplied by at first, and for each iteration the h and e of ((G + h)^2 + e) X: with s the scale of
    X before an iteration and t that after it, t (a + b G / s^2 + c G^2 / s^4) / s has 1 before G^2 where s^5 = c t.
    """
    after, shifts = 1.0, []
    for a, b, c in reversed(polynomials):
        if c <= 0:
            raise ValueError(f"The polynomial's third coefficient must be positive, not {c}.")
        before = (c * after) ** 0.2
        inner = after * b / before**3 / 2
        shifts.append((inner, after * a / before - inner**2))
        after = before
    return after, shifts[::-1]


def _add_to_diagonal(matrices, number):
    matrices.diagonal(dim1=-2, dim2=-1).add_(number)
    return matrices


def product_dtype(device):
    """`torch.dtype`: bfloat16, and float32 on CPUs that have to emulate products of it."""
    return torch.bfloat16 if device.type != "cpu" or has_fast_bfloat16() else torch.float32


def has_fast_bfloat16():
    """Whether this CPU's matrix products take bfloat16, as those with AVX-512 do and those with AVX2 alone do not."""
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
