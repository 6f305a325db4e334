"""The doubly stochastic matrix nearest to a similarity: a soft permutation, whose rows and columns each sum to 1.

    M = argmax <M, S> + lambda H(M)  over M >= 0, M 1 = 1, M^T 1 = 1, M_ii = 0        M = diag(r) exp(S / lambda) diag(c)

found by dividing rows and columns by their sums in turn. Adding one number to a row or a column of S changes nothing at
convergence: the scaling takes it out again.

Source: SCLRec (Zhuang & Zhang, "Soft Contrastive Learning for Implicit Feedback Recommendations"), Eqs. 2-4; Cuturi, NeurIPS 2013.
The paper leaves open which side comes first, what no iteration means and where the rows are made exact: see `doubly_stochastic`.

Axes: N rows and as many columns.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from monge.ot.gaussian import at_least_float32, no_autocast

LARGEST_SCALE = math.exp(40)  # float32 drops entries below exp(-87): scaled by less than this, they stay below exp(-47)


@torch.no_grad()
def doubly_stochastic(
    similarity: Tensor,
    *,
    entropy: float = 0.1,
    n_iterations: int = 6,
    rows_first: bool = True,
    overwrite: bool = False,
    out: Tensor | None = None,
) -> Tensor:
    """Scale exp(similarity / entropy), its diagonal masked, until rows and columns sum to 1; then the rows once more.

    Args:
        similarity: (N, N) float, finite; its diagonal is not read. Half precision is computed in float32, under autocast too.
        entropy: lambda > 0, in units of the similarity; the larger, the more even the rows.
        n_iterations: rounds of both half-steps, >= 0; 0 is a softmax of each row.
        rows_first: which half-step begins a round.
        overwrite: the similarity's own memory may be worked in; what stands there afterwards is of no use.
        out: (N, N) of the answer's type, for the answer. With both, a step after a step needs no new memory, and the system's handing
            out of fresh pages costs as much as the iterations do.

    Returns:
        (N, N) float32 or wider, without gradient. Rows sum to 1 up to rounding, whatever the number of rounds; columns nearly,
        the better the more rounds. The diagonal is 0; for N = 2 that leaves the swap. For N = 1 no such matrix exists, and the
        answer is [[1]]: a single pair is matched to itself. (0, 0) for N = 0.

    Raises:
        ValueError: similarity is not a square of floats; entropy or n_iterations out of range; `out` of another shape or type.

    Source: SCLRec, Eq. 4 with eta -> infinity.
    """
    N = len(similarity)
    if similarity.shape != (N, N) or not similarity.is_floating_point():
        raise ValueError(f"similarity must be (N, N), float; got {tuple(similarity.shape)}, {similarity.dtype}")
    if not 0 < entropy < float("inf"):
        raise ValueError(f"entropy must be > 0 and finite; got {entropy}")
    if n_iterations < 0:
        raise ValueError(f"n_iterations must be >= 0; got {n_iterations}")
    wide = at_least_float32(similarity)
    out = torch.empty_like(wide) if out is None else out
    if out.shape != wide.shape or out.dtype != wide.dtype:
        raise ValueError(f"out must be ({N}, {N}), {wide.dtype}; got {tuple(out.shape)}, {out.dtype}")
    if N < 2:
        return out.fill_(1)
    exponents = wide.div_(entropy) if overwrite else wide / entropy
    exponents.fill_diagonal_(-torch.inf)
    with no_autocast(similarity):
        plan = _by_products(exponents, n_iterations, rows_first, out)
    return out.copy_(_by_logarithms(exponents, n_iterations, rows_first)) if plan is None else plan


def _by_products(exponents: Tensor, n_iterations: int, rows_first: bool, out: Tensor) -> Tensor | None:
    """After the first half-step all entries are at most 1, and all others are products with that one matrix.

    Returns:
        (N, N) in `out`, or None where a scaling grew so large that entries which float32 rounds to 0 could matter.
    """
    first = 1 if rows_first or n_iterations == 0 else 0
    kernel = torch.softmax(exponents, first, out=out)
    rows, columns = kernel.new_ones(len(kernel)), kernel.new_ones(len(kernel))
    if first == 0:
        rows = kernel.sum(1).reciprocal_()
    largest = rows.max()
    for _ in range(n_iterations - (first == 0)):
        columns = (rows @ kernel).reciprocal_()
        rows = (kernel @ columns).reciprocal_()
        largest = torch.maximum(largest, rows.max() * columns.max())
    return kernel.mul_(rows[:, None]).mul_(columns) if bool(largest <= LARGEST_SCALE) else None  # not <= where it is NaN


def _by_logarithms(exponents: Tensor, n_iterations: int, rows_first: bool) -> Tensor:
    """Each half-step as a softmax that is not left the log domain: any entropy, at two exponentials an entry and round."""
    for _ in range(n_iterations):
        for dim in (1, 0) if rows_first else (0, 1):
            exponents = exponents.log_softmax(dim)
    return exponents.softmax(1)
