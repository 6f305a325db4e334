import gzip
import http.server
import io
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monge.data import Interactions, attach_items, read, read_items
from monge.errors import DataError, MongeError

ROWS = [("u2", 20, 4.0, 881250949), ("u1", 10, 3.5, 5), ("u2", 10, 1.0, 2**40), ("u1", 30, 2.0, 5), ("u2", 30, 5.0, -7)]
"""(user, item, rating, time): two of u1's are tied, in this order."""


def text_of(separator: str, header: str) -> bytes:
    return "\n".join([header, *(separator.join(map(str, row)) for row in ROWS)]).encode() + b"\n"


def frame_of() -> pl.DataFrame:
    return pl.DataFrame(ROWS, schema=["user_id", "item_id", "rating", "timestamp"], orient="row")


def bytes_of(write: str) -> bytes:
    buffer = io.BytesIO()
    getattr(frame_of(), write)(buffer)
    return buffer.getvalue()


FILES = {
    "log.csv": text_of(",", "user_id,item_id,rating,timestamp"),
    "semicolons.csv": text_of(";", "userID;itemID;rating;timestamp"),
    "log.tsv": text_of("\t", "user\titem\tweight\ttime"),
    "log.inter": text_of("\t", "user_id:token\titem_id:token\trating:float\ttimestamp:float"),
    "mmrec.inter": text_of("\t", "userID\titemID\trating\ttimestamp"),
    "windows.csv": text_of(",", "user_id,item_id,rating,timestamp").replace(b"\n", b"\r\n"),
    "excel.csv": b"\xef\xbb\xbf" + text_of(",", "user_id,item_id,rating,timestamp"),
    "old mac.csv": text_of(",", "user_id,item_id,rating,timestamp").replace(b"\n", b"\r"),
    "blank lines.csv": b"\n" + text_of(",", " user_id, item_id, rating, timestamp").replace(b"\n", b"\n\n") + b"  \n",
    "log.dat": "\n".join("::".join(map(str, row)) for row in ROWS).encode(),
    "marked.dat": b"\xef\xbb\xbf" + "\n".join("::".join(map(str, row)) for row in ROWS).encode(),
    "marked.jsonl": b"\xef\xbb\xbf" + bytes_of("write_ndjson"),
    "commas.txt": text_of(",", "uid,iid,score,date"),
    "tabs.data": text_of("\t", "UserId\tMovieID\tRating\tTimestamp"),
    "spaces.txt": text_of(" ", "user item rating timestamp"),
    "no suffix": text_of("\t", "user_id:token\titem_id:token\trating:float\ttimestamp:float"),
    "log.parquet": bytes_of("write_parquet"),
    "parquet without suffix": bytes_of("write_parquet"),
    "log.arrow": bytes_of("write_ipc"),
    "stream.arrow": bytes_of("write_ipc_stream"),
    "arrow without suffix": bytes_of("write_ipc"),
    "log.jsonl": bytes_of("write_ndjson"),
    "log.json": bytes_of("write_ndjson"),
    "lines without suffix": bytes_of("write_ndjson"),
}


def check(log: Interactions, *, weights: bool = True) -> None:
    """The log of ROWS, whatever it came from."""
    assert log.users.ids.tolist() == ["u2", "u1"]
    assert log.items.ids.dtype == np.int64
    assert [log.items.decode(log.sequences[user]).tolist() for user in (0, 1)] == [[30, 20, 10], [10, 30]]
    assert log.time is not None
    assert log.time.dtype == np.int64
    assert log.time.tolist() == [-7, 881250949, 2**40, 5, 5]
    if weights:
        assert log.weight is not None
        assert log.weight.tolist() == [5.0, 4.0, 1.0, 3.5, 2.0]


