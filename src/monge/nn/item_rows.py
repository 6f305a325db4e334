"""Rows over all items that are a low-rank part plus a sparse one: what a critic reads, never written out.

    row_b = left_b right^T + (a few entries of its own)

A linear layer over such rows costs what their factors cost: (left right^T + S) W = left (right^T W) + S W. With B rows, I items, rank R
and Z outputs that is R (I + B) Z products in place of B I Z, and no B x I numbers in memory.

Axes: B rows, I items, R rank, N sparse entries, Z outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

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
    known: Tensor | None = None
    """(N,) the low-rank part there, where it was computed already."""

    def __len__(self) -> int:
        return len(self.left)

    @property
    def row_of_entry(self) -> Tensor:
        """(N,) the row of each entry."""
        return torch.repeat_interleave(self.offsets.diff(), output_size=len(self.items))

    def at_entries(self) -> Tensor:
        """(N,) the low-rank part at the items with an entry."""
        if self.known is not None:
            return self.known
        return (self.left[self.row_of_entry] * self.right[self.items]).sum(-1)

    def hidden(self) -> ItemRows:
        """The same rows, zero at the items with an entry."""
        known = self.at_entries()
        return replace(self, entries=-known, known=known)

    def with_entries(self, entries: Tensor) -> ItemRows:
        """Other entries at the same items."""
        return replace(self, entries=entries)

    def scaled(self, factors: Tensor) -> ItemRows:
        """Each row times its factor: (B,)."""
        of_entries = factors[self.row_of_entry]
        known = None if self.known is None else self.known * of_entries
        return replace(self, left=self.left * factors[:, None], entries=self.entries * of_entries, known=known)

    def plus(self, other: ItemRows) -> ItemRows:
        """Sum of rows whose entries stand at the same items."""
        known = None if self.known is None or other.known is None else self.known + other.known
        return replace(
            self,
            left=torch.cat([self.left, other.left], 1),
            right=torch.cat([self.right, other.right], 1),
            entries=self.entries + other.entries,
            known=known,
        )

    def squared_norms(self) -> Tensor:
        """(B,) |row|^2 = l (R^T R) l + sum over entries of (2 low-rank part + entry) entry."""
        low_rank = ((self.left @ (self.right.T @ self.right)) * self.left).sum(-1)
        return low_rank.index_add(0, self.row_of_entry, (2 * self.at_entries() + self.entries) * self.entries)

    def unit(self) -> ItemRows:
        """Rows of length 1; (near) zero rows stay near zero."""
        return self.scaled(self.squared_norms().clamp(min=1e-12).rsqrt())

    def dense(self) -> Tensor:
        """(B, I) written out: for tests and small sets."""
        rows = self.left @ self.right.T
        return rows.index_put((self.row_of_entry, self.items), self.entries, accumulate=True)


def through(several: Sequence[ItemRows], weight: Tensor) -> Tensor:
    """(I, Z) weight -> (sum of B, Z) all rows @ weight, one after the other; the weight is read, and its gradient written, once for all."""
    sizes = [rows.left.shape[1] for rows in several]
    factors = (torch.cat([rows.right for rows in several], 1).T @ weight).split(sizes)
    low_rank = torch.cat([rows.left @ factor for rows, factor in zip(several, factors, strict=True)])
    lengths, items, entries = (
        torch.cat(parts) for parts in zip(*((rows.offsets.diff(), rows.items, rows.entries) for rows in several), strict=True)
    )
    offsets = F.pad(lengths.cumsum(0), (1, 0))
    return low_rank + F.embedding_bag(items, weight, offsets, mode="sum", per_sample_weights=entries, include_last_offset=True)
