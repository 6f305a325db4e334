"""From a file, an address or a data frame to a Polars frame: one function for each format, one sentence for each failure."""

from __future__ import annotations

import csv
import gzip
import io
import re
import subprocess
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from monge.errors import DataError

if TYPE_CHECKING:
    import polars as pl

SUFFIXES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".inter": "inter",
    ".item": "inter",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}
"""What a suffix stands for; `.txt`, `.dat` and others are found from the first lines."""

FORMATS = ("csv", "tsv", "ssv", "inter", "parquet", "arrow", "jsonl", "double-colon", "sequences")
"""Every format by name. `ssv`: separated by single spaces, with a header; `double-colon`: MovieLens's `1::31::4::978300760`;
`sequences`: one line a user, `user item item ...`, oldest first."""

SEPARATORS = {"csv": ",", "tsv": "\t", "ssv": " ", "inter": "\t"}
_SNIFFED_BYTES = 65536
_TRIED_BYTES = 64 << 20
"""Binary files up to this size are tried in another process first; for larger ones that would take too long."""
_REFUSED = 3
_TRIAL = f"""
import io, sys
import polars
try:
    getattr(polars, sys.argv[1])(io.BytesIO(sys.stdin.buffer.read()))
except BaseException as error:
    print(str(error).strip().partition(chr(10))[0])
    sys.exit({_REFUSED})
"""
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, eq=False)
class Table:
    """A table as it came: nothing chosen, nothing converted yet."""

    name: str
    """How errors call it: the path or address as given, or `data frame`."""
    format: str
    frame: pl.DataFrame
    is_text: bool
    """Whether every value is text only because the format has nothing else (so `7` means the number)."""


def open_table(source: Any, format: str | None, *, aliases: frozenset[str], by_position: bool = False, latin_1: bool = False) -> Table:
    """Load a table whole.

    Args:
        source: a path, an address, or a Polars or pandas frame.
        format: one of `FORMATS`, or None to find out.
        aliases: lower-case column names that tell a header from a row of data where that is unclear.
        by_position: the file has no header; its columns are `column_1`, `column_2`, ...
        latin_1: text that is not UTF-8 is taken for Latin-1.

    Raises:
        DataError: for anything that keeps the table from being loaded.
    """
    if format is not None and format not in FORMATS:
        raise DataError(f"no format {format!r}; there are: {', '.join(FORMATS)}")
    if not isinstance(source, str | Path):
        return Table("data frame", "frame", _from_frame(source), is_text=False)
    name = str(source)
    expected = format or SUFFIXES.get(suffix_of(name))
    scheme = urlsplit(name).scheme if "://" in name else ""
    if scheme not in ("", "file", "http", "https"):
        return _from_store(name, expected)
    content = _download(name) if scheme.startswith("http") else _contents(name if scheme == "" else unquote(urlsplit(name).path), name)
    content = _unpacked(content, name)
    if not content.strip():
        raise DataError(f"{name}: the file is empty")
    format = expected or _sniffed(content, aliases)
    if format in ("parquet", "arrow"):
        return Table(name, format, _columnar(content, format, name), is_text=False)
    text = _decoded(content, name, latin_1=latin_1)
    if format == "jsonl":
        return Table(name, format, _json_lines(text, name), is_text=False)
    if format == "double-colon":
        return Table(name, format, _double_colon(text, name), is_text=True)
    if format == "sequences":
        return Table(name, format, _sequences(text, name), is_text=True)
    separator, first = SEPARATORS[format], text.partition("\n")[0]
    if format == "csv" and "," not in first and any(mark in first for mark in ";\t|"):
        separator = max(";\t|", key=first.count)
    by_position = by_position and re.search(r"\bcolumn_\d+\b", first) is None
    return Table(name, format, _separated(text, separator, name, has_header=not by_position), is_text=True)


def suffix_of(name: str) -> str:
    """The suffix that tells the format, in lower case, looked for behind `.gz` and before any `?query`.

    >>> suffix_of("log.CSV.gz"), suffix_of("https://host/log.parquet?key=1")
    ('.csv', '.parquet')
    """
    path = PurePosixPath(urlsplit(name).path if "://" in name else name)
    return Path(path.stem).suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()


def guarded(action: str, name: str, error: BaseException) -> DataError:
    """The sentence for a reading library's own error: its first line, after what we were doing."""
    first = str(error).strip().splitlines()
    return DataError(f"{name}: {action} ({first[0] if first else type(error).__name__})")


def failures() -> tuple[type[BaseException], ...]:
    """What a reading library may raise for bytes it dislikes: Polars panics do not derive from Exception."""
    from polars.exceptions import PanicException

    return (Exception, PanicException)


def _contents(path: str, name: str) -> bytes:
    try:
        if Path(path).is_dir():
            raise DataError(f"{name}: this is a folder; name one file in it")
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{name}: no such file") from error
    except (OSError, ValueError) as error:
        raise guarded("cannot be read", name, error) from error