def put(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# ---- every format


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("compressed", [False, True])
def test_every_format_gives_the_same_log(name: str, compressed: bool, tmp_path: Path) -> None:
    path = put(tmp_path, name + ".gz" * compressed, gzip.compress(FILES[name]) if compressed else FILES[name])
    log = read(path)
    check(log)
    assert log.provenance["source"] == str(path)
    check(read(str(path)))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", ["Beauty.txt", "sequences"])
def test_sequence_text(name: str, compressed: bool, tmp_path: Path) -> None:
    content = b"7 3 1  2\n5 1\n\n9\n7 4 3 \n"
    path = put(tmp_path, name, gzip.compress(content) if compressed else content)
    log = read(path)
    assert log.provenance["format"] == "sequences"
    assert log.time is None
    assert log.users.ids.tolist() == [7, 5]  # user 9 took nothing
    assert log.items.decode(log.sequences[0]).tolist() == [3, 1, 2, 4, 3]


def test_data_frames_and_data_frames_with_gaps_filled_by_pandas() -> None:
    check(read(frame_of()))
    check(read(frame_of().lazy()))
    check(read(frame_of().with_columns(pl.col("user_id").cast(pl.Categorical), pl.col("item_id").cast(pl.UInt16))))
    check(read(frame_of().to_pandas()))
    check(read(frame_of().to_pandas().astype({"user_id": "category", "item_id": "Int32", "timestamp": "float64"})))
    check(read(frame_of().to_pandas().astype({"user_id": object, "item_id": object})))


def test_pandas_and_torch_are_not_imported_for_a_file(tmp_path: Path) -> None:
    path = put(tmp_path, "log.csv", FILES["log.csv"])
    code = (
        "import sys, monge.data as data; assert not {'polars', 'torch', 'pandas'} & set(sys.modules), 'import';"
        f"data.describe(data.read({str(path)!r})); assert not {{'torch', 'pandas', 'pyarrow'}} & set(sys.modules), 'read'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments, **options) -> None:
            super().__init__(*arguments, directory=str(tmp_path), **options)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_addresses(server: str, tmp_path: Path) -> None:
    put(tmp_path, "log.csv.gz", gzip.compress(FILES["log.csv"]))
    put(tmp_path, "log.parquet", FILES["log.parquet"])
    check(read(f"{server}/log.csv.gz?version=2"))
    check(read(f"{server}/log.parquet"))
    check(read((tmp_path / "log.parquet").as_uri()))
    with pytest.raises(DataError, match=r"nothing\.csv: cannot be fetched \(HTTP Error 404"):
        read(f"{server}/nothing.csv")
    with pytest.raises(DataError, match="only CSV, TSV, Parquet and Arrow"):
        read("s3://bucket/log.txt")


# ---- columns


@pytest.mark.parametrize(
    "header", ["user_id,item_id", "userID,itemID", "USER,ITEM", "uid,iid", "query_id,asin", "userId,movieId", " user , item "]
)
def test_aliases(header: str, tmp_path: Path) -> None:
    log = read(put(tmp_path, "log.csv", f"{header},extra\n1,2,x\n"))
    assert (log.users.ids.tolist(), log.items.ids.tolist(), log.time, log.weight) == ([1], [2], None, None)


@pytest.mark.parametrize("header", ["timestamp", "DateTime", "time", "unixReviewTime", "date"])
def test_time_aliases(header: str, tmp_path: Path) -> None:
    log = read(put(tmp_path, "log.csv", f"user,item,{header}\n1,2,77\n"))
    assert log.time is not None
    assert log.time.tolist() == [77]


def test_columns_given_beat_aliases_and_none_leaves_one_out(tmp_path: Path) -> None:
    path = put(tmp_path, "log.csv", "user,item,rating,who,what,when\n1,2,3,a,b,9\n")
    log = read(path, user_column="who", item_column="what", time_column="when", weight_column="none")
    assert (log.users.ids.tolist(), log.items.ids.tolist()) == (["a"], ["b"])
    assert log.time is not None
    assert log.weight is None
    assert log.provenance["columns"] == {"user": "who", "item": "what", "time": "when"}


def test_the_choice_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    path = put(tmp_path, "log.csv", FILES["log.csv"])
    log = read(path, echo=told.append)
    assert told == [f"{path}: csv, 5 rows: user = 'user_id', item = 'item_id', time = 'timestamp', weight = 'rating'; times: as given"]
    assert log.provenance == {
        "source": str(path),
        "format": "csv",
        "columns": {"user": "user_id", "item": "item_id", "time": "timestamp", "weight": "rating"},
        "time_unit": "as given",
    }


def test_split_labels_are_counted_where_asked(tmp_path: Path) -> None:
    path = put(tmp_path, "log.inter", "userID\titemID\tx_label\n0\t5\t0\n0\t6\t0\n1\t5\t2\n")
    assert "split_labels" not in read(path).provenance
    assert read(path, split_column="x_label").provenance["split_labels"] == {"0": 2, "2": 1}


def test_a_file_without_header_is_read_by_position(tmp_path: Path) -> None:
    path = put(tmp_path, "u.data", "196\t242\t3\t881250949\n186\t302\t3\t891717742\n")
    with pytest.raises(DataError, match=r"the first line \(196, 242, 3, 881250949\) is data, not a header.*--user-column column_1"):
        read(path)
    log = read(path, user_column="column_1", item_column="column_2", time_column="column_4")
    assert log.users.ids.tolist() == [196, 186]
    assert log.time is not None
    assert log.time.tolist() == [881250949, 891717742]
    named = put(tmp_path, "named.csv", "column_1,column_2\n1,2\n")
    assert len(read(named, user_column="column_1", item_column="column_2")) == 1


# ---- ids, times, weights


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1", "2", "-3"], [1, 2, -3]),
        (["1.0", "2.0"], [1, 2]),
        (["1", "2.0"], ["1", "2.0"]),
        (["7", "007"], ["7", "007"]),
        (["7", "x"], ["7", "x"]),
        (["9223372036854775807"], [2**63 - 1]),
        (["9223372036854775808", "1"], ["9223372036854775808", "1"]),
        ([" a ", "a"], ["a"]),
        (["nan", "x"], ["nan", "x"]),
    ],
)
def test_ids_are_whole_numbers_only_where_nothing_is_lost(cells: list[str], expected: list[int | str], tmp_path: Path) -> None:
    path = put(tmp_path, "log.csv", "user,item\n" + "".join(f"{cell},1\n" for cell in cells))
    assert read(path).users.ids.tolist() == expected


