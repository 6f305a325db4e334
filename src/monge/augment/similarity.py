"""Which item is most like which: by who took them (ItemCF), by the current item vectors, or by the better of both.

Only the nearest item of each is ever needed, so a similarity is two vectors: the neighbour and its score.

Source: CoSeRec (arXiv:2108.06479, sec. 3.1): ItemCF-IUF, dot product of embeddings, and the hybrid of both after
min-max scaling. For Gaussian items the similarity is -W2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from monge.data import Interactions
from monge.data.matrix import user_item_matrix
from monge.nn.scoring import Scoring


@dataclass(frozen=True, eq=False)
class NearestItems:
    """The nearest item of each item, with scores scaled to [0, 1] over all observed pairs."""

    neighbour: Tensor  # (n_items,) int64, -1 where an item has none
    score: Tensor  # (n_items,) float, -inf where an item has none

    def __call__(self, items: Tensor, generator: torch.Generator) -> Tensor:
        """Most similar item of each; a uniformly random one where an item has no neighbour."""
        found = self.neighbour[items]
        spare = torch.randint(len(self.neighbour), items.shape, generator=generator, device=items.device)
        return torch.where(found < 0, spare, found)

    def better_of(self, other: NearestItems) -> NearestItems:
        """The hybrid: item by item the neighbour whose scaled score is larger (self where level)."""
        ours = self.score >= other.score
        return NearestItems(torch.where(ours, self.neighbour, other.neighbour), torch.where(ours, self.score, other.score))


def _scaled(score: Tensor, low: float, high: float) -> Tensor:
    return (score - low) / (high - low) if high > low else torch.where(score.isfinite(), 1.0, score)


def nearest_by_itemcf(train: Interactions, *, inverse_user_frequency: bool = True, device: torch.device | str = "cpu") -> NearestItems:
    """ItemCF(-IUF) from the training sequences' inputs: every user's items but the last.

    c_ij = sum over users u of both of 1 / ln(1 + |I_u|)   (1 without inverse user frequency)
    s_ij = c_ij / sqrt(|U_i| |U_j|),  j != i
    """
    lengths = train.sequences.lengths
    is_input = train.position_in_sequence < lengths[train.user] - 1
    taken = user_item_matrix(train.select(is_input))
    per_user = np.diff(taken.indptr)
    weight = np.zeros(train.n_users)
    weight[per_user > 0] = 1 / np.log1p(per_user[per_user > 0]) if inverse_user_frequency else 1.0
    per_item = np.asarray(taken.sum(0)).ravel()
    common = sp.csr_array(taken.T @ sp.diags_array(weight) @ taken)
    common.setdiag(0)
    common.eliminate_zeros()
    rows = np.repeat(np.arange(train.n_items), np.diff(common.indptr))
    common.data /= np.sqrt(per_item[rows] * per_item[common.indices])
    order = np.lexsort((common.indices, -common.data, rows))  # best first in each row, lowest number first where level
    has = np.diff(common.indptr) > 0
    first = order[common.indptr[:-1][has]]
    neighbour = np.full(train.n_items, -1, dtype=np.int64)
    score = np.full(train.n_items, -np.inf, dtype=np.float32)
    neighbour[has], score[has] = common.indices[first], common.data[first]
    low, high = (float(common.data.min()), float(common.data.max())) if common.nnz else (0.0, 0.0)
    scaled = _scaled(torch.from_numpy(score), low, high)
    return NearestItems(torch.from_numpy(neighbour).to(device), scaled.to(device))


@torch.no_grad()
def nearest_by_vectors(vectors: Tensor, scoring: Scoring, *, block: int = 1024) -> NearestItems:
    """By the current item table: inner products or -W2, in blocks of items; an item is never its own neighbour.

    Args:
        vectors: (n_items, V) as `scoring.vectors` gives them.
        scoring: how two items score each other.
    """
    n_items = len(vectors)
    neighbour = torch.empty(n_items, dtype=torch.int64, device=vectors.device)
    score = vectors.new_empty(n_items)
    low, high = float("inf"), -float("inf")
    for start in range(0, n_items, block):
        rows = torch.arange(start, min(start + block, n_items), device=vectors.device)
        scores = scoring.all_pairs(vectors[rows], vectors)
        itself = (torch.arange(len(rows), device=vectors.device), rows)
        scores[itself] = torch.inf
        low = min(low, float(scores.min()))
        scores[itself] = -torch.inf
        score[rows], neighbour[rows] = scores.max(1)
        high = max(high, float(score[rows].max()))
    return NearestItems(neighbour, _scaled(score, low, high))
