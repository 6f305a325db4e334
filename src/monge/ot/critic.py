"""The 1-Wasserstein distance between two sets of rows, as a critic with bounded slope tells it; and rows made soft by Gumbel noise.

    W1(r, f) = sup over 1-Lipschitz D of E[D(r)] - E[D(f)]

The critic is trained to tell the sets apart by that difference; a penalty keeps the norm of its gradient near 1 between them.

Axes: B rows, I entries of a row, Z outputs of a critic's first layer.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def critic_loss(real: Tensor, fake: Tensor) -> Tensor:
    """E[D(fake)] - E[D(real)], what a critic minimises: any shapes -> (). Minus this is its estimate of the distance.

    Source: Arjovsky et al., "Wasserstein GAN", ICML 2017, Alg. 1; MMSSL prints it with the opposite sign (WWW 2023, Eq. 7).
    """
    return fake.mean() - real.mean()


def generator_loss(fake: Tensor) -> Tensor:
    """-E[D(fake)], what a generator minimises: any shape -> ()."""
    return -fake.mean()


def mixed(real: Tensor, fake: Tensor, share: Tensor) -> Tensor:
    """Points between real and fake rows: share real + (1 - share) fake, row by row: (B, I), (B, I), (B,) -> (B, I).

    Works on what a linear layer makes of the rows too: the layer of the mixture is the mixture of the layers.
    """
    return share[:, None] * real + (1 - share[:, None]) * fake


def gradient_penalty(critic: Callable[[Tensor], Tensor], points: Tensor, first_layer: Tensor | None = None) -> Tensor:
    """mean_b (|grad_x D(x_b)|_2 - 1)^2, with a gradient to the critic's parameters.

    Args:
        critic: (B, I) rows -> one number each; or, where `first_layer` is given, what comes after the critic's first linear layer:
            (B, Z) -> one number each.
        points: (B, I) rows x, or (B, Z) = x W + b, e.g. from `mixed`.
        first_layer: (I, Z) W: the gradient to x is then J W^T, J that to (B, Z). Rows x need never be in memory for it.

    Returns:
        (). Where the critic looks at several rows at once (batch normalisation), the gradient of the sum of its outputs is taken.

    Source: Gulrajani et al., "Improved Training of Wasserstein GANs", NeurIPS 2017, Eq. 3.
    """
    if not points.requires_grad:
        points = points.detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
    if first_layer is not None:
        slope = slope @ first_layer.T
    squares = slope.square().sum(1)
    return (squares.clamp(min=torch.finfo(squares.dtype).tiny).sqrt() - 1).square().mean()


def gumbel_noise(like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """g = -log(-log(u)), u uniform in (0, 1): standard Gumbel numbers of a tensor's shape and type."""
    tiny = torch.finfo(like.dtype).tiny
    uniform = torch.empty_like(like).uniform_(tiny, 1 - torch.finfo(like.dtype).eps, generator=generator)
    return -(-uniform.log()).log()


def gumbel_softmax_rows(rows: Tensor, *, temperature: float, noise: Tensor | None = None) -> Tensor:
    """softmax over i of (a_i + g_i) / temperature: (B, I) 0/1 rows and (B, I) noise -> (B, I) rows that add up to 1.

    Raises:
        ValueError: the temperature is not > 0.

    Source: MMSSL, Eq. 5, first term (Jang et al., ICLR 2017). Its code scales the noise by 1e-5.
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be > 0; got {temperature}")
    return ((rows if noise is None else rows + noise) / temperature).softmax(-1)


def observed_dominates(*, temperature: float, noise_scale: float, dtype: torch.dtype = torch.float32) -> bool:
    """Whether no entry with a = 0 can get a weight above zero beside one with a = 1, whatever the noise: then rows stay sparse, exactly.

    Gumbel numbers drawn from floating-point uniforms lie within -log(-log(tiny)) .. -log(eps).
    """
    info = torch.finfo(dtype)
    spread = torch.tensor([info.tiny, info.eps], dtype=torch.float64).log().neg()
    largest_gap = float(spread[1] + spread[0].log())
    smallest = torch.tensor(info.tiny * info.eps, dtype=torch.float64).log()  # of a subnormal number
    return (1 - noise_scale * largest_gap) / temperature > -float(smallest) + 1
