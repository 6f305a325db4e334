import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from monge.data import Interactions, Queries, Ragged, Split, leave_one_out, strong_generalisation
from monge.data.split import FORMAT
from monge.errors import DataError


def log_of_three() -> Interactions:
    user = ["ann"] * 4 + ["bob"] * 5 + ["cy"] * 3 + ["di"] * 4
    item = [1, 2, 3, 4, 4, 3, 2, 1, 5, 2, 4, 6, 1, 3, 5, 6]
    log = Interactions.from_columns(user, item, time=list(range(2**40, 2**40 + len(user))), weight=np.arange(len(user)) / 2)
    titles = np.array(["Ünder", None, "", "a\nb", "c", "d"], dtype=object)
    return replace(log, item_columns={"title": titles, "a.dotted.name": titles[::-1]}, provenance={"source": "here", "filters": [{"n": 1}]})


def assert_same_log(first: Interactions, second: Interactions) -> None:
    assert first.fingerprint == second.fingerprint
    assert first.users.ids.dtype == second.users.ids.dtype
    assert first.items.ids.dtype == second.items.ids.dtype
    assert {name: column.tolist() for name, column in first.item_columns.items()} == {
        name: column.tolist() for name, column in second.item_columns.items()
    }
    assert dict(first.provenance) == dict(second.provenance)


def assert_same_queries(first: Queries, second: Queries) -> None:
    assert first.n_items == second.n_items
    assert first.user.tolist() == second.user.tolist()
    for part in ("history", "truth", "candidates"):
        one, other = getattr(first, part), getattr(second, part)
        assert (one is None) == (other is None)
        if one is not None:
            assert one.values.tolist() == other.values.tolist()
            assert one.offsets.tolist() == other.offsets.tolist()
    assert {name: labels.tolist() for name, labels in first.groups.items()} == {
        name: labels.tolist() for name, labels in second.groups.items()
    }


@pytest.mark.parametrize("make", [leave_one_out, lambda log: strong_generalisation(log, heldout_users=1)])
def test_a_split_comes_back_from_its_file_as_it_was(make, tmp_path: Path) -> None:
    split = make(log_of_three())
    n = len(split.test)
    test = replace(
        split.test,
        candidates=Ragged.from_lists([[0, 1]] * n),
        groups={"activity": np.array(["high"] * n, dtype=object), "v1.5": np.array([None] * n, dtype=object)},
    )
    split = replace(split, test=test)
    split.save(tmp_path / "s.safetensors")
    back = Split.load(tmp_path / "s.safetensors")
    assert_same_log(split.train, back.train)
    assert_same_queries(split.validation, back.validation)
    assert_same_queries(split.test, back.test)
    assert (back.protocol, dict(back.options), tuple(back.notes)) == (split.protocol, dict(split.options), tuple(split.notes))
    assert (split.fold_in is None) == (back.fold_in is None)
    if split.fold_in is not None and back.fold_in is not None:
        assert_same_log(split.fold_in, back.fold_in)
    assert [path.name for path in tmp_path.iterdir()] == ["s.safetensors"]


def test_a_missing_file_and_a_foreign_file_are_data_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such split file"):
        Split.load(tmp_path / "nothing")
    (tmp_path / "other").write_bytes(b"user,item\n1,2\n")
    with pytest.raises(DataError, match="not a Monge split file"):
        Split.load(tmp_path / "other")


def test_a_newer_format_says_upgrade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as later:
        later.setattr("monge.data.split.FORMAT", FORMAT + 1)
        leave_one_out(log_of_three()).save(tmp_path / "s")
    with pytest.raises(DataError, match=rf"split format {FORMAT + 1} is newer than this Monge reads \({FORMAT}\); upgrade Monge"):
        Split.load(tmp_path / "s")


def resaved(path: Path, *, split_format: int, histories: bool) -> Path:
    """The split file again, with another format in its header, or without the histories."""
    with safe_open(str(path), framework="numpy") as handle:
        header = json.loads(handle.metadata()["monge"])
        arrays = {name: handle.get_tensor(name) for name in handle.keys() if histories or not name.startswith("histories.")}  # noqa: SIM118
    assert header["monge_split"] == FORMAT
    assert len(arrays) > 10
    save_file(arrays, path, metadata={"monge": json.dumps({**header, "monge_split": split_format})})
    return path


def test_a_split_without_histories_is_told_from_a_damaged_one(tmp_path: Path) -> None:
    split = leave_one_out(log_of_three())
    split.save(tmp_path / "s")
    older = resaved(tmp_path / "s", split_format=1, histories=False)
    with pytest.raises(DataError) as refused:
        Split.load(older)
    assert str(refused.value) == (f"{older}: was written by an older Monge and has no histories; make the split again (a run: train again)")
    split.save(tmp_path / "s")
    with pytest.raises(DataError, match="not a Monge split file, or a damaged one"):
        Split.load(resaved(tmp_path / "s", split_format=FORMAT, histories=False))


def test_the_format_before_is_read_where_it_has_histories(tmp_path: Path) -> None:
    split = leave_one_out(log_of_three())
    split.save(tmp_path / "s")
    back = Split.load(resaved(tmp_path / "s", split_format=1, histories=True))
    assert_same_log(split.train, back.train)
    assert back.histories.values.tolist() == split.histories.values.tolist()
    assert back.histories.offsets.tolist() == split.histories.offsets.tolist()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Path]:
    folder = tmp_path_factory.mktemp("splits")
    leave_one_out(log_of_three()).save(folder / "whole")
    return (folder / "whole").read_bytes(), folder / "damaged"


@given(share=st.floats(0, 0.999))
@settings(deadline=None, max_examples=40)
def test_a_truncated_file_is_a_data_error(saved: tuple[bytes, Path], share: float) -> None:
    content, path = saved
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError):
        Split.load(path)


@given(place=st.integers(0, 2000), byte=st.integers(0, 255))
@settings(deadline=None, max_examples=300)
def test_a_changed_byte_is_a_data_error_or_harmless(saved: tuple[bytes, Path], place: int, byte: int) -> None:
    content, path = saved
    damaged = bytearray(content)
    damaged[place % len(damaged)] = byte
    path.write_bytes(damaged)
    try:
        Split.load(path)
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017 (either outcome is right)
