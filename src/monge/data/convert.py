"""Writing a log for other programs, in the format that the file's suffix names."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import TYPE_CHECKING

from monge.data._formats import suffix_of
from monge.data.files import write_atomically
from monge.data.interactions import Interactions, Vocabulary
from monge.data.ragged import IntArray
from monge.errors import DataError

if TYPE_CHECKING:
    import polars as pl

_INTER_TYPES = {"user_id": "token", "item_id": "token", "rating": "float", "timestamp": "float"}
SUFFIXES = (".csv", ".tsv", ".inter", ".parquet", ".arrow", ".feather", ".jsonl", ".ndjson", ".txt")


def write(log: Interactions, path: str | Path) -> None:
    """Write a log so that `read` gives the same log back; all of the file appears, or none.

    `.csv`, `.tsv`, `.inter` (RecBole), `.parquet`, `.arrow`, `.feather`, `.jsonl`, `.ndjson` have the columns user_id,
    item_id and, where the log has them, rating and timestamp; `.txt` is one line a user, `user item item ...`, oldest first,
    without times and ratings. With `.gz` behind it the text is compressed. Item columns are not written.

    Raises:
        DataError: the suffix is not one of these, an id does not fit the format, or the file cannot be written.
    """
    path = Path(path)
    suffix = suffix_of(path.name)
    if suffix not in SUFFIXES:
        raise DataError(
            f"{path}: {suffix or 'no suffix'} names no format that can be written; end the name in one of {', '.join(SUFFIXES)}"
        )
    content = _sequences(log, path) if suffix == ".txt" else _table(log, suffix, path)
    if path.suffix.lower() == ".gz":
        content = gzip.compress(content, mtime=0)
    try:
        write_atomically(path, content)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from error


def _table(log: Interactions, suffix: str, path: Path) -> bytes:
    import polars as pl

    columns = {"user_id": _ids(log.users, log.user), "item_id": _ids(log.items, log.item)}
    if log.weight is not None:
        columns["rating"] = pl.Series(log.weight)
    if log.time is not None:
        columns["timestamp"] = pl.Series(log.time)
    frame = pl.DataFrame(columns)
    buffer = io.BytesIO()
    if suffix == ".parquet":
        frame.write_parquet(buffer)
    elif suffix in (".arrow", ".feather"):
        frame.write_ipc(buffer)
    elif suffix in (".jsonl", ".ndjson"):
        frame.write_ndjson(buffer)
    elif suffix == ".csv":
        frame.write_csv(buffer)
    else:
        _refuse_ids(log, path, r"[\t\r\n]", "a tab or a line break", "write .csv or .parquet instead")
        if suffix == ".inter":
            frame = frame.rename({name: f"{name}:{_INTER_TYPES[name]}" for name in frame.columns})
        frame.write_csv(buffer, separator="\t", quote_style="never")
    return buffer.getvalue()


def _sequences(log: Interactions, path: Path) -> bytes:
    _refuse_ids(log, path, r"\s", "a space", "write .csv or .parquet instead")
    import polars as pl

    frame = pl.DataFrame({"user": _ids(log.users, log.user).cast(pl.String), "item": _ids(log.items, log.item).cast(pl.String)})
    rows = frame.group_by("user", maintain_order=True).agg(pl.col("item").str.join(" "))
    lines = rows.select(pl.concat_str("user", "item", separator=" ")).to_series()
    return "".join(f"{line}\n" for line in lines.to_list()).encode()


def _ids(vocabulary: Vocabulary, numbers: IntArray) -> pl.Series:
    import polars as pl

    dtype = pl.String if vocabulary.is_text else pl.Int64
    return pl.Series(vocabulary.ids.tolist(), dtype=dtype).gather(numbers)


def _refuse_ids(log: Interactions, path: Path, pattern: str, what: str, remedy: str) -> None:
    import polars as pl

    for role, vocabulary in (("user", log.users), ("item", log.items)):
        if vocabulary.is_text:
            ids = pl.Series(vocabulary.ids.tolist(), dtype=pl.String)
            wrong = ids.filter(ids.str.contains(pattern))
            if len(wrong):
                raise DataError(f"{path}: the {role} id {wrong[0]!r} has {what} in it, which this format cannot hold; {remedy}")
