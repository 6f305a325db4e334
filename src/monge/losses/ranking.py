"""Losses of "the next item is this one": one function each, on scores, in nats, averaged over what is given.

Axes: N positions, K negatives, M items, V width of a vector.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def bpr(positive: Tensor, negative: Tensor) -> Tensor:
    """-mean log sigmoid(positive - negative): (N,), (N,) -> (). Source: Rendle et al., UAI 2009, BPR-Opt."""
    return F.softplus(negative - positive).mean()


def binary_cross_entropy(positive: Tensor, negatives: Tensor) -> Tensor:
    """-mean_n [ log sigmoid(positive_n) + sum_k log sigmoid(-negatives_nk) ]: (N,), (N, K) -> ().

    Source: Kang & McAuley, ICDM 2018, sec. III-E (K = 1).
    """
    return (F.softplus(-positive) + F.softplus(negatives).sum(-1)).mean()


def gbce(positive: Tensor, negatives: Tensor, *, n_items: int, calibration: float) -> Tensor:
    """Binary cross-entropy whose positive term is sigmoid^beta, against the over-confidence of sampling.

    alpha = K / (n_items - 1),  beta = alpha (calibration (1 - 1/alpha) + 1/alpha).

    Args:
        positive: (N,). negatives: (N, K).
        n_items: size of the catalogue that the negatives were drawn from.
        calibration: t in [0, 1]; 0 is plain binary cross-entropy, 1 calibrates fully.

    Source: Petrov & Macdonald, RecSys 2023 (gSASRec), arXiv:2308.07192, Eqs. 10 and 16.
    """
    alpha = negatives.shape[-1] / (n_items - 1)
    beta = alpha * (calibration * (1 - 1 / alpha) + 1 / alpha)
    return (beta * F.softplus(-positive) + F.softplus(negatives).sum(-1)).mean()


def sampled_softmax(positive: Tensor, negatives: Tensor, *, hit: Tensor | None = None) -> Tensor:
    """Cross-entropy of the positive among itself and K uniform negatives: (N,), (N, K) -> ().

    Args:
        positive: (N,). negatives: (N, K).
        hit: (N, K) bool, True where a negative is the positive itself: left out.
    """
    if hit is not None:
        negatives = negatives.masked_fill(hit, -torch.inf)
    return (torch.logaddexp(positive, negatives.logsumexp(-1)) - positive).mean()


def full_cross_entropy(queries: Tensor, items: Tensor, bias: Tensor | None, targets: Tensor, *, block: int = 2048) -> Tensor:
    """Cross-entropy over all items in blocks of positions; the logits of one block are all that is ever in memory.

    loss = mean_n [ logsumexp_m(q_n.v_m + b_m) - (q_n.v_t + b_t) ],  t = targets_n

    The gradients are formed in the same pass as the value (three matrix products instead of four, and no stored logits).

    Args:
        queries: (N, V). items: (M, V). bias: (M,) or None. targets: (N,) int64 in 0..M-1.
        block: positions in one block.

    Returns:
        (), nats per position; log(M) means "cannot tell the items apart".
    """
    if bias is None:
        bias = queries.new_zeros(len(items))
    queries, items, bias = (x.float() if x.dtype in (torch.float16, torch.bfloat16) else x for x in (queries, items, bias))
    loss: Tensor = _FullCrossEntropy.apply(queries, items, bias, targets, block)  # pyright: ignore[reportAssignmentType]
    return loss


class _FullCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, queries: Tensor, items: Tensor, bias: Tensor, targets: Tensor, block: int) -> Tensor:
        grad_queries = torch.empty_like(queries)
        grad_items, grad_bias = torch.zeros_like(items), torch.zeros_like(bias)
        total = queries.new_zeros(())
        logits_NM = queries.new_empty(min(block, len(queries)), len(items))
        for start in range(0, len(queries), block):
            rows = slice(start, min(start + block, len(queries)))
            target_N1 = targets[rows, None]
            logits = torch.addmm(bias, queries[rows], items.T, out=logits_NM[: rows.stop - rows.start])
            at_target = logits.gather(1, target_N1)
            logits -= logits.amax(1, keepdim=True)
            shifted_target = logits.gather(1, target_N1)
            sums = logits.exp_().sum(1, keepdim=True)
            total += (sums.log() - shifted_target).sum()
            weights = logits.div_(sums)
            weights.scatter_add_(1, target_N1, torch.full_like(at_target, -1.0))
            torch.mm(weights, items, out=grad_queries[rows])
            grad_items.addmm_(weights.T, queries[rows])
            grad_bias += weights.sum(0)
        ctx.save_for_backward(grad_queries, grad_items, grad_bias)
        ctx.n = len(queries)
        return total / len(queries)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        grad_queries, grad_items, grad_bias = ctx.saved_tensors
        scale = grad_outputs[0] / ctx.n
        return grad_queries * scale, grad_items * scale, grad_bias * scale, None, None