def test_ids_of_frames_keep_their_type() -> None:
    assert read(pl.DataFrame({"user": ["1", "02"], "item": [1.0, 2.0]})).users.ids.tolist() == ["1", "02"]
    log = read(pl.DataFrame({"user": [2**64 - 1, 1], "item": [1.5, 2.0]}, schema={"user": pl.UInt64, "item": pl.Float64}))
    assert log.users.ids.tolist() == ["18446744073709551615", "1"]
    assert log.items.ids.tolist() == ["1.5", "2.0"]


@pytest.mark.parametrize("cell", [2**31 + 1, 1_700_000_000_123_456_789, -(2**62) - 1])
@pytest.mark.parametrize("suffix", [".csv", ".inter", ".dat", ".jsonl", ".parquet"])
def test_times_are_exact_to_the_last_digit(cell: int, suffix: str, tmp_path: Path) -> None:
    content = {
        ".csv": f"user,item,time\n1,1,{cell}\n",
        ".inter": f"user_id:token\titem_id:token\ttimestamp:float\n1\t1\t{cell}.0\n",
        ".dat": f"1::1::5::{cell}\n",
        ".jsonl": json.dumps({"user": 1, "item": 1, "time": cell}),
    }
    path = tmp_path / f"log{suffix}"
    if suffix == ".parquet":
        pl.DataFrame({"user": [1], "item": [1], "time": [cell]}).write_parquet(path)
    else:
        path.write_text(content[suffix])
    time = read(path).time
    assert time is not None
    assert time.tolist() == [cell]