def _download(address: str) -> bytes:
    from http.client import HTTPException
    from urllib.request import urlopen

    try:
        with urlopen(address, timeout=60) as response:
            return response.read()
    except (OSError, HTTPException, ValueError) as error:
        raise guarded("cannot be fetched", address, error) from error


def _from_store(address: str, format: str | None) -> Table:
    """Object stores and the like (s3://, gs://, hf://): whatever Polars reads there."""
    import polars as pl

    try:
        if format == "parquet":
            return Table(address, format, pl.read_parquet(address), is_text=False)
        if format in ("csv", "tsv"):
            frame = pl.read_csv(address, separator=SEPARATORS[format], infer_schema=False)
            return Table(address, format, frame, is_text=True)
        if format == "arrow":
            return Table(address, format, pl.read_ipc(address), is_text=False)
    except failures() as error:
        raise guarded("cannot be fetched", address, error) from error
    raise DataError(f"{address}: at such an address only CSV, TSV, Parquet and Arrow can be read; copy the file here first")


def _unpacked(content: bytes, name: str) -> bytes:
    if content[:2] != _GZIP:
        if name.lower().endswith(".gz") and content:
            raise DataError(f"{name}: not a gzip file, though its name says so")
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise guarded("damaged or cut-off gzip file", name, error) from error


def _decoded(content: bytes, name: str, *, latin_1: bool) -> str:
    content = content.removeprefix(b"\xef\xbb\xbf")
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(f"{name}: the text is UTF-16; save it as UTF-8")
    if b"\0" in content:
        raise DataError(f"{name}: line {content.count(10, 0, content.index(0)) + 1}: a binary file, not text")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        if not latin_1:
            line = content.count(b"\n", 0, error.start) + 1
            raise DataError(f"{name}: line {line}: byte {content[error.start]:#04x} is not UTF-8 text; save the file as UTF-8") from error
        text = content.decode("latin-1")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text or text[0] == "\n" or "\n\n" in text or re.search(r"\n[ \t]+(?:\n|$)", text):  # blank lines say nothing
        text = "\n".join(line for line in text.split("\n") if line.strip())
    return text


def _sniffed(content: bytes, aliases: frozenset[str]) -> str:
    """The format of a file whose suffix does not tell it."""
    if content[:4] == b"PAR1":
        return "parquet"
    if content[:6] == b"ARROW1":
        return "arrow"
    lines = [line for line in content[:_SNIFFED_BYTES].decode(errors="replace").removeprefix("\ufeff").splitlines() if line.strip()]
    first = lines[0] if lines else ""
    if first.lstrip().startswith("{"):
        return "jsonl"
    if "::" in first:
        return "double-colon"
    if "\t" in first:
        return "inter" if re.search(r":(token|float)", first) else "tsv"
    if "," in first:
        return "csv"
    words = {word.lower() for word in first.split()}
    return "ssv" if words & aliases and not any(word.isdigit() for word in words) else "sequences"


def _columnar(content: bytes, format: str, name: str) -> pl.DataFrame:
    import polars as pl

    kind = {"parquet": "a Parquet", "arrow": "an Arrow"}[format]
    reader = "read_parquet" if format == "parquet" else "read_ipc" if content[:6] == b"ARROW1" else "read_ipc_stream"
    start, end = {"read_parquet": (b"PAR1", b"PAR1"), "read_ipc": (b"ARROW1", b"ARROW1"), "read_ipc_stream": (b"\xff\xff\xff\xff", b"")}[
        reader
    ]
    if not content.startswith(start):
        raise DataError(f"{name}: not {kind} file")
    if not content.endswith(end):
        raise DataError(f"{name}: {kind.partition(' ')[2]} file that is damaged or cut off: its end is missing")
    if len(content) <= _TRIED_BYTES and (complaint := _trial(content, reader)):
        raise DataError(f"{name}: damaged, or not {kind} file ({complaint})")
    try:
        return getattr(pl, reader)(io.BytesIO(content))
    except failures() as error:
        raise guarded(f"damaged, or not {kind} file", name, error) from error


def _trial(content: bytes, reader: str) -> str:
    """What reading these bytes ends in, tried in another process; empty where it goes well, or the trial itself fails.

    A damaged length in Parquet or Arrow data can make Polars ask for petabytes, and then the whole process is aborted, which
    no `except` can hold; less damage makes it panic, with pages of Rust on the screen. The trial takes both on itself.
    """
    try:
        outcome = subprocess.run([sys.executable, "-c", _TRIAL, reader], input=content, capture_output=True, check=False)
    except OSError:
        return ""
    if outcome.returncode == _REFUSED:
        return outcome.stdout.decode(errors="replace").strip() or "unreadable"
    return "" if outcome.returncode in (0, 1) else "reading it breaks the reader"  # 1: the trial could not import Polars


