"""Reading a log, or a table of items, from whatever holds it: columns found by name, ids and times kept exact."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from monge.data import _columns
from monge.data._formats import Table, listed, open_table
from monge.data.domains import DOMAIN_COLUMN, ID_COLUMN, shared_ids
from monge.data.interactions import Interactions, ObjectArray, Vocabulary
from monge.data.known import DATASETS
from monge.data.ragged import IntArray
from monge.data.sources import EXAMPLE, files_of_domains
from monge.errors import DataError

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    Source = str | Path | pl.DataFrame | pl.LazyFrame | pd.DataFrame

ALIASES: Mapping[str, tuple[str, ...]] = {
    "user": ("user_id", "userid", "user", "uid", "query_id", "reviewerid", "reviewer_id", "customer_id", "visitorid", "session_id"),
    "item": ("item_id", "itemid", "item", "iid", "movieid", "movie_id", "asin", "parent_asin", "product_id", "productid", "book_id"),
    "time": ("timestamp", "datetime", "time", "unixreviewtime", "date", "ts", "created_at"),
    "weight": ("rating", "weight", "score", "overall", "stars"),
    "domain": ("domain",),
}
"""Column names that are understood without being told, in lower case, best first."""

_DOUBLE_COLON_LOG = ("user_id", "item_id", "rating", "timestamp")
_DOUBLE_COLON_ITEMS = ("item_id", "title", "genres")
_NO_COLUMN = "none"


def read(
    source: Source | Mapping[str, Source],
    *,
    user_column: str | None = None,
    item_column: str | None = None,
    time_column: str | None = None,
    weight_column: str | None = None,
    domain_column: str | None = None,
    split_column: str | None = None,
    format: str | None = None,
    echo: Callable[[str], object] | None = None,
) -> Interactions:
    """Read an interaction log.

    Files may be CSV, TSV, Parquet, Arrow, JSON lines, RecBole or MMRec `.inter`, `user::item::rating::time`, or one line a
    user (`user item item ...`, oldest first); each plain or gzip, here or at an address. Rows with equal times keep the
    order of the file. A file without a header is read by position: `user_column="column_1"`.

    Args:
        source: a path, an address, or a Polars or pandas data frame; one of these a domain, as `{"books": ..., "films": ...}` or, of files,
            as `books=books.csv,films=films.csv`; or the name of a known data set, which takes no options.
        user_column: name of the user column, where it is not found by itself (see `ALIASES`).
        item_column: name of the item column.
        time_column: name of the time column; "none" leaves times out, and the order of the rows is the time order.
        weight_column: name of the column of ratings or counts; "none" leaves it out.
        domain_column: name of the column that says which domain a row's item belongs to; "none" leaves it out. An id that stands in
            several domains becomes one item each, called `domain:id` (then all items are).
        split_column: a column of labels (0/1/2, train/valid/test): how many rows have each is put on record. The labels
            themselves are for `read_split`.
        format: one of `csv`, `tsv`, `ssv`, `inter`, `parquet`, `arrow`, `jsonl`, `double-colon`, `sequences`; found from the
            suffix, or else from the first lines, where it is not given.
        echo: called with a line that says what was chosen, and with one on ids that stand in several domains where there are any.

    Raises:
        DataError: the source cannot be read as a log; one sentence says what is wrong, where, and what to do.
    """
    chosen = {"user": user_column, "item": item_column, "time": time_column, "weight": weight_column}
    chosen |= {"domain": domain_column, "split": split_column}
    if isinstance(source, str):
        source = files_of_domains(source) or source
    if isinstance(source, Mapping):
        return read_domains(source, format=format, echo=echo, **{f"{role}_column": name for role, name in chosen.items()})
    if isinstance(source, str) and any(source == dataset.name for dataset in DATASETS) and not Path(source).exists():
        from monge.data.catalogue import load  # it reads files by this module

        return load(source, echo=echo, format=format, **{f"{role}_column": name for role, name in chosen.items()})
    rows = read_rows(source, chosen=chosen, format=format)
    return _told(rows.interactions(), [rows], echo)


@dataclass(frozen=True, eq=False)
class Rows:
    """A log's rows as the source had them, ids not yet numbered: what `read` makes interactions of."""

    name: str
    format: str
    columns: Mapping[str, str]
    """Which column was taken for what."""
    frame: pl.DataFrame
    """Columns user, item and, where there are any, time, weight, domain, split."""
    time_unit: str | None

    def choice(self) -> str:
        """What was read as what, in one line."""
        taken = ", ".join(f"{role} = {column!r}" for role, column in self.columns.items())
        order = "no time column: the order of the rows is the time order" if self.time_unit is None else f"times: {self.time_unit}"
        return f"{self.name}: {self.format}, {self.frame.height:,} rows: {taken}; {order}"

    def interactions(self) -> Interactions:
        """Number the ids in the order of their first appearance and put the rows in order."""
        frame, columns = self.frame, {}
        if "domain" in frame.columns:
            frame, columns = _with_domains(frame)
        users, user = number(frame["user"])
        items, item = number(frame["item"])
        provenance: dict[str, object] = {"source": self.name, "format": self.format, "columns": dict(self.columns)}
        if self.time_unit is not None:
            provenance["time_unit"] = self.time_unit
        if "split" in self.frame.columns:
            counts = self.frame["split"].value_counts(sort=True)
            provenance["split_labels"] = dict(zip(counts["split"].to_list(), counts["count"].to_list(), strict=True))
        return Interactions.from_numbers(
            user,
            item,
            users=users,
            items=items,
            time=self.frame["time"].to_numpy() if self.time_unit is not None else None,
            weight=self.frame["weight"].to_numpy() if "weight" in self.frame.columns else None,
            item_columns=columns,
            provenance=provenance,
        )

    def labels(self) -> ObjectArray:
        """The split label of each row, in the order of the rows of `interactions()`."""
        _, user = number(self.frame["user"])
        keys = (user,) if self.time_unit is None else (self.frame["time"].to_numpy(), user)
        return self.frame["split"].to_numpy().astype(object)[np.lexsort(keys)]


