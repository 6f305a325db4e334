"""BPF: counts as Poisson draws from inner products of positive vectors, all of them with Gamma priors, by variational inference.

    eta_u ~ Gamma(a', a'/b'),  xi_uk ~ Gamma(a, eta_u),  zeta_i, lambda_ik likewise,  x_ui ~ Poisson(<xi_u, lambda_i>)

Each posterior is approximated by independent Gammas, and each x_ui is shared out among the K factors by phi_uik. In turn:

    phi_uik   = softmax over k of E[log xi_uk] + E[log lambda_ik]                      for the x_ui > 0 alone
    xi_uk     : shape a + sum over i of x_ui phi_uik,  rate E[eta_u] + sum over i of E[lambda_ik]
    eta_u     : shape a' + K a,  rate a'/b' + sum over k of E[xi_uk]

and the same with users and items exchanged; each step raises the evidence's lower bound. score(u, i) = <E[xi_u], E[lambda_i]>.
A query's user is solved from its history in this way, the items' Gammas fixed, for training users as for anybody else.

Source: Gopalan, Hofman & Blei, "Scalable Recommendation with Hierarchical Poisson Factorization", UAI 2015; in the letters
of Li et al., WWW 2021. Ours: x_ui is 0 or 1; one set of priors for users and items (the values of the source's experiments are
equal); phi is renewed before the items' half of a sweep too; the number of sweeps is fixed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from monge.data import Interactions, QueryBatch
from monge.data.matrix import user_item_matrix
from monge.models.contract import INFINITY, check_positive, check_ranges, inner_product_scores
from monge.nn.rows import distinct_items, pieces

SHARES_BUDGET = 2**22
"""Shares phi in memory at once."""


@dataclass(frozen=True, kw_only=True)
class BPFConfig:
    """BPF's options."""

    dim: int = 50
    """Factors K."""
    shape: float = 0.3
    """Prior shape a of a vector's entries: small makes sparse vectors."""
    activity_shape: float = 0.3
    """Prior shape a' of a user's or an item's rate."""
    activity_mean: float = 1.0
    """Prior mean b' of a user's or an item's rate."""
    sweeps: int = 50
    """How often all users and then all items are renewed."""
    fold_in_sweeps: int = 20
    """How often a query's user is."""

    def __post_init__(self) -> None:
        check_ranges(self, dim=(1, INFINITY), sweeps=(1, INFINITY), fold_in_sweeps=(1, INFINITY))
        check_positive(self, "shape", "activity_shape", "activity_mean")

    def space(self) -> dict[str, str]:
        """What `monge tune` searches by itself."""
        return {"dim": "25,50,100", "shape": "0.1..1:log", "activity_shape": "0.1..1:log"}


@dataclass(frozen=True, eq=False)
class Gammas:
    """The approximate posteriors of N users or items."""

    shape: Tensor
    """(N, K)."""
    rate: Tensor
    """(N, K)."""
    activity: Tensor
    """(N,) E[eta]."""

    @property
    def mean(self) -> Tensor:
        """(N, K) E[y]."""
        return self.shape / self.rate

    @property
    def mean_log(self) -> Tensor:
        """(N, K) E[log y]."""
        return self.shape.digamma() - self.rate.log()


class BPF(nn.Module):
    """Gammas of item vectors."""

    Config: ClassVar = BPFConfig
    answers_unknown_users: ClassVar = True

    shape: Tensor
    rate: Tensor

    def __init__(self, config: BPFConfig, *, n_users: int, n_items: int) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("shape", config.shape * (0.5 + torch.rand(n_items, config.dim)))  # unlike each other, to begin with
        self.register_buffer("rate", torch.full((n_items, config.dim), config.activity_mean))

    def solve(self, train: Interactions) -> None:
        """Renew users and items in turn, beginning with the items' Gammas that are there."""
        taken = user_item_matrix(train)
        taken = sp.csr_array(taken[np.diff(taken.indptr) > 0])  # users without a row would add their priors to the items' rates
        of_users, of_items = rows_of(taken), rows_of(sp.csr_array(taken.T))
        items, users = self._items(), self._prior(len(of_users[1]))
        for _ in range(self.config.sweeps):
            users = renewed(users, items, *of_users, self.config)
            items = renewed(items, users, *of_items, self.config)
        self.shape.copy_(items.shape)
        self.rate.copy_(items.rate)

    def query_vectors(self, queries: QueryBatch) -> Tensor:
        """(B, K) E[xi], solved from the histories."""
        taken, rows = distinct_items(queries)
        lengths = torch.bincount(rows, minlength=len(queries))
        items, users = self._items(), self._prior(len(lengths))
        for _ in range(self.config.fold_in_sweeps):
            users = renewed(users, items, taken, lengths, self.config)
        return users.mean

    def item_vectors(self) -> tuple[Tensor, Tensor | None]:
        """(n_items, K) E[lambda], no bias."""
        return self.shape / self.rate, None

    def scores(self, queries: QueryBatch) -> Tensor:
        """(B, n_items), expected counts."""
        return inner_product_scores(self, queries)

    def _items(self) -> Gammas:
        return Gammas(self.shape, self.rate, torch.full_like(self.rate[:, 0], self.config.activity_mean))

    def _prior(self, n: int) -> Gammas:
        """Of n users of whom nothing is known."""
        config = self.config
        shape, rate = (self.shape.new_full((n, config.dim), value) for value in (config.shape, config.activity_mean))
        return Gammas(shape, rate, rate[:, 0])


def renewed(own: Gammas, other: Gammas, taken: Tensor, lengths: Tensor, config: BPFConfig) -> Gammas:
    """Half a sweep: phi, then the vectors of one side, then their activities.

    Args:
        own: N Gammas, of users, say.
        other: of items, then.
        taken: (nnz,) numbers within `other`, those of each of the N back to back.
        lengths: (N,) how many are of each.
        config: the priors.
    """
    shape = config.shape + shared_counts(own.mean_log, other.mean_log, taken, lengths)
    rate = own.activity[:, None] + other.mean.sum(0)
    prior = config.activity_shape / config.activity_mean
    activity = (config.activity_shape + shape.shape[1] * config.shape) / (prior + (shape / rate).sum(1))
    return Gammas(shape, rate, activity)


def shared_counts(own_log: Tensor, other_log: Tensor, taken: Tensor, lengths: Tensor) -> Tensor:
    """(N, K) sum over i of phi_uik, a few rows at a time."""
    counts = torch.zeros_like(own_log)
    row, ends = torch.repeat_interleave(lengths), lengths.cumsum(0)
    for some in pieces(lengths, max(1, SHARES_BUDGET // own_log.shape[1])):
        at = slice(int(ends[some.start] - lengths[some.start]), int(ends[some.stop - 1]))
        counts.index_add_(0, row[at], torch.softmax(own_log[row[at]] + other_log[taken[at]], dim=1))
    return counts


def rows_of(matrix: sp.csr_array) -> tuple[Tensor, Tensor]:
    """A sparse matrix of ones as (nnz,) columns, row by row, and (N,) lengths of the rows."""
    columns, lengths = matrix.indices.astype(np.int64), np.diff(matrix.indptr).astype(np.int64)
    return torch.from_numpy(columns), torch.from_numpy(lengths)
