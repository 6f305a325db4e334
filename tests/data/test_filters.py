from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monge.data import Interactions, at_least, deduplicate, k_core, min_length
from monge.errors import ConfigError, DataError

Row = tuple[int, int, int, float]
ROWS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 5), st.sampled_from([0.5, 3.0, 4.0, 5.0])), min_size=1, max_size=40
)


def log_of(rows: list[Row]) -> Interactions:
    user, item, time, weight = zip(*rows, strict=True)
    return Interactions.from_columns(list(user), list(item), time=list(time), weight=list(weight))


def rows_of(log: Interactions) -> list[Row]:
    assert log.time is not None
    assert log.weight is not None
    columns = log.users.decode(log.user), log.items.decode(log.item), log.time, log.weight
    return list(zip(*(column.tolist() for column in columns), strict=True))


def in_order(rows: list[Row]) -> list[Row]:
    """The canonical order: users by first appearance in the log, then time, ties in the order given."""
    appearance = {user: place for place, user in reversed(list(enumerate(row[0] for row in rows)))}
    return sorted(rows, key=lambda row: (appearance[row[0]], row[2]))


def k_core_by_hand(rows: list[Row], users: int, items: int) -> list[Row]:
    while True:
        by_user, by_item = Counter(row[0] for row in rows), Counter(row[1] for row in rows)
        kept = [row for row in rows if by_user[row[0]] >= users and by_item[row[1]] >= items]
        if kept == rows:
            return kept
        rows = kept


def deduplicate_by_hand(rows: list[Row], keep: str) -> list[Row]:
    kept: dict[tuple[int, int], int] = {}
    for place, row in enumerate(rows):
        if keep == "last" or row[:2] not in kept:
            kept[row[:2]] = place
    return [rows[place] for place in sorted(kept.values())]


def agree(log: Interactions, expected: list[Row], filtered: Callable[[Interactions], Interactions]) -> None:
    if not expected:
        with pytest.raises(DataError, match="nothing is left"):
            filtered(log)
        return
    result = filtered(log)
    assert rows_of(result) == expected
    assert result.n_users == len({row[0] for row in expected})
    assert result.n_items == len({row[1] for row in expected})


@given(rows=ROWS, users=st.integers(0, 4), items=st.integers(0, 4))
@settings(deadline=None, max_examples=80)
def test_k_core_is_the_fixed_point(rows: list[Row], users: int, items: int) -> None:
    agree(log_of(rows), k_core_by_hand(in_order(rows), users, items), lambda log: k_core(log, users=users, items=items))


def test_k_core_goes_on_until_nothing_changes() -> None:
    chain = [(0, 0, 0, 1.0), (0, 1, 0, 1.0), (1, 1, 0, 1.0), (1, 2, 0, 1.0), (2, 2, 0, 1.0), (2, 3, 0, 1.0)]
    ring = [(user + 5, item + 5, 0, 1.0) for user in (0, 1) for item in (0, 1)]
    agree(log_of(chain + ring), ring, lambda log: k_core(log, users=2, items=2))  # the chain falls link by link


@given(rows=ROWS, rating=st.sampled_from([0.5, 3.5, 4, 6]))
@settings(deadline=None, max_examples=40)
def test_at_least_keeps_the_threshold_itself(rows: list[Row], rating: float) -> None:
    agree(log_of(rows), [row for row in in_order(rows) if row[3] >= rating], lambda log: at_least(log, rating))


@given(rows=ROWS, keep=st.sampled_from(["first", "last"]))
@settings(deadline=None, max_examples=60)
def test_deduplicate_keeps_the_oldest_or_the_newest(rows: list[Row], keep) -> None:
    agree(log_of(rows), deduplicate_by_hand(in_order(rows), keep), lambda log: deduplicate(log, keep))


@given(rows=ROWS, n=st.integers(0, 6))
@settings(deadline=None, max_examples=40)
def test_min_length_drops_short_users(rows: list[Row], n: int) -> None:
    lengths = Counter(row[0] for row in rows)
    agree(log_of(rows), [row for row in in_order(rows) if lengths[row[0]] >= n], lambda log: min_length(log, n))


def test_filters_are_on_record_in_order() -> None:
    log = log_of([(1, 1, 0, 5), (1, 1, 1, 5), (1, 2, 2, 3), (2, 1, 0, 4)])
    filtered = deduplicate(at_least(log, 4), "all")
    assert filtered.provenance["filters"] == [
        {"filter": "at_least", "rating": 4, "rows_before": 4, "rows_after": 3},
        {"filter": "deduplicate", "keep": "all", "rows_before": 3, "rows_after": 3},
    ]
    assert "filters" not in log.provenance


def test_wrong_requests_say_what_to_do() -> None:
    bare = Interactions.from_columns([1], [1])
    with pytest.raises(DataError, match=r"no ratings to filter by.*--weight-column"):
        at_least(bare, 4)
    with pytest.raises(DataError, match=r"no row has a rating of 6 or more \(the highest is 5\)"):
        at_least(log_of([(1, 1, 0, 5)]), 6)
    with pytest.raises(DataError, match="k-core of 2 rows a user and 1 rows an item is empty"):
        k_core(bare, users=2, items=1)
    with pytest.raises(ConfigError, match="first, last or all"):
        deduplicate(bare, "none")  # pyright: ignore[reportArgumentType]
