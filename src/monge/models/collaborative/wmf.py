"""WMF: vectors of users and items whose inner product is near 1 where taken and, with less weight, near 0 elsewhere.

    min over P, Q of  sum over u, i of c_ui (x_ui - <p_u, q_i>)^2 + regularisation (|P|^2 + |Q|^2),   c_ui = c if x_ui = 1 else 1
    p_u = (Q'Q + (c - 1) sum over i in I_u of q_i q_i' + regularisation I)^-1  c sum over i in I_u of q_i       (q_i likewise)

Alternating least squares: users, then items, in closed form, so that the objective never rises. A query's user vector is one
such solution from its history, for training users as for anybody else; user vectors are not kept.

Source: Hu, Koren & Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008, Eqs. 3 to 5, with c in the
place of 1 + alpha. Solved by `implicit` (its Cholesky solver: `alpha` there is our c), from our own first vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from monge.data import Interactions, QueryBatch
from monge.data.matrix import user_item_matrix
from monge.errors import MissingExtraError
from monge.models.contract import INFINITY, check_positive, check_ranges, inner_product_scores
from monge.nn.rows import distinct_items

FOLD_IN_BUDGET = 2**23
"""Numbers in memory at once while histories are folded in."""


@dataclass(frozen=True, kw_only=True)
class WMFConfig:
    """WMF's options."""

    dim: int = 50
    """Width of user and item vectors (the rank)."""
    confidence: float = 5.0
    """Weight c of what was taken, where everything else weighs 1."""
    regularisation: float = 10.0
    """L2 penalty on the vectors."""
    sweeps: int = 15
    """How often all users and then all items are solved."""

    def __post_init__(self) -> None:
        check_ranges(self, dim=(1, INFINITY), confidence=(1, INFINITY), sweeps=(1, INFINITY))
        check_positive(self, "regularisation")

    def space(self) -> dict[str, str]:
        """What `monge tune` searches by itself: the ranges of SinkhornCF's paper (which gives none for the penalty)."""
        return {"dim": "25,50,75,100,150,200", "confidence": "2,5,10,30,50,100", "regularisation": "1e-2..100:log"}


class WMF(nn.Module):
    """Item vectors by alternating least squares."""

    Config: ClassVar = WMFConfig
    answers_unknown_users: ClassVar = True

    items: Tensor

    def __init__(self, config: WMFConfig, *, n_users: int, n_items: int) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("items", 0.01 * torch.randn(n_items, config.dim))

    def solve(self, train: Interactions) -> None:
        """Alternate between users and items, beginning with the item vectors that are there.

        Raises:
            MissingExtraError: `implicit` is not installed.
        """
        try:
            from implicit.cpu.als import AlternatingLeastSquares
            from threadpoolctl import threadpool_limits  # implicit itself needs it
        except ImportError as error:
            raise MissingExtraError("implicit", "baselines", "wmf") from error
        config = self.config
        with threadpool_limits(1, "blas"):  # its threads are its own; it warns where BLAS would add more
            als = AlternatingLeastSquares(
                factors=config.dim,
                regularization=config.regularisation,
                alpha=config.confidence,
                iterations=config.sweeps,
                use_cg=False,
                num_threads=torch.get_num_threads(),
            )
            als.item_factors = self.items.numpy().copy()
            als.user_factors = np.zeros((train.n_users, config.dim), dtype=np.float32)
            als.fit(csr_matrix(user_item_matrix(train)), show_progress=False)
        self.items.copy_(torch.from_numpy(als.item_factors))

    def query_vectors(self, queries: QueryBatch) -> Tensor:
        """(B, D), solved from the histories."""
        taken, rows = distinct_items(queries)
        lengths = torch.bincount(rows, minlength=len(queries))
        return fold_in(taken, lengths, self.items, confidence=self.config.confidence, regularisation=self.config.regularisation)

    def item_vectors(self) -> tuple[Tensor, Tensor | None]:
        """(n_items, D), no bias."""
        return self.items, None

    def scores(self, queries: QueryBatch) -> Tensor:
        """(B, n_items), near 1 for what the user would take."""
        return inner_product_scores(self, queries)


def fold_in(taken: Tensor, lengths: Tensor, items: Tensor, *, confidence: float, regularisation: float) -> Tensor:
    """The user vectors that minimise the objective, item vectors fixed (Eq. 4 of the source).

    Args:
        taken: (nnz,) item numbers of the users, back to back.
        lengths: (B,) how many are of each user.
        items: (M, D) item vectors.
        confidence: c >= 1.
        regularisation: > 0.

    Returns:
        (B, D); zero for a user who took nothing.
    """
    n_items, dim = items.shape
    gram_DD = items.T @ items + regularisation * torch.eye(dim, dtype=items.dtype, device=items.device)
    padded = torch.cat([items, items.new_zeros(1, dim)])
    longest = max(1, int(lengths.max())) if len(lengths) else 1
    solved: list[Tensor] = [items.new_zeros(0, dim)]
    size, start = max(1, FOLD_IN_BUDGET // (dim * (longest + 2 * dim))), 0
    for part in lengths.split(size):
        real_BT = torch.arange(longest, device=items.device) < part[:, None]
        stop = start + int(part.sum())
        numbers_BT = torch.full_like(real_BT, n_items, dtype=torch.int64).masked_scatter_(real_BT, taken[start:stop])
        taken_BTD = padded[numbers_BT]
        system_BDD = gram_DD + (confidence - 1) * taken_BTD.mT @ taken_BTD
        pull_BD1 = confidence * taken_BTD.sum(1).unsqueeze(-1)
        solved.append(torch.cholesky_solve(pull_BD1, torch.linalg.cholesky(system_BDD)).squeeze(-1))
        start = stop
    return torch.cat(solved)
