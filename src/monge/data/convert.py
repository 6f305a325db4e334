"""Writing a log for other programs, in the format that the file's suffix names."""

from __future__ import annotations

import gzip
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from monge.data._formats import listed, suffix_of
from monge.data.domains import DOMAIN_COLUMN, ID_COLUMN, Domains
from monge.data.files import write_atomically
from monge.data.interactions import Interactions, ObjectArray
from monge.data.ragged import IntArray
from monge.errors import DataError

if TYPE_CHECKING:
    import polars as pl

    Identifiers = npt.NDArray[np.int64] | ObjectArray

_INTER_TYPES = {"user_id": "token", "item_id": "token", "rating": "float", "timestamp": "float", "domain": "token"}
SUFFIXES = (".csv", ".tsv", ".inter", ".parquet", ".arrow", ".feather", ".jsonl", ".ndjson", ".txt")


def write(log: Interactions, path: str | Path) -> None:
    """Write a log so that `read` gives the same log back; all of the file appears, or none.

    `.csv`, `.tsv`, `.inter` (RecBole), `.parquet`, `.arrow`, `.feather`, `.jsonl`, `.ndjson` have the columns user_id,
    item_id and, where the log has them, rating, timestamp and domain; `.txt` is one line a user, `user item item ...`, oldest first,
    without times, ratings and domains. With `.gz` behind it the text is compressed. Other item columns are not written. Where ids stand
    in several domains, the column item_id has them as the log's source did, and reading calls the items `domain:id` again.

    Raises:
        DataError: the suffix is not one of these, an id does not fit the format, only some items have a domain, or the file cannot be
            written.
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


def left_out(log: Interactions, path: str | Path) -> list[str]:
    """What a log has and `write` does not put into a file of this name."""
    lines = suffix_of(Path(path).name) == ".txt"
    has = {"times": log.time is not None, "ratings": log.weight is not None, "domains": DOMAIN_COLUMN in log.item_columns}
    found = [name for name, there in has.items() if lines and there]
    columns = [name for name in log.item_columns if name not in (DOMAIN_COLUMN, ID_COLUMN)]
    if columns:
        found.append(f"the items' {listed(columns)}")
    if log.modalities:
        found.append(f"the features {listed(list(log.modalities))}")
    return found


def _table(log: Interactions, suffix: str, path: Path) -> bytes:
    import polars as pl

    columns = {"user_id": _ids(log.users.ids, log.user), "item_id": _ids(_item_ids(log), log.item)}
    if log.weight is not None:
        columns["rating"] = pl.Series(log.weight)
    if log.time is not None:
        columns["timestamp"] = pl.Series(log.time)
    if DOMAIN_COLUMN in log.item_columns:
        domains = Domains.of(log.item_columns)
        columns["domain"] = pl.Series(list(domains.names), dtype=pl.String).gather(domains.of_item[log.item])
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
        _refuse_ids(columns, path, r"[\t\r\n]", "a tab or a line break", "write .csv or .parquet instead")
        if suffix == ".inter":
            frame = frame.rename({name: f"{name}:{_INTER_TYPES[name]}" for name in frame.columns})
        frame.write_csv(buffer, separator="\t", quote_style="never")
    return buffer.getvalue()


def _sequences(log: Interactions, path: Path) -> bytes:
    import polars as pl

    columns = {"user_id": _ids(log.users.ids, log.user), "item_id": _ids(log.items.ids, log.item)}
    _refuse_ids(columns, path, r"\s", "a space", "write .csv or .parquet instead")
    frame = pl.DataFrame(columns).cast(pl.String)
    rows = frame.group_by("user_id", maintain_order=True).agg(pl.col("item_id").str.join(" "))
    lines = rows.select(pl.concat_str("user_id", "item_id", separator=" ")).to_series()
    return "".join(f"{line}\n" for line in lines.to_list()).encode()


def _item_ids(log: Interactions) -> Identifiers:
    """What the column item_id says of each item: its id, or, where ids stand in several domains, its id in its domain."""
    if ID_COLUMN not in log.item_columns or DOMAIN_COLUMN not in log.item_columns:
        return log.items.ids
    bare, domain = log.item_columns[ID_COLUMN], log.item_columns[DOMAIN_COLUMN]
    taken = np.unique(log.item)
    called = [f"{name}:{identifier}" for name, identifier in zip(domain.tolist(), bare.tolist(), strict=True)]
    several = len(np.unique(bare[taken].astype(str))) < len(taken)  # else the reader would not call them so again
    return bare if several and called == log.items.ids.tolist() else log.items.ids


def _ids(identifiers: Identifiers, numbers: IntArray) -> pl.Series:
    import polars as pl

    return pl.Series(identifiers.tolist(), dtype=pl.Int64 if identifiers.dtype == np.int64 else pl.String).gather(numbers)


def _refuse_ids(columns: Mapping[str, pl.Series], path: Path, pattern: str, what: str, remedy: str) -> None:
    import polars as pl

    for name, role in (("user_id", "user id"), ("item_id", "item id"), ("domain", "domain")):
        if name in columns and columns[name].dtype == pl.String:
            ids = columns[name].unique(maintain_order=True)
            wrong = ids.filter(ids.str.contains(pattern))
            if len(wrong):
                raise DataError(f"{path}: the {role} {wrong[0]!r} has {what} in it, which this format cannot hold; {remedy}")
