"""Losses as functions of scores or embeddings: usable with any model, ours or yours."""

from monge.losses.contrastive import cross_view_info_nce, info_nce_two_views, two_view_cross_entropy, wasserstein_discrepancy
from monge.losses.in_batch import alignment, info_nce, uniformity
from monge.losses.observation import (
    accelerated_sinkhorn,
    bernoulli,
    concentration,
    gaussian,
    multinomial,
    poisson,
    sinkhorn_loss,
    top_k_mass,
    weighted_gaussian,
)
from monge.losses.ranking import binary_cross_entropy, bpr, full_cross_entropy, gbce, sampled_softmax
from monge.losses.variational import denoising_weight, interest_bounds, kl_of_flow, kl_of_gaussians, kl_to_standard_normal

__all__ = [
    "accelerated_sinkhorn",
    "alignment",
    "bernoulli",
    "binary_cross_entropy",
    "bpr",
    "concentration",
    "cross_view_info_nce",
    "denoising_weight",
    "full_cross_entropy",
    "gaussian",
    "gbce",
    "info_nce",
    "info_nce_two_views",
    "interest_bounds",
    "kl_of_flow",
    "kl_of_gaussians",
    "kl_to_standard_normal",
    "multinomial",
    "poisson",
    "sampled_softmax",
    "sinkhorn_loss",
    "top_k_mass",
    "two_view_cross_entropy",
    "uniformity",
    "wasserstein_discrepancy",
    "weighted_gaussian",
]
