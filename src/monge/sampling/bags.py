"""Batches of users with all that they took, without order: a bag of items each.

Axes: B users, N items of all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from monge.data import Interactions
from monge.errors import DataError
from monge.nn.rows import places
from monge.sampling.seeds import generator_for


@dataclass(frozen=True, eq=False)
class BagBatch:
    """B users with their training items: the non-zeros of B rows of the binary matrix users x items."""

    users: Tensor  # (B,) int64
    items: Tensor  # (N,) int64, the users' items back to back, each item once a user
    row_of_item: Tensor  # (N,) int64 rising, the row 0..B-1 that each item belongs to
    n_items: int
    epoch: int  # 0 for the first
    step: int  # batches before this one, of all epochs: what schedules count

    def __len__(self) -> int:
        return len(self.users)

    def first(self, n: int) -> BagBatch:
        """The first n users (all of them where there are fewer)."""
        kept_N = self.row_of_item < n
        return BagBatch(self.users[:n], self.items[kept_N], self.row_of_item[kept_N], self.n_items, self.epoch, self.step)

    def dense(self) -> Tensor:
        """(B, n_items) float, 1 where a user took an item, else 0."""
        rows_BI = torch.zeros(len(self), self.n_items, device=self.items.device)
        rows_BI[self.row_of_item, self.items] = 1.0
        return rows_BI


class BagBatches:
    """Each epoch visits every user with a training item once, in an order set by (seed, epoch); repeated items count once.

    Raises:
        DataError: no user has a training item.
    """

    def __init__(self, train: Interactions, *, batch_size: int, seed: int, device: torch.device | str = "cpu") -> None:
        pairs = np.unique(train.user * np.int64(train.n_items) + train.item)
        lengths = np.bincount(pairs // train.n_items, minlength=train.n_users) if len(pairs) else np.zeros(train.n_users, dtype=np.int64)
        self.users = torch.from_numpy(np.flatnonzero(lengths))
        if not len(self.users):
            raise DataError("no user has a training item, so there is nothing to learn; use more data, or hold out less of it")
        self.n_items, self.batch_size, self.seed, self.device = train.n_items, batch_size, seed, device
        self.lengths = torch.from_numpy(lengths)[self.users]  # on the host: batch shapes need no wait for the device
        self.starts = (self.lengths.cumsum(0) - self.lengths).to(device)
        self.items = torch.from_numpy(pairs % train.n_items).to(device)

    def __len__(self) -> int:
        return -(-len(self.users) // self.batch_size)

    def __call__(self, epoch: int) -> Iterator[BagBatch]:
        """The batches of an epoch."""
        order = torch.randperm(len(self.users), generator=generator_for(self.seed, epoch, purpose="order"))
        for index, rows in enumerate(order.split(self.batch_size)):
            yield self._batch(rows, epoch, epoch * len(self) + index)

    def _batch(self, rows: Tensor, epoch: int, step: int) -> BagBatch:
        n = int(self.lengths[rows].sum())
        lengths_B, rows_B = self.lengths[rows].to(self.device), rows.to(self.device)
        row_of_item = torch.repeat_interleave(lengths_B, output_size=n)
        items = self.items[places(self.starts[rows_B], lengths_B, total=n)]
        return BagBatch(self.users[rows].to(self.device), items, row_of_item, self.n_items, epoch, step)
