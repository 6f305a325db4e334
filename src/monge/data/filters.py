"""Filters of a log: pure functions from interactions to interactions, each put on record in the provenance.

What a filter leaves without a row leaves the vocabularies too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, cast

import numpy as np

from monge.data.interactions import Interactions
from monge.errors import ConfigError, DataError


def at_least(log: Interactions, rating: float) -> Interactions:
    """Keep the rows whose weight (a rating, a count) is `rating` or more.

    Raises:
        DataError: the log has no weights, or no row is left.
    """
    if log.weight is None:
        raise DataError("the log has no ratings to filter by; read it with a weight column (--weight-column NAME) or leave this filter out")
    kept = log.select(log.weight >= np.float32(rating))
    highest = f"{log.weight.max():g}" if len(log) else "none"
    record = {"filter": "at_least", "rating": rating}
    return _recorded(log, kept, record, f"no row has a rating of {rating} or more (the highest is {highest})")


def k_core(log: Interactions, users: int = 5, items: int = 5) -> Interactions:
    """Keep users with `users` rows or more and items with `items` rows or more, again and again until nothing changes.

    Raises:
        DataError: nothing is left.
    """
    if users < 0 or items < 0:
        raise ConfigError(f"a k-core needs users >= 0 and items >= 0; got {users} and {items}")
    kept = np.ones(len(log), dtype=np.bool_)
    while True:
        user_counts = np.bincount(log.user[kept], minlength=log.n_users)
        item_counts = np.bincount(log.item[kept], minlength=log.n_items)
        smaller = kept & (user_counts[log.user] >= users) & (item_counts[log.item] >= items)
        if smaller.sum() == kept.sum():
            break
        kept = smaller
    what = f"the k-core of {users} rows a user and {items} rows an item is empty; ask for fewer"
    return _recorded(log, log.select(kept), {"filter": "k_core", "users": users, "items": items}, what)


def deduplicate(log: Interactions, keep: Literal["first", "last", "all"] = "first") -> Interactions:
    """Keep one row of each (user, item) pair: the oldest ("first") or the newest ("last"); "all" keeps repeats, on record."""
    if keep not in ("first", "last", "all"):
        raise ConfigError(f"keep must be first, last or all; got {keep!r}")
    pair = log.user * np.int64(log.n_items) + log.item
    if keep == "first":
        rows = np.unique(pair, return_index=True)[1]
    elif keep == "last":
        rows = len(log) - 1 - np.unique(pair[::-1], return_index=True)[1]
    else:
        rows = np.arange(len(log), dtype=np.int64)
    return _recorded(log, log.select(np.sort(rows)), {"filter": "deduplicate", "keep": keep}, "the log has no row")


def min_length(log: Interactions, n: int) -> Interactions:
    """Keep the users with `n` rows or more.

    Raises:
        DataError: no user has that many.
    """
    lengths = log.sequences.lengths
    kept = log.select(lengths[log.user] >= n)
    return _recorded(log, kept, {"filter": "min_length", "n": n}, f"no user has {n} rows or more (the most is {lengths.max(initial=0)})")


def _recorded(log: Interactions, kept: Interactions, record: dict[str, object], when_empty: str) -> Interactions:
    """The kept rows with fresh vocabularies and the filter put on record."""
    if not len(kept):
        raise DataError(f"nothing is left after the filter {record['filter']}: {when_empty}")
    before = cast(Sequence[object], log.provenance.get("filters", ()))
    filters = [*before, {**record, "rows_before": len(log), "rows_after": len(kept)}]
    return replace(kept.compact(), provenance={**log.provenance, "filters": filters})
