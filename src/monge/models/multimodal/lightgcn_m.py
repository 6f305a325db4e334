"""LightGCN-M: LightGCN whose items begin with their content beside their own vectors.

    e_i^(0) = e_i + sum over modalities of (W_m f_i^m + b_m)       then LightGCN: the mean of K + 1 layers of the user-item graph

Source: named as a baseline by Wei et al. (MMSSL, WWW 2023), who describe it as LightGCN (He et al., SIGIR 2020) with content injected and
publish no code of it; where it is injected is our reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from monge.data import Interactions, Modality, QueryBatch
from monge.losses import bpr
from monge.models.contract import Batches, check_ranges, inner_product_scores, require_trained_users
from monge.models.multimodal.content import INFINITY, ContentConfig, Trained, projections
from monge.nn import BipartiteGraph, propagate
from monge.nn.answers import Answers
from monge.nn.features import chosen
from monge.sampling import PairBatch, PairBatches


@dataclass(frozen=True, kw_only=True)
class LightGCNMConfig(ContentConfig):
    """LightGCN-M's options."""

    n_layers: int = 3
    """Layers of the propagation, K."""
    regularisation: float = 1e-4
    """L2 penalty on the layer-0 vectors of a batch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, n_layers=(0, INFINITY), regularisation=(0, INFINITY))

    def space(self) -> dict[str, str]:
        """What `monge tune` searches by itself."""
        return {"learning_rate": "5e-4..5e-3:log", "n_layers": "2..4", "regularisation": "1e-6,1e-5,1e-4,1e-3,1e-2"}


class LightGCNM(nn.Module):
    """LightGCN with item content; it knows the users of its training only."""

    Config: ClassVar = LightGCNMConfig
    answers_unknown_users: ClassVar = False
    uses_modalities: ClassVar = True

    def __init__(self, config: LightGCNMConfig, *, n_users: int, n_items: int, modalities: Mapping[str, Modality]) -> None:
        super().__init__()
        self.config = config
        self.users, self.items = nn.Embedding(n_users, config.dim), nn.Embedding(n_items, config.dim)
        for table in (self.users, self.items):
            nn.init.xavier_normal_(table.weight)
        self.content = projections(
            chosen(modalities, config.modalities, "lightgcn-m", scale=config.feature_scale), config.dim, config.missing
        )
        self.trained = Trained(n_users, n_items)
        self.answers = Answers(n_users, n_items, config.dim, self.final)
        self.graph: BipartiteGraph | None = None

    def batches(self, train: Interactions, *, seed: int, device: torch.device) -> Batches:
        """Every training interaction once an epoch, with one negative; all of them make the graph."""
        self.trained.note(train)
        self.graph = BipartiteGraph.from_interactions(train, device=device)
        self.answers.outdated()
        return PairBatches(train, batch_size=self.config.batch_size, seed=seed, device=device)

    def first(self) -> Tensor:
        """(I, D) items before the first layer."""
        return self.items.weight + torch.stack([projection() for projection in self.content.values()]).sum(0)

    def final(self) -> tuple[Tensor, Tensor]:
        """(U, D) and (I, D) after the propagation."""
        assert self.graph is not None, "batches() sets it"
        return propagate(self.graph, self.users.weight, self.first(), self.config.n_layers)

    def loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """BPR-Opt on final vectors, in nats a pair."""
        self.answers.outdated()
        assert self.graph is not None, "batches() sets it"
        first_ID = self.first()
        users_UD, items_ID = propagate(self.graph, self.users.weight, first_ID, self.config.n_layers)
        items = torch.cat([batch.positives, batch.negatives])
        user = F.embedding(batch.users, users_UD)
        positive, negative = F.embedding(items, items_ID).chunk(2)
        parts = {"bpr": bpr((user * positive).sum(-1), (user * negative).sum(-1))}
        if self.config.regularisation:
            squares = self.users(batch.users).square().sum() + F.embedding(items, first_ID).square().sum()
            parts["l2"] = self.config.regularisation * squares / (2 * len(batch.users))
        return parts

    def query_vectors(self, queries: QueryBatch) -> Tensor:
        """(B, D)."""
        return self.answers.get()[0][require_trained_users(queries.user, self.trained.users, "lightgcn-m")]

    def item_vectors(self) -> tuple[Tensor, Tensor | None]:
        """(n_items, D), no bias."""
        return self.answers.get()[1], None

    def scores(self, queries: QueryBatch) -> Tensor:
        """(B, n_items), higher is better."""
        return inner_product_scores(self, queries)
