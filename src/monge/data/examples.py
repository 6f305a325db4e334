"""Examples of a cross-domain log: a user, a domain, what was known before, and the item of that domain that came last.

    target = the user's latest item of the domain
    input  = the earlier items of the domain, and of every other domain what came before the target (in time, where there are times)

A log that has no examples of its own (no cross-domain protocol made it) gives one to each user and domain. Copies of the target, also
those that another domain has under the same id, are left out of the input, and an example whose input is empty is none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from monge.data.domains import Domains
from monge.data.interactions import Interactions
from monge.data.queries import Queries
from monge.data.ragged import IntArray, Ragged

LISTS_BY_DOMAIN = "i2vae"
"""Format of logs that do not say which of two items of different domains came first."""


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


def with_earlier_targets(examples: Queries, log: Interactions, n_targets: int) -> Queries:
    """The examples, and the items before their targets as targets too, each with what stands before it.

    Args:
        examples: of a training on the log; histories stand in the order of time where the log has times.
        log: what they were made of.
        n_targets: at most so many of the newest items of a user in a domain are targets, >= 1; 1: the examples as they are.

    Returns:
        The examples, then the others. An input has the items of the domain that stand before the target, and of other domains what
        came before it in time (without times what stands before it; all of them where the log has a list a domain, as released files
        have), without copies of the target; an example whose input is empty is none.
    """
    assert examples.domain is not None
    domains = Domains.of(log.item_columns)
    history = examples.history
    row = history.row_of_value
    own = domains.of_item[history.values] == examples.domain[row]
    so_far = np.concatenate([[0], np.cumsum(own)])
    newer = so_far[history.offsets[1:]][row] - so_far[1:]  # items of the domain behind each place
    target = np.flatnonzero(own & (newer < n_targets - 1))
    source = row[target]
    values = history.take(source)
    example = values.row_of_value
    place = np.arange(len(example), dtype=np.int64) + (history.offsets[source] - values.offsets[:-1])[example]
    before = place < target[example]
    if log.time is not None:
        first = _first_times(log, np.stack([examples.user[source][example], values.values]))
        before &= own[place] | (first < _first_times(log, np.stack([examples.user[source], history.values[target]]))[example])
    elif log.provenance.get("format") == LISTS_BY_DOMAIN:
        before |= ~own[place]
    product = domains.row_of_item
    inputs = keep_values(values, before & (product[values.values] != product[history.values[target]][example]))
    earlier = replace(
        examples.take(source), history=inputs, truth=Ragged.from_lengths(history.values[target], np.ones(len(target), dtype=np.int64))
    ).take(np.flatnonzero(inputs.lengths))
    truth = _together(examples.truth, earlier.truth)
    return replace(
        examples,
        user=np.concatenate([examples.user, earlier.user]),
        history=_together(history, earlier.history),
        truth=truth,
        domain=domains.of_item[truth.values],
        groups={},
    )


def _first_times(log: Interactions, pairs: IntArray) -> npt.NDArray[np.int64]:
    """(2, N) users and items, all of the log -> when each user took the item for the first time, (N,)."""
    assert log.time is not None
    taken = log.user * np.int64(log.n_items) + log.item
    order = np.lexsort((log.time, taken))
    at = np.searchsorted(taken[order], pairs[0] * np.int64(log.n_items) + pairs[1])
    return log.time[order][at]


def _together(first: Ragged, second: Ragged) -> Ragged:
    return Ragged.from_lengths(np.concatenate([first.values, second.values]), np.concatenate([first.lengths, second.lengths]))


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
