"""Observation models: how likely a user's row is under the model's logits, and what it costs to transport one to the other.

The row x_u of user u holds 1 at the items that the user took (observed, the set I1) and 0 elsewhere (I2). Every function takes
the same arguments, so that any model that gives logits can be trained with any of them:

    logits: (B, I) float, one row a user.
    rows, items: (N,) int64 each, the observed pairs of the batch as (row, item), in any order, each pair once.

x itself is never formed. Half precision is computed in float32.

    gaussian, weighted_gaussian    xhat = logits             squared Euclidean distance
    bernoulli                      xhat = sigmoid(logits)    KL divergence of each entry
    poisson                        xhat = softplus(logits)   KL(rho || xhat) + the mass of xhat, up to constants
    multinomial                    xhat = softmax(logits)    KL(rho || xhat), up to constants, rho = x / |I1|
    sinkhorn_loss and the rest     xhat = softmax(logits)    optimal transport between x and xhat

Source: SinkhornCF (Li et al., WWW 2021), sec. 2 (Eqs. 2-9, Proposition 2.1) and 3 (Eqs. 10-12, Algorithm 1); the means over
users, and over users and items, are the authors' code's.

Axes: B users, I items, N observed pairs, k largest outputs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from monge.ot.cost import ItemCost
from monge.ot.gaussian import at_least_float32
from monge.ot.sinkhorn import sinkhorn_ragged


def gaussian(logits: Tensor, rows: Tensor, items: Tensor) -> Tensor:
    """Mean over users and items of (x - logits)^2: () in squared units of x. Source: Eq. 2, variance fixed."""
    return weighted_gaussian(logits, rows, items, weight=1.0)


def weighted_gaussian(logits: Tensor, rows: Tensor, items: Tensor, *, weight: float) -> Tensor:
    """Mean over users and items of w (x - logits)^2, w = `weight` (>= 0) where observed and 1 elsewhere.

    Source: Eq. 3 with the weights of Hu et al., ICDM 2008: one for each entry, not one for each item.
    """
    if not weight >= 0:
        raise ValueError(f"weight must be >= 0; got {weight}")
    logits, observed = _observed(logits, rows, items)
    at_pairs = (weight * (1 - observed).square() - observed.square()).sum()
    return logits.square().mean() + at_pairs / logits.numel()


def bernoulli(logits: Tensor, rows: Tensor, items: Tensor) -> Tensor:
    """Mean over users and items of softplus(logits) - x logits: () nats an entry. Source: Eq. 5, xhat = sigmoid(logits)."""
    logits, observed = _observed(logits, rows, items)
    return F.softplus(logits).mean() - observed.sum() / logits.numel()


def poisson(logits: Tensor, rows: Tensor, items: Tensor) -> Tensor:
    """Mean over users of sum_i (rate - x log rate), rate = softplus(logits): () nats a user. Source: Eq. 7."""
    logits, observed = _observed(logits, rows, items)
    small = observed.clamp(max=-15)
    log_rate = torch.where(observed < -15, small - small.exp() / 2, F.softplus(observed.clamp(min=-15)).log())
    return (F.softplus(logits).sum() - log_rate.sum()) / len(logits)


def multinomial(logits: Tensor, rows: Tensor, items: Tensor) -> Tensor:
    """Mean over users of -sum_i x log softmax(logits): () nats a user; |I1| log(I) means "cannot tell the items apart".

    Source: Eq. 9; MultVAE (Liang et al., WWW 2018, arXiv:1802.05814), Eq. 2.
    """
    logits, observed = _observed(logits, rows, items)
    return (logits.logsumexp(1)[rows] - observed).sum() / len(logits)


def concentration(logits: Tensor, rows: Tensor, items: Tensor, *, alpha: float) -> Tensor:
    """Mean over users of -sum_I1 log xhat - alpha sum_I2 log xhat, xhat = softmax(logits): () nats a user.

    It draws mass to the observed items, which L1 does not, and leaves some elsewhere: at its least value
    xhat = 1 / (|I1| + alpha |I2|) on I1 and alpha times that on I2.

    Args:
        alpha: in [0, 1); 0 is `multinomial`.

    Source: Algorithm 1, L2.
    """
    if not 0 <= alpha < 1:
        raise ValueError(f"alpha must lie in [0, 1); got {alpha}")
    loss = multinomial(logits, rows, items)
    if alpha == 0:
        return loss
    logits = at_least_float32(logits)
    everywhere = logits.shape[1] * (logits.logsumexp(1) - logits.mean(1)).mean()  # -sum_i log xhat, of all items
    return (1 - alpha) * loss + alpha * everywhere


def sinkhorn_loss(logits: Tensor, rows: Tensor, items: Tensor, cost: ItemCost, *, epsilon: float = 1.0, n_iterations: int = 5) -> Tensor:
    """Mean over users of <C, P>, P moving x to softmax(logits) over all items: () in units of the cost.

    Time and passing memory grow with |I1| x I for each user: for up to some thousand items; else `accelerated_sinkhorn`.

    Args:
        cost: between items, of training users only.
        epsilon: > 0, in units of the cost.
        n_iterations: L >= 1.

    Source: Eqs. 10-12, the value without the entropy term. See `monge.ot.sinkhorn`.
    """
    _check_pairs(logits, rows, items)
    log_nu = at_least_float32(logits).log_softmax(1)
    return sinkhorn_ragged(cost, rows, items, log_nu, epsilon=epsilon, n_iterations=n_iterations).mean()


def accelerated_sinkhorn(
    logits: Tensor,
    rows: Tensor,
    items: Tensor,
    cost: ItemCost,
    *,
    k: int = 200,
    epsilon: float = 1.0,
    n_iterations: int = 5,
    debias: bool = False,
) -> Tensor:
    """Mean over users of <C, P>, P moving x to the k largest entries of softmax(logits): () in units of the cost.

    The softmax is over all items and its k largest entries are not made to sum to 1, so alone this loss lowers their mass
    (every entry costs something): add `concentration`, and watch `top_k_mass`. An approximation of `sinkhorn_loss` without
    a proven bound; equal to it for k = I.

    Args:
        cost: between items, of training users only.
        k: in 1..I.
        epsilon: > 0, in units of the cost.
        n_iterations: L >= 1.
        debias: 2 W(x, xhat_k) - W(xhat_k, xhat_k), in the authors' code only; the constant W(x, x) is left out.

    Source: Algorithm 1, L1. Its header prints epsilon = 0.1; text, settings and code have 1.0.
    """
    _check_pairs(logits, rows, items)
    _check_k(k, logits.shape[1])
    logits = at_least_float32(logits)
    columns = logits.detach().topk(k, sorted=False).indices.sort(1).values  # in the order in which the cost lies in memory
    log_nu = logits.gather(1, columns) - logits.logsumexp(1, keepdim=True)
    return sinkhorn_ragged(cost, rows, items, log_nu, columns, epsilon=epsilon, n_iterations=n_iterations, debias=debias).mean()


def top_k_mass(logits: Tensor, k: int) -> Tensor:
    """How much of softmax(logits) its k largest entries hold: (B, I) -> (B,) in (0, 1]."""
    _check_k(k, logits.shape[-1])
    logits = at_least_float32(logits)
    return (logits.topk(k, sorted=False).values.logsumexp(1) - logits.logsumexp(1)).exp()


def _check_k(k: int, n_items: int) -> None:
    if not 1 <= k <= n_items:
        raise ValueError(f"k must lie in 1..{n_items}, the number of items; got {k}")


def _check_pairs(logits: Tensor, rows: Tensor, items: Tensor) -> None:
    if logits.ndim != 2 or rows.ndim != 1 or rows.shape != items.shape:
        shapes = ", ".join(str(tuple(x.shape)) for x in (logits, rows, items))
        raise ValueError(f"logits, rows and items must be (B, I), (N,) and (N,); got {shapes}")


def _observed(logits: Tensor, rows: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
    """The logits in float32 or wider, and those at the observed pairs (N,)."""
    _check_pairs(logits, rows, items)
    logits = at_least_float32(logits)
    return logits, logits[rows, items]
