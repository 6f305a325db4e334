"""What items are like: rows of numbers (image, audio or text vectors), or sets of attributes (genres, brands); joined to items by id.

A modality need not know every item. Items that it lacks are marked and counted here; what a model makes of them is the model's option.
Numbers stay in the type that the file has (float16 is kept as it is, half the size); whoever computes with them does so in float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from monge.data._packing import pack_ids, unpack_ids
from monge.data.files import write_atomically
from monge.data.interactions import Interactions, ObjectArray, Vocabulary
from monge.data.ragged import IntArray, Ragged
from monge.data.read import item_table
from monge.errors import DataError

if TYPE_CHECKING:
    import polars as pl

BoolArray = npt.NDArray[np.bool_]
SEPARATORS = ("|", ",")
"""What separates the attributes of an item where it occurs in the column, the first one first; else white space does."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Modality:
    """One modality of all items of a log: a matrix, or each item's attributes."""

    missing: BoolArray
    """(n_items,) True where nothing is known of an item; its row is then zero, or empty."""
    width: int
    """Numbers in a row, or distinct attributes."""
    values: npt.NDArray[Any] | None = None
    """(n_items, width) float16 or float32; None where items have attributes instead."""
    active: Ragged | None = None
    """(n_items rows) the numbers 0..width-1 of each item's attributes, rising; None where items have rows of numbers."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """Where it came from."""

    def __post_init__(self) -> None:
        if (self.values is None) == (self.active is None):
            raise ValueError("a modality has either values or active")
        rows = len(self.active) if self.active is not None else len(self.values)  # pyright: ignore[reportArgumentType]
        if rows != len(self.missing):
            raise ValueError(f"{rows} rows for {len(self.missing)} items")

    @property
    def n_missing(self) -> int:
        """How many items it lacks."""
        return int(self.missing.sum())

    def take(self, items: IntArray) -> Modality:
        """The rows of the given items, in the given order."""
        return replace(
            self,
            missing=self.missing[items],
            values=None if self.values is None else self.values[items],
            active=None if self.active is None else self.active.take(items),
        )

    def dense(self) -> npt.NDArray[np.float32]:
        """(n_items, width) float32; attributes as ones, each row scaled to length 1."""
        if self.values is not None:
            return self.values.astype(np.float32)
        assert self.active is not None
        rows = np.zeros((len(self.missing), self.width), dtype=np.float32)
        rows[self.active.row_of_value, self.active.values] = 1 / np.sqrt(self.active.lengths[self.active.row_of_value])
        return rows

    def pack(self, arrays: dict[str, npt.NDArray[Any]], name: str) -> dict[str, Any]:
        """Put it among a file's arrays under a name; returns what the file's header must hold."""
        arrays[f"{name}.missing"] = self.missing
        if self.values is not None:
            arrays[f"{name}.values"] = self.values
        if self.active is not None:
            arrays[f"{name}.attributes"] = self.active.values.astype(np.int32)
            arrays[f"{name}.lengths"] = self.active.lengths.astype(np.int32)
        return {"width": self.width, "record": dict(self.record)}

    @classmethod
    def unpack(cls, arrays: Mapping[str, npt.NDArray[Any]], name: str, header: Mapping[str, Any]) -> Modality:
        """What `pack` put there."""
        active = None
        if f"{name}.attributes" in arrays:
            active = Ragged.from_lengths(arrays[f"{name}.attributes"].astype(np.int64), arrays[f"{name}.lengths"].astype(np.int64))
        values = arrays.get(f"{name}.values")
        return cls(missing=arrays[f"{name}.missing"], width=header["width"], values=values, active=active, record=header["record"])


def attach_modality(
    log: Interactions, name: str, source: str | Path | npt.NDArray[Any], *, ids: Sequence[Any] | None = None, id_column: str | None = None
) -> Interactions:
    """Give the items of a log a modality.

    Args:
        log: the interactions.
        name: what to call it, e.g. "visual".
        source: one of
            - an array (n, d): row r belongs to `ids[r]`, or, without ids, to the item whose id is the number r;
            - a `.npy` file, the same; `id_column` may name a `.npy` or text file with one id a row;
            - a `.safetensors` file with a matrix, and ids as `monge data embed` writes them (else by row number);
            - a table (Parquet, CSV, ...): its column `name` holds a list of numbers or attributes separated by `|`, `,` or spaces;
              without such a column, all other columns are numbers of the row;
            - the name of a column that the log's items have already, taken as attributes.
        ids: of an array's rows.
        id_column: of a table, where it is not found by itself.

    Returns:
        The log with `modalities[name]`; one of that name is replaced.

    Raises:
        DataError: the source cannot be read, has another number of rows than ids, a number that is NaN or infinite, or no row for any
            item of the log.
    """
    if not name.isidentifier():
        raise DataError(f"a modality's name is made of letters, digits and _; got {name!r}")
    made = _made(log, name, source, ids, id_column)
    return replace(log, modalities={**log.modalities, name: made})


def parse_modality(text: str) -> tuple[str, str, str | None]:
    """`NAME=FILE[:ID_COLUMN]` -> name, file (or the name of an item column), id column or None.

    >>> parse_modality("visual=image.npy"), parse_modality("genres=films.csv:film_id")
    (('visual', 'image.npy', None), ('genres', 'films.csv', 'film_id'))

    Raises:
        DataError: it is not of that form.
    """
    name, equals, rest = text.partition("=")
    if not equals or not name.strip() or not rest.strip():
        raise DataError(f"--modality takes NAME=FILE[:ID_COLUMN]; got {text!r}")
    file, colon, column = rest.rpartition(":")
    if not colon or "/" in column or Path(rest).exists():  # an address, or a path with a colon
        return name.strip(), rest.strip(), None
    return name.strip(), file.strip(), column.strip()


def save_features(path: Path, values: npt.NDArray[Any], ids: npt.NDArray[Any], header: Mapping[str, Any]) -> None:
    """Write a matrix and the ids of its rows as one safetensors file, which `attach_modality` reads."""
    import json

    from safetensors.numpy import save

    arrays: dict[str, npt.NDArray[Any]] = {"features": np.ascontiguousarray(values)}
    pack_ids(arrays, "ids", ids)
    write_atomically(path, save(arrays, metadata={"monge": json.dumps(dict(header))}))


def read_features(path: Path) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None, dict[str, Any]]:
    """A matrix, the ids of its rows (None where the file has none) and the header of a safetensors file.

    Raises:
        DataError: missing or damaged, or without a matrix.
    """
    import json

    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        with safe_open(str(path), framework="numpy") as handle:
            header = json.loads((handle.metadata() or {}).get("monge", "{}"))
            arrays: dict[str, npt.NDArray[Any]] = {key: handle.get_tensor(key) for key in handle.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, ValueError, OSError, TypeError) as error:
        raise DataError(f"{path}: not a safetensors file, or a damaged one ({type(error).__name__})") from error
    matrices = [key for key, array in arrays.items() if array.ndim == 2]
    if "features" not in matrices and len(matrices) != 1:
        raise DataError(f"{path}: holds {len(matrices)} matrices (of {', '.join(arrays) or 'nothing'}); call the one to take 'features'")
    ids = unpack_ids(arrays, "ids") if any(key.startswith("ids.") for key in arrays) else arrays.get("ids")
    return arrays["features" if "features" in matrices else matrices[0]], ids, header


def _made(log: Interactions, name: str, source: Any, ids: Sequence[Any] | None, id_column: str | None) -> Modality:
    if isinstance(source, np.ndarray):
        return _matrix(log, source, None if ids is None else np.asarray(ids), f"modality {name}")
    text = str(source)
    if text in log.item_columns and not Path(text).is_file():
        return _attributes(log.item_columns[text], f"item column {text!r}", {"column": text})
    path = Path(text)
    if path.suffix == ".npy":
        row_ids = None if id_column is None else _row_ids(path.parent / id_column if not Path(id_column).exists() else Path(id_column))
        return _matrix(log, _numpy(path), row_ids, text)
    if path.suffix == ".safetensors":
        values, found, _ = read_features(path)
        return _matrix(log, values, found, text)
    if not path.suffix and not path.exists():
        columns = f"; item columns: {', '.join(log.item_columns)}" if log.item_columns else ""
        raise DataError(f"modality {name}: {text!r} is neither a file nor a column of the items{columns}")
    return _from_table(log, name, text, id_column)


def _from_table(log: Interactions, name: str, source: str, id_column: str | None) -> Modality:
    """A column of lists or attributes, or all columns as numbers."""
    import polars as pl

    where, item, others = item_table(source, item_column=id_column)
    ids = item.to_numpy() if item.dtype == pl.Int64 else np.array([*item.to_list(), None], dtype=object)[:-1]
    if name not in others.columns:
        numbers = others.select(pl.all().cast(pl.Float32, strict=False))
        unread = [column for column in others.columns if numbers[column].null_count() > others[column].null_count()]
        if unread or not others.width or any(others[column].dtype.is_nested() for column in others.columns):
            raise DataError(f"{where}: no column {name!r}, and not all others are numbers (found: {', '.join(others.columns)})")
        rows = numbers.to_numpy()
        whole = ~np.asarray(numbers.select(pl.any_horizontal(pl.all().is_null())).to_series().to_numpy(), dtype=bool)
        return _matrix(log, rows[whole], ids[whole], source)
    column = others[name]
    if isinstance(column.dtype, pl.List | pl.Array) and column.dtype.inner.is_numeric():  # pyright: ignore[reportAttributeAccessIssue]
        known = column.is_not_null().to_numpy()
        lists = column.filter(column.is_not_null()).to_list()
        if len({len(row) for row in lists}) > 1:
            raise DataError(f"{where}: column {name!r} has lists of different lengths; every item's row needs as many numbers")
        return _matrix(log, np.array(lists, dtype=np.float32).reshape(len(lists), -1), ids[known], source)
    if column.dtype.is_numeric():
        known = column.is_not_null().to_numpy()
        return _matrix(log, column.drop_nulls().cast(pl.Float32).to_numpy()[:, None], ids[known], source)
    texts: ObjectArray = np.full(log.n_items, None, dtype=object)
    numbers_of = _numbers(log, ids, source)
    texts[numbers_of[numbers_of >= 0]] = _texts(column)[numbers_of >= 0]
    return _attributes(texts, f"{where}: column {name!r}", {"source": source, "column": name})


def _matrix(log: Interactions, values: npt.NDArray[Any], ids: npt.NDArray[Any] | None, where: str) -> Modality:
    """Rows joined to items."""
    if values.ndim != 2 or not values.shape[1] or values.dtype.kind not in "fiub":
        raise DataError(f"{where}: a modality is a matrix of numbers, one row an item; got shape {values.shape} of {values.dtype}")
    values = values if values.dtype in (np.float16, np.float32) else values.astype(np.float32)
    if ids is None:
        if log.items.is_text:
            raise DataError(
                f"{where}: {len(values):,} rows without ids, and the log's item ids are text: say which row is whose, {where}:IDS_FILE"
            )
        lowest, highest = (int(bound) for bound in (log.items.ids.min(), log.items.ids.max()))
        if lowest < 0 or highest + 1 != len(values):
            raise DataError(
                f"{where}: {len(values):,} rows, but item ids run from {lowest} to {highest}: without ids, row r is the item with id r, "
                f"so there must be {highest + 1:,} rows; or say which row is whose, {where}:IDS_FILE"
            )
        ids = np.arange(len(values), dtype=np.int64)
    if len(ids) != len(values):
        raise DataError(f"{where}: {len(values):,} rows for {len(ids):,} ids")
    numbers = _numbers(log, ids, where)
    rows = np.flatnonzero(numbers >= 0)
    finite = np.isfinite(values[rows]).all(1)
    if not finite.all():
        bad = int(rows[np.flatnonzero(~finite)[0]])
        raise DataError(
            f"{where}: {int((~finite).sum()):,} rows have a number that is NaN or infinite (the first is row {bad}, item {ids[bad]}); "
            "leave such rows out: their items then count as missing"
        )
    joined = np.zeros((log.n_items, values.shape[1]), dtype=values.dtype)
    joined[numbers[rows]] = values[rows]
    missing = np.ones(log.n_items, dtype=np.bool_)
    missing[numbers[rows]] = False
    record = {"source": where, "rows": len(values), "rows_of_no_item": len(values) - len(rows), "missing": int(missing.sum())}
    return Modality(missing=missing, width=values.shape[1], values=joined, record=record)


def _numbers(log: Interactions, ids: npt.NDArray[Any], where: str) -> IntArray:
    """The item number of each row's id, -1 where the log lacks it."""
    ids = ids.astype(np.int64) if ids.dtype.kind in "iu" else ids.astype(object)
    numbers = log.items.encode(ids)
    if not (numbers >= 0).any():
        raise DataError(
            f"{where}: no id matches an item of the log (ids such as {ids[:1].tolist()} there, {log.items.ids[:1].tolist()} here)"
        )
    known = np.sort(numbers[numbers >= 0])
    twice = known[1:][known[1:] == known[:-1]]
    if len(twice):
        raise DataError(f"{where}: item {log.items.ids[twice[0]]} has more than one row; keep one")
    return numbers


