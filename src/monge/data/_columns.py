"""From a column as it came to ids, times and weights: exact, or a sentence that names the row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monge.data._formats import failures, shown
from monge.errors import DataError

if TYPE_CHECKING:
    import polars as pl

MISSING_WORDS = ("nan", "null", "none", "na", "n/a", "<na>")
"""How programs write a missing value, in lower case."""
_WHOLE = r"^(?:0|-?[1-9]\d{0,18})$"
_LARGEST_EXACT = 2.0**53
_ISO = (
    r"^(\d{4}-\d{2}-\d{2})(?:[Tt ](\d{2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?\s*"
    r"(?:[Zz]|UTC|([+-])(\d{2}):?(\d{2})?)?)?$"
)
UNITS = {"seconds": 1, "microseconds": 10**6, "nanoseconds": 10**9}


def ids(column: pl.Series, *, is_text: bool, where: str, what: str = "id") -> pl.Series:
    """Ids as Int64 where all are whole numbers (in text: written plainly, so `007` keeps its zeros), else as String."""
    import polars as pl

    if column.dtype.is_integer():
        _refuse(column.is_null(), column, where, f"has no {what}")
        whole = column.cast(pl.Int64, strict=False)
        return whole if not whole.null_count() else column.cast(pl.String)
    if column.dtype.is_float():
        column = column.cast(pl.Float64)
        _refuse(column.is_null() | column.is_nan(), column, where, f"has no {what}")
        if bool((column == column.round()).all()) and column.is_finite().all():
            _refuse(
                column.abs() > _LARGEST_EXACT, column, where, "has an id too large for a floating-point number; store ids as whole numbers"
            )
            return column.cast(pl.Int64)
        return column.cast(pl.String)
    column = _as_text(column, where, "ids")
    column = column.str.strip_chars() if is_text else column
    _refuse(column.is_null() | (column == ""), column, where, f"has no {what}")
    if not is_text:
        return column
    missing = column.str.to_lowercase().is_in(MISSING_WORDS)
    if bool((column.str.contains(r"^-?\d+\.0$") | missing).all()):  # what a whole-number column with gaps becomes in pandas
        column = column.str.strip_suffix(".0")
    whole = column.str.contains(_WHOLE)
    if bool(whole.all()):
        numbers = column.cast(pl.Int64, strict=False)
        return numbers if not numbers.null_count() else column
    if whole.any() and bool((whole | missing).all()):
        _refuse(missing, column, where, f"has no {what}")
    return column


def times(column: pl.Series, *, where: str) -> tuple[pl.Series, str]:
    """Int64 times and their unit: whole numbers as they are, dates as time since 1970 in the coarsest exact unit."""
    import polars as pl

    _refuse(column.is_null(), column, where, "has no time")
    if column.dtype.is_integer():
        whole = column.cast(pl.Int64, strict=False)
        _refuse(whole.is_null(), column, where, "has a time beyond 64 bits")
        return whole, "as given"
    if column.dtype == pl.Date:
        return column.cast(pl.Int32).cast(pl.Int64) * 86400, "seconds"
    if column.dtype == pl.Datetime:
        per_second = {"ms": 10**3, "us": 10**6, "ns": 10**9}[column.dtype.time_unit or "us"]  # type: ignore[attr-defined]
        return _coarsest(column.cast(pl.Int64), per_second)
    if column.dtype.is_float():
        return _float_times(column.cast(pl.Float64), where)
    column = _as_text(column, where, "times").str.strip_chars()
    _refuse(column == "", column, where, "has no time")
    whole = column.str.replace(r"\.0*$", "").cast(pl.Int64, strict=False)  # 881250949.0 is a whole number, exactly
    if not whole.null_count():
        return whole, "as given"
    parsed = _iso_times(column)
    if not parsed.null_count():
        return _coarsest(parsed, 10**9)
    numbers = column.cast(pl.Float64, strict=False)
    if numbers.null_count() < len(numbers):
        _refuse(numbers.is_null(), column, where, "cannot be read as a time", show=True)
        return _float_times(numbers, where)
    _refuse(parsed.is_null(), column, where, "cannot be read as a time (a number, or a date such as 2024-05-01T12:30:00)", show=True)
    raise AssertionError("unreachable: some time is missing")


def weights(column: pl.Series, *, where: str) -> pl.Series:
    """Float32 ratings or counts."""
    import polars as pl

    _refuse(column.is_null(), column, where, "has no weight")
    if not (column.dtype.is_numeric() or column.dtype == pl.Boolean):
        text = _as_text(column, where, "weights").str.strip_chars()
        column = text.cast(pl.Float64, strict=False)
        _refuse(column.is_null(), text, where, "is not a number", show=True)
    column = column.cast(pl.Float64)
    _refuse(~column.cast(pl.Float32).is_finite(), column, where, "is not a finite number", show=True)
    return column.cast(pl.Float32)


def _iso_times(column: pl.Series) -> pl.Series:
    """Nanoseconds since 1970 of ISO dates, null where one is not a date; formats and offsets may differ from row to row."""
    import polars as pl

    part = column.str.extract_groups(_ISO).struct.unnest()
    day, hour, minute, second, fraction, sign, offset_hours, offset_minutes = (part[:, place] for place in range(8))

    def number(text: pl.Series) -> pl.Series:
        return text.cast(pl.Int64, strict=False).fill_null(0)

    seconds = day.str.to_date("%Y-%m-%d", strict=False).cast(pl.Int32).cast(pl.Int64) * 86400
    offset = (number(offset_hours) * 3600 + number(offset_minutes) * 60) * (1 - 2 * (sign == "-").fill_null(False).cast(pl.Int64))
    seconds = seconds + number(hour) * 3600 + number(minute) * 60 + number(second) - offset
    possible = (number(hour) < 24) & (number(minute) < 60) & (number(second) <= 60) & (seconds.abs() < 2**63 // 10**9).fill_null(False)
    in_range = pl.select(pl.when(possible).then(seconds)).to_series()
    return in_range * 10**9 + number(fraction.str.pad_end(9, "0"))


def _coarsest(ticks: pl.Series, per_second: int) -> tuple[pl.Series, str]:
    """Whole seconds if every time is one, else microseconds, else nanoseconds."""
    for unit, scale in UNITS.items():
        if scale >= per_second:
            return ticks * (scale // per_second), unit
        step = per_second // scale
        if not bool((ticks % step != 0).any()):
            return ticks // step, unit
    raise AssertionError("unreachable: nanoseconds are the finest unit")


def _float_times(column: pl.Series, where: str) -> tuple[pl.Series, str]:
    """Whole numbers exactly; else seconds with a fraction, in the unit that keeps different times different."""
    import polars as pl

    _refuse(~column.is_finite(), column, where, "has no time")
    if bool((column == column.round()).all()):
        _refuse(column.abs() >= 2.0**63, column, where, "has a time beyond 64 bits")
        return column.cast(pl.Int64), "as given"
    for unit in ("microseconds", "nanoseconds"):
        scaled = (column * UNITS[unit]).round()
        if unit == "nanoseconds" or scaled.n_unique() == column.n_unique():
            _refuse(scaled.abs() >= 2.0**63, column, where, "has a fraction and is too large for a time in seconds", show=True)
            return scaled.cast(pl.Int64), unit
    raise AssertionError("unreachable: nanoseconds are the last resort")


def _as_text(column: pl.Series, where: str, use: str) -> pl.Series:
    import polars as pl

    if column.dtype.is_nested() or column.dtype == pl.Object:
        raise DataError(f"{where} holds {str(column.dtype).lower()} values, which cannot be {use}")
    try:
        return column.cast(pl.String)
    except failures() as error:
        raise DataError(f"{where} holds {str(column.dtype).lower()} values, which cannot be {use}") from error


def _refuse(wrong: pl.Series, column: pl.Series, where: str, what: str, *, show: bool = False) -> None:
    """Raise for the first wrong row, saying how many more there are."""
    rows = wrong.fill_null(True).arg_true()
    if len(rows):
        value = f" {shown(column[rows[0]])}" if show else ""
        more = f" (and {len(rows) - 1:,} more rows)" if len(rows) > 2 else " (and 1 more row)" if len(rows) == 2 else ""
        raise DataError(f"{where}: row {rows[0] + 1}{value and ':'}{value} {what}{more}")
