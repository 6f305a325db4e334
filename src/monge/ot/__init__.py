"""Optimal transport on tensors: distances between Gaussians, attention by distance, Sinkhorn plans, doubly stochastic matrices, critics."""

from monge.ot.attention import causal_mask, wasserstein_attention
from monge.ot.cost import ItemCost
from monge.ot.critic import critic_loss, generator_loss, gradient_penalty, gumbel_noise, gumbel_softmax_rows, mixed, observed_dominates
from monge.ot.doubly_stochastic import doubly_stochastic
from monge.ot.gaussian import gaussian_vectors, root_elu1, w2_all_pairs, w2_as_inner_product, w2_paired, w2_within
from monge.ot.sinkhorn import SinkhornResult, sinkhorn, sinkhorn_ragged

__all__ = [
    "ItemCost",
    "SinkhornResult",
    "causal_mask",
    "critic_loss",
    "doubly_stochastic",
    "gaussian_vectors",
    "generator_loss",
    "gradient_penalty",
    "gumbel_noise",
    "gumbel_softmax_rows",
    "mixed",
    "observed_dominates",
    "root_elu1",
    "sinkhorn",
    "sinkhorn_ragged",
    "w2_all_pairs",
    "w2_as_inner_product",
    "w2_paired",
    "w2_within",
    "wasserstein_attention",
]
