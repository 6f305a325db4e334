"""Losses of variational auto-encoders: what a posterior costs beside its prior.

Axes: B users, Z latent width.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, I)), in nats, averaged over users: (B, Z), (B, Z) -> ().

    KL_u = 1/2 sum_z ( variance + mean^2 - 1 - log variance )

    Source: Kingma & Welling, ICLR 2014, arXiv:1312.6114, appendix B.
    """
    return (log_variance.exp() + mean.square() - 1 - log_variance).sum(-1).mean() / 2


def kl_of_flow(noise: Tensor, log_variance: Tensor, log_det: Tensor, sample: Tensor) -> Tensor:
    """KL(q || N(0, I)) estimated from one sample a user of a posterior that went through a flow, in nats, averaged over users.

    KL_u ~ log N(z_0; mean, variance) - log|det dz_K/dz_0| - log N(z_K; 0, I),   z_0 = mean + sqrt(variance) noise

    Args:
        noise: (B, Z) what the base sample z_0 was drawn with. log_variance: (B, Z) of the base Gaussian.
        log_det: (B,) the flow's log-determinant at z_0. sample: (B, Z) z_K, what the flow made of z_0.

    Returns:
        (), negative for some samples; its expectation over the noise is the KL.

    Source: Kingma et al., NeurIPS 2016, arXiv:1606.04934, Eq. 5 (the 2 pi terms cancel).
    """
    return ((sample.square() - noise.square() - log_variance).sum(-1) / 2 - log_det).mean()


def kl_of_gaussians(mean: Tensor, deviation: Tensor, other_mean: Tensor, other_deviation: Tensor) -> Tensor:
    """KL( N(mean, deviation^2) || N(other_mean, other_deviation^2) ) of diagonal Gaussians, in nats, a row: (B, Z) four times -> (B,).

    KL_u = sum_z [ log(sigma' / sigma) + (sigma^2 + (mu - mu')^2) / (2 sigma'^2) - 1/2 ]

    Args:
        mean, deviation: (B, Z), deviation > 0. other_mean, other_deviation: broadcastable to (B, Z), other_deviation > 0.

    Source: Kingma & Welling, ICLR 2014, arXiv:1312.6114, appendix B, for any second Gaussian.
    """
    ratio = deviation / other_deviation
    return (ratio.square() + ((mean - other_mean) / other_deviation).square() - 1 - 2 * ratio.log()).sum(-1) / 2


@dataclass(frozen=True, eq=False)
class InterestBounds:
    """Lower bounds of four mutual informations, a user each; what is maximised. All in nats, up to constants of the data."""

    joint: Tensor
    """(B,) of I(X; Z^X, Z_t^Y), Eq. 9, without H(X)."""
    specific: Tensor
    """(B,) of -I(X; Z^X), Eq. 10."""
    conditional: Tensor
    """(B,) of -I(X; Z_t^Y | Y), Eq. 11."""
    denoising: Tensor
    """(B,) in place of I(Z^X; Z_a^X), Eq. 12 without its epsilon: no bound."""


Gaussian = tuple[Tensor, Tensor]
"""Mean and standard deviation."""


def interest_bounds(
    log_likelihood: Tensor, *, specific: Gaussian, prior: Gaussian, transferred: Gaussian, auxiliary: Gaussian, augmented: Gaussian
) -> InterestBounds:
    """The bounds of i2VAE's regularisers for one domain X.

        L_9  = log p(x | z^x, z_t^y)                           L_10 = -KL( q(z^x|x) || p(z^x) )
        L_11 = -KL( q(z_t^y|x,y) || r^y(z_t^y|y) )             L_12 = -KL( q(z^x|x) || q(z_a^x|x) )

    Args:
        log_likelihood: (B,) of what a user took, given one sample of the latents.
        specific: q(z^x|x). prior: p(z^x). transferred: q(z_t^y|x,y). auxiliary: r^y(z_t^y|y). augmented: q(z_a^x|x); each (B, Z) twice.

    Source: i2VAE (Ning et al., UAI 2025), Eqs. 9 to 12. Its Eq. 8 prints a semicolon in I(X; Z^X, Z_t^Y), a comma is meant; its text says
    that -I(X; Z_t^Y | Y) is minimised, I is meant.
    """
    return InterestBounds(
        joint=log_likelihood,
        specific=-kl_of_gaussians(*specific, *prior),
        conditional=-kl_of_gaussians(*transferred, *auxiliary),
        denoising=-kl_of_gaussians(*specific, *augmented),
    )


def denoising_weight(length: Tensor, max_length: int, *, a: float = 0.8, b: float = 0.8) -> Tensor:
    """exp(a L / T) - b: how much a user's own history is trusted over pseudo-items; (B,) lengths 0..T -> (B,).

    With a = b = 0.8 it is 0.2 for L = 0 and 1.43 for L = T. Source: i2VAE (Ning et al., UAI 2025), sec. 3.4.3.
    """
    return (a * length / max_length).exp() - b
