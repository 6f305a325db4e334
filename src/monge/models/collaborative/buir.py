"""BUIR: each side of a pair predicts the other side's slowly moving copy; there are no negatives.

    L = mean_i |q(u_i)^ - t(y_i)^|^2 + mean_i |q(v_i)^ - t(x_i)^|^2       z^ = z / |z|,  so that |a^ - b^|^2 = 2 - 2 cos(a, b)
    score(x, y) = q(u).v + u.q(v)

q is a linear map, t the teacher: the moving average of the tables u and v, which gets no gradient.

Source: Lee et al., "Bootstrapping User and Item Representations for One-Class Collaborative Filtering", SIGIR 2021, Eqs. 3-6: BUIR_id,
and with `encoder lightgcn` BUIR_nb, whose two encoders see the graph with other edges dropped. What is left of the graph is normalised
anew. The initial weights (Xavier's for the tables, PyTorch's for q) are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from monge.data import Interactions, QueryBatch
from monge.losses import alignment
from monge.models.collaborative.pairs import PairConfig, make_encoder, observed_pairs, unit
from monge.models.contract import Batches, check_ranges, inner_product_scores, require_trained_users
from monge.nn import follow, teacher_of
from monge.sampling import PairBatch


@dataclass(frozen=True, kw_only=True)
class BUIRConfig(PairConfig):
    """BUIR's options."""

    momentum: float = 0.995
    """Share of itself that the teacher keeps in each step."""
    edge_dropout: float = 0.2
    """Share of the graph's edges that a training step does not see, drawn anew for each pass over it, so the teacher sees another view."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, momentum=(0, 1))

    def space(self) -> dict[str, str]:
        """The teacher's momentum, with what models of this family share."""
        return {"momentum": "0.9,0.99,0.995,0.999", **super().space()}


class BUIR(nn.Module):
    """Self-distillation between users and items; it knows the users of its training only."""

    Config: ClassVar = BUIRConfig
    answers_unknown_users: ClassVar = False

    trained: Tensor

    def __init__(self, config: BUIRConfig, *, n_users: int, n_items: int) -> None:
        super().__init__()
        self.config = config
        self.encoder = make_encoder(config, n_users=n_users, n_items=n_items)
        self.teacher = teacher_of(self.encoder)
        self.predictor = nn.Linear(config.dim, config.dim)
        self.register_buffer("trained", torch.zeros(n_users, dtype=torch.bool))

    def batches(self, train: Interactions, *, seed: int, device: torch.device) -> Batches:
        """Every training pair once an epoch."""
        return observed_pairs(self.config, train, self.trained, (self.encoder, self.teacher), seed=seed, device=device)

    def loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """How far users are from their items' targets, and items from their users'; each in 0..4."""
        users_BD, items_BD = (unit(self.predictor(vectors)) for vectors in self.encoder(batch.users, batch.positives))
        user_targets_BD, item_targets_BD = map(unit, self.teacher(batch.users, batch.positives))
        return {"users": alignment(users_BD, item_targets_BD), "items": alignment(items_BD, user_targets_BD)}

    def after_step(self) -> None:
        """Let the teacher follow."""
        follow(self.teacher, self.encoder, self.config.momentum)

    def query_vectors(self, queries: QueryBatch) -> Tensor:
        """(B, 2 D): [q(u), u]."""
        users_BD = self.encoder.everything()[0][require_trained_users(queries.user, self.trained, "buir")]
        return torch.cat([self.predictor(users_BD), users_BD], 1)

    def item_vectors(self) -> tuple[Tensor, Tensor | None]:
        """(n_items, 2 D): [v, q(v)], and no bias."""
        items_ID = self.encoder.everything()[1]
        return torch.cat([items_ID, self.predictor(items_ID)], 1), None

    def scores(self, queries: QueryBatch) -> Tensor:
        """(B, n_items), higher is better."""
        return inner_product_scores(self, queries)
