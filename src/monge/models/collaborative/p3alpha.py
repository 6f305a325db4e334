"""P3alpha: where a random walk of three steps ends that began at the user: to an item, to its user, to that user's item.

    score(u, i) = sum over j in history(u) of w_ji
    w_ji = sum over users v of both of P_jv P_vi,   P_jv = (1 / |U_j|)^alpha,   P_vi = (1 / |I_v|)^alpha,   w_jj = 0

P_jv is the probability of going from item j to its user v, P_vi that of going on to v's item i, both sharpened (alpha > 1)
or flattened (alpha < 1); the k largest w_ji of each j are kept. With alpha = 1 the weights of an item add up to 1 at most.

Source: Cooper et al., "Random Walks in Recommender Systems: Exact Computation and Simulations", WWW 2014 (companion). The
first step's probability, (1 / |I_u|)^alpha to each item of the history, is left out: it is one factor for all of a user's
scores. Keeping k weights of each item is of later implementations (Ferrari Dacrema et al., RecSys 2019), which then cut to k
weights for each scored item as well: we do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy.sparse as sp
from torch import Tensor, nn

from monge.data import Interactions, QueryBatch
from monge.data.matrix import user_item_matrix
from monge.models.contract import INFINITY, check_ranges
from monge.nn.item_weights import ItemWeights, largest_in_rows, products


@dataclass(frozen=True, kw_only=True)
class P3alphaConfig:
    """P3alpha's options."""

    alpha: float = 1.0
    """Power of the transition probabilities."""
    k: int = 100
    """Weights kept of each item."""
    normalise: bool = False
    """Let the kept weights of each item add up to 1."""

    def __post_init__(self) -> None:
        check_ranges(self, alpha=(0, INFINITY), k=(1, INFINITY))

    def space(self) -> dict[str, str]:
        """What `monge tune` searches by itself: the ranges of SinkhornCF's paper."""
        return {"alpha": "0..2", "k": "5..1000:log", "normalise": "true,false"}


class P3alpha(nn.Module):
    """Walk probabilities between items, k an item."""

    Config: ClassVar = P3alphaConfig
    answers_unknown_users: ClassVar = True

    def __init__(self, config: P3alphaConfig, *, n_users: int, n_items: int) -> None:
        super().__init__()
        self.config = config
        self.weights = ItemWeights(n_items, config.k)

    def solve(self, train: Interactions) -> None:
        """Walk from blocks of items and keep the k likeliest ends of each."""
        walk = products(*transitions(user_item_matrix(train), self.config.alpha))
        weights = largest_in_rows(walk, train.n_items, self.config.k)
        self.weights.fill(rows_to_one(weights) if self.config.normalise else weights)

    def scores(self, queries: QueryBatch) -> Tensor:
        """(B, n_items), 0 where no walk from the history ends."""
        return self.weights.scores(queries)


def transitions(taken: sp.csr_array, alpha: float) -> tuple[sp.csr_array, sp.csr_array]:
    """(n_users, n_items) -> item-to-user (n_items, n_users) and user-to-item (n_users, n_items) probabilities to the power alpha."""
    item_user, user_item = sp.csr_array(taken.T), taken.copy()
    for matrix in (item_user, user_item):
        degree = np.diff(matrix.indptr)
        matrix.data = np.repeat(np.maximum(degree, 1.0) ** -alpha, degree)
    return item_user, user_item


def rows_to_one(weights: sp.csr_array) -> sp.csr_array:
    """Non-negative rows scaled to the sum 1; empty ones stay."""
    total = np.repeat(np.asarray(weights.sum(1)).ravel(), np.diff(weights.indptr))
    scaled = np.divide(weights.data, total, out=np.zeros_like(weights.data), where=total > 0)
    return sp.csr_array((scaled, weights.indices, weights.indptr), shape=weights.shape)