def read_rows(source: Source, *, chosen: Mapping[str, str | None], format: str | None) -> Rows:
    """The rows of a log, ids and times converted, nothing numbered yet (for joining several files into one log)."""
    import polars as pl

    by_position = any(name is not None and re.fullmatch(r"column_[1-9]\d*", name) for name in chosen.values())
    known = frozenset(name for names in ALIASES.values() for name in names)
    table = open_table(source, format, aliases=known, by_position=by_position and not _has_such_columns(source))
    if table.format == "double-colon":
        table = _named(table, _DOUBLE_COLON_LOG, least=2, example="user::item::rating::time")
    columns = {role: column for role in (*ALIASES, "split") if (column := _column(table, role, chosen.get(role))) is not None}
    for role, column in columns.items():
        taken = next((other for other, name in columns.items() if other != role and name == column), None)
        if taken is not None:
            raise DataError(f"{table.name}: column {column!r} cannot be both {taken} and {role}; try --{role}-column NAME")
    if table.frame.is_empty():
        raise DataError(f"{table.name}: there is a header but no row of data")
    where = {role: f"{table.name}: column {column!r}" for role, column in columns.items()}
    given = {role: table.frame[column] for role, column in columns.items()}
    frame = pl.DataFrame({role: _columns.ids(given[role], is_text=table.is_text, where=where[role]) for role in ("user", "item")})
    unit = None
    if "time" in columns:
        time, unit = _columns.times(given["time"], where=where["time"])
        frame = frame.with_columns(time.alias("time"))
    if "weight" in columns:
        frame = frame.with_columns(_columns.weights(given["weight"], where=where["weight"]).alias("weight"))
    if "domain" in columns:
        names = _columns.ids(given["domain"], is_text=table.is_text, where=where["domain"], what="domain")
        frame = frame.with_columns(names.cast(pl.String).alias("domain"))
    if "split" in columns:
        labels = _columns.ids(given["split"], is_text=table.is_text, where=where["split"], what="label")
        frame = frame.with_columns(labels.cast(pl.String).alias("split"))
    return Rows(table.name, table.format, columns, frame, unit)


def read_domains(
    sources: Mapping[str, Source], *, format: str | None = None, echo: Callable[[str], object] | None = None, **columns: str | None
) -> Interactions:
    """One log from one file a domain, joined by the users' ids.

    Args:
        sources: the name of each domain -> its file, address or frame.
        format: of the files, as in `read`.
        echo: called with a line a file that says what was chosen, and with one on ids that stand in several domains where there are any.
        columns: `user_column` and the like, the same in every file; a `domain_column` or a `split_column` makes no sense here.

    Raises:
        DataError: fewer than two files, one cannot be read, or only some of them have times.
    """
    for name in sources:
        if not isinstance(name, str) or not name.strip():  # pyright: ignore[reportUnnecessaryIsInstance] (callers are not checked)
            raise DataError(f"a domain is called by a text that is not empty; got {name!r}")
    if len(sources) < 2:
        raise DataError(f"one file a domain needs two files or more: {EXAMPLE}; got {', '.join(map(repr, sources)) or 'none'}")
    for role in ("domain", "split"):
        if columns.get(f"{role}_column") not in (None, _NO_COLUMN):
            raise DataError(f"where each file is a domain of its own, there is no --{role}-column to name")
    chosen = {role: columns.get(f"{role}_column") for role in ("user", "item", "time", "weight")} | {"domain": _NO_COLUMN}
    parts = {name: read_rows(source, chosen=chosen, format=format) for name, source in sources.items()}
    return _told(joined(parts).interactions(), parts.values(), echo)