def times_of(cells: list[object]) -> tuple[list[int], object]:
    log = read(pl.DataFrame({"user": [1] * len(cells), "item": range(len(cells)), "time": cells}, strict=False))
    assert log.time is not None
    return log.time.tolist(), log.provenance["time_unit"]


def test_dates_become_seconds_and_microseconds_where_there_are_fractions() -> None:
    moment = datetime(2014, 1, 5, 10, 11, 12, tzinfo=UTC)
    seconds = int(moment.timestamp())
    assert times_of(["2014-01-05T10:11:12Z", "2014-01-05 12:11:13+02:00"]) == ([seconds, seconds + 1], "seconds")
    assert times_of(["2014-01-05", "2014-01-05 10:11"]) == ([seconds - 36672, seconds - 12], "seconds")
    assert times_of([moment, moment + timedelta(days=1)]) == ([seconds, seconds + 86400], "seconds")
    assert times_of([date(1970, 1, 2), date(1969, 12, 31)]) == ([-86400, 86400], "seconds")
    assert times_of([moment, moment + timedelta(microseconds=1)]) == ([seconds * 10**6, seconds * 10**6 + 1], "microseconds")
    assert times_of(["2014-01-05T10:11:12.000001", "2014-01-05T10:11:12"]) == ([seconds * 10**6, seconds * 10**6 + 1], "microseconds")
    assert times_of(["1969-12-31T23:59:59.5"]) == ([-500_000], "microseconds")
    assert times_of(["2014-01-05T10:11:12.000000001"]) == ([seconds * 10**9 + 1], "nanoseconds")
    assert times_of([881250949.0, 3.0]) == ([3, 881250949], "as given")
    assert times_of([1.7e9 + 2**-22, 1.7e9]) == ([1_700_000_000_000_000_000, 1_700_000_000_000_000_256], "nanoseconds")
    assert times_of([1.5, 1.25]) == ([1_250_000, 1_500_000], "microseconds")


def test_pandas_times_with_zones_are_the_same_moments() -> None:
    moments = pd.Series(pd.to_datetime(["2020-01-01T00:00:00Z", "2020-01-01T00:00:01Z"])).dt.tz_convert("Asia/Tokyo")
    log = read(pd.DataFrame({"user": [1, 1], "item": [1, 2], "time": moments}))
    assert log.time is not None
    assert log.time.tolist() == [1577836800, 1577836801]


