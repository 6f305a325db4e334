import json

import numpy as np
import pytest

from monge.data import Interactions, describe
from monge.errors import DataError


def small_log() -> Interactions:
    # ann: x x y at 1 1 2; bob: x at 5; cy: x y z at 7 8 9
    return Interactions.from_columns(list("aaabccc"), list("xxyxxyz"), time=[1, 1, 2, 5, 7, 8, 9])


def test_counts_of_a_log_counted_by_hand() -> None:
    found = describe(small_log())
    assert (found.n_users, found.n_items, found.n_interactions) == (3, 3, 7)
    assert found.density == pytest.approx(6 / 9)
    assert found.repeats == pytest.approx(1 / 7)
    assert found.tied_times == pytest.approx(2 / 7)
    assert (found.first_time, found.last_time) == (1, 9)
    assert (found.one_row_users, found.one_row_items, found.short_users) == (1, 1, 1)
    assert found.sequence_length["min"] == 1
    assert found.sequence_length["50%"] == 3
    assert found.sequence_length["max"] == 3
    assert found.sequence_length["mean"] == pytest.approx(7 / 3)
    assert found.item_popularity["max"] == 4
    assert found.top_1_percent == pytest.approx(4 / 7)


def test_gini_is_the_mean_difference_of_all_pairs() -> None:
    counts = np.array([1, 2, 4])  # z, y, x
    by_pairs = np.abs(counts[:, None] - counts[None, :]).sum() / (2 * len(counts) * counts.sum())
    assert describe(small_log()).gini == pytest.approx(by_pairs)
    assert describe(Interactions.from_columns([1, 2], [1, 2])).gini == pytest.approx(0)


def test_warnings_name_what_will_bite() -> None:
    warnings = " ".join(describe(small_log()).warnings)
    assert "2 of 7 rows (29%) have the time of another row" in warnings
    assert "1 of 3 users have a single row" in warnings
    assert "1 of 3 users have fewer than 3 rows: leave-one-out" in warnings
    assert "1 of 3 items have a single row" in warnings
    assert "1 of 7 rows repeat an item" in warnings
    assert "no time column" not in warnings
    assert describe(Interactions.from_columns([1], [1])).warnings[0].startswith("There is no time column")


def test_a_sound_log_has_no_warning() -> None:
    log = Interactions.from_columns([1, 1, 1, 2, 2, 2], [1, 2, 3, 3, 2, 1], time=[1, 2, 3, 4, 5, 6])
    assert describe(log).warnings == ()


def test_users_and_items_without_rows_do_not_count() -> None:
    log = small_log().select(np.array([True, False, True, False, False, False, False]))
    found = describe(log)
    assert (found.n_users, found.n_items) == (1, 2)


def test_to_dict_is_json() -> None:
    assert json.loads(json.dumps(describe(small_log()).to_dict()))["n_users"] == 3


def test_an_empty_log_is_an_error() -> None:
    with pytest.raises(DataError, match="no row"):
        describe(small_log().select(np.zeros(7, dtype=bool)))
