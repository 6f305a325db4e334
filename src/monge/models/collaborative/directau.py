"""DirectAU: the two sides of a pair lie close together on the sphere, and each side spreads evenly over it.

    align = mean |u_i - v_i|^2       unif(Z) = log mean_{i<j} exp(-2 |z_i - z_j|^2)       L = align + gamma (unif(U) + unif(V)) / 2

Source: Wang et al., "Towards Representation Alignment and Uniformity in Collaborative Filtering", KDD 2022, Eqs. 2-4.
A user or item that stands twice in a batch counts twice, as in the authors' code, which ranks by raw inner products (`score`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from monge.data import Interactions, QueryBatch
from monge.losses import alignment, uniformity
from monge.models.collaborative.pairs import (
    INFINITY,
    SphereConfig,
    log_shares,
    make_encoder,
    observed_pairs,
    sphere_items,
    sphere_queries,
    unit,
)
from monge.models.contract import Batches, check_ranges, inner_product_scores
from monge.sampling import PairBatch


@dataclass(frozen=True, kw_only=True)
class DirectAUConfig(SphereConfig):
    """DirectAU's options."""

    gamma: float = 1.0
    """Weight of uniformity beside alignment; 0.2 to 10 in the paper, the larger the sparser the data."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, gamma=(0, INFINITY))

    def space(self) -> dict[str, str]:
        """The weight of uniformity, with what models of this family share."""
        return {"gamma": "0.2,0.5,1,2,5,10", **super().space()}


class DirectAU(nn.Module):
    """Alignment and uniformity; it knows the users of its training only."""

    Config: ClassVar = DirectAUConfig
    answers_unknown_users: ClassVar = False

    trained: Tensor
    log_share: Tensor | None

    def __init__(self, config: DirectAUConfig, *, n_users: int, n_items: int) -> None:
        super().__init__()
        self.config = config
        self.encoder = make_encoder(config, n_users=n_users, n_items=n_items)
        self.register_buffer("trained", torch.zeros(n_users, dtype=torch.bool))
        self.register_buffer("log_share", log_shares(config, n_items))

    def batches(self, train: Interactions, *, seed: int, device: torch.device) -> Batches:
        """Every training pair once an epoch."""
        return observed_pairs(self.config, train, self.trained, (self.encoder,), log_share=self.log_share, seed=seed, device=device)

    def loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """Alignment, and uniformity with its weight; the latter is below 0."""
        users_BD, items_BD = map(unit, self.encoder(batch.users, batch.positives))
        spread = (uniformity(users_BD) + uniformity(items_BD)) / 2
        return {"alignment": alignment(users_BD, items_BD), "uniformity": self.config.gamma * spread}

    def query_vectors(self, queries: QueryBatch) -> Tensor:
        """(B, D)."""
        return sphere_queries(self.config, self.encoder, queries.user, self.trained, "directau")

    def item_vectors(self) -> tuple[Tensor, Tensor | None]:
        """(n_items, D), and biases (n_items,) where popularity is put back."""
        return sphere_items(self.config, self.encoder, self.log_share)

    def scores(self, queries: QueryBatch) -> Tensor:
        """(B, n_items), higher is better."""
        return inner_product_scores(self, queries)