@given(
    moments=st.lists(st.datetimes(min_value=datetime(1700, 1, 1), max_value=datetime(2200, 1, 1)), min_size=1, max_size=5),
    hours=st.integers(-11, 13),
)
@settings(deadline=None, max_examples=60)
def test_iso_dates_agree_with_datetime(moments: list[datetime], hours: int) -> None:
    zoned = [moment.replace(tzinfo=timezone(timedelta(hours=hours))) for moment in moments]
    times, unit = times_of([moment.isoformat() for moment in zoned])
    scale = {"seconds": 1, "microseconds": 10**6}[str(unit)]
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert times == sorted((moment - epoch) // timedelta(microseconds=1) * scale // 10**6 for moment in zoned)
    assert (unit == "microseconds") == any(moment.microsecond for moment in moments)


def test_ties_keep_the_order_of_the_file(tmp_path: Path) -> None:
    items = np.random.default_rng(0).permutation(200)
    path = put(tmp_path, "log.csv", "user,item,time\n" + "".join(f"1,{item},{7 if item != items[-1] else 6}\n" for item in items))
    log = read(path)
    assert log.items.decode(log.sequences[0]).tolist() == [int(items[-1]), *items[:-1].tolist()]


# ---- what is wrong with a file, in one sentence

BAD = {
    "empty": ("log.csv", b"", r"log\.csv: the file is empty$"),
    "blank": ("log.csv", b"\n \n", r"log\.csv: the file is empty$"),
    "empty gzip": ("log.csv.gz", gzip.compress(b""), r"log\.csv\.gz: the file is empty$"),
    "header only": ("log.csv", b"user,item\n", r"log\.csv: there is a header but no row of data$"),
    "no item column": ("log.csv", b"user,thing\n1,2\n", r"log\.csv: no item column \(found: user, thing\); try --item-column NAME$"),
    "line break in a name": ("log.csv", b'"a\nb",item\n1,2\n', r"no user column \(found: 'a\\nb', item\); try --user-column NAME$"),
    "no user column": ("log.jsonl", b'{"item": 1}', r"log\.jsonl: no user column \(found: item\); try --user-column NAME$"),
    "binary": ("log.csv", b"user,item\n1,\x00\x01\n", r"log\.csv: line 2: a binary file, not text$"),
    "latin-1": ("log.csv", "user,item\n1,é\n".encode("latin-1"), r"log\.csv: line 2: byte 0xe9 is not UTF-8 text; save the file as UTF-8$"),
    "utf-16": ("log.csv", "user,item\n1,2\n".encode("utf-16"), r"log\.csv: the text is UTF-16; save it as UTF-8$"),
    "cut gzip": ("log.csv.gz", gzip.compress(b"user,item\n1,2\n" * 99)[:-9], r"log\.csv\.gz: damaged or cut-off gzip file"),
    "changed gzip": ("log.csv.gz", gzip.compress(b"user,item\n1,2\n")[:-8] + b"12345678", r"log\.csv\.gz: damaged or cut-off gzip file"),
    "no gzip": ("log.csv.gz", b"user,item\n1,2\n", r"log\.csv\.gz: not a gzip file, though its name says so$"),
    "no parquet": ("log.parquet", b"user,item\n1,2\n", r"log\.parquet: not a Parquet file$"),
    "cut parquet": (
        "log.parquet",
        FILES["log.parquet"][:-20],
        r"log\.parquet: Parquet file that is damaged or cut off: its end is missing$",
    ),
    "cut arrow": ("log.arrow", FILES["log.arrow"][:-20], r"log\.arrow: Arrow file that is damaged or cut off: its end is missing$"),
    "missing item": ("log.csv", b"user,item\n1,2\n3,\n4,\n5,\n", r"column 'item': row 2 has no id \(and 2 more rows\)$"),
    "missing user": ("log.csv", b"user,item\n1,2\n,2\n4,\n", r"column 'user': row 2 has no id$"),
    "nan item": ("log.csv", b"user,item\n1,2\n1,NaN\n2,nan\n", r"column 'item': row 2 has no id \(and 1 more row\)$"),
    "null in json": ("log.jsonl", b'{"user": 1, "item": 2}\n{"user": null, "item": 2}\n', r"column 'user': row 2 has no id$"),
    "json list": ("log.json", b'[{"user": 1}]', r"this is one JSON list; write one JSON object a line"),
    "cut json": ("log.jsonl", b'{"user": 1, "item": 2}\n{"user": 1,\n', r"log\.jsonl: line 2 is not a JSON object: "),
    "json of lists": ("log.jsonl", b'{"user": [1], "item": 2}\n', r"column 'user' holds list\(int64\) values, which cannot be ids$"),
    "bad time": ("log.csv", b"user,item,time\n1,2,5\n1,2,soon\n", r"column 'time': row 2: 'soon' cannot be read as a time"),
    "bad date": (
        "log.csv",
        b"user,item,time\n1,2,2020-01-31\n1,2,2020-02-30\n",
        r"column 'time': row 2: '2020-02-30' cannot be read as a time",
    ),
    "bad hour": (
        "log.csv",
        b"user,item,time\n1,2,2020-01-31T25:00\n",
        r"column 'time': row 1: '2020-01-31T25:00' cannot be read as a time",
    ),
    "no time": ("log.csv", b"user,item,time\n1,2,5\n1,2,\n", r"column 'time': row 2 has no time$"),
    "huge time": ("log.csv", b"user,item,time\n1,2,1e30\n", r"column 'time': row 1 has a time beyond 64 bits$"),
    "bad weight": ("log.csv", b"user,item,rating\n1,2,5\n1,2,good\n1,3,\n", r"column 'rating': row 3 has no weight$"),
    "wordy weight": ("log.csv", b"user,item,rating\n1,2,5\n1,2,good\n", r"column 'rating': row 2: 'good' is not a number$"),
    "infinite weight": ("log.csv", b"user,item,rating\n1,2,inf\n", r"column 'rating': row 1: 'inf' is not a finite number$"),
    "longer row": ("log.csv", b"user,item\n1,2\n3,4,5\n", r"log\.csv: row 2 has 3 fields, the header has 2$"),
    "shorter row": ("log.csv", b"user,item,note\n1,2,x\n3,4\n", r"log\.csv: row 2 has 2 fields, the header has 3$"),
    "longer tabs": ("log.tsv", b"user\titem\n1\t2\n3\t4\t5\n", r"log\.tsv: row 2 has 3 fields, the header has 2$"),
    "ragged colons": ("log.dat", b"1::2::3::4\n1::2::3\n", r"log\.dat: row 2 has 3 fields between '::', the first row has 4$"),
    "many colons": ("log.dat", b"1::2::3::4::5\n", r"log\.dat: 5 fields between '::' in a row; expected 2 to 4"),
    "no header": ("log.csv", b"1,31,2.5\n1,1029,3.0\n", r"the first line \(1, 31, 2\.5\) is data, not a header"),
    "lonely users": ("log.txt", b"1\n2\n", r"log\.txt: no line has a user and an item; expected lines such as `user item item"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_gets_one_sentence(name: str, tmp_path: Path) -> None:
    file, content, sentence = BAD[name]
    with pytest.raises(DataError, match=sentence) as caught:
        read(put(tmp_path, file, content))
    assert str(caught.value).startswith(str(tmp_path / file))
    assert "\n" not in str(caught.value)


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"log\.csv: no such file$"):
        read(tmp_path / "log.csv")
    with pytest.raises(DataError, match=r"this is a folder; name one file in it$"):
        read(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        read("a\0b")
    with pytest.raises(DataError, match="cannot read a int"):
        read(3)  # pyright: ignore[reportArgumentType]


def test_wrong_options(tmp_path: Path) -> None:
    path = put(tmp_path, "log.csv", FILES["log.csv"])
    with pytest.raises(
        DataError, match=r"log\.csv: no column 'what' \(found: user_id, item_id, rating, timestamp\); try --item-column NAME$"
    ):
        read(path, item_column="what")
    with pytest.raises(
        DataError, match=r"column 'user_id' cannot be both item and user; try --user-column NAME|cannot be both user and item"
    ):
        read(path, item_column="user_id")
    with pytest.raises(DataError, match="no format 'xml'; there are: csv, "):
        read(path, format="xml")
    with pytest.raises(DataError, match=r"no column 'fold'.*--split-column"):
        read(path, split_column="fold")


def test_bad_frames() -> None:
    with pytest.raises(DataError, match="data frame: column 'user': row 2 has no id"):
        read(pl.DataFrame({"user": [1, None], "item": [1, 2]}))
    with pytest.raises(DataError, match="data frame: column 'item': row 2 has no id"):
        read(pd.DataFrame({"user": [1, 2], "item": [1.0, float("nan")]}))
    with pytest.raises(DataError, match="data frame: column 'item': row 1 has no id"):
        read(pd.DataFrame({"user": ["a", "b"], "item": [None, "x"]}))
    with pytest.raises(DataError, match="two columns have one name"):
        read(pd.DataFrame([[1, 2]], columns=["user", "user"]))
    with pytest.raises(DataError, match="row 1 has an id too large for a floating-point number"):
        read(pl.DataFrame({"user": [2.0**60], "item": [1]}))
    with pytest.raises(DataError, match="no row of data"):
        read(pl.DataFrame({"user": [], "item": []}))


SUFFIXES = [
    "csv",
    "tsv",
    "inter",
    "parquet",
    "arrow",
    "feather",
    "jsonl",
    "json",
    "txt",
    "dat",
    "bin",
    "csv.gz",
    "parquet.gz",
    "txt.gz",
    "item",
]
STARTS = [
    b"",
    b"user,item\n",
    b"user_id:token\titem_id:token\n",
    b"PAR1",
    b"ARROW1\0\0",
    b"\x1f\x8b\x08",
    b'{"user": 1, "item": ',
    b"1::2::",
    b"user,item,time\n1,2,",
]


def nothing_but_our_errors(path: Path) -> None:
    for reader in (read, read_items):
        try:
            reader(path)
        except MongeError as error:
            assert "\n" not in str(error)  # noqa: PT017 (reading without an error is right too)


@given(start=st.sampled_from(STARTS), content=st.binary(max_size=80), suffix=st.sampled_from(SUFFIXES), packed=st.booleans())
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_bytes_raise_nothing_but_our_errors(start: bytes, content: bytes, suffix: str, packed: bool, tmp_path: Path) -> None:
    nothing_but_our_errors(put(tmp_path, f"log.{suffix}", gzip.compress(start + content) if packed else start + content))


CELLS = st.one_of(
    st.text(alphabet='ab1-".,;:\t\n\r {}[]\\/eéNa٣\u2028', max_size=6),
    st.integers(-(2**70), 2**70).map(str),
    st.floats().map(str),
    st.datetimes().map(str),
    st.just('"'),
)


@given(
    header=st.lists(
        st.one_of(st.sampled_from(["user", "item", "time", "rating", "user_id:token", "item", ""]), CELLS), min_size=1, max_size=5
    ),
    rows=st.lists(st.lists(CELLS, max_size=5), max_size=5),
    separator=st.sampled_from([",", "\t", ";", " ", "::", "\n"]),
    suffix=st.sampled_from(SUFFIXES),
)
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_tables_raise_nothing_but_our_errors(
    header: list[str], rows: list[list[str]], separator: str, suffix: str, tmp_path: Path
) -> None:
    nothing_but_our_errors(put(tmp_path, f"log.{suffix}", "\n".join(separator.join(row) for row in [header, *rows])))


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**65), 2**65), st.floats(), st.text(max_size=4), st.lists(st.integers(), max_size=2)
)


