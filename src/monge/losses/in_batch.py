"""Losses of a batch of observed (user, item) pairs, without drawn negatives: the batch's other rows stand in for them.

| loss       | what it wants                                                         | "cannot tell anything apart" is |
|------------|-----------------------------------------------------------------------|---------------------------------|
| info_nce   | query i picks key i out of the batch, or shares itself as targets say | log(B)                          |
| alignment  | the two sides of a pair lie at one place                              | unit norm, at random: 2         |
| uniformity | the rows of one side lie far from each other                          | all rows equal: 0               |

Axes: B pairs, V width of a vector.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from monge.ot import w2_paired
from monge.ot.gaussian import at_least_float32, no_autocast


def info_nce(
    queries: Tensor,
    keys: Tensor,
    *,
    temperature: float,
    targets: Tensor | None = None,
    alpha: float = 1.0,
    hidden: Tensor | None = None,
) -> Tensor:
    """In-batch InfoNCE: query i must pick key i out of the batch, or with soft targets several keys, each to its share.

    loss = -mean_i sum_j M_ij log( exp(s_ij) / sum_k exp(s_ik) ),   s = queries @ keys.T / temperature,   M = alpha I + (1 - alpha) targets

    Args:
        queries: (B, V) float, unit-norm as a rule.
        keys: (B, V) float, keys[i] the positive of queries[i].
        temperature: tau > 0, in units of the inner products.
        targets: (B, B) float, >= 0, rows summing to 1; no gradient goes into them. Not read where alpha is 1.
        alpha: in [0, 1], the share of the positive itself; without targets it must be 1.
        hidden: (B, B) bool, True where key j is no honest negative of query i: left out of the sum over k, and of M, whose
            rows are made to sum to 1 again. The diagonal is never hidden; a row of M with nothing left is the diagonal's.

    Returns:
        (), float32 or wider (under autocast too), nats per query; differentiable once in queries and keys.

    Raises:
        ValueError: shapes that do not fit, no pair, temperature or alpha out of range, alpha below 1 without targets.

    Source: van den Oord et al. 2018, arXiv:1807.03748, Eq. 4; soft targets: SCLRec (Zhuang & Zhang), Eqs. 5 and 6. Ours: `hidden`.
    """
    B = len(queries)
    if queries.ndim != 2 or queries.shape != keys.shape or B == 0:
        raise ValueError(f"queries and keys must both be (B, V), B >= 1; got {tuple(queries.shape)}, {tuple(keys.shape)}")
    for name, matrix in (("targets", targets), ("hidden", hidden)):
        if matrix is not None and matrix.shape != (B, B):
            raise ValueError(f"{name} must be (B, B) = ({B}, {B}); got {tuple(matrix.shape)}")
    if not temperature > 0:
        raise ValueError(f"temperature must be > 0; got {temperature}")
    if not 0 <= alpha <= 1 or (targets is None and alpha < 1):
        raise ValueError(f"alpha must lie in [0, 1], and be 1 where there are no targets; got {alpha}")
    if targets is None or alpha == 1:
        targets, alpha = None, 1.0
    else:
        targets = at_least_float32(targets.detach())
    if hidden is not None:
        hidden = hidden & ~torch.eye(B, dtype=torch.bool, device=hidden.device)
        if targets is not None:
            targets, alpha = _without(targets, alpha, hidden), 0.0
    loss: Tensor = _InfoNCE.apply(at_least_float32(queries), at_least_float32(keys), temperature, targets, alpha, hidden)  # pyright: ignore[reportAssignmentType]
    return loss


def _without(targets: Tensor, alpha: float, hidden: Tensor) -> Tensor:
    """(B, B) M without the hidden entries, each row made to sum to 1 again."""
    wanted = (1 - alpha) * targets
    wanted.diagonal().add_(alpha)
    mass = wanted.masked_fill_(hidden, 0).sum(1, keepdim=True)
    return torch.where(mass > 0, wanted / mass, torch.eye(len(wanted), dtype=wanted.dtype, device=wanted.device))


class _InfoNCE(torch.autograd.Function):
    """The gradients are formed beside the value: a step's time goes into (B, B) matrices, and this makes one of them."""

    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, keys: Tensor, temperature: float, targets: Tensor | None, alpha: float, hidden: Tensor | None
    ) -> Tensor:
        with no_autocast(queries):
            scaled = queries / temperature
            logits = scaled @ keys.T
            if hidden is not None:
                logits.masked_fill_(hidden, -torch.inf)
            logits.sub_(logits.amax(1, keepdim=True))
            wanted = alpha * logits.diagonal().sum()
            if targets is not None:  # what is hidden is not wanted, and 0 * -inf is no number
                left = logits if hidden is None else logits.masked_fill(hidden, 0)
                wanted += (1 - alpha) * (targets.flatten() @ left.flatten())
            slopes = logits.exp_()
            sums = slopes.sum(1, keepdim=True)
            slopes.div_(sums)  # P, and below P - M
            slopes.diagonal().sub_(alpha)
            if targets is not None:
                slopes.sub_(targets, alpha=1 - alpha)
            ctx.save_for_backward(slopes @ keys / (temperature * len(keys)), slopes.T @ scaled / len(keys))
        return (sums.log().sum() - wanted) / len(keys)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        grad_queries, grad_keys = ctx.saved_tensors
        return grad_outputs[0] * grad_queries, grad_outputs[0] * grad_keys, None, None, None, None


def alignment(queries: Tensor, keys: Tensor) -> Tensor:
    """Mean over pairs of |q - k|^2: (B, V), (B, V) -> (), in 0..4 for unit-norm rows.

    Raises:
        ValueError: queries and keys are not both (B, V).

    Source: DirectAU (Wang et al., KDD 2022), Eq. 2; Wang & Isola, ICML 2020, with exponent 2.
    """
    if queries.ndim != 2 or queries.shape != keys.shape:
        raise ValueError(f"queries and keys must both be (B, V); got {tuple(queries.shape)}, {tuple(keys.shape)}")
    return w2_paired(at_least_float32(queries), at_least_float32(keys)).mean()


def uniformity(rows: Tensor, *, t: float = 2.0) -> Tensor:
    """log of the mean over pairs i < j of exp(-t |z_i - z_j|^2): (B, V) -> (), <= 0, at least -4 t for unit-norm rows.

    A row that stands twice is a pair at distance 0 like any other.

    Args:
        rows: (B, V), B >= 2.
        t: > 0, in 1 / units of the squared distance.

    Raises:
        ValueError: fewer than two rows, or t <= 0.

    Source: DirectAU (Wang et al., KDD 2022), Eq. 2; Wang & Isola, ICML 2020 (t = 2).
    """
    B = len(rows)
    if rows.ndim != 2 or B < 2:
        raise ValueError(f"rows must be (B, V) with B >= 2, there is no pair otherwise; got {tuple(rows.shape)}")
    if not t > 0:
        raise ValueError(f"t must be > 0; got {t}")
    distances = F.pdist(at_least_float32(rows)).square()  # of two equal rows: 0, and so is their gradient
    return (-t * distances).logsumexp(0) - math.log(len(distances))
