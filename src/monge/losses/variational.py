"""Losses of variational auto-encoders: what a posterior costs beside its prior.

Axes: B users, Z latent width.
"""

from __future__ import annotations

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