@given(rows=st.lists(st.dictionaries(st.sampled_from(["user", "item", "time", "rating", "x"]), VALUES), min_size=1, max_size=5))
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_json_lines_raise_nothing_but_our_errors(rows: list[dict[str, object]], tmp_path: Path) -> None:
    nothing_but_our_errors(put(tmp_path, "log.jsonl", "\n".join(map(json.dumps, rows))))


def test_damage_that_aborts_the_reader_is_a_data_error(tmp_path: Path) -> None:
    """A negative count of values makes Polars ask for 2 EiB and abort: uncatchable, so it must happen in another process."""
    page_header = b"\x15\n\x15\x10\x15\x06"  # 5 values, plain encoding, RLE levels
    if page_header not in FILES["log.parquet"]:
        pytest.skip("this Polars writes other page headers")
    damaged = FILES["log.parquet"].replace(page_header, b"\x15m" + page_header[2:], 1)
    with pytest.raises(DataError, match=r"log\.parquet: damaged, or not a Parquet file \(reading it breaks the reader\)$"):
        read(put(tmp_path, "log.parquet", damaged))


def test_a_trial_that_cannot_run_does_not_stop_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path, "log.parquet", FILES["log.parquet"])
    monkeypatch.setattr("monge.data._formats._TRIAL", "import a_module_that_is_not_there")
    check(read(path))
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    check(read(path))
    damaged = put(tmp_path, "damaged.parquet", FILES["log.parquet"][:-20] + b"PAR1")
    with pytest.raises(DataError, match=r"damaged\.parquet: damaged, or not a Parquet file"):
        read(damaged)


