"""MStein: STOSA with a contrastive loss that measures two views by the Wasserstein distance between them.

    L = L_rec + cl_weight * L_MStein          (Eq. 15; L_rec is Eq. 4, L_MStein is Eq. 12)

Source: Fan et al., "Mutual Wasserstein Discrepancy Minimization for Sequential Recommendation", WWW 2023,
arXiv:2301.12197. Where the authors' code differs from the paper, each by a switch: the similarity 1/(1 + W2) at temperature
1e-6 instead of exp(-W2) (`cl_sim`), a mean stream that is never updated (`mean_stream`), all padded positions in the flattened
view (`cl_padding`). Not copied: a second ELU + 1 inside the loss, and an online item similarity whose scores all round to 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from monge.augment import nearest_by_vectors
from monge.data import Interactions, QueryBatch
from monge.losses import wasserstein_discrepancy
from monge.models.contract import INFINITY, Batches, check_ranges
from monge.models.sequential.next_item import Loss
from monge.models.sequential.stosa import STOSA, gaussian_space
from monge.models.sequential.views import ContrastiveConfig, TwoViewBatch, contrast, two_view_batches
from monge.nn import Scoring
from monge.nn.stochastic import MeanStream


@dataclass(frozen=True, kw_only=True)
class MSteinConfig(ContrastiveConfig):
    """MStein's options; the defaults are the authors' published setting for Beauty, with the paper's similarity."""

    n_layers: int = 1
    """Self-attention layers."""
    dropout: float = 0.1
    """Dropout on embeddings and on what a layer adds."""
    attention_dropout: float = 0.0
    """Dropout on attention weights."""
    batch_size: int = 1024
    """Users in a training batch."""
    loss: Loss = "bpr"
    """bpr and bce_1neg draw one negative a position, gbce and sampled_softmax draw n_negatives, full_ce takes all items."""
    mean_stream: MeanStream = "attended"
    """attended: as the paper says; passthrough: as the authors' code does (the mean is never updated)."""
    pvn_weight: float = 0.01
    """Weight of the positive-versus-negative hinge (loss bpr only)."""
    cl_weight: float = 0.005
    """Weight of the contrastive loss (beta)."""
    cl_sim: Literal["neg_w2", "inv_w2"] = "neg_w2"
    """Similarity of two views: -W2 (the paper) or 1 / (1 + W2) (the authors' code, with --cl-temperature 1e-6)."""
    cl_temperature: float = 1.0
    """Temperature of the contrastive loss (the paper has none: 1)."""
    substitute_ratio: float = 0.5
    """Share of items replaced by their most similar item."""
    insert_ratio: float = 0.3
    """Share of items that get their most similar item put before them."""
    length_threshold: int = 16
    """Sequences up to this length use the short set of operators; -1: every operator for every sequence."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, pvn_weight=(0, INFINITY))

    def space(self) -> dict[str, str]:
        """The paper's grid: narrower streams, since there are two, and the hinge that goes with bpr."""
        return gaussian_space(super().space(), self.loss)


class MStein(nn.Module):
    """A STOSA that is also taught to tell users apart by the Wasserstein distance of their views."""

    Config: ClassVar = MSteinConfig
    answers_unknown_users: ClassVar = True
    needs_history: ClassVar = True

    def __init__(self, config: MSteinConfig, *, n_users: int, n_items: int) -> None:
        super().__init__()
        self.config = config
        self.backbone = STOSA(config, n_users=n_users, n_items=n_items)  # pyright: ignore[reportArgumentType] (the shared options)

    def batches(self, train: Interactions, *, seed: int, device: torch.device) -> Batches:
        """Every user once an epoch, with two views; online similarity is -W2 of item Gaussians."""

        def online():
            return nearest_by_vectors(self.backbone.encoder.item_gaussians().detach(), Scoring("w2"))

        return two_view_batches(self.config, train, seed=seed, device=device, online=online)

    def loss(self, batch: TwoViewBatch) -> dict[str, Tensor]:
        """Eq. 15: the next-item parts plus cl_weight * L_MStein."""
        discrepancy = partial(wasserstein_discrepancy, similarity=self.config.cl_sim, temperature=self.config.cl_temperature)
        return {
            **self.backbone.loss(batch.next_item),
            "cl": contrast(self.config, batch.views, self.backbone.encoder.states, discrepancy),
        }

    def query_vectors(self, queries: QueryBatch) -> Tensor:
        """(B, 2D)."""
        return self.backbone.query_vectors(queries)

    def item_vectors(self) -> tuple[Tensor, Tensor | None]:
        """(n_items, 2D) and the bias."""
        return self.backbone.item_vectors()

    def scores(self, queries: QueryBatch) -> Tensor:
        """(B, n_items), higher is better: -W2 up to a constant per query."""
        return self.backbone.scores(queries)
