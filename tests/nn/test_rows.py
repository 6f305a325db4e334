import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monge.nn.rows import distinct_items, pieces, places
from tests.conftest import queries_of

LENGTHS = st.lists(st.integers(0, 9), max_size=12)


@given(lengths=LENGTHS, budget=st.integers(1, 20))
def test_pieces_cover_all_rows_in_order_and_stay_within_the_budget_and_one_row(lengths: list[int], budget: int) -> None:
    cut = pieces(torch.tensor(lengths, dtype=torch.int64), budget)
    assert [row for piece in cut for row in range(len(lengths))[piece]] == list(range(len(lengths)))
    for piece in cut:
        assert sum(lengths[piece]) < budget + max(lengths[piece]) or sum(lengths[piece]) <= budget
    assert len(cut) <= 1 + sum(lengths) // budget


@given(rows=st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5)), max_size=8))
def test_places_are_those_of_a_loop(rows: list[tuple[int, int]]) -> None:
    starts, lengths = (torch.tensor([row[part] for row in rows], dtype=torch.int64) for part in (0, 1))
    expected = [start + step for start, length in rows for step in range(length)]
    assert places(starts, lengths).tolist() == expected
    assert places(starts, lengths, total=len(expected)).tolist() == expected


@pytest.mark.parametrize("histories", [[[3, 1, 3], [], [0], [4, 4]], [[]], []])
def test_histories_as_sets(histories: list[list[int]]) -> None:
    taken, rows = distinct_items(queries_of(histories, [[]] * len(histories), n_items=5).batch())
    assert rows.tolist() == [row for row, history in enumerate(histories) for _ in set(history)]
    lengths = torch.bincount(rows, minlength=len(histories))
    assert [part.tolist() for part in taken.split(lengths.tolist())] == [sorted(set(history)) for history in histories]


def test_distinct_items_are_rising_and_each_once() -> None:
    items, rows = distinct_items(queries_of([[3, 1, 3], [], [0, 11, 0]], [[], [], []], n_items=12).batch())
    assert items.tolist() == [1, 3, 0, 11]
    assert rows.tolist() == [0, 0, 2, 2]
