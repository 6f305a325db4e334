from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monge.data import Interactions, read, write
from monge.data.convert import left_out
from monge.errors import DataError

TABLES = [".csv", ".tsv", ".inter", ".parquet", ".arrow", ".feather", ".jsonl", ".ndjson", ".csv.gz", ".tsv.gz", ".jsonl.gz", ".parquet.gz"]


def same(first: Interactions, second: Interactions) -> bool:
    """Equal rows by id: numbers may differ, as they follow the order of the file."""

    def rows(log: Interactions) -> list[tuple[object, ...]]:
        columns = [log.users.decode(log.user).tolist(), log.items.decode(log.item).tolist()]
        columns += [[] if column is None else column.tolist() for column in (log.time, log.weight)]
        return [tuple(column) for column in columns]

    def by_user(log: Interactions) -> Interactions:
        order = np.argsort(log.users.decode(log.user).astype(str), kind="stable")
        return Interactions.from_columns(
            log.users.decode(log.user)[order],
            log.items.decode(log.item)[order],
            time=None if log.time is None else log.time[order],
            weight=None if log.weight is None else log.weight[order],
        )

    return rows(by_user(first)) == rows(by_user(second))


@pytest.mark.parametrize("suffix", TABLES)
@pytest.mark.parametrize("full", [True, False])
def test_a_table_comes_back_as_it_was(suffix: str, full: bool, tmp_path: Path) -> None:
    user = ["zoë", "b,c", "b,c", 'q"q', "zoë"]
    time = [2**62, 1, 1, -5, 1] if full else None
    log = Interactions.from_columns(user, [7, -3, 2**61, 7, 8], time=time, weight=[0.5, 1, 2, 3, 4] if full else None)
    path = tmp_path / f"log{suffix}"
    write(log, path)
    back = read(path)
    assert same(log, back)
    assert back.items.ids.dtype == np.int64
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("suffix", TABLES)
def test_domains_come_back_as_they_were(suffix: str, shared: bool, tmp_path: Path) -> None:
    ids = [7, 8, 7, 9] if shared else [7, 8, 6, 9]
    log = read(pl.DataFrame({"user": list("abba"), "item": ids, "domain": ["books", "books", "café", "1"], "time": [1, 2, 3, 4]}))
    write(log, tmp_path / f"log{suffix}")
    back = read(tmp_path / f"log{suffix}")
    assert same(log, back)

    def domains(some: Interactions) -> dict[object, tuple[object, ...]]:
        return dict(
            zip(some.items.ids.tolist(), zip(*(column.tolist() for column in some.item_columns.values()), strict=True), strict=True)
        )

    assert set(back.item_columns) == set(log.item_columns) == ({"domain", "id_in_domain"} if shared else {"domain"})
    assert domains(back) == domains(log)
    assert domains(log)["café:7" if shared else 6][0] == "café"


def test_ids_stay_as_they_are_where_no_row_shares_one_any_more(tmp_path: Path) -> None:
    log = read(pl.DataFrame({"user": list("abba"), "item": [7, 8, 7, 9], "domain": list("xxyy")}))
    kept = log.select(log.item != log.items.number("y:7"))
    write(kept, tmp_path / "log.csv")
    back = read(tmp_path / "log.csv")
    assert sorted(back.items.ids.tolist()) == ["x:7", "x:8", "y:9"]
    assert sorted(back.item_columns["domain"].tolist()) == ["x", "x", "y"]


def test_what_a_file_will_lack_is_known(tmp_path: Path) -> None:
    log = read(pl.DataFrame({"user": ["a"], "item": [7], "domain": ["x"], "time": [1], "rating": [2]}))
    assert left_out(log, "log.parquet") == left_out(log, "log.csv.gz") == []
    assert left_out(log, "log.txt.gz") == ["times", "ratings", "domains"]
    titled = replace(log, item_columns={**log.item_columns, "title": np.array(["t"], dtype=object)})
    assert left_out(titled, "log.csv") == ["the items' title"]
    half = replace(log, item_columns={"domain": np.array([None], dtype=object)})
    with pytest.raises(DataError, match="1 of 1 items have no domain"):
        write(half, tmp_path / "log.csv")
    tabbed = replace(log, item_columns={"domain": np.array(["x\ty"], dtype=object)})
    with pytest.raises(DataError, match=r"the domain 'x\\ty' has a tab"):
        write(tabbed, tmp_path / "log.tsv")


@pytest.mark.parametrize("suffix", [".txt", ".txt.gz"])
def test_sequences_come_back_in_order(suffix: str, tmp_path: Path) -> None:
    log = Interactions.from_columns(["u1", "u2", "u1", "u1"], [5, 6, 7, 5], time=[3, 1, 1, 2])
    write(log, tmp_path / f"log{suffix}")
    back = read(tmp_path / f"log{suffix}")
    assert back.time is None
    assert [back.items.decode(back.sequences[back.users.number(user)]).tolist() for user in ("u1", "u2")] == [[7, 5, 5], [6]]


TEXT_IDS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), min_size=1, max_size=4).filter(
    lambda text: text == text.strip()
)


@given(rows=st.lists(st.tuples(TEXT_IDS, TEXT_IDS), min_size=1, max_size=6), suffix=st.sampled_from([".csv", ".jsonl", ".parquet"]))
@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_id_survives(rows: list[tuple[str, str]], suffix: str, tmp_path: Path) -> None:
    user, item = ([f"x{identifier}y" for identifier in column] for column in zip(*rows, strict=True))
    log = Interactions.from_columns(user, item)
    write(log, tmp_path / f"log{suffix}")
    assert same(log, read(tmp_path / f"log{suffix}"))


def test_what_cannot_be_written_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    log = Interactions.from_columns(["a b"], ["x\ty"])
    for name, sentence in {
        "log.xlsx": r"log.xlsx: .xlsx names no format that can be written; end the name in one of .csv",
        "log.tsv": r"the item id 'x\\ty' has a tab",
        "log.txt": r"the user id 'a b' has a space",
        "missing/log.csv": r"log.csv: cannot be written: No such file",
    }.items():
        with pytest.raises(DataError, match=sentence):
            write(log, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.csv"
    path.write_text("old")

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(DataError, match="No space left on device"):
        write(Interactions.from_columns([1], [1]), path)
    assert [found.name for found in tmp_path.iterdir()] == ["log.csv"]
    assert path.read_text() == "old"
