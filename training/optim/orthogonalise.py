"""The orthogonal factors of many matrices, by iterated polynomials: matrix products alone."""

import torch

from c3.support.cpu_instructions import has_fast_bfloat16

# Rows; the products of smaller quarters are too slow to pay.
SMALLEST_HALF = 128


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
    gram = _symmetric_product(x, x.mT)
    # The trace is the squared norm.
    norm = gram.diagonal(dim1=-2, dim2=-1).sum(-1, dtype=torch.float32).sqrt().clamp(min=eps)[:, None, None]
    factor = (scale / norm).to(x.dtype)
    gram *= factor * factor
    if x.dtype == torch.float32 and _gram_pays(rows, columns, len(shifts)):
        return _iterate_on_gram_matrix(gram, shifts).mul_(factor) @ x
    for index, (inner, outer) in enumerate(shifts):
        if index:
            gram = _symmetric_product(x, x.mT)
        shifted = _add_to_diagonal(gram, inner)
        product = _add_to_diagonal(_symmetric_product(shifted, shifted), outer)
        if not index:
            product *= factor
        x = product @ x
    return x


def _iterate_on_gram_matrix(gram, shifts):
    """What X is to be multiplied by, all iterations together: polynomials of G, which is symmetric, as G itself."""
    product = None
    for index, (inner, outer) in enumerate(shifts):
        shifted = _add_to_diagonal(gram.clone(), inner)
        factor = _add_to_diagonal(_symmetric_product(shifted, shifted), outer)
        product = factor if product is None else _symmetric_product(product, factor)
        if index + 1 < len(shifts):
            gram = _symmetric_product(_symmetric_product(factor, gram), factor)
    return product


def _symmetric_product(left, right):
    """Matrix products that are known to be symmetric: on CPUs the lower left quarter is copied, not computed."""
    half = left.shape[-2] // 2
    if left.is_cuda or half < SMALLEST_HALF:
        return left @ right
    product = torch.empty((*left.shape[:-1], right.shape[-1]), dtype=left.dtype, device=left.device)
    product[..., :half, :] = left[..., :half, :] @ right
    product[..., half:, half:] = left[..., half:, :] @ right[..., half:]
    product[..., half:, :half] = product[..., :half, half:].mT
    return product


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
