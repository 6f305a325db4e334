"""Optimal transport on tensors: distances between Gaussians and attention by distance."""

from monge.ot.attention import causal_mask, wasserstein_attention
from monge.ot.gaussian import gaussian_vectors, root_elu1, w2_all_pairs, w2_as_inner_product, w2_paired, w2_within

__all__ = [
    "causal_mask",
    "gaussian_vectors",
    "root_elu1",
    "w2_all_pairs",
    "w2_as_inner_product",
    "w2_paired",
    "w2_within",
    "wasserstein_attention",
]
