"""What can make a cross-domain result better than the model: checks that run on every such split, and what they say."""

from __future__ import annotations

import numpy as np

from monge.data.domains import ID_COLUMN, Domains
from monge.data.interactions import Interactions
from monge.data.queries import Queries
from monge.data.ragged import IntArray
from monge.data.split import Split

NEWEST = 50
"""So many of a sequence's newest items are compared in pairs."""


def check_leaks(split: Split) -> list[str]:
    """One sentence for each thing that was checked, and what was seen.

    - whether the truth of a query stands in a training row of the same user;
    - whether the truth stands, by the id that the files gave it, in the query's history of another domain;
    - whether the sequences follow one order of the items that is the same for all users, instead of time;
    - how many queries have no history at all.
    """
    told: list[str] = []
    domains = Domains.of(split.train.item_columns)
    ids = split.train.item_columns.get(ID_COLUMN)
    for name, queries in (("validation", split.validation), ("test", split.test)):
        seen = [f"{int(truth_in_training(split.train, queries).sum()):,} stand in a training row of the same user"]
        if ids is not None:
            seen.append(f"{int(truth_in_history(queries, domains.row_of_item).sum()):,} in the history under their id in another domain")
        empty = int((queries.history.lengths == 0).sum())
        told.append(f"leak check, {name}: of {len(queries):,} truths {', '.join(seen)}; {empty:,} queries have an empty history")
    for number, domain in enumerate(domains.names):
        in_domain = split.train.select(domains.of_item[split.train.item] == number)
        minority, pairs = order_agreement(in_domain)
        verdict = ""
        if pairs and minority < 0.01 * pairs:
            verdict = ": the sequences follow ONE order of the items, not time, so `last item` is no later choice"
        told.append(
            f"leak check, order in {domain}: of {pairs:,} comparisons of two items that several users took, "
            f"{minority:,} go against the majority{verdict}"
        )
    return told


def truth_in_training(train: Interactions, queries: Queries) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """(Q,) whether a query's (first) truth is a training row of its user."""
    truth = queries.truth.values[queries.truth.offsets[:-1]]
    return np.isin(queries.user * np.int64(train.n_items) + truth, train.user * np.int64(train.n_items) + train.item)


def truth_in_history(queries: Queries, row_of_item: IntArray) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """(Q,) whether a query's (first) truth shares its id with an item of the history."""
    truth = row_of_item[queries.truth.values[queries.truth.offsets[:-1]]]
    at = queries.history.row_of_value
    hit = row_of_item[queries.history.values] == truth[at]
    return np.bincount(at[hit], minlength=len(queries)) > 0


def order_agreement(log: Interactions, *, newest: int = NEWEST) -> tuple[int, int]:
    """How many of the orders in which users took two items go against the more frequent order of these two, and how many there are.

    Only pairs that two users or more took count; where the order is time, a tenth or more go against; 0 says that all sequences follow
    one and the same order of the items.
    """
    lengths = log.sequences.lengths
    place = lengths[log.user] - log.position_in_sequence - 1  # 0 for the newest
    keys: list[IntArray] = []
    for shift in range(1, min(newest, int(lengths.max(initial=1)))):
        later = np.flatnonzero((log.position_in_sequence >= shift) & (place + shift < newest))
        first, second = log.item[later - shift], log.item[later]
        apart = first != second
        low, high = np.minimum(first, second)[apart], np.maximum(first, second)[apart]
        keys.append(2 * (low * np.int64(log.n_items) + high) + (first[apart] < second[apart]))
    if not keys:
        return 0, 0
    counted, n = np.unique(np.concatenate(keys), return_counts=True)
    pair, at = np.unique(counted // 2, return_inverse=True)
    total, most = np.zeros(len(pair), dtype=np.int64), np.zeros(len(pair), dtype=np.int64)
    np.add.at(total, at, n)
    np.maximum.at(most, at, n)
    several = total > 1
    return int((total - most)[several].sum()), int(total[several].sum())
