"""What it costs to offer one item in place of another: one minus the cosine of who took them.

    C = 1 - S,   S_ij = <x_i, x_j> / (|x_i| |x_j| + shrink),   S_ii = 1,   x_i in {0, 1}^n_users over TRAINING users

Source: SinkhornCF (Li et al., WWW 2021, sec. 3). The shrink term and the diagonal that is 1 whatever the shrink stand in the
authors' code only; shrink = 0 is the paper. Items that no user shares have S = 0 and cost 1, also an item that nobody took.

Axes: I items, B users, m items of a user, k columns, N item numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch
from torch import Tensor

BLOCK_CELLS = 2**22  # numbers in one block of rows of X^T X, at most


@dataclass(frozen=True, eq=False)
class ItemCost:
    """C = 1 - S, dense (with a row and a column of zeros for the padding id I) or as the sorted pairs where S is not 0."""

    n_items: int
    """I."""
    dense: Tensor | None
    """(I + 1, I + 1) S in float32 or float16, or None."""
    keys: Tensor | None = None
    """(nnz,) int64, i I + j of each stored S_ij, rising; None where S is dense."""
    values: Tensor | None = None
    """(nnz,) float32, S_ij of each key."""

    @classmethod
    def from_pairs(
        cls,
        user: npt.NDArray[np.integer[Any]],
        item: npt.NDArray[np.integer[Any]],
        *,
        n_users: int,
        n_items: int,
        shrink: float = 0.0,
        device: torch.device | str = "cpu",
        budget_bytes: int = 2**30,
    ) -> ItemCost:
        """Cosines of the items' user columns.

        Args:
            user, item: (n,) numbers of the training interactions; a pair that stands twice counts once.
            n_users, n_items: sizes of both sides.
            shrink: h >= 0, in users: similarities from few users shrink.
            device: where the cost shall live; it is computed on the CPU.
            budget_bytes: S is dense in float32 if that fits, else dense in float16 if that fits, else sparse with 12 bytes
                a pair that some user shares (which is then the smaller form for all but dense logs).

        Raises:
            ValueError: lengths that differ, numbers out of range, shrink < 0.
        """
        if user.shape != item.shape or user.ndim != 1:
            raise ValueError(f"user and item must both be (n,); got {user.shape}, {item.shape}")
        for name, numbers, size in (("user", user, n_users), ("item", item, n_items)):
            if len(numbers) and not (numbers.min() >= 0 and numbers.max() < size):
                raise ValueError(f"{name} must lie in 0..{size - 1}; found {numbers.min()}..{numbers.max()}")
        if not 0 <= shrink < math.inf:
            raise ValueError(f"shrink must be >= 0 and finite; got {shrink}")
        taken = sp.csr_array((np.ones(len(user), np.float32), (item, user)), shape=(n_items, n_users))
        taken.sum_duplicates()
        taken.data[:] = 1.0
        dtype = next((t for t in (torch.float32, torch.float16) if (n_items + 1) ** 2 * t.itemsize <= budget_bytes), None)
        if dtype is None:
            parts = list(_similarity(taken, shrink))
            keys = torch.from_numpy(np.concatenate([row * n_items + column for row, column, _ in parts]))
            values = torch.from_numpy(np.concatenate([value for _, _, value in parts]))
            return cls(n_items, None, keys.to(device), values.to(device))
        dense = torch.zeros(n_items + 1, n_items + 1, dtype=dtype)
        for row, column, value in _similarity(taken, shrink):
            dense[torch.from_numpy(row), torch.from_numpy(column)] = torch.from_numpy(value).to(dtype)
        return cls(n_items, dense.to(device))

    @classmethod
    def from_similarity(cls, similarity: Tensor) -> ItemCost:
        """(I, I) similarities of your own, float32 or float16; the cost is 1 minus them. They are copied."""
        n_items = len(similarity)
        if similarity.shape != (n_items, n_items):
            raise ValueError(f"similarity must be (I, I); got {tuple(similarity.shape)}")
        dense = similarity.new_zeros(n_items + 1, n_items + 1)
        dense[:-1, :-1] = similarity
        return cls(n_items, dense)

    def to(self, device: torch.device | str) -> ItemCost:
        """The same cost on another device."""
        tensors = (None if x is None else x.to(device) for x in (self.dense, self.keys, self.values))
        return ItemCost(self.n_items, *tensors)

    def block(self, rows: Tensor, columns: Tensor) -> Tensor:
        """C between each user's items and its columns: (B, m), (B, k) int64 -> (B, m, k) float32.

        The padding id `n_items` may stand on both sides: it costs 1 against everything, itself included.
        """
        if rows.ndim != 2 or columns.ndim != 2 or len(rows) != len(columns):
            raise ValueError(f"rows and columns must be (B, m) and (B, k); got {tuple(rows.shape)}, {tuple(columns.shape)}")
        shape = (*rows.shape, columns.shape[1])
        if self.dense is not None:
            side = self.n_items + 1
            index = torch.int32 if side**2 < 2**31 else torch.int64
            flat = (rows * side).to(index)[:, :, None] + columns.to(index)[:, None, :]
            similarity = self.dense.view(-1).index_select(0, flat.view(-1)).view(shape)  # far faster than dense[rows, columns]
        else:
            assert self.keys is not None
            assert self.values is not None
            wanted = (rows * self.n_items)[:, :, None] + columns[:, None, :]
            place = torch.searchsorted(self.keys, wanted).clamp_(max=len(self.keys) - 1)
            absent = (self.keys[place] != wanted) | (columns == self.n_items)[:, None, :]  # a padding column is not the next row
            similarity = self.values[place].masked_fill_(absent, 0)
        return similarity.float().neg_().add_(1)

    def rows(self, items: Tensor) -> Tensor:
        """C of items against all items: (N,) int64 -> (N, n_items) float32; 1 everywhere for the padding id."""
        if self.dense is not None:
            return self.dense[:, :-1].index_select(0, items).float().neg_().add_(1)
        assert self.keys is not None
        assert self.values is not None
        start, stop = torch.searchsorted(self.keys, torch.stack([items, items + 1]) * self.n_items)
        lengths = stop - start
        row = torch.arange(len(items), device=items.device).repeat_interleave(lengths)
        place = torch.arange(len(row), device=items.device) + (start - lengths.cumsum(0) + lengths)[row]
        cost = torch.ones(len(items), self.n_items, device=items.device)
        cost[row, self.keys[place] % self.n_items] = 1 - self.values[place]
        return cost


def _similarity(
    taken: sp.csr_array, shrink: float
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
    """Blocks of rows of S as (row, column, value), in order, the diagonal included.

    Common users are counted in float32 (exact to 16.7 million) and divided in float64.
    """
    n_items = taken.shape[0]
    norms = np.sqrt(np.diff(taken.indptr).astype(np.float64))
    alone = sp.hstack([taken, sp.eye_array(n_items, dtype=np.float32)], format="csr")  # so that the diagonal is always stored
    by_user = sp.csr_array(alone.T)
    step = max(1, BLOCK_CELLS // max(1, n_items))
    for start in range(0, n_items, step):
        common = sp.csr_array(alone[start : start + step] @ by_user)
        common.sort_indices()
        row = np.repeat(np.arange(start, start + common.shape[0], dtype=np.int64), np.diff(common.indptr))
        column = common.indices.astype(np.int64)
        value = common.data / np.maximum(norms[row] * norms[column] + shrink, 1)  # below 1 only where an item has no user
        yield row, column, np.where(row == column, 1, value).astype(np.float32)
