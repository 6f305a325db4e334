"""Domains, the cross-domain protocol, the released files, and the leak checks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import monge
from monge.data import (
    Interactions,
    Split,
    check_leaks,
    cross_domain,
    has_published_split,
    load,
    load_split,
    read,
    read_domains,
    read_released,
    released,
)
from monge.data.cross_domain import long_tail_bound
from monge.data.domains import Domains
from monge.data.examples import examples_of, history_lengths, with_earlier_targets
from monge.data.leaks import order_agreement, truth_in_history, truth_in_training
from monge.errors import ConfigError, DataError, UnknownNameError
from tests.cli.command import monge_cli
from tests.conftest import log_of, queries_of
from tests.crossdomain import rounds, with_domains

ROWS = st.lists(st.tuples(st.integers(0, 14), st.integers(0, 11), st.integers(0, 30)), min_size=60, max_size=140)


def log_with_times(rows: list[tuple[int, int, int]]) -> Interactions:
    """Items 0..5 are of domain a, 6..11 of b."""
    user, item, time = zip(*rows, strict=True)
    log = Interactions.from_columns(list(user), list(item), time=list(time))
    return with_domains(log, ["ab"[int(identifier) // 6] for identifier in log.items.ids.tolist()])


@settings(max_examples=40, deadline=None)
@given(rows=ROWS, seed=st.integers(0, 99), cold=st.sampled_from([0.0, 0.2, 1.0]))
def test_what_every_cross_domain_split_holds(rows: list[tuple[int, int, int]], seed: int, cold: float) -> None:
    log = log_with_times(rows)
    if len(set(log.item_columns["domain"].tolist())) < 2:
        return
    try:
        split = cross_domain(log, validation=0.2, test=0.2, cold_start=cold, n_negatives=2, seed=seed)
    except DataError:
        return  # too few users with an example
    of_item = Domains.of(log.item_columns).of_item
    assert split.train.examples is not None
    parts = (split.train.examples, split.validation, split.test)
    users = [set(part.user.tolist()) for part in parts]
    assert not users[0] & users[1]
    assert not users[0] & users[2]
    assert not users[1] & users[2]
    assert not (users[1] | users[2]) & set(split.train.user.tolist())
    assert set(zip(split.train.user.tolist(), split.train.item.tolist(), strict=True)) <= set(
        zip(log.user.tolist(), log.item.tolist(), strict=True)
    )
    for part in parts:
        assert part.domain is not None
        for place, (user, domain) in enumerate(zip(part.user.tolist(), part.domain.tolist(), strict=True)):
            truth, history = int(part.truth[place][0]), part.history[place].tolist()
            mine = np.flatnonzero(log.user == user)
            in_domain = mine[of_item[log.item[mine]] == domain]
            assert truth == log.item[in_domain[-1]]
            assert truth not in history
            assert log.time is not None
            target_time = log.time[in_domain[-1]]
            for item in history:
                at = mine[log.item[mine] == item]
                if of_item[item] == domain:
                    assert at[0] < in_domain[-1]
                else:
                    assert log.time[at[0]] < target_time
            if part.negatives is not None:
                drawn = part.negatives[place].tolist()
                assert len(set(drawn)) == len(drawn)
                assert not set(drawn) & set(log.item[mine].tolist())
                assert all(of_item[item] == domain for item in drawn)
    for part in parts[1:]:
        own = [bool((of_item[part.history[place]] == part.domain[place]).any()) for place in range(len(part))]  # pyright: ignore[reportOptionalSubscript]
        named = [label is not None for label in part.groups["cold-start"].tolist()]
        assert named == [not known and len(part.history[place]) > 0 for place, known in enumerate(own)]
        if cold == 1.0:
            assert not any(known and (of_item[part.history[place]] != part.domain[place]).any() for place, known in enumerate(own))  # pyright: ignore[reportOptionalSubscript]
    assert split.fold_in is not None
    known: dict[int, list[set[int]]] = {}
    for part in parts[1:]:
        for place, user in enumerate(part.user.tolist()):
            known.setdefault(user, []).append(set(part.history[place].tolist()))
    of_every_query = {(user, item) for user, histories in known.items() for item in set.intersection(*histories)}
    assert set(zip(split.fold_in.user.tolist(), split.fold_in.item.tolist(), strict=True)) == of_every_query
    again = cross_domain(log, validation=0.2, test=0.2, cold_start=cold, n_negatives=2, seed=seed)
    assert again.test.history.values.tolist() == split.test.history.values.tolist()
    assert again.test.negatives is not None
    assert split.test.negatives is not None
    assert again.test.negatives.values.tolist() == split.test.negatives.values.tolist()


def test_a_split_file_keeps_domains_negatives_groups_and_examples(tmp_path: Path) -> None:
    split = cross_domain(rounds(single=12), validation=0.2, test=0.2, n_negatives=2)
    split.save(tmp_path / "split.safetensors")
    found = Split.load(tmp_path / "split.safetensors")
    for name in ("validation", "test"):
        one, other = getattr(split, name), getattr(found, name)
        assert one.domain.tolist() == other.domain.tolist()
        assert one.domain_of_item.tolist() == other.domain_of_item.tolist()
        assert one.negatives.values.tolist() == other.negatives.values.tolist()
        assert {key: labels.tolist() for key, labels in one.groups.items()} == {
            key: labels.tolist() for key, labels in other.groups.items()
        }
    assert found.train.examples is not None
    assert split.train.examples is not None
    assert found.train.examples.history.values.tolist() == split.train.examples.history.values.tolist()
    assert found.notes == split.notes


def test_density_thins_inputs_and_overlap_thins_users_and_truths_stay() -> None:
    log = rounds(single=12)
    options: dict[str, Any] = {"validation": 0.2, "test": 0.2, "n_negatives": 2}
    varied: list[dict[str, Any]] = [{}, {"density": 0.5}, {"overlap": 0.25}]
    whole, thin, few = (cross_domain(log, **(options | more)) for more in varied)
    assert thin.test.truth.values.tolist() == whole.test.truth.values.tolist()
    for one, other in zip(history_lengths(thin.test), history_lengths(whole.test), strict=True):
        assert one.tolist() == np.ceil(other / 2).astype(int).tolist()  # of each domain: no query loses a history, none becomes cold-start
    assert whole.train.examples is not None
    assert thin.train.examples is not None
    assert few.train.examples is not None
    assert thin.train.examples.truth.values.tolist() == whole.train.examples.truth.values.tolist()
    assert len(thin.train) < len(whole.train)
    several = len({user for user in whole.train.user.tolist() if user >= 12})
    assert len({user for user in few.train.user.tolist() if user >= 12}) == int(np.floor(0.25 * several + 0.5))
    assert few.test.history.values.tolist() == whole.test.history.values.tolist()


def test_wrong_options_and_logs_are_told() -> None:
    log = rounds()
    with pytest.raises(ConfigError, match="cold_start must lie between 0 and 1; got 2"):
        cross_domain(log, cold_start=2)
    with pytest.raises(ConfigError, match="density must be greater than 0"):
        cross_domain(log, density=0)
    with pytest.raises(ConfigError, match="n_negatives must be at least 0"):
        cross_domain(log, n_negatives=-1)
    with pytest.raises(DataError, match="needs items of two domains or more, and all items are of 'a'"):
        cross_domain(with_domains(log, ["a"] * log.n_items))
    with pytest.raises(DataError, match="items have no domain; name the column with --domain-column"):
        cross_domain(log_of([[0, 1, 2]]))
    with pytest.raises(DataError, match="1 of 12 items have no domain"):
        cross_domain(with_domains(log, ["a"] * 11 + [""]))
    with pytest.raises(DataError, match="released: this log has no rows of released files"):
        released(log)


def test_no_overlapping_user_works_and_is_told() -> None:
    log = with_domains(
        log_of([[user % 4, (user + 1) % 4, (user + 2) % 4] if user % 2 else [4, 5, 6 + user % 2] for user in range(40)]),
        list("aaaabbbb")[:7],
    )
    split = cross_domain(log, n_negatives=1)
    assert "no user has items of two domains: nothing can be carried over from one to another" in split.notes
    assert any("queries have fewer than the 1 negatives" in note for note in split.notes) == bool((split.test.negatives.lengths < 1).any())  # pyright: ignore[reportOptionalMemberAccess]


def told_of_order(log: Interactions) -> list[str]:
    split = cross_domain(log, validation=0.2, test=0.2, n_negatives=0)
    return [note for note in split.notes if "has a history in another domain" in note]


def one_after_another(*, second_first: bool = False) -> tuple[list[list[int]], list[str]]:
    """Items 0 to 3 are of domain a and stand before 4 to 7, of b, for every user; or the other way round."""
    walks = [([user % 4, (user + 1) % 4], [4 + user % 4, 4 + (user + 2) % 4]) for user in range(40)]
    return [second + first if second_first else first + second for first, second in walks], list("aaaabbbb")


def test_a_domain_that_knows_nothing_of_the_others_for_the_order_of_the_rows_is_told() -> None:
    for second_first, name in ((False, "a"), (True, "b")):
        sequences, labels = one_after_another(second_first=second_first)
        log = with_domains(log_of(sequences), labels)
        assert told_of_order(replace(log, time=None)) == [
            f"no times: no query for {name} has a history in another domain, since every row of {name} stands before the user's others; "
            "give times (--time-column) or rows in the order in which they happened"
        ]
        assert told_of_order(log) == [
            f"no query for {name} has a history in another domain, since no user's row of another domain is earlier than the latest of "
            f"{name}: nothing can be carried over to {name}; are the times right?"
        ]
        at_once = replace(log, time=np.zeros(len(log), dtype=np.int64))
        assert told_of_order(at_once)[0].startswith("no query for a or b has a history in another domain")
        # one user with a row of the other domain in between is enough
        mended = with_domains(log_of([*sequences, [0, 4, 1, 5]]), labels)
        assert told_of_order(replace(mended, time=None)) == []
    assert told_of_order(rounds()) == []
    alone = with_domains(log_of([[user % 3, (user + 1) % 3] if user % 2 else [3, 4] for user in range(40)]), list("aaabb"))
    assert told_of_order(replace(alone, time=None)) == []  # no user has both: another note says so


def test_one_file_a_domain_without_times_is_told_of(tmp_path: Path) -> None:
    for name in ("books", "films"):
        rows = "".join(f"{user},{name[0]}{(user + step) % 5}\n" for user in range(30) for step in range(3))
        (tmp_path / f"{name}.csv").write_text("user,item\n" + rows)
    split = cross_domain(read(f"books={tmp_path}/books.csv,films={tmp_path}/films.csv"), n_negatives=0)
    assert split.notes[0].startswith("no times: no query for books has a history in another domain")


def test_the_census_counts_by_domain_what_queries_know() -> None:
    split = cross_domain(rounds(single=12), validation=0.2, test=0.2, n_negatives=0)
    for name, part in (("train", split.train.examples), ("validation", split.validation), ("test", split.test)):
        assert part is not None
        assert part.domain is not None
        own, other = history_lengths(part)
        told = []
        for number, domain in enumerate("ab"):
            mine = [place for place in range(len(part)) if part.domain[place] == number]
            both, alone, cold = (
                sum((bool(own[place]), bool(other[place])) == kind for place in mine)
                for kind in ((True, True), (True, False), (False, True))
            )
            assert both + alone + cold == len(mine)
            told.append(f"{len(mine)} for {domain} ({both} with both histories, {alone} with their own domain's alone, {cold} cold-start)")
        assert f"{name}: {len(part)} queries: {'; '.join(told)}" in split.notes


def test_fewer_negatives_than_asked_for_is_told() -> None:
    split = cross_domain(rounds(single=12), validation=0.2, test=0.2, n_negatives=999)
    assert any("have fewer than the 999 negatives asked for (at least 2)" in note for note in split.notes)
    assert split.test.negatives is not None
    assert split.test.negatives.lengths.max() < 999


def test_a_first_item_with_nothing_before_it_is_no_example_and_is_counted() -> None:
    log = with_domains(log_of([[0, 1, 4], *([user % 4, 4 + user % 3] for user in range(20))]), list("aaaabbb"))
    split = cross_domain(log, n_negatives=1)
    # of the 20 users with one item in each domain the first has nothing before it, the second has the first
    assert "20 first items with nothing known before them are no example" in split.notes
    assert split.train.examples is not None
    assert len(split.train.examples) + len(split.validation) + len(split.test) == 22


def test_an_ordinary_log_gives_an_example_a_user_and_domain() -> None:
    log = rounds(n_users=6)
    examples = examples_of(log)
    assert examples.domain is not None
    found = {
        (user, domain): (examples.history[at].tolist(), examples.truth[at].tolist())
        for at, (user, domain) in enumerate(zip(examples.user.tolist(), examples.domain.tolist(), strict=True))
    }
    # user 0: a0 b7 a1 b8 a2 b9 a3 b10
    assert found[0, 0] == ([0, 7, 1, 8, 2, 9], [3])
    assert found[0, 1] == ([0, 7, 1, 8, 2, 9, 3], [10])


def earlier(log: Interactions, n_targets: int) -> set[tuple[int, tuple[int, ...], int]]:
    found = with_earlier_targets(examples_of(log), log, n_targets)
    assert found.domain is not None
    assert (found.domain == Domains.of(log.item_columns).of_item[found.truth.values]).all()
    rows = zip(
        found.user.tolist(), (tuple(found.history[at].tolist()) for at in range(len(found))), found.truth.values.tolist(), strict=True
    )
    return set(rows)


def test_the_items_before_a_target_may_be_targets_too() -> None:
    log = with_domains(log_of([[0, 4, 1, 5, 2], [4, 0, 4, 1, 4]]), list("aaaabb"))
    examples = {(0, (0, 4, 1, 5), 2), (0, (0, 4, 1), 5), (1, (4, 0, 4), 1), (1, (0, 1), 4)}
    assert earlier(log, 1) == examples
    # one more a user and domain, each with what stands before it; of user 1, item 4 is no input of itself and 0 comes after a 4
    assert earlier(log, 2) == examples | {(0, (0, 4), 1), (0, (0,), 4), (1, (4,), 0)}
    assert earlier(log, 3) == earlier(log, 9) == earlier(log, 2)  # nothing stands before the first items
    untimed = replace(log, time=None)
    assert earlier(untimed, 3) == earlier(log, 3)  # the order of the rows is that of time
    released = replace(untimed, provenance={"format": "i2vae"})
    assert {(0, (0, 4, 5), 1), (0, (4, 5), 0)} <= earlier(released, 3)  # lists of their own: all of the other domain is known


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_earlier_targets_by_a_loop(at_once: int) -> None:
    rng = np.random.default_rng(0)
    log = with_domains(log_of([rng.integers(0, 12, rng.integers(1, 9)).tolist() for _ in range(40)], n_items=12), list("aaaaabbbbbbc"))
    assert log.time is not None
    log = replace(log, time=log.time // at_once)
    first_time: dict[tuple[int, int], int] = {}
    for user, item, time in zip(log.user.tolist(), log.item.tolist(), log.time.tolist(), strict=True):  # pyright: ignore[reportOptionalMemberAccess]
        first_time.setdefault((user, item), time)
    of_item = Domains.of(log.item_columns).of_item
    examples = examples_of(log)
    assert examples.domain is not None
    wanted = set()
    for at, (user, domain) in enumerate(zip(examples.user.tolist(), examples.domain.tolist(), strict=True)):
        history = examples.history[at].tolist()
        wanted.add((user, tuple(history), int(examples.truth[at][0])))
        for place in [place for place, item in enumerate(history) if of_item[item] == domain][-3:]:
            now = first_time[user, history[place]]
            before = tuple(
                item for item in history[:place] if item != history[place] and (of_item[item] == domain or first_time[user, item] < now)
            )
            if before:
                wanted.add((user, before, history[place]))
    assert earlier(log, 4) == wanted


def test_one_id_in_two_domains_becomes_two_items(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user_id": [1, 1, 2, 2], "item_id": [7, 7, 7, 8], "domain": ["x", "y", "x", "y"], "timestamp": [1, 2, 3, 4]})
    log = read(frame)
    assert log.items.ids.tolist() == ["x:7", "y:7", "y:8"]
    domains = Domains.of(log.item_columns)
    assert (domains.names, domains.of_item.tolist()) == (("x", "y"), [0, 1, 1])
    assert domains.row_of_item[0] == domains.row_of_item[1] != domains.row_of_item[2]
    assert read(frame.with_columns(item_id=pl.Series([7, 9, 7, 8]))).items.ids.tolist() == [7, 9, 8]
    assert "domain" not in read(frame, domain_column="none").item_columns
    for name in ("x", "y"):
        frame.filter(pl.col("domain") == name).drop("domain").write_csv(tmp_path / f"{name}.csv")
    joined = load(f"x={tmp_path / 'x.csv'},y={tmp_path / 'y.csv'}")
    assert joined.items.decode(joined.sequences[0]).tolist() == ["x:7", "y:7"]
    frame.drop("timestamp", "domain").write_csv(tmp_path / "bare.csv")
    with pytest.raises(DataError, match="have unlike times"):
        read_domains({"x": tmp_path / "x.csv", "y": tmp_path / "bare.csv"})
    with pytest.raises(DataError, match=r"needs two files or more: .*; got 'x'$"):
        read_domains({"x": tmp_path / "x.csv"})
    with pytest.raises(DataError, match="there is no --split-column to name"):
        read_domains({"x": tmp_path / "x.csv", "y": tmp_path / "y.csv"}, split_column="part")
    with pytest.raises(DataError, match="a domain is called by a text that is not empty; got 1"):
        read({1: tmp_path / "x.csv", 2: tmp_path / "y.csv"})  # pyright: ignore[reportArgumentType]
    with pytest.raises(UnknownNameError, match="no domain 'z'; there are: x, y"):
        domains.number("z")


def test_ids_that_stand_in_several_domains_are_told_of_at_reading(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user": [1] * 8, "item": list("abcdefga"), "domain": list("xxxxxxxy")})
    told: list[str] = []
    read(frame, echo=told.append)
    assert told[1:] == [
        "data frame: 1 of 7 ids stands in several domains (a): all ids are written DOMAIN:ID, and one id in two domains is two items; "
        "where that is a mistake, mend those rows"
    ]
    told.clear()
    read(frame.head(7), echo=told.append)
    assert len(told) == 1
    told.clear()
    read({"x": frame.drop("domain").head(7), "y": frame.drop("domain").tail(7)}, echo=told.append)
    assert len(told) == 3
    assert "data frame + data frame: 7 of 7 ids stand in several domains (a, b, c, d, e, ...): all ids" in told[2]


def test_read_takes_one_source_a_domain_as_training_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = {"books": ["1,5,3", "2,6,4"], "films": ["1,7,2"]}
    for name, lines in rows.items():
        (tmp_path / f"{name}.csv").write_text("\n".join(["who,item,time", *lines]) + "\n")
    frames = {name: pl.read_csv(tmp_path / f"{name}.csv") for name in rows}
    text = "books=books.csv,films=films.csv"
    logs = [read(source, user_column="who") for source in (text, frames, {"books": "books.csv", "films": Path("films.csv")})]
    logs.append(load(text, user_column="who"))
    for log in logs:
        assert [log.items.decode(sequence).tolist() for sequence in (log.sequences[0], log.sequences[1])] == [[7, 5], [6]]
        assert log.item_columns["domain"].tolist() == ["books", "books", "films"]
    spaced = read("my books = books.csv , films=films.csv", user_column="who")
    assert spaced.item_columns["domain"].tolist() == ["my books", "my books", "films"]
    (tmp_path / "a=b,c=d.csv").write_text("user,item\n1,2\n")  # what exists under this name is one file
    assert len(read("a=b,c=d.csv")) == 1
    with pytest.raises(DataError, match="one file a domain has no published split"):
        load_split(text, split_column="item")
    assert not has_published_split(text, split_column="item")


def test_a_split_is_made_of_what_can_be_read(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user": [user for user in range(30) for _ in range(4)], "item": [0, 5, 1, 6] * 30, "domain": list("abab") * 30})
    options = {"validation": 0.2, "test": 0.2, "n_negatives": 0}
    frame.write_csv(tmp_path / "log.csv")
    for source in (frame, str(tmp_path / "log.csv"), tmp_path / "log.csv", read(frame)):
        assert len(monge.make_split(source, "cross-domain", options).test) == 12
    by_domain = {name: frame.filter(pl.col("domain") == name).drop("domain") for name in "ab"}
    assert len(monge.make_split(by_domain, "cross-domain", options).test) == 12
    split = monge.make_split(frame, "cross-domain", options)
    for source in (split, "split.safetensors"):
        with pytest.raises(ConfigError, match="this is a split already"):
            monge.make_split(source, "cross-domain")
    with pytest.raises(DataError, match=r"no\.csv: no such file"):
        monge.make_split("no.csv", "cross-domain")
    labelled = {"user": [1, 1, 1], "item": [1, 2, 3], "domain": list("aba"), "time": [1, 2, 3]}
    with pytest.raises(ConfigError, match="a published split comes with a data set's name or a file"):
        monge.make_split(pl.DataFrame(labelled), "published")
    run = monge.train("popular", by_domain, protocol="cross-domain", protocol_options=options)
    assert run.result["data"] == "a + b"


def test_a_converted_log_says_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        Path(f"{name}.csv").write_text("user,item\n1,[/x]\n2,4\n")
    said = monge_cli(capsys, "data", "convert", "a=a.csv,b=b.csv", "log.csv")
    assert "2 of 2 ids stand in several domains ([/x], 4)" in " ".join(said.err.split())
    assert "not written" not in said.out
    assert read("log.csv").item_columns["domain"].tolist() == list("abab")
    assert "note: not written: domains" in monge_cli(capsys, "data", "convert", "log.csv", "log.txt").out


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("books=books.csv,films.csv", "films.csv has no domain name before it; write NAME=films.csv"),
        ("books=books.csv,data/x=1/films.csv", "data/x=1/films.csv has no domain name before it; write NAME=data/x=1/films.csv"),
        ("books.csv,films.csv", "books.csv has no domain name before it; write NAME=books.csv"),
        ("books.csv,films=films.csv", "books.csv has no domain name before it; write NAME=books.csv"),
        ("=books.csv,films=films.csv", "books.csv has no domain name before it; write NAME=books.csv"),
        ("books=,films=films.csv", "domain 'books' has no file behind it; write books=FILE"),
        ("books=books.csv, books=films.csv", "domain 'books' is named twice (books.csv, films.csv); give each file a domain of its own"),
        ("books=books.csv,", "books=books.csv,: nothing stands before or behind a comma; write books=books.csv,films=films.csv"),
        ("my books=books.csv,films=films.csv", "books.csv: no such file"),
        ("https://nowhere.invalid/log.csv?a=1,b=2", "https://nowhere.invalid/log.csv?a=1,b=2: cannot be fetched"),
        ("log,of may.csv", "log,of may.csv: no such file"),
    ],
)
def test_the_part_of_a_list_of_files_that_fails_is_named(text: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for reader in (load, read):
        with pytest.raises(DataError) as caught:
            reader(text)
        assert str(caught.value).startswith(sentence)


def test_a_row_without_a_domain_is_named(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user,item,domain\n1,2,x\n1,3,\n1,4,\n")
    with pytest.raises(DataError, match=r"column 'domain': row 2 has no domain \(and 1 more row\)$"):
        read(path)


def write_released(folder: Path, rows: dict[str, list[tuple[int, list[int], list[int], int]]]) -> dict[str, Path]:
    for name, some in rows.items():
        lines = [f'{user},"{json.dumps(first)}","{json.dumps(second)}",{domain}' for user, first, second, domain in some]
        (folder / f"{name}.csv").write_text("user_id,seq_d1,seq_d2,domain_id\n" + "\n".join(lines) + "\n")
    return {name: folder / f"{name}.csv" for name in rows}


RELEASED = {
    "train": [(1, [1, 2, 3], [2, 9], 0), (1, [1, 2, 3], [2, 9], 1), (2, [1, 2], [], 0), (3, [], [8, 9], 1), (4, [2, 4], [9, 10], 1)],
    "test": [(4, [2, 4], [9, 10], 0), (5, [3], [8, 10], 0), (6, [4], [], 0), (7, [1, 3], [3, 10], 1)],
}


def test_the_released_rows_as_they_are(tmp_path: Path) -> None:
    log = read_released(write_released(tmp_path, RELEASED), ("one", "two"))
    split = released(log, validation=0.25, n_negatives=2)
    assert split.train.examples is not None
    assert len(split.train.examples) + len(split.validation) == 5
    assert len(split.test) == 4
    words = [(log.items.decode(split.test.history[at]).tolist(), log.items.decode(split.test.truth[at]).tolist()) for at in range(4)]
    assert words == [
        (["one:2", "two:9", "two:10"], ["one:4"]),
        (["two:8", "two:10"], ["one:3"]),
        ([], ["one:4"]),
        (["one:1", "one:3", "two:3"], ["two:10"]),
    ]
    assert split.test.groups["cold-start"].tolist() == [None, "one", "one", None]
    assert split.test.groups["no history"].tolist() == [None, None, "one", None]
    assert any("2 users stand in several rows" in note for note in split.notes)
    n_leaked, n_twins = (sum(label is not None for label in split.test.groups[name]) for name in ("truth in training", "truth in history"))
    assert (
        f"leak check, test: of 4 truths {n_leaked} stand in a training row of the same user, "
        f"{n_twins} in the history under their id in another domain; 1 queries have an empty history"
    ) in split.notes
    assert (
        "test: 4 queries: 3 for one (1 with both histories, 0 with their own domain's alone, 1 cold-start, 1 with no history at all); "
        "1 for two (1 with both histories, 0 with their own domain's alone, 0 cold-start)"
    ) in split.notes
    in_training = set(split.train.user.tolist())
    leaked = [label == "one" for label in split.test.groups["truth in training"].tolist()]
    assert leaked == [log.users.number(4) in in_training, False, False, False]
    assert split.test.groups["truth in history"].tolist() == [None] * 4
    assert split.test.groups["leak-free"].tolist() == [None if leaked[0] else "one", "one", "one", "two"]
    twin = read_released(write_released(tmp_path, {**RELEASED, "test": [(8, [1, 3], [3], 1)]}), ("one", "two"))
    assert released(twin, validation=0.25, n_negatives=0).test.groups["truth in history"].tolist() == ["two"]
    assert split.test.negatives is not None
    of_test = {int(item) for at in range(4) for item in (*split.test.history[at], *split.test.truth[at])}
    assert set(split.test.negatives.values.tolist()) <= of_test
    assert truth_in_history(split.test, Domains.of(log.item_columns).row_of_item).tolist() == [False] * 4
    with pytest.raises(ConfigError, match=r"pool be test or domain; got .*'all'"):
        released(log, pool="all")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((1, [1], [], 1), "row 1: user 1 has no item in the domain that the row asks for"),
        ((1, [1], [2], 3), "row 1: domain_id must be 0 or 1; got 3"),
    ],
)
def test_a_wrong_released_row_is_named(tmp_path: Path, row: tuple[int, list[int], list[int], int], message: str) -> None:
    files = write_released(tmp_path, {**RELEASED, "train": [row]})
    with pytest.raises(DataError, match=message):
        read_released(files, ("one", "two"))
    files["train"].write_text("user_id,seq_d1,seq_d2,domain_id\n1,[1,[2],0\n")
    with pytest.raises(DataError, match=r"train\.csv"):
        read_released(files, ("one", "two"))
    files["train"].write_text("user,seq_d1\n1,2\n")
    with pytest.raises(DataError, match="no column 'user_id'"):
        read_released(files, ("one", "two"))


def test_leaks_are_counted() -> None:
    log = rounds(single=12)
    split = cross_domain(log, validation=0.2, test=0.2, n_negatives=0)
    assert not truth_in_training(split.train, split.test).any()
    leaky = replace(split, train=log)
    assert truth_in_training(leaky.train, leaky.test).all()
    n = len(split.test)
    assert f"leak check, test: of {n} truths {n} stand in a training row of the same user; 0 queries have an empty history" in check_leaks(
        leaky
    )
    one_order = log_of([sorted({(user * 3 + step * step) % 9 for step in range(6)}) for user in range(30)])
    minority, pairs = order_agreement(one_order)
    assert (minority, pairs > 50) == (0, True)
    labelled = with_domains(one_order, ["a"] * one_order.n_items)
    assert any("follow ONE order of the items, not time" in line for line in check_leaks(replace(split, train=labelled)))
    both_ways = log_of([[0, 1], [1, 0], [0, 1], [0, 2]])
    assert order_agreement(both_ways) == (1, 3)


def test_the_bound_of_the_long_tail() -> None:
    assert long_tail_bound(np.array([1, 2, 2, 3, 4, 5, 6, 90])) == 4  # 3 4 5 6 of 3 4 5 6 90: mean 4.5
    assert long_tail_bound(np.array([1, 2])) == 0


def test_queries_that_ask_for_a_domain_need_the_domains() -> None:
    asked = queries_of([[0]], [[1]], n_items=2)
    with pytest.raises(ValueError, match="need the domain of each item"):
        replace(asked, domain=np.array([0]))
