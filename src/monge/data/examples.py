"""Examples of a cross-domain log: a user, a domain, what was known before, and the item of that domain that came last.

    target = the user's latest item of the domain
    input  = the earlier items of the domain, and of every other domain what came before the target (in time, where there are times)

A log that has no examples of its own (no cross-domain protocol made it) gives one to each user and domain. Copies of the target, also
those that another domain has under the same id, are left out of the input, and an example whose input is empty is none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from monge.data.domains import Domains
from monge.data.interactions import Interactions
from monge.data.queries import Queries
from monge.data.ragged import IntArray, Ragged


@dataclass(frozen=True, eq=False)
class LastItems:
    """The latest row of each user in each domain, and the rows that may be known of it."""

    user: IntArray
    """(E,)."""
    domain: IntArray
    """(E,)."""
    target_row: IntArray
    """(E,) row of the log."""
    example_of_input: IntArray
    """(N,) rising: the example that each input row belongs to."""
    input_row: IntArray
    """(N,) row of the log, rising within an example."""


def last_items(log: Interactions, domains: Domains) -> LastItems:
    """The examples of a log; their inputs may be empty."""
    domain = domains.of_item[log.item]
    group = log.user * len(domains) + domain  # rows of a user are in time order, so the last of a group is the latest
    last_of_group = np.full(log.n_users * len(domains), -1, dtype=np.int64)
    last_of_group[group] = np.arange(len(log), dtype=np.int64)  # the last write wins
    groups = np.flatnonzero(last_of_group >= 0)
    target = last_of_group[groups]
    user = groups // len(domains)
    rows_of_user = log.sequences.lengths
    example = np.repeat(np.arange(len(groups), dtype=np.int64), rows_of_user[user])
    within = np.arange(len(example), dtype=np.int64) - np.repeat(np.cumsum(rows_of_user[user]) - rows_of_user[user], rows_of_user[user])
    row = log.sequences.offsets[:-1][user][example] + within
    own = domain[row] == (groups % len(domains))[example]
    before = row < target[example]
    if log.time is not None:
        before &= own | (log.time[row] < log.time[target][example])
    product = domains.row_of_item[log.item]
    known = before & (product[row] != product[target][example])
    return LastItems(user, groups % len(domains), target, example[known], row[known])


def examples_of(log: Interactions) -> Queries:
    """What a training on this log asks: its own examples, else the last item of each user in each domain.

    Raises:
        DataError: the log's items have no domain.
    """
    if log.examples is not None:
        return log.examples
    domains = Domains.of(log.item_columns)
    found = last_items(log, domains)
    lengths = np.bincount(found.example_of_input, minlength=len(found.user)).astype(np.int64)
    return Queries(
        n_items=log.n_items,
        user=found.user,
        history=Ragged.from_lengths(log.item[found.input_row], lengths),
        truth=Ragged.from_lengths(log.item[found.target_row], np.ones(len(found.user), dtype=np.int64)),
        domain=found.domain,
        domain_of_item=domains.of_item,
    ).take(np.flatnonzero(lengths))


def history_lengths(queries: Queries) -> tuple[IntArray, IntArray]:
    """How many items each query's history has in the domain that it asks for, and in the others: (Q,), (Q,)."""
    assert queries.domain is not None
    assert queries.domain_of_item is not None
    row = queries.history.row_of_value
    own = queries.domain_of_item[queries.history.values] == queries.domain[row]
    n_own = np.bincount(row[own], minlength=len(queries)).astype(np.int64)
    return n_own, queries.history.lengths - n_own


def without_own_history(queries: Queries, chosen: npt.NDArray[np.bool_]) -> Ragged:
    """The histories; those of the chosen queries without the items of the domain that they ask for."""
    assert queries.domain is not None
    assert queries.domain_of_item is not None
    row = queries.history.row_of_value
    kept = ~chosen[row] | (queries.domain_of_item[queries.history.values] != queries.domain[row])
    return keep_values(queries.history, kept)


def keep_values(rows: Ragged, kept: npt.NDArray[np.bool_]) -> Ragged:
    """The marked values of each row; rows may become empty, none goes."""
    lengths = np.bincount(rows.row_of_value[kept], minlength=len(rows)).astype(np.int64)
    return Ragged.from_lengths(rows.values[kept], lengths)
