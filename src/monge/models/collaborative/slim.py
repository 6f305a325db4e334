"""SLIM: each item's column of the log as a sparse, non-negative combination of the other items' columns.

    min over w >= 0, w_j = 0 of  1/(2U) |x_j - X w|^2 + g r |w|_1 + g (1 - r)/2 |w|^2      (one problem an item j)
    score(u, j) = sum over i in history(u) of w_ij

X has a row for each of the U users with a training row; g is the regularisation, r the L1 ratio. The k largest weights of
each column are kept.

Source: Ning & Karypis, "SLIM: Sparse Linear Methods for Top-N Recommender Systems", ICDM 2011; this scaling of the penalties
is that of Levy & Jack, "Efficient Top-N Recommendation by Linear Regression", 2013, and of scikit-learn's ElasticNet. Ours:

- Where w >= 0 the L1 norm is linear, so with C = X'X each problem is the non-negative quadratic programme
  min w'(C + U g (1 - r) I) w / 2 - (C_j - U g r)'w. We solve it exactly, by exchanging a set of non-zero weights until the
  conditions of the optimum hold (block principal pivoting: Kim & Park, SIAM J. Sci. Comput. 33(6), 2011), not to a tolerance.
- Item i can have a weight only where C_ij > U g r: all entries of C and w are >= 0, so otherwise the gradient at w_i = 0,
  (C w)_i - C_ij + U g r, cannot be negative. Only such items are looked at; items that no user has in common with j are never.
- r stays below 1, so that the solution is unique.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch
from scipy.linalg import cho_factor, cho_solve
from torch import Tensor, nn

from monge.data import Interactions, QueryBatch
from monge.data.matrix import user_item_matrix
from monge.errors import ConfigError
from monge.models.contract import INFINITY, check_ranges
from monge.nn.item_weights import ItemWeights

Floats = npt.NDArray[np.float64]
DENSE_SHARE = 0.25
"""Share of non-zero co-occurrences from which a dense table is smaller and faster than a sparse one."""
CHANCES = 3
"""Exchanges of many weights in a row that need not bring the optimum nearer."""


@dataclass(frozen=True, kw_only=True)
class SLIMConfig:
    """SLIM's options."""

    regularisation: float = 0.03
    """Weight g of both penalties."""
    l1_ratio: float = 0.01
    """Share r of the L1 penalty: more makes sparser weights, and a faster solution."""
    k: int = 100
    """Weights kept of each scored item."""

    def __post_init__(self) -> None:
        check_ranges(self, regularisation=(1e-5, INFINITY), l1_ratio=(0, 0.999), k=(1, INFINITY))

    def space(self) -> dict[str, str]:
        """What `monge tune` searches by itself: the ranges of SinkhornCF's paper."""
        return {"regularisation": "1e-3..1:log", "l1_ratio": "1e-3..0.999:log", "k": "5..1000:log"}


class SLIM(nn.Module):
    """Regression weights between items, k a scored item."""

    Config: ClassVar = SLIMConfig
    answers_unknown_users: ClassVar = True

    def __init__(self, config: SLIMConfig, *, n_users: int, n_items: int) -> None:
        super().__init__()
        self.config = config
        self.weights = ItemWeights(n_items, config.k)

    def solve(self, train: Interactions) -> None:
        """Solve the items' problems, each on its own, on as many threads as torch has."""
        taken = user_item_matrix(train)
        n_users, g, r = int((taken.sum(1) > 0).sum()), self.config.regularisation, self.config.l1_ratio
        common = co_occurrences(taken)

        def column(j: int) -> tuple[npt.NDArray[np.int64], Floats]:
            weights = regress(common, j, l1=n_users * g * r, l2=n_users * g * (1 - r))
            largest = np.flatnonzero(weights)
            largest = largest[np.argsort(-weights[largest], kind="stable")[: self.config.k]]
            return largest, weights[largest]

        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            columns = list(pool.map(column, range(train.n_items)))
        row, value = (np.concatenate(parts) for parts in zip(*columns, strict=True))
        scored = np.repeat(np.arange(train.n_items), [len(rows) for rows, _ in columns])
        self.weights.fill(sp.csr_array((value, (row, scored)), shape=(train.n_items, train.n_items)))

    def scores(self, queries: QueryBatch) -> Tensor:
        """(B, n_items), 0 where nothing in the history speaks for an item."""
        return self.weights.scores(queries)


def co_occurrences(taken: sp.csr_array) -> Any:
    """C = X'X, (n_items, n_items) float32: how many users two items share. Sparse, or dense where that is smaller.

    Counts below 2^24 are exact in float32.
    """
    taken = taken.astype(np.float32)
    common = sp.csr_array(sp.csr_array(taken.T) @ taken)
    return common.toarray() if common.nnz > DENSE_SHARE * common.shape[0] ** 2 else common


def regress(common: Any, j: int, *, l1: float, l2: float) -> Floats:
    """argmin over w >= 0, w_j = 0 of w'(C + l2 I) w / 2 - (C_j - l1)'w, exactly.

    Args:
        common: (n, n) C, non-negative and positive semi-definite, dense or CSR.
        j: the item to be explained by the others.
        l1: >= 0, co-occurrences that a weight must outdo.
        l2: > 0.

    Returns:
        (n,) weights. The optimum is where, with the gradient y = (C + l2 I) w - C_j + l1, each item but j has either w = 0 and
        y >= 0 or w > 0 and y = 0.

    Raises:
        ConfigError: l2 is so small that rounding errors hide the optimum.
    """
    target = dense(common[[j]])[0].astype(np.float64)
    candidate = target > l1
    candidate[j] = False
    pull = target - l1
    weights, gradient, inside = np.zeros(len(target)), -pull, np.zeros(len(target), dtype=bool)
    fewest, chances = len(target) + 1, CHANCES
    for _ in range(100 + 10 * len(target)):
        leave, enter = inside & (weights < 0), candidate & ~inside & (gradient < -1e-9 * target[j])
        n_wrong = np.count_nonzero(leave) + np.count_nonzero(enter)
        if not n_wrong:
            return weights
        if n_wrong < fewest:
            fewest, chances = n_wrong, CHANCES
        else:
            chances -= 1
        if chances >= 0:  # exchange many at once, though no more than may be solved for cheaply
            some = np.flatnonzero(enter)
            most = max(64, np.count_nonzero(inside) // 2)
            inside[some if len(some) <= most else some[np.argpartition(gradient[some], most)[:most]]] = True
            inside[leave] = False
        else:  # one at a time, always the last wrong one: slow, and certain to end (Murty's rule)
            last = np.flatnonzero(leave | enter)[-1]
            inside[last] = not inside[last]
        chosen = np.flatnonzero(inside)
        rows = common[chosen]
        system = dense(rows[:, chosen]).astype(np.float64)
        system[np.diag_indices(len(chosen))] += l2
        try:
            solution = cho_solve(cho_factor(system, overwrite_a=True, check_finite=False), pull[chosen], check_finite=False)
        except np.linalg.LinAlgError:
            break
        weights = np.zeros(len(target))
        weights[chosen] = solution
        gradient = rows.T @ solution - pull
    raise ConfigError("slim: rounding errors hide the weights of an item; use a larger --regularisation or a smaller --l1-ratio")


def dense(matrix: Any) -> npt.NDArray[np.floating[Any]]:
    """A dense array of a dense or sparse one."""
    return matrix if isinstance(matrix, np.ndarray) else matrix.toarray()
