"""Scores of models that answer one domain at a time: queries are sorted by the domain that they ask for, and put together again."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from monge.data import QueryBatch


class ScoresDomains(Protocol):
    """Scores the items of one domain."""

    n_domains: int
    domain_of_item: Tensor

    def domain_scores(self, number: int, queries: QueryBatch, sequences_KBT: Tensor) -> Tensor:
        """(B, items of the domain), in the order of their numbers."""
        ...


def scores_by_domain(model: ScoresDomains, queries: QueryBatch, sequences_KBT: Tensor) -> Tensor:
    """(B, n_items): each query's domain; all domains where a query asks for none in particular. -inf elsewhere.

    Args:
        model: answers a domain.
        queries: B of them.
        sequences_KBT: (K, B, T) their histories cut by domain.
    """
    scores_BI = torch.full((len(queries), queries.n_items), -torch.inf, device=queries.items.device)
    for number in range(model.n_domains):
        columns = (model.domain_of_item == number).nonzero().squeeze(1)
        if queries.domain is None:
            scores_BI[:, columns] = model.domain_scores(number, queries, sequences_KBT).float()
            continue
        rows = (queries.domain == number).nonzero().squeeze(1)
        if len(rows):
            found = model.domain_scores(number, some_queries(queries, rows), sequences_KBT[:, rows]).float()
            scores_BI[rows[:, None], columns] = found
    return scores_BI


def some_queries(queries: QueryBatch, rows: Tensor) -> QueryBatch:
    """The queries of rising row numbers."""
    lengths = queries.lengths
    wanted = torch.zeros(len(queries), dtype=torch.bool, device=rows.device)
    wanted[rows] = True
    return QueryBatch(
        user=queries.user[rows],
        items=queries.items[wanted[queries.row_of_item]],
        offsets=torch.nn.functional.pad(lengths[rows].cumsum(0), (1, 0)),
        longest=queries.longest,
        n_items=queries.n_items,
        domain=None if queries.domain is None else queries.domain[rows],
    )
