"""Rows of different lengths, stored back to back: the one layout behind sequences, histories and truths."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Ragged:
    """`n` rows of integers; row `r` is `values[offsets[r]:offsets[r + 1]]`.

    >>> rows = Ragged.from_lists([[4, 2], [], [7]])
    >>> rows[0].tolist(), rows.lengths.tolist(), rows.take(np.array([2, 0])).values.tolist()
    ([4, 2], [2, 0, 1], [7, 4, 2])
    """

    values: IntArray
    """(nnz,) all rows back to back."""
    offsets: IntArray
    """(n + 1,) where each row starts; the last entry is nnz."""

    def __post_init__(self) -> None:
        if self.offsets.ndim != 1 or len(self.offsets) == 0 or self.offsets[0] != 0:
            raise ValueError("offsets must be one-dimensional and start with 0")
        if self.offsets[-1] != len(self.values) or bool((np.diff(self.offsets) < 0).any()):
            raise ValueError(f"offsets must rise to the number of values, {len(self.values)}")

    @classmethod
    def from_lists(cls, rows: Iterable[Sequence[int]]) -> Ragged:
        """Rows from Python lists (a convenience for small data and tests)."""
        arrays = [np.asarray(row, dtype=np.int64) for row in rows]
        values = np.concatenate(arrays) if arrays else np.empty(0, np.int64)
        return cls.from_lengths(values, np.array([len(row) for row in arrays], dtype=np.int64))

    @classmethod
    def from_lengths(cls, values: IntArray, lengths: IntArray) -> Ragged:
        """Rows from their values back to back and the length of each."""
        offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        return cls(np.ascontiguousarray(values, dtype=np.int64), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> IntArray:
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        row %= len(self)
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    @property
    def lengths(self) -> IntArray:
        """(n,) the length of each row."""
        return np.diff(self.offsets)

    @property
    def row_of_value(self) -> IntArray:
        """(nnz,) the row that each value stands in."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.lengths)

    def take(self, rows: IntArray) -> Ragged:
        """The given rows, in the given order."""
        rows = np.asarray(rows, dtype=np.int64)
        lengths = self.lengths[rows]
        starts = self.offsets[:-1][rows]
        shift = np.repeat(starts - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths) if len(rows) else starts
        return Ragged.from_lengths(self.values[np.arange(int(lengths.sum()), dtype=np.int64) + shift], lengths)