def _told(log: Interactions, parts: Iterable[Rows], echo: Callable[[str], object] | None) -> Interactions:
    """The log, after it was said what was read as what, and what its ids have become."""
    if echo is not None:
        for part in parts:
            echo(part.choice())
        if sentence := shared_ids(log.item_columns):
            echo(f"{log.provenance['source']}: {sentence}")
    return log


def joined(parts: Mapping[str, Rows]) -> Rows:
    """The rows of several domains as one log; the times of all or of none.

    Raises:
        DataError: some parts have times and others have none, or in other units.
    """
    import polars as pl

    units = {part.time_unit for part in parts.values()}
    if len(units) > 1:
        timed = [name for name, part in parts.items() if part.time_unit is not None]
        raise DataError(
            f"the files of the domains have unlike times ({', '.join(timed)} have some); leave them out with --time-column none"
        )
    weighted = all("weight" in part.frame.columns for part in parts.values())
    as_text = len({part.frame[role].dtype for part in parts.values() for role in ("user",)}) > 1
    frames = []
    for name, part in parts.items():
        frame = part.frame.drop("split", strict=False)
        frame = frame if weighted else frame.drop("weight", strict=False)
        frame = frame.with_columns(pl.col("user").cast(pl.String)) if as_text else frame
        frames.append(frame.with_columns(pl.lit(name).alias("domain")))
    if len({frame["item"].dtype for frame in frames}) > 1:
        frames = [frame.with_columns(pl.col("item").cast(pl.String)) for frame in frames]
    first = next(iter(parts.values()))
    names = " + ".join(part.name for part in parts.values())
    return replace(first, name=names, columns={**first.columns, "domain": "one file each"}, frame=pl.concat(frames))


def _with_domains(frame: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, ObjectArray]]:
    """Items named so that each has one domain, and the items' columns, in the order of the items' first appearance."""
    import polars as pl

    pairs = frame.select("item", "domain").unique(maintain_order=True)
    shared = pairs["item"].n_unique() < pairs.height
    columns = {DOMAIN_COLUMN: np.array([*pairs["domain"].to_list(), None], dtype=object)[:-1]}
    if shared:
        columns[ID_COLUMN] = np.array([*pairs["item"].cast(pl.String).to_list(), None], dtype=object)[:-1]
        frame = frame.with_columns((pl.col("domain") + ":" + pl.col("item").cast(pl.String)).alias("item"))
    return frame, columns


def number(column: pl.Series) -> tuple[Vocabulary, IntArray]:
    """A vocabulary of a column's ids in the order of their first appearance, and the number of each row's id."""
    import polars as pl

    distinct = column.unique(maintain_order=True)
    numbers = column.replace_strict(distinct, pl.Series(np.arange(len(distinct), dtype=np.int64)), return_dtype=pl.Int64)
    identifiers = distinct.to_numpy() if column.dtype == pl.Int64 else np.array([*distinct.to_list(), None], dtype=object)[:-1]
    return Vocabulary(identifiers), numbers.to_numpy().astype(np.int64, copy=False)


def read_items(source: Source, *, item_column: str | None = None, format: str | None = None) -> pl.DataFrame:
    """Read a table of items: CSV, TSV, Parquet, Arrow, JSON lines, RecBole `.item`, or `id::title::genres` (UTF-8 or Latin-1).

    Returns:
        The table with the item id as its FIRST column (Int64 if all ids are whole numbers), every other column as text.

    Raises:
        DataError: the source cannot be read, has no item column, or an id is missing or stands in two rows.
    """
    import polars as pl

    _, item, others = item_table(source, item_column=item_column, format=format)
    texts = {name: _text(others[name]) for name in others.columns}
    return pl.DataFrame({item.name: item, **{name: text for name, text in texts.items() if name != item.name}})


def item_table(source: Source, *, item_column: str | None = None, format: str | None = None) -> tuple[str, pl.Series, pl.DataFrame]:
    """As `read_items`, but with the other columns as they came: what to call the table, the ids, the others.

    Raises:
        DataError: as `read_items`.
    """
    import polars as pl

    known = frozenset(ALIASES["item"])
    by_position = item_column is not None and re.fullmatch(r"column_[1-9]\d*", item_column) is not None
    table = open_table(source, format, aliases=known, by_position=by_position and not _has_such_columns(source), latin_1=True)
    if table.format == "double-colon":
        table = _named(table, _DOUBLE_COLON_ITEMS, least=1, example="id::title::genres")
    if table.format == "sequences":
        raise DataError(f"{table.name}: a list of sequences (or a table without a header), not a table of items")
    column = _column(table, "item", item_column)
    if table.frame.is_empty():
        raise DataError(f"{table.name}: there is a header but no row of data")
    assert column is not None
    where = f"{table.name}: column {column!r}"
    item = _columns.ids(table.frame[column], is_text=table.is_text, where=where)
    twice = item.is_duplicated().arg_true()
    if len(twice):
        raise DataError(f"{where}: row {twice[0] + 1}: item {item[twice[0]]!r} stands in another row too; keep one row an item")
    others = {_bare(name): table.frame[name] for name in table.frame.columns if name != column}
    return table.name, item.alias(_bare(column)), pl.DataFrame({name: series.alias(name) for name, series in others.items()})


