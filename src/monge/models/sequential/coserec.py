"""CoSeRec: SASRec with a contrastive loss between two informed augmentations of each sequence.

Source: Liu et al., "Contrastive Self-supervised Sequential Recommendation with Robust Augmentation", 2021,
arXiv:2108.06479. The similarity of MStein's paper is the cosine (Eq. 6); `cl_sim="dot"` is CoSeRec's own code.
Where the authors' code differs: it passes the mask ratio as the reorder ratio, and its crop never takes the last window.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from monge.augment import nearest_by_vectors
from monge.data import Interactions, QueryBatch
from monge.losses import info_nce_two_views
from monge.models.contract import Batches
from monge.models.sequential.sasrec import SASRec
from monge.models.sequential.views import ContrastiveConfig, TwoViewBatch, contrast, two_view_batches
from monge.nn import Scoring


@dataclass(frozen=True, kw_only=True)
class CoSeRecConfig(ContrastiveConfig):
    """CoSeRec's options; the defaults are the authors'."""

    cl_sim: Literal["cosine", "dot"] = "cosine"
    """Similarity of two views: cosine (MStein's paper) or dot (CoSeRec's code)."""


class CoSeRec(nn.Module):
    """A SASRec that is also taught to tell users apart by their views."""

    Config: ClassVar = CoSeRecConfig
    answers_unknown_users: ClassVar = True
    needs_history: ClassVar = True

    def __init__(self, config: CoSeRecConfig, *, n_users: int, n_items: int) -> None:
        super().__init__()
        self.config = config
        self.backbone = SASRec(config, n_users=n_users, n_items=n_items)  # pyright: ignore[reportArgumentType] (the shared options)

    def batches(self, train: Interactions, *, seed: int, device: torch.device) -> Batches:
        """Every user once an epoch, with two views; online similarity is the inner product of item embeddings."""

        def online():
            return nearest_by_vectors(self.backbone.item_table().detach(), Scoring("dot"))

        return two_view_batches(self.config, train, seed=seed, device=device, online=online)

    def loss(self, batch: TwoViewBatch) -> dict[str, Tensor]:
        """Next-item loss plus cl_weight * InfoNCE of the views."""
        info_nce = partial(info_nce_two_views, similarity=self.config.cl_sim, temperature=self.config.cl_temperature)
        return {**self.backbone.loss(batch.next_item), "cl": contrast(self.config, batch.views, self.backbone.encoder, info_nce)}

    def query_vectors(self, queries: QueryBatch) -> Tensor:
        """(B, D)."""
        return self.backbone.query_vectors(queries)

    def item_vectors(self) -> tuple[Tensor, Tensor | None]:
        """(n_items, D), no bias."""
        return self.backbone.item_vectors()

    def scores(self, queries: QueryBatch) -> Tensor:
        """(B, n_items), higher is better."""
        return self.backbone.scores(queries)
