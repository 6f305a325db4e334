"""Losses as functions of scores or embeddings: usable with any model, ours or yours."""

from monge.losses.contrastive import info_nce_two_views, two_view_cross_entropy, wasserstein_discrepancy
from monge.losses.ranking import binary_cross_entropy, bpr, full_cross_entropy, gbce, sampled_softmax

__all__ = [
    "binary_cross_entropy",
    "bpr",
    "full_cross_entropy",
    "gbce",
    "info_nce_two_views",
    "sampled_softmax",
    "two_view_cross_entropy",
    "wasserstein_discrepancy",
]