def _attributes(texts: ObjectArray, where: str, record: Mapping[str, Any]) -> Modality:
    """Multi-hot attributes from one text an item."""
    given = [text for text in texts.tolist() if text is not None and str(text).strip()]
    if not given:
        raise DataError(f"{where}: no item of the log has anything there, so it is no modality")
    mark = next((mark for mark in SEPARATORS if any(mark in text for text in given)), None)
    rows = [sorted({part.strip() for part in str(text or "").split(mark)} - {""}) for text in texts.tolist()]
    names = Vocabulary.of([name for row in rows for name in row])
    active = Ragged.from_lists([sorted(names.encode(row).tolist()) for row in rows])
    missing = active.lengths == 0
    return Modality(missing=missing, width=len(names), active=active, record={**record, "missing": int(missing.sum())})


def _texts(column: pl.Series) -> ObjectArray:
    """Texts, or lists of them joined."""
    import polars as pl

    if isinstance(column.dtype, pl.List | pl.Array):
        column = column.cast(pl.List(pl.String)).list.join("|")
    return np.array([*column.cast(pl.String).to_list(), None], dtype=object)[:-1]


def _numpy(path: Path) -> npt.NDArray[Any]:
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{path}: not a .npy file of plain numbers, or a damaged one ({error})") from error


def _row_ids(path: Path) -> npt.NDArray[Any]:
    """Ids of rows: a .npy file, or one id a line."""
    if not path.is_file():
        raise DataError(f"{path}: no such file (it should hold the ids of the rows)")
    if path.suffix == ".npy":
        return _numpy(path)
    try:
        lines = path.read_text().split()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a text file of ids, one a line") from error
    return np.array([*lines, None], dtype=object)[:-1]
