import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monge.data import Ragged

ROWS = st.lists(st.lists(st.integers(0, 9), max_size=5), max_size=6)


@given(rows=ROWS)
@settings(deadline=None, max_examples=50)
def test_rows_come_back_as_they_were(rows: list[list[int]]) -> None:
    ragged = Ragged.from_lists(rows)
    assert [ragged[place].tolist() for place in range(len(ragged))] == rows
    assert ragged.lengths.tolist() == [len(row) for row in rows]
    assert ragged.row_of_value.tolist() == [place for place, row in enumerate(rows) for _ in row]


@given(rows=ROWS.filter(bool), data=st.data())
@settings(deadline=None, max_examples=50)
def test_take_is_indexing_a_list(rows: list[list[int]], data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=8))
    taken = Ragged.from_lists(rows).take(np.array(chosen, dtype=np.int64))
    assert [taken[place].tolist() for place in range(len(taken))] == [rows[place] for place in chosen]


def test_negative_rows_count_from_the_end_and_others_are_refused() -> None:
    ragged = Ragged.from_lists([[4, 2], [], [7]])
    assert ragged[-1].tolist() == [7]
    for row in (3, -4):
        with pytest.raises(IndexError, match="of 3"):
            ragged[row]


@pytest.mark.parametrize("offsets", [[1, 2], [0, 3], [0, 2, 1, 2], []])
def test_offsets_that_do_not_fit_are_refused(offsets: list[int]) -> None:
    with pytest.raises(ValueError, match="offsets must"):
        Ragged(np.array([5, 6]), np.array(offsets, dtype=np.int64))
