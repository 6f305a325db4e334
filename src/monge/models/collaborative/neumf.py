"""NeuMF: users and items meet in a multi-layer perceptron instead of an inner product.

    he2017: logit_ui = <w * p^G_u, q^G_i> + MLP([p^M_u; q^M_i])      three ReLU layers of widths 4f, 2f, f; p^G: f wide, p^M: 2f
    mlp:    logit_ui = MLP([xi_u; lambda_i])                         one ReLU layer

Source: he2017 is He et al., "Neural Collaborative Filtering", WWW 2017, sec. 3.4: GMF and the tower are concatenated before a
linear output, which is the sum above; binary cross-entropy with sampled negatives. mlp is the small form that Li et al. (WWW 2021,
sec. 4.1, Table 4) compare losses on, trained on all items of every user. Ours: no pretraining of the two halves; negatives of a pair
stand in one batch with it; either form takes any observation model, over all items but for he2017 with bernoulli.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from monge.data import Interactions, QueryBatch
from monge.losses import binary_cross_entropy
from monge.models.collaborative.latent import Observation, ObservationConfig, item_cost, observation_loss
from monge.models.contract import INFINITY, Batches, check_positive, check_ranges, require_trained_users
from monge.nn import Inner, PairMLP, Table
from monge.ot.cost import ItemCost
from monge.sampling import BagBatch, BagBatches, PairBatch, PairBatches


@dataclass(frozen=True, kw_only=True)
class NeuMFConfig(ObservationConfig):
    """NeuMF's options."""

    form: Literal["he2017", "mlp"] = "he2017"
    """he2017: inner product beside a tower of three layers; mlp: one hidden layer, all items in every step."""
    observation: Observation = "bernoulli"
    """The loss: bernoulli (he2017 samples its negatives); gaussian, poisson, multinomial or sinkhorn in its place, over all items."""
    dim: int = 16
    """he2017: width f of the last layer (8 to 64 in the paper); mlp: width of user and item vectors."""
    hidden: int = 50
    """mlp: width of the hidden layer."""
    n_negatives: int = 4
    """he2017 with bernoulli: items not taken, drawn for each that was."""
    batch_size: int = 256
    """he2017 with bernoulli: interactions in a training batch (their negatives come on top); else users (200 in SinkhornCF's paper)."""
    learning_rate: float = 1e-3
    """Adam's step size."""
    weight_decay: float = 0.0
    """Coupled L2 penalty."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, dim=(1, INFINITY), hidden=(1, INFINITY), n_negatives=(1, INFINITY))
        check_ranges(self, batch_size=(1, INFINITY), weight_decay=(0, INFINITY))
        check_positive(self, "learning_rate")

    def space(self) -> dict[str, str]:
        """What `monge tune` searches by itself: the ranges of SinkhornCF's paper."""
        sampled = {"n_negatives": "2..8"} if self.form == "he2017" and self.observation == "bernoulli" else {}
        return {"dim": "8,16,32,64", "learning_rate": "3e-4..3e-3:log", **sampled}


class NeuMF(nn.Module):
    """A transformation that is learnt; it knows the users of its training only."""

    Config: ClassVar = NeuMFConfig
    answers_unknown_users: ClassVar = False

    trained: Tensor

    def __init__(self, config: NeuMFConfig, *, n_users: int, n_items: int) -> None:
        super().__init__()
        self.config = config
        f = config.dim
        full = config.form == "he2017"
        self.sides = (f, 2 * f) if full else (0, f)  # what of a vector goes into the inner product, what into the MLP
        self.users, self.items = Table(n_users, sum(self.sides), std=0.01), Table(n_items, sum(self.sides), std=0.01)
        self.inner, self.weight = Inner(), None
        if full:
            limit = (3 / (2 * f)) ** 0.5  # LeCun-uniform over the 2f inputs of the output layer
            self.weight = nn.Parameter(torch.empty(f).uniform_(-limit, limit))
        self.mlp = PairMLP(self.sides[1], self.sides[1], hidden=(4 * f, 2 * f, f) if full else (config.hidden,))
        self.cost: ItemCost | None = None
        self.register_buffer("trained", torch.zeros(n_users, dtype=torch.bool))

    @property
    def samples_negatives(self) -> bool:
        """Whether it trains on pairs instead of all items of a user."""
        return self.config.form == "he2017" and self.config.observation == "bernoulli"

    def batches(self, train: Interactions, *, seed: int, device: torch.device) -> Batches:
        """Every training interaction, or every training user, once an epoch."""
        self.trained.copy_(torch.from_numpy(train.sequences.lengths > 0))
        self.cost = item_cost(self.config, train, device) if self.config.observation == "sinkhorn" else None
        size = self.config.batch_size
        if self.samples_negatives:
            return PairBatches(train, batch_size=size, seed=seed, n_negatives=self.config.n_negatives, device=device)
        return BagBatches(train, batch_size=size, seed=seed, device=device)

    def pair_logits(self, users: Tensor, items: Tensor) -> Tensor:
        """User and item numbers that go together, broadcast against each other -> logits of their shape."""
        inner_user, mlp_user = self.users(users).split(self.sides, -1)
        inner_item, mlp_item = self.items(items).split(self.sides, -1)
        logits = self.mlp.pairs(mlp_user, mlp_item)
        return logits if self.weight is None else logits + self.inner.pairs(self.weight * inner_user, inner_item)

    def logits(self, users_B: Tensor) -> Tensor:
        """(B,) user numbers -> (B, n_items)."""
        inner_user, mlp_user = self.users(users_B).split(self.sides, -1)
        inner_item, mlp_item = self.items().split(self.sides, -1)
        logits_BI = self.mlp(mlp_user, mlp_item)
        return logits_BI if self.weight is None else logits_BI + self.inner(self.weight * inner_user, inner_item)

    def loss(self, batch: PairBatch | BagBatch) -> dict[str, Tensor]:
        """Binary cross-entropy a training interaction, or the observation's loss averaged over users."""
        if isinstance(batch, PairBatch):
            positive_B = self.pair_logits(batch.users, batch.positives)
            negative_BK = self.pair_logits(batch.users[:, None], batch.negatives)
            return {"bernoulli": binary_cross_entropy(positive_B, negative_BK)}
        return {self.config.observation: observation_loss(self.config, self.logits(batch.users), batch, self.cost)}

    def item_vectors(self) -> tuple[Tensor, Tensor | None]:
        """(n_items, V), for likeness of items only: scores are no inner product."""
        return self.items(), None

    def scores(self, queries: QueryBatch) -> Tensor:
        """(B, n_items) logits: every observation model is rising in them."""
        return self.logits(require_trained_users(queries.user, self.trained, "neumf"))
