"""Wasserstein self-attention: weights from distances between Gaussians, values that are Gaussians.

    logits_ij = -W2(query_i, key_j) / sqrt(D)         weights = softmax_j(logits)
    mean_i    = sum_j weights_ij   mean_j
    var_i     = sum_j weights_ij^2 var_j              (variance of a weighted sum of independent Gaussians)

Source: STOSA (Fan et al., WWW 2022, arXiv:2201.06035, sec. 3.3). The scale 1/sqrt(D) stands in the authors' code only.
The term |query|^2 is the same for every key and cancels in the softmax: what is left is ordinary dot-product attention
on [mean, standard deviation] with one bias a key, and softmax(l)^2 = softmax(2 l) exp(lse(2 l) - 2 lse(l)). Fused kernels
could compute both, but measure slower than this plain form at the lengths of recommendation (docs/decisions/0004).

Axes: B sequences, H heads, T positions, D width of one head and stream, Z = 2 D.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from monge.ot.gaussian import at_least_float32, no_autocast


def causal_mask(real_BT: Tensor) -> Tensor:
    """(B, T) which positions hold an item -> (B, 1, T, T), True where query i (row) may look at key j.

    j <= i and position j is real; a position may always look at itself, so that padded rows have a softmax.
    """
    length = real_BT.shape[1]
    earlier_TT = torch.ones(length, length, dtype=torch.bool, device=real_BT.device).tril()
    itself_TT = torch.eye(length, dtype=torch.bool, device=real_BT.device)
    return ((earlier_TT & real_BT[:, None, :]) | itself_TT).unsqueeze(1)


def wasserstein_attention(
    query_z: Tensor,
    key_z: Tensor,
    value_mean: Tensor | None,
    value_variance: Tensor,
    *,
    mask: Tensor,
    dropout: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor | None, Tensor]:
    """Attend with -W2 / sqrt(D).

    Args:
        query_z, key_z: (B, H, T, Z) [mean, standard deviation].
        value_mean: (B, H, T, D), or None where only the covariance stream is wanted.
        value_variance: (B, H, T, D), > 0.
        mask: (B, 1, T, T) bool, True where a key is allowed; every row allows at least one.
        dropout: applied to the weights, e.g. a dropout module; the same weights enter both streams.

    Returns:
        mean (B, H, T, D) or None, variance (B, H, T, D).
    """
    query_z, key_z = at_least_float32(query_z), at_least_float32(key_z)
    scale = 1 / math.sqrt(query_z.shape[-1] // 2)
    key_bias = -scale * key_z.square().sum(-1).unsqueeze(-2)
    with no_autocast(query_z):
        logits_BHTT = torch.baddbmm(
            key_bias.flatten(0, 1), query_z.flatten(0, 1), key_z.flatten(0, 1).transpose(-1, -2), alpha=2 * scale
        ).view(*query_z.shape[:3], key_z.shape[2])
    weights_BHTT = logits_BHTT.masked_fill(~mask, -torch.inf).softmax(-1)
    if dropout is not None:
        weights_BHTT = dropout(weights_BHTT)
    mean = None if value_mean is None else weights_BHTT @ value_mean
    return mean, weights_BHTT.square() @ value_variance
