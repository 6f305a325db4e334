"""RP3beta: P3alpha's walk, with popular ends held back.

    score(u, i) = sum over j in history(u) of w_ji,   w_ji = p_ji / |U_i|^beta,   p_ji = P3alpha's weight

The k largest w_ji of each j are kept, after the division. beta = 0 is P3alpha.

Source: Paudel et al., "Updatable, Accurate, Diverse, and Scalable Recommendations for Interactive Applications",
ACM TiiS 7(1), 2017. Ours: as in P3alpha.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor, nn

from monge.data import Interactions, QueryBatch
from monge.data.matrix import user_item_matrix
from monge.models.collaborative.p3alpha import rows_to_one, transitions
from monge.models.contract import INFINITY, check_ranges
from monge.nn.item_weights import ItemWeights, largest_in_rows, products


@dataclass(frozen=True, kw_only=True)
class RP3betaConfig:
    """RP3beta's options."""

    alpha: float = 1.0
    """Power of the transition probabilities."""
    beta: float = 0.5
    """Power of the popularity by which an end is divided."""
    k: int = 100
    """Weights kept of each item."""
    normalise: bool = False
    """Let the kept weights of each item add up to 1."""

    def __post_init__(self) -> None:
        check_ranges(self, alpha=(0, INFINITY), beta=(0, INFINITY), k=(1, INFINITY))

    def space(self) -> dict[str, str]:
        """What `monge tune` searches by itself: the ranges of SinkhornCF's paper."""
        return {"alpha": "0..2", "beta": "0..2", "k": "5..1000:log", "normalise": "true,false"}


class RP3beta(nn.Module):
    """Walk probabilities over popularity, k an item."""

    Config: ClassVar = RP3betaConfig
    answers_unknown_users: ClassVar = True

    def __init__(self, config: RP3betaConfig, *, n_users: int, n_items: int) -> None:
        super().__init__()
        self.config = config
        self.weights = ItemWeights(n_items, config.k)

    def solve(self, train: Interactions) -> None:
        """Walk from blocks of items, divide by popularity, and keep the k largest weights of each."""
        taken = user_item_matrix(train)
        discount = np.maximum(taken.sum(0), 1.0) ** -self.config.beta
        walk = products(*transitions(taken, self.config.alpha))
        weights = largest_in_rows(((j, i, p * discount[i]) for j, i, p in walk), train.n_items, self.config.k)
        self.weights.fill(rows_to_one(weights) if self.config.normalise else weights)

    def scores(self, queries: QueryBatch) -> Tensor:
        """(B, n_items), 0 where no walk from the history ends."""
        return self.weights.scores(queries)
