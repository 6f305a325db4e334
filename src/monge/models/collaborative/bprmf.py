"""BPRMF: a vector for each user and item, taught that what was taken scores above what was not.

    s_ui = <p_u, q_i> + b_i       loss = -mean log sigmoid(s_ui - s_uj) + regularisation * mean(|p_u|^2 + |q_i|^2 + |q_j|^2) / 2

Source: Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback", UAI 2009 (BPR-MF, sec. 4.3.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from monge.data import Interactions, QueryBatch
from monge.losses import bpr
from monge.models.contract import INFINITY, Batches, check_positive, check_ranges, inner_product_scores, require_trained_users
from monge.sampling import PairBatch, PairBatches


@dataclass(frozen=True, kw_only=True)
class BPRMFConfig:
    """BPRMF's options."""

    dim: int = 64
    """Width of user and item vectors."""
    regularisation: float = 0.0
    """L2 penalty on the vectors of a batch."""
    item_bias: bool = False
    """Give items a bias of their own."""
    batch_size: int = 2048
    """Pairs in a training batch."""
    learning_rate: float = 1e-3
    """Adam's step size."""
    weight_decay: float = 0.0
    """Coupled L2 penalty on all parameters, in every step."""

    def __post_init__(self) -> None:
        check_ranges(self, dim=(1, INFINITY), regularisation=(0, INFINITY), batch_size=(1, INFINITY), weight_decay=(0, INFINITY))
        check_positive(self, "learning_rate")

    def space(self) -> dict[str, str]:
        """What `monge tune` searches by itself: the grid of MStein's paper, and no penalty."""
        return {"learning_rate": "1e-4..1e-2:log", "dim": "64,128", "regularisation": "0,1e-3,1e-2,1e-1"}


class BPRMF(nn.Module):
    """Matrix factorisation with a pairwise loss; it knows the users of its training only."""

    Config: ClassVar = BPRMFConfig
    answers_unknown_users: ClassVar = False

    trained: Tensor

    def __init__(self, config: BPRMFConfig, *, n_users: int, n_items: int) -> None:
        super().__init__()
        self.config = config
        self.users, self.items = nn.Embedding(n_users, config.dim), nn.Embedding(n_items, config.dim)
        self.bias = nn.Parameter(torch.zeros(n_items)) if config.item_bias else None
        for table in (self.users, self.items):
            nn.init.xavier_normal_(table.weight)
        self.register_buffer("trained", torch.zeros(n_users, dtype=torch.bool))

    def batches(self, train: Interactions, *, seed: int, device: torch.device) -> Batches:
        """Every training interaction once an epoch, with one negative."""
        self.trained.copy_(torch.from_numpy(train.sequences.lengths > 0))
        return PairBatches(train, batch_size=self.config.batch_size, seed=seed, device=device)

    def loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """BPR-Opt, in nats a pair."""
        user = self.users(batch.users)
        positive, negative = self.items(torch.cat([batch.positives, batch.negatives])).chunk(2)  # one lookup: one gradient the table's size
        score_positive, score_negative = (user * positive).sum(-1), (user * negative).sum(-1)
        if self.bias is not None:
            score_positive, score_negative = score_positive + self.bias[batch.positives], score_negative + self.bias[batch.negatives]
        parts = {"bpr": bpr(score_positive, score_negative)}
        if self.config.regularisation:
            squares = user.square().sum() + positive.square().sum() + negative.square().sum()
            parts["l2"] = self.config.regularisation * squares / (2 * len(batch.users))
        return parts

    def query_vectors(self, queries: QueryBatch) -> Tensor:
        """(B, D)."""
        return self.users(require_trained_users(queries.user, self.trained, "bprmf"))

    def item_vectors(self) -> tuple[Tensor, Tensor | None]:
        """(n_items, D) and the bias, if any."""
        return self.items.weight, self.bias

    def scores(self, queries: QueryBatch) -> Tensor:
        """(B, n_items), higher is better."""
        return inner_product_scores(self, queries)