def _json_lines(text: str, name: str) -> pl.DataFrame:
    import json

    import polars as pl

    if text.lstrip().startswith("["):
        raise DataError(f"{name}: this is one JSON list; write one JSON object a line (JSON lines)")
    try:
        return pl.read_ndjson(text.encode(), infer_schema_length=None)
    except failures() as error:
        for number, line in enumerate(text.split("\n"), start=1):
            try:
                is_object = isinstance(json.loads(line), dict)
            except (ValueError, RecursionError):
                is_object = False
            if not is_object:
                raise DataError(f"{name}: line {number} is not a JSON object: {shown(line)}") from error
        raise guarded("cannot be read as JSON lines", name, error) from error


def _double_colon(text: str, name: str) -> pl.DataFrame:
    import polars as pl

    lines = pl.Series(text.strip("\n").split("\n"), dtype=pl.String)
    cells = lines.str.split("::")
    width = len(cells[0])
    ragged = (cells.list.len() != width).arg_true()
    if len(ragged):
        raise DataError(f"{name}: row {ragged[0] + 1} has {len(cells[ragged[0]])} fields between '::', the first row has {width}")
    return pl.DataFrame({f"column_{place + 1}": cells.list.get(place) for place in range(width)})


def _sequences(text: str, name: str) -> pl.DataFrame:
    import polars as pl

    words = pl.Series(text.split("\n"), dtype=pl.String).str.strip_chars().str.replace_all(r"\s+", " ").str.split(" ")
    words = words.filter(words.list.len() > 1)  # a user with no item says nothing
    if not len(words):
        raise DataError(f"{name}: no line has a user and an item; expected lines such as `user item item ...`, separated by spaces")
    return pl.DataFrame({"user": words.list.first(), "item": words.list.slice(1)}).explode("item")


def _separated(text: str, separator: str, name: str, *, has_header: bool) -> pl.DataFrame:
    import polars as pl

    quote = '"' if separator in ",;" else None  # tab-separated text has no quoting: a title may start with a quotation mark
    try:
        frame = pl.read_csv(text.encode(), separator=separator, has_header=has_header, quote_char=quote, infer_schema=False)
    except failures() as error:
        _refuse_ragged(text, separator, quote, name, has_header)
        raise guarded("cannot be read as separated text", name, error) from error
    if frame.width > 1 and frame[:, -1].null_count():
        _refuse_ragged(text, separator, quote, name, has_header)
    if not has_header:
        return frame.rename({old: f"column_{place + 1}" for place, old in enumerate(frame.columns)})
    return frame


def _refuse_ragged(text: str, separator: str, quote: str | None, name: str, has_header: bool) -> None:
    """Name the first row with more or fewer fields than the header."""
    try:
        rows = csv.reader(io.StringIO(text), delimiter=separator, quotechar=quote, quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE)
        width = len(first) if (first := next(rows, None)) is not None else 0
        for number, row in enumerate(rows, start=1 if has_header else 2):
            if len(row) != width and not (width == 1 and not row):
                what = "header" if has_header else "first row"
                raise DataError(f"{name}: row {number} has {len(row)} fields, the {what} has {width}")
    except csv.Error:
        return


def shown(value: object, width: int = 60) -> str:
    """A value for a sentence: quoted, on one line, and cut where it is long."""
    text = repr(str(value))
    return text if len(text) <= width else f"{text[: width - 3]}..."


def listed(names: Sequence[str]) -> str:
    """Column names for a sentence: bare where they are plain, and not more than thirty."""
    plain = [name if name.isprintable() and len(name) <= 40 else shown(name, 40) for name in names[:30]]
    return ", ".join(plain) + (", ..." if len(names) > 30 else "")


def _from_frame(source: Any) -> pl.DataFrame:
    import polars as pl

    if isinstance(source, pl.DataFrame):
        return source
    if isinstance(source, pl.LazyFrame):
        try:
            return source.collect()
        except failures() as error:
            raise guarded("the lazy frame cannot be collected", "data frame", error) from error
    if type(source).__module__.partition(".")[0] == "pandas" and hasattr(source, "columns"):
        names = [str(name) for name in source.columns]
        if len(set(names)) < len(names):
            raise DataError(f"data frame: two columns have one name (columns: {listed(names)})")
        return pl.DataFrame([_from_pandas(source.iloc[:, place], name) for place, name in enumerate(names)])
    raise DataError(f"cannot read a {type(source).__name__}; pass a path, an address, or a Polars or pandas data frame")


def _from_pandas(column: Any, name: str) -> pl.Series:
    """One pandas column without pyarrow: NumPy kinds as they are, the rest value by value (missing values as None)."""
    import numpy as np
    import polars as pl

    if getattr(column.dtype, "tz", None) is not None:
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iufbM":
        return pl.Series(name, column.to_numpy(), nan_to_null=False)
    values = [None if missing else value for value, missing in zip(column.tolist(), column.isna().tolist(), strict=True)]
    try:
        return pl.Series(name, values, strict=True)
    except failures():
        return pl.Series(name, [None if value is None else str(value) for value in values], dtype=pl.String)
