import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monge.data import Interactions, Queries, Ragged, Vocabulary

LOGS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(-3, 3)), min_size=1, max_size=30)


def test_vocabulary_numbers_ids_by_first_appearance() -> None:
    words = Vocabulary.of(["b", "a", "b"])
    assert words.is_text
    assert words.encode(["a", "b", "c"]).tolist() == [1, 0, -1]
    assert words.decode([1, 0]).tolist() == ["a", "b"]


def test_text_that_spells_a_number_finds_it_and_a_number_finds_its_text() -> None:
    numbers, words = Vocabulary.of([30, 10]), Vocabulary.of(["30", "x"])
    assert numbers.ids.dtype == np.int64
    assert numbers.encode(["10", "x", "11"]).tolist() == [1, -1, -1]
    assert words.encode([30, 31]).tolist() == [0, -1]


def test_vocabulary_refuses_repeated_ids_and_other_types() -> None:
    with pytest.raises(ValueError, match="distinct"):
        Vocabulary(np.array([1, 1]))
    with pytest.raises(ValueError, match="int64 or text"):
        Vocabulary(np.array([1.0, 2.0]))  # pyright: ignore[reportArgumentType]


@given(rows=LOGS)
@settings(deadline=None, max_examples=60)
def test_rows_are_sorted_by_user_then_time_and_ties_keep_their_order(rows: list[tuple[int, int, int]]) -> None:
    user, item, time = zip(*rows, strict=True)
    log = Interactions.from_columns(list(user), list(item), time=list(time))
    for identifier in set(user):
        expected = sorted((row for row in rows if row[0] == identifier), key=lambda row: row[2])  # sorted() is stable
        sequence = log.sequences[log.users.number(identifier)]
        assert log.items.decode(sequence).tolist() == [row[1] for row in expected]
    assert log.position_in_sequence.tolist() == [place for length in log.sequences.lengths.tolist() for place in range(length)]
    assert sorted(log.items.decode(np.repeat(np.arange(log.n_items), log.item_counts)).tolist()) == sorted(item)


def test_compact_drops_users_and_items_without_rows_and_carries_item_columns() -> None:
    log = Interactions.from_columns(["a", "b", "c"], ["x", "y", "z"], weight=[1, 2, 3])
    titles = np.array(["X", "Y", None], dtype=object)
    log = Interactions.from_numbers(log.user, log.item, users=log.users, items=log.items, weight=log.weight, item_columns={"title": titles})
    small = log.select(np.array([False, True, True])).compact()
    assert small.users.ids.tolist() == ["b", "c"]
    assert small.items.ids.tolist() == ["y", "z"]
    assert small.item_columns["title"].tolist() == ["Y", None]
    assert small.weight is not None
    assert small.weight.tolist() == [2, 3]


def test_fingerprint_changes_with_ids_order_times_and_weights() -> None:
    logs = [
        Interactions.from_columns(["a", "a"], ["x", "y"], time=[1, 2]),
        Interactions.from_columns(["a", "a"], ["x", "y"], time=[1, 3]),
        Interactions.from_columns(["a", "a"], ["y", "x"], time=[1, 2]),
        Interactions.from_columns(["b", "b"], ["x", "y"], time=[1, 2]),
        Interactions.from_columns(["a", "a"], ["x", "y"], time=[1, 2], weight=[1, 1]),
        Interactions.from_columns(["a", "a"], ["x", "y"]),
    ]
    assert len({log.fingerprint for log in logs}) == len(logs)
    assert Interactions.from_columns(["a", "a"], ["x", "y"], time=[1, 2]).fingerprint == logs[0].fingerprint


def test_columns_of_other_lengths_and_numbers_out_of_range_are_refused() -> None:
    users, items = Vocabulary.of(["a"]), Vocabulary.of(["x"])
    zeros = np.zeros(2, dtype=np.int64)
    with pytest.raises(ValueError, match="time has 1 rows"):
        Interactions(users=users, items=items, user=zeros, item=zeros, time=np.array([1]))
    with pytest.raises(ValueError, match="user numbers must rise"):
        Interactions(users=users, items=items, user=np.array([0, 1]), item=zeros)
    with pytest.raises(ValueError, match="item numbers must lie"):
        Interactions(users=users, items=items, user=zeros, item=np.array([0, 1]))


def test_padded_histories_keep_the_newest_items_at_the_right() -> None:
    history = Ragged.from_lists([[1, 2, 3], [], [4]])
    queries = Queries(n_items=5, user=np.arange(3), history=history, truth=Ragged.from_lists([[0], [0], [0]]))
    assert queries.batch().padded(2).tolist() == [[2, 3], [5, 5], [5, 4]]
    assert queries.batch().padded(9).tolist() == [[1, 2, 3], [5, 5, 5], [5, 5, 4]]
    assert queries.take(np.array([1])).batch().padded(4).tolist() == [[5]]
    assert queries.batch().row_of_item.tolist() == [0, 0, 0, 2]


def test_queries_refuse_items_outside_the_vocabulary() -> None:
    with pytest.raises(ValueError, match=r"truth has item numbers outside 0\.\.4"):
        Queries(n_items=5, user=np.array([0]), history=Ragged.from_lists([[1]]), truth=Ragged.from_lists([[5]]))
