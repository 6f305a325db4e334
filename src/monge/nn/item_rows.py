"""Rows over all items that are a low-rank part plus a sparse one: what a critic reads, never written out.

    row_b = left_b right^T + (a few entries of its own)

A linear layer over such rows costs what their factors cost: (left right^T + S) W = left (right^T W) + S W. With B rows, I items, rank R
and Z outputs that is R (I + B) Z products in place of B I Z, and no B x I numbers in memory.

Axes: B rows, I items, R rank, N sparse entries, Z outputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class ItemRows:
    """B rows over I items."""

    left: Tensor
    """(B, R)."""
    right: Tensor
    """(I, R)."""
    items: Tensor
    """(N,) int64 items with an entry of their own, rows one after the other, rising within a row, each once a row."""
    offsets: Tensor
    """(B + 1,) int64 where each row's entries start."""
    entries: Tensor
    """(N,) added to the low-rank part there."""

    def __len__(self) -> int:
        return len(self.left)

    @property
    def row_of_entry(self) -> Tensor:
        """(N,) the row of each entry."""
        return torch.repeat_interleave(self.offsets.diff(), output_size=len(self.items))

    def at_entries(self) -> Tensor:
        """(N,) the low-rank part at the items with an entry."""
        return (self.left[self.row_of_entry] * self.right[self.items]).sum(-1)

    def hidden(self) -> ItemRows:
        """The same rows, zero at the items with an entry."""
        return self.with_entries(-self.at_entries())

    def with_entries(self, entries: Tensor) -> ItemRows:
        """Other entries at the same items."""
        return ItemRows(left=self.left, right=self.right, items=self.items, offsets=self.offsets, entries=entries)

    def scaled(self, factors: Tensor) -> ItemRows:
        """Each row times its factor: (B,)."""
        return ItemRows(
            left=self.left * factors[:, None],
            right=self.right,
            items=self.items,
            offsets=self.offsets,
            entries=self.entries * factors[self.row_of_entry],
        )

    def plus(self, other: ItemRows) -> ItemRows:
        """Sum of rows whose entries stand at the same items."""
        return ItemRows(
            left=torch.cat([self.left, other.left], 1),
            right=torch.cat([self.right, other.right], 1),
            items=self.items,
            offsets=self.offsets,
            entries=self.entries + other.entries,
        )

    def squared_norms(self) -> Tensor:
        """(B,) |row|^2 = l (R^T R) l + sum over entries of (2 low-rank part + entry) entry."""
        low_rank = ((self.left @ (self.right.T @ self.right)) * self.left).sum(-1)
        return low_rank.index_add(0, self.row_of_entry, (2 * self.at_entries() + self.entries) * self.entries)

    def unit(self) -> ItemRows:
        """Rows of length 1; (near) zero rows stay near zero."""
        return self.scaled(self.squared_norms().clamp(min=1e-12).rsqrt())

    def through(self, weight: Tensor) -> Tensor:
        """(I, Z) weight -> (B, Z) rows @ weight."""
        sparse = F.embedding_bag(self.items, weight, self.offsets, mode="sum", per_sample_weights=self.entries, include_last_offset=True)
        return torch.addmm(sparse, self.left, self.right.T @ weight)

    def dense(self) -> Tensor:
        """(B, I) written out: for tests and small sets."""
        rows = self.left @ self.right.T
        return rows.index_put((self.row_of_entry, self.items), self.entries, accumulate=True)
