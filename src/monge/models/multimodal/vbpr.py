"""VBPR: BPRMF whose users also have a taste in what items look like.

    s_ui = b_i + <p_u, q_i> + <t_u, E f_i> + <c, f_i>
    loss = -mean log sigmoid(s_ui - s_uj) + regularisation * mean(|p_u|^2 + |t_u|^2 + |q_i|^2 + |q_j|^2) / 2

f_i are an item's raw features, of all modalities side by side; E and c are learned. An item that training never saw is scored by its
features alone: q_i and b_i are left out.

Source: He & McAuley, "VBPR: Visual Bayesian Personalized Ranking from Implicit Feedback", AAAI 2016, Eq. 4. Ours: any number of
modalities; E f + constant, where the constant's part in the score is a bias of the user and changes no ranking.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from monge.data import Interactions, Modality, QueryBatch
from monge.losses import bpr
from monge.models.contract import Batches, check_ranges, inner_product_scores, require_trained_users
from monge.models.multimodal.content import INFINITY, ContentConfig, Trained, projections
from monge.nn.features import chosen
from monge.sampling import PairBatch, PairBatches


@dataclass(frozen=True, kw_only=True)
class VBPRConfig(ContentConfig):
    """VBPR's options."""

    content_dim: int = 64
    """Width of users' tastes and of items' projected features."""
    regularisation: float = 1e-4
    """L2 penalty on the vectors of a batch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, content_dim=(1, INFINITY), regularisation=(0, INFINITY))

    def space(self) -> dict[str, str]:
        """What `monge tune` searches by itself."""
        return {"learning_rate": "1e-4..1e-2:log", "regularisation": "1e-5,1e-4,1e-3,1e-2,1e-1"}


class VBPR(nn.Module):
    """Matrix factorisation with item content; it knows the users of its training only."""

    Config: ClassVar = VBPRConfig
    answers_unknown_users: ClassVar = False
    uses_modalities: ClassVar = True
    answers_new_items: ClassVar = True

    def __init__(self, config: VBPRConfig, *, n_users: int, n_items: int, modalities: Mapping[str, Modality]) -> None:
        super().__init__()
        self.config = config
        self.users, self.items = nn.Embedding(n_users, config.dim), nn.Embedding(n_items, config.dim)
        self.tastes = nn.Embedding(n_users, config.content_dim)
        for table in (self.users, self.items, self.tastes):
            nn.init.xavier_normal_(table.weight)
        self.bias = nn.Parameter(torch.zeros(n_items))
        self.content = projections(
            chosen(modalities, config.modalities, "vbpr", scale=config.feature_scale), config.content_dim + 1, config.missing
        )
        self.trained = Trained(n_users, n_items)

    def batches(self, train: Interactions, *, seed: int, device: torch.device) -> Batches:
        """Every training interaction once an epoch, with one negative."""
        self.trained.note(train)
        return PairBatches(train, batch_size=self.config.batch_size, seed=seed, device=device)

    def features(self, items: Tensor | None = None) -> Tensor:
        """(B, content_dim + 1) E f and, in the last column, <c, f>; of all items where none are given."""
        return torch.stack([projection(items) for projection in self.content.values()]).sum(0)

    def loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """BPR-Opt, in nats a pair."""
        user, taste = self.users(batch.users), self.tastes(batch.users)
        items = torch.cat([batch.positives, batch.negatives])
        vectors, features = self.items(items), self.features(items)
        users, tastes = torch.cat([user, user]), torch.cat([taste, taste])
        scores = (users * vectors).sum(-1) + (tastes * features[:, :-1]).sum(-1) + features[:, -1] + self.bias[items]
        parts = {"bpr": bpr(*scores.chunk(2))}
        if self.config.regularisation:
            squares = user.square().sum() + taste.square().sum() + vectors.square().sum()
            parts["l2"] = self.config.regularisation * squares / (2 * len(batch.users))
        return parts

    def query_vectors(self, queries: QueryBatch) -> Tensor:
        """(B, dim + content_dim)."""
        users = require_trained_users(queries.user, self.trained.users, "vbpr")
        return torch.cat([self.users(users), self.tastes(users)], 1)

    def item_vectors(self) -> tuple[Tensor, Tensor | None]:
        """(n_items, dim + content_dim) and the bias; the first part is zero where training never saw an item."""
        known, features = self.trained.items, self.features()
        return torch.cat([self.items.weight * known[:, None], features[:, :-1]], 1), self.bias * known + features[:, -1]

    def scores(self, queries: QueryBatch) -> Tensor:
        """(B, n_items), higher is better."""
        return inner_product_scores(self, queries)
