"""ItemKNN: items liked by the same users are alike; an item scores by its likeness to what the user took.

    score(u, i) = sum over j in history(u) of w_ji,   w_j. = the k largest similarities of item j

Similarities are cosines between the items' user columns X[:, i], weighted by

    cosine: x = 1
    tfidf:  x_ui = ln(n_users' / (1 + |I_u|))                with n_users' = number of items (a user is a "word" of an item)
    bm25:   x_ui = idf_u (K1 + 1) / (K1 (1 - B + B |U_i| / mean |U|) + 1), idf_u as above; dot product, not cosine

Source: Sarwar et al., WWW 2001; the weightings as in the `implicit` library 0.7, where a heavy user says less.
Only the k largest similarities of each item are kept; nothing of size items x items is ever formed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import scipy.sparse as sp
from torch import Tensor, nn

from monge.data import Interactions, QueryBatch
from monge.data.matrix import user_item_matrix
from monge.models.contract import INFINITY, check_ranges
from monge.nn.item_weights import ItemWeights, largest_in_rows, products


@dataclass(frozen=True, kw_only=True)
class ItemKNNConfig:
    """ItemKNN's options."""

    weighting: Literal["cosine", "tfidf", "bm25"] = "tfidf"
    """How much a user's taking an item says."""
    k: int = 100
    """Neighbours kept of each item."""
    shrink: float = 0.0
    """Added to the norms' product: similarities from few users shrink (cosine and tfidf)."""
    bm25_k1: float = 1.2
    """bm25: saturation."""
    bm25_b: float = 0.75
    """bm25: how much popular items are held back."""

    def __post_init__(self) -> None:
        check_ranges(self, k=(1, INFINITY), shrink=(0, INFINITY), bm25_k1=(0, INFINITY), bm25_b=(0, 1))

    def space(self) -> dict[str, str]:
        """What `monge tune` searches by itself; where --weighting is fixed, only what it uses."""
        own = {"bm25_k1": "0.5..3", "bm25_b": "0..1"} if self.weighting == "bm25" else {"shrink": "0,1,10,100,1000"}
        return {"weighting": "cosine,tfidf,bm25", "k": "5..1000:log", **own}


class ItemKNN(nn.Module):
    """Nearest-neighbour weights, k an item."""

    Config: ClassVar = ItemKNNConfig
    answers_unknown_users: ClassVar = True

    def __init__(self, config: ItemKNNConfig, *, n_users: int, n_items: int) -> None:
        super().__init__()
        self.config = config
        self.weights = ItemWeights(n_items, config.k)

    def solve(self, train: Interactions) -> None:
        """Compute the similarities in blocks of items and keep the k largest of each."""
        item_user = self._weighted(train)
        similar = products(item_user, sp.csr_array(item_user.T))
        if self.config.weighting != "bm25":
            norm = np.sqrt(np.asarray(item_user.power(2).sum(1)).ravel())
            similar = ((j, i, dot / (norm[j] * norm[i] + self.config.shrink)) for j, i, dot in similar)
        self.weights.fill(largest_in_rows(similar, train.n_items, self.config.k))

    def _weighted(self, train: Interactions) -> sp.csr_array:
        """(n_items, n_users) sparse, weighted as configured."""
        taken = sp.csr_array(user_item_matrix(train).T)
        if self.config.weighting == "cosine":
            return taken
        per_user = np.bincount(taken.indices, minlength=train.n_users)
        idf = np.log(train.n_items) - np.log1p(per_user)
        if self.config.weighting == "tfidf":
            taken.data = idf[taken.indices]
            return taken
        per_item = np.diff(taken.indptr)
        k1, b = self.config.bm25_k1, self.config.bm25_b
        norm = (1 - b) + b * per_item / per_item.mean()
        taken.data = (k1 + 1) / (k1 * np.repeat(norm, per_item) + 1) * idf[taken.indices]
        return taken

    def scores(self, queries: QueryBatch) -> Tensor:
        """(B, n_items), 0 where nothing in the history is near."""
        return self.weights.scores(queries)