def attach_items(log: Interactions, frame: pl.DataFrame, *, columns: Sequence[str] | Mapping[str, str] | None = None) -> Interactions:
    """Give a log the columns of an item table, aligned with its item numbers, None where the table lacks an item.

    Args:
        log: the interactions; columns that they have already stay, unless the table has one of the same name.
        frame: what `read_items` gives: its first column is the item id, as the log has it.
        columns: the columns to take, or new names mapped to the table's names; None: all, as they are called.

    Raises:
        DataError: a column is missing, or no item of the log is in the table.
    """
    names = frame.columns[1:] if columns is None else columns
    wanted = dict(names) if isinstance(names, Mapping) else {name: name for name in names}
    for name in wanted.values():
        if name not in frame.columns:
            raise DataError(f"the item table has no column {name!r} (found: {listed(frame.columns)})")
    identifiers = frame[:, 0].to_numpy()
    numbers = log.items.encode(identifiers.astype(object) if identifiers.dtype != np.int64 else identifiers)
    rows = np.flatnonzero(numbers >= 0)
    if not len(rows):
        examples = f"{identifiers[:1].tolist()} there, {log.items.ids[:1].tolist()} in the log"
        raise DataError(
            f"no item of the log is in the item table's column {frame.columns[0]!r} (ids such as {examples}); name another column"
        )
    attached: dict[str, ObjectArray] = dict(log.item_columns)
    for name, column in wanted.items():
        values: npt.NDArray[np.object_] = np.full(log.n_items, None, dtype=object)
        values[numbers[rows]] = np.array([*frame[column].to_list(), None], dtype=object)[:-1][rows]
        attached[name] = values
    record = {"items_in_the_table": len(rows), "columns": list(wanted)}
    return replace(log, item_columns=attached, provenance={**log.provenance, "item_table": record})


def _column(table: Table, role: str, given: str | None) -> str | None:
    """The table's column for a role: the one given, or the best alias; None where a role that may be missing is."""
    columns = table.frame.columns
    found = listed(columns)
    if given is not None:
        exact = [column for column in columns if given in (column, _bare(column))]
        if exact:
            return exact[0]
        if given == _NO_COLUMN and role in ("time", "weight", "domain"):
            return None
        raise DataError(f"{table.name}: no column {given!r} (found: {found}); try --{role}-column NAME")
    for alias in ALIASES.get(role, ()):
        for column in columns:
            if _bare(column).lower() == alias:
                return column
    if role not in ("user", "item"):
        return None
    if all(re.fullmatch(r"-?\d+(\.\d+)?|", column.split("_duplicated_")[0]) for column in columns):
        raise DataError(
            f"{table.name}: the first line ({found}) is data, not a header; add one such as user_id,item_id,rating,timestamp, "
            f"or name columns by position: try --user-column column_1 --item-column column_2"
        )
    raise DataError(f"{table.name}: no {role} column (found: {found}); try --{role}-column NAME")


def _bare(column: str) -> str:
    """A header's name without RecBole's type and stray spaces: `user_id:token` -> `user_id`."""
    return re.sub(r":(?:token|float)(?:_seq)?$", "", column.strip())


def _has_such_columns(source: Source) -> bool:
    """Whether the source names its own columns even where they are called `column_1`: frames do."""
    return not isinstance(source, str | Path)


def _named(table: Table, names: Sequence[str], *, least: int, example: str) -> Table:
    width = table.frame.width
    if not least <= width <= len(names):
        raise DataError(f"{table.name}: {width} fields between '::' in a row; expected {least} to {len(names)}, such as {example}")
    return replace(table, frame=table.frame.rename(dict(zip(table.frame.columns, names, strict=False))))


def _text(column: pl.Series) -> pl.Series:
    """Any column as text: lists joined by spaces, empty text as missing."""
    import polars as pl

    if column.dtype == pl.List:
        column = column.cast(pl.List(pl.String), strict=False).list.join(" ")
    elif column.dtype.is_nested() or column.dtype in (pl.Object, pl.Binary):
        column = pl.Series(column.name, [None if value is None else str(value) for value in column.to_list()], dtype=pl.String)
    text = column.cast(pl.String, strict=False)
    return text.set(text == "", None)
