import io
import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from monge.data import Interactions, describe, read
from monge.errors import DataError
from monge.reporting import description_table


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


def with_domains(log: Interactions, of_item: dict[str, str | None]) -> Interactions:
    labels = [of_item[identifier] for identifier in log.items.ids.tolist()]
    return replace(log, item_columns={"domain": np.array([*labels, None], dtype=object)[:-1]})


def test_domains_are_counted() -> None:
    assert (describe(small_log()).domains, describe(small_log()).n_users_of_several_domains) == (None, None)
    log = with_domains(small_log(), {"x": "books", "y": "films", "z": "films"})
    found = describe(log)
    assert found.domains == {
        "books": {"n_interactions": 4, "n_users": 3, "n_items": 1},
        "films": {"n_interactions": 3, "n_users": 2, "n_items": 2},
    }
    assert found.n_users_of_several_domains == 2
    assert json.loads(json.dumps(found.to_dict()))["domains"]["films"]["n_items"] == 2
    fewer = describe(log.select(log.item != log.items.number("y")))  # items without a row do not count
    assert fewer.domains is not None
    assert fewer.domains["films"] == {"n_interactions": 1, "n_users": 1, "n_items": 1}


def warnings_of(log: Interactions) -> list[str]:
    return [warning for warning in describe(log).warnings if "domain" in warning]


def test_what_will_bite_a_log_of_domains() -> None:
    log = Interactions.from_columns(list("aaabbb"), list("xyzzyx"), time=[1, 2, 3, 1, 2, 3])
    assert warnings_of(with_domains(log, {"x": "films", "y": "books", "z": "films"})) == []
    alike = warnings_of(with_domains(log, {"x": "Books", "y": "films", "z": " books"}))
    assert alike == ["The domains ' books' and 'Books' differ only by case or by spaces around them: are they one?"]
    for name in ("NaN", "nan", "null", "None", "N/A", " "):
        assert warnings_of(with_domains(log, {"x": "films", "y": name, "z": "films"})) == [
            f"A domain is called {name!r}, as programs write a missing value: do its rows have no domain?"
        ]
    assert warnings_of(with_domains(log, {"x": "films", "y": "books", "z": None})) == [
        "1 of 3 items have no domain: the cross-domain protocol needs one of every item."
    ]
    apart = Interactions.from_columns(list("aabb"), list("xyzw"), time=[1, 2, 1, 2])
    assert warnings_of(with_domains(apart, {"x": "books", "y": "books", "z": "films", "w": "films"})) == [
        "No user has items of two domains: nothing can be carried over from one to another."
    ]
    in_turn = Interactions.from_columns(list("aaabbb"), list("xyzxyz"), time=[1, 2, 3, 1, 2, 2])
    of_item = {"x": "books", "y": "books", "z": "films"}
    for some, name, cause in (
        (in_turn, "books", "by the times"),
        (replace(in_turn, time=None), "books", "there are no times, so the order of the rows decides"),
        (replace(in_turn, time=np.ones(6, dtype=np.int64)), "books or films", "by the times"),
    ):
        assert f"Before the latest item in {name} no user has an item of another domain ({cause}): nothing can be carried over there." in (
            warnings_of(with_domains(some, of_item))
        )
    assert not any("Before" in warning for warning in warnings_of(with_domains(replace(log, time=None), of_item)))
    none = with_domains(log, {"x": None, "y": None, "z": None})
    assert (describe(none).domains, describe(none).n_users_of_several_domains) == ({}, 0)


def test_one_id_in_two_domains_is_among_the_warnings() -> None:
    frame = pl.DataFrame({"user": [1, 1, 1, 2, 2, 2], "item": [7, 8, 7, 9, 8, 9], "domain": list("xyyxyx"), "time": [1, 2, 3, 1, 2, 3]})
    assert "1 of 3 ids stands in several domains (7): all ids are written DOMAIN:ID" in warnings_of(read(frame))[0]
    assert warnings_of(read(frame).select(np.array([True, True, False, True, True, True]))) == []  # the other 7 has no row any more


def test_to_dict_is_json() -> None:
    assert json.loads(json.dumps(describe(small_log()).to_dict()))["n_users"] == 3


def test_an_empty_log_is_an_error() -> None:
    with pytest.raises(DataError, match="no row"):
        describe(small_log().select(np.zeros(7, dtype=bool)))


def test_the_table_shows_domains() -> None:
    log = with_domains(small_log(), {"x": "[b]books", "y": "films", "z": "films"})
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(description_table(describe(log).to_dict()))
    lines = [line.split() for line in console.export_text().splitlines()]
    assert ["[b]books", "4", "3", "1"] in lines
    assert ["films", "3", "2", "2"] in lines
    assert ["users", "with", "items", "of", "two", "domains", "or", "more", "2"] in lines
    console.print(description_table(describe(small_log()).to_dict()))
    assert "domain" not in console.export_text()