@given(place=st.integers(0, 5000), byte=st.integers(0, 255), name=st.sampled_from(["log.parquet", "log.arrow", "stream.arrow"]))
@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_byte_raises_nothing_but_our_errors(place: int, byte: int, name: str, tmp_path: Path) -> None:
    damaged = bytearray(FILES[name])
    damaged[place % len(damaged)] = byte
    nothing_but_our_errors(put(tmp_path, name, bytes(damaged)))


# ---- items


def test_item_tables_of_every_kind_give_titles(tmp_path: Path) -> None:
    log = read(pl.DataFrame({"user": [1, 1, 2], "item": [7, 5, 3]}))
    files = {
        "movies.dat": "3::Café (1995)::Drama|Comedy\n5::Amélie::Comedy\n9::Unused::None\n".encode("latin-1"),
        "movies.csv": 'movieId,title,genres\n3,Café (1995),Drama|Comedy\n5,"Amélie",Comedy\n9,Unused,None\n',
        "ml.item": "item_id:token\ttitle:token_seq\tgenres:token_seq\n3\tCafé (1995)\tDrama|Comedy\n5\tAmélie\tComedy\n9\tUnused\tNone\n",
        "items.jsonl": '{"item": 3, "title": "Café (1995)", "genres": "Drama|Comedy"}\n'
        '{"item": 5, "title": "Amélie", "genres": "Comedy"}\n',
    }
    for name, content in files.items():
        with_titles = attach_items(log, read_items(put(tmp_path, name, content)))
        assert with_titles.item_columns["title"].tolist() == [None, "Amélie", "Café (1995)"], name
        assert with_titles.item_columns["genres"].tolist() == [None, "Comedy", "Drama|Comedy"], name
    assert dict(log.item_columns) == {}


