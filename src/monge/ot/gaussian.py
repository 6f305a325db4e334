"""Squared 2-Wasserstein distances between Gaussians with diagonal covariance.

    W2(a, b) = |mean_a - mean_b|^2 + |sqrt(var_a) - sqrt(var_b)|^2

There is no outer square root: the literature of this family calls the square "the 2-Wasserstein distance".
With z = [mean, sqrt(var)] it is the squared Euclidean distance |z_a - z_b|^2, so a Gaussian travels as ONE vector
of width 2D here, and everything that is known of Euclidean distances applies.

Axes: N, M rows; D width of one stream; Z = 2 D.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def no_autocast(x: Tensor) -> torch.autocast:
    """A context in which mixed precision leaves matrix products alone: distances are differences of large numbers."""
    return torch.autocast(x.device.type, enabled=False)


def at_least_float32(x: Tensor) -> Tensor:
    """Half precision widened; float32 and float64 as they are."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def root_elu1(x: Tensor) -> Tensor:
    """sqrt(ELU(x) + 1), the standard deviation of a variance parametrised as ELU(x) + 1.

    Written directly (sqrt(1 + x) for x >= 0, exp(x / 2) below), so that value and gradient stay finite where
    ELU(x) + 1 rounds to 0 (x < -17 in float32) and the root of it would have an unbounded gradient.

    Args:
        x: any shape, float.

    Returns:
        Same shape, > 0 as long as exp(x / 2) does not underflow.
    """
    root: Tensor = _RootElu1.apply(x)  # pyright: ignore[reportAssignmentType]
    return root


class _RootElu1(torch.autograd.Function):
    """Keeps only its result for the gradient: 1 / (2 root) where x >= 0 (root >= 1), root / 2 below."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        root = torch.where(x >= 0, (1 + x.clamp(min=0)).sqrt_(), (0.5 * x.clamp(max=0)).exp_())
        ctx.save_for_backward(root)
        return root

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        (root,) = ctx.saved_tensors
        return grad_outputs[0] * 0.5 * torch.where(root >= 1, root.reciprocal(), root)


def gaussian_vectors(mean: Tensor, variance_logits: Tensor) -> Tensor:
    """[mean, sqrt(ELU(variance_logits) + 1)]: (..., D), (..., D) -> (..., 2 D)."""
    return torch.cat([mean, root_elu1(variance_logits)], dim=-1)


def w2_paired(z_a: Tensor, z_b: Tensor) -> Tensor:
    """Squared 2-Wasserstein distance row by row: (..., Z), (..., Z) -> (...), >= 0; shapes broadcast."""
    return (z_a - z_b).square().sum(-1)


def w2_all_pairs(z_a: Tensor, z_b: Tensor) -> Tensor:
    """Squared 2-Wasserstein distances of all pairs by one matrix product: (..., N, Z), (..., M, Z) -> (..., N, M).

    |a|^2 + |b|^2 - 2 a.b, clamped at 0 because the difference cancels. Keep it in float32 or wider: the norms can be
    in the thousands, where half precision has no digits left for the distance.

    Raises:
        ValueError: half-precision input, or widths that differ.
    """
    if z_a.shape[-1] != z_b.shape[-1]:
        raise ValueError(f"both sides must have one width; got {z_a.shape[-1]} and {z_b.shape[-1]}")
    if z_a.dtype in (torch.float16, torch.bfloat16) or z_b.dtype in (torch.float16, torch.bfloat16):
        raise ValueError("all-pairs distances cancel in half precision; convert to float32 first")
    norm_a = z_a.square().sum(-1, keepdim=True)
    norm_b = z_b.square().sum(-1).unsqueeze(-2)
    with no_autocast(z_a):
        return (norm_a + norm_b - 2 * z_a @ z_b.transpose(-1, -2)).clamp(min=0)


def w2_within(z: Tensor) -> Tensor:
    """`w2_all_pairs(z, z)` with a cheaper gradient: (N, Z) -> (N, N), symmetric, its diagonal exactly 0.

    d loss / d z_i = 2 sum_j S_ij (z_i - z_j) with S = G + G^T and G the incoming gradient: one matrix product, not two.
    """
    with no_autocast(z):
        distances: Tensor = _Within.apply(at_least_float32(z))  # pyright: ignore[reportAssignmentType]
    return distances


class _Within(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        norms = z.square().sum(-1)
        distances = (norms[:, None] + norms).addmm_(z, z.T, alpha=-2).clamp_(min=0)
        distances.fill_diagonal_(0)
        ctx.save_for_backward(z)
        return distances

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        symmetric = grad_outputs[0] + grad_outputs[0].T
        return 2 * torch.addmm(symmetric.sum(1, keepdim=True) * z, symmetric, z, alpha=-1)


def w2_as_inner_product(z_items: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors and biases such that ranking by `query @ vectors.T + bias` is ranking by -W2.

    -W2(q, v) = 2 q.v - |v|^2 - |q|^2, and |q|^2 is the same for every item. Exact; so nearest-neighbour indexes,
    fused kernels and exports need to know nothing of Gaussians.

    Args:
        z_items: (M, Z) Gaussians as [mean, standard deviation].

    Returns:
        (M, Z) vectors and (M,) biases.
    """
    return 2 * z_items, -z_items.square().sum(-1)
