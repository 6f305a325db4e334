"""MF: a vector for each user and item whose inner product is to be 1 where the user took the item and 0 elsewhere.

    logit_ui = <xi_u, lambda_i>       loss = mean_u sum_i (x_ui - logit_ui)^2

Source: Li et al., WWW 2021, sec. 2.2 and Eq. 2: Table / Table / Inner / Gaussian, all items of every user in each step. Any other
observation model may stand in place of the Gaussian (their Table 3: sinkhorn).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from monge.data import Interactions, QueryBatch
from monge.models.collaborative.latent import Observation, ObservationConfig, item_cost, observation_loss
from monge.models.contract import INFINITY, Batches, check_positive, check_ranges, inner_product_scores, require_trained_users
from monge.nn import Inner, Table
from monge.ot.cost import ItemCost
from monge.sampling import BagBatch, BagBatches


@dataclass(frozen=True, kw_only=True)
class MFConfig(ObservationConfig):
    """MF's options."""

    observation: Observation = "gaussian"
    """The loss: gaussian is squared error over all items; bernoulli, poisson, multinomial or sinkhorn in its place."""
    dim: int = 16
    """Width of user and item vectors."""
    batch_size: int = 200
    """Users in a training batch."""
    learning_rate: float = 1e-3
    """Adam's step size."""
    weight_decay: float = 0.0
    """Coupled L2 penalty."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, dim=(1, INFINITY), batch_size=(1, INFINITY), weight_decay=(0, INFINITY))
        check_positive(self, "learning_rate")

    def space(self) -> dict[str, str]:
        """What `monge tune` searches by itself."""
        return {"dim": "16,32,64,128", "learning_rate": "1e-3..3e-2:log", "weight_decay": "0,1e-6,1e-5,1e-4"}


class MF(nn.Module):
    """Matrix factorisation over all pairs; it knows the users of its training only."""

    Config: ClassVar = MFConfig
    answers_unknown_users: ClassVar = False

    trained: Tensor

    def __init__(self, config: MFConfig, *, n_users: int, n_items: int) -> None:
        super().__init__()
        self.config = config
        self.users, self.items = Table(n_users, config.dim, std=0.1), Table(n_items, config.dim, std=0.1)
        self.transformation = Inner()
        self.cost: ItemCost | None = None
        self.register_buffer("trained", torch.zeros(n_users, dtype=torch.bool))

    def batches(self, train: Interactions, *, seed: int, device: torch.device) -> Batches:
        """Every training user once an epoch."""
        self.trained.copy_(torch.from_numpy(train.sequences.lengths > 0))
        self.cost = item_cost(self.config, train, device) if self.config.observation == "sinkhorn" else None
        return BagBatches(train, batch_size=self.config.batch_size, seed=seed, device=device)

    def loss(self, batch: BagBatch) -> dict[str, Tensor]:
        """The observation's loss, averaged over users."""
        logits_BI = self.transformation(self.users(batch.users), self.items())
        return {self.config.observation: observation_loss(self.config, logits_BI, batch, self.cost)}

    def query_vectors(self, queries: QueryBatch) -> Tensor:
        """(B, Z)."""
        return self.users(require_trained_users(queries.user, self.trained, "mf"))

    def item_vectors(self) -> tuple[Tensor, Tensor | None]:
        """(n_items, Z), no bias."""
        return self.items(), None

    def scores(self, queries: QueryBatch) -> Tensor:
        """(B, n_items) logits: every observation model is rising in them."""
        return inner_product_scores(self, queries)