def test_item_columns_become_text_and_can_be_chosen_and_renamed() -> None:
    log = read(pl.DataFrame({"user": [1, 1], "item": ["b", "a"]}))
    table = read_items(pl.DataFrame({"year": [1995, None], "asin": ["a", "b"], "tags": [["x", "y"], []]}))
    assert table.columns == ["asin", "year", "tags"]
    attached = attach_items(log, table, columns={"topics": "tags", "year": "year"})
    assert {name: column.tolist() for name, column in attached.item_columns.items()} == {"topics": [None, "x y"], "year": [None, "1995"]}
    assert attached.provenance["item_table"] == {"items_in_the_table": 2, "columns": ["topics", "year"]}
    again = attach_items(attached, table, columns=["tags"])
    assert set(again.item_columns) == {"topics", "year", "tags"}


def test_wrong_item_tables_say_so(tmp_path: Path) -> None:
    log = read(pl.DataFrame({"user": [1], "item": [7]}))
    with pytest.raises(DataError, match=r"items\.csv: column 'item': row 1: item 3 stands in another row too"):
        read_items(put(tmp_path, "items.csv", "item,title\n3,a\n3,b\n"))
    with pytest.raises(DataError, match=r"items\.csv: no item column \(found: name, title\); try --item-column NAME"):
        read_items(put(tmp_path, "items.csv", "name,title\n3,a\n"))
    assert read_items(tmp_path / "items.csv", item_column="name")["title"].to_list() == ["a"]
    with pytest.raises(
        DataError, match=r"no item of the log is in the item table's column 'item' \(ids such as \[3\] there, \[7\] in the log\)"
    ):
        attach_items(log, pl.DataFrame({"item": [3], "title": ["a"]}))
    with pytest.raises(DataError, match=r"the item table has no column 'year' \(found: item, title\)"):
        attach_items(log, pl.DataFrame({"item": [7], "title": ["a"]}), columns=["year"])
