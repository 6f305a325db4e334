"""Batches of user sequences whose every position predicts the next item.

Axes: B sequences, T positions (newest at the right), K negatives.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from monge.data import Interactions
from monge.errors import DataError
from monge.sampling.negatives import SeenPairs
from monge.sampling.seeds import generator_for


@dataclass(frozen=True, eq=False)
class NextItemBatch:
    """B training sequences, trimmed to the longest of them."""

    users: Tensor  # (B,) int64
    sequences: Tensor  # (B, T) int64, n_items where empty
    targets: Tensor  # (B, T) int64, the item after each position, n_items where empty
    negatives: Tensor  # (K,) shared by the batch, or (B, T, K) one draw a position
    shared: bool  # which of the two
    n_items: int  # also the padding id


class NextItemBatches:
    """Each epoch visits every user once; sequences of like length share a batch, so that little of it is padding.

    Batches hold like numbers of POSITIONS then, not of users: a loss is a mean over positions, and with equal numbers of users
    a step on short sequences would count each of its positions many times as much as a step on long ones (measured to cost more
    than a tenth of NDCG@10 on Beauty, docs/decisions/0003).

    A user's training items v_1..v_m give the input v_1..v_{m-1} and the targets v_2..v_m, the newest `max_length` of
    them. Users with fewer than two training items have nothing to predict and are left out.

    Args:
        n_negatives: how many to draw; 0 for losses over all items.
        shared_negatives: one draw for the batch (uniform, may hit a positive: the loss masks it) or one a position
            (uniform over the items that the user did not take in training).
        batch_size: users in a batch; on average where bucketed, at most four times as many.
        bucketed: sort each epoch's random order by length before cutting it into batches (their order is random again).
    """

    def __init__(
        self,
        train: Interactions,
        *,
        batch_size: int,
        max_length: int,
        seed: int,
        n_negatives: int = 0,
        shared_negatives: bool = False,
        bucketed: bool = True,
        device: torch.device | str = "cpu",
    ) -> None:
        lengths = torch.from_numpy(train.sequences.lengths)
        self.users = (lengths >= 2).nonzero().squeeze(1)
        if not len(self.users):
            raise DataError("no user has two training items, so there is no next item to learn; use more data or a collaborative model")
        self.n_items, self.batch_size, self.max_length, self.seed = train.n_items, batch_size, max_length, seed
        self.n_negatives, self.shared_negatives, self.bucketed, self.device = n_negatives, shared_negatives, bucketed, device
        self.lengths = lengths[self.users] - 1  # on the host: batch shapes need no wait for the device
        self.sizes = self._sizes()
        self.ends = torch.from_numpy(train.sequences.offsets)[1:][self.users].to(device)
        self.items = torch.from_numpy(train.item).to(device)
        self.seen = SeenPairs(train, device)

    def __len__(self) -> int:
        return len(self.sizes)

    def __call__(self, epoch: int) -> Iterator[NextItemBatch]:
        """The batches of an epoch."""
        host = generator_for(self.seed, epoch, purpose="order")
        order = torch.randperm(len(self.users), generator=host)
        if self.bucketed:
            order = order[self.lengths[order].clamp(max=self.max_length).argsort(stable=True)]
        batches = order.split(self.sizes)
        generator = generator_for(self.seed, epoch, self.device)
        for index in torch.randperm(len(batches), generator=host).tolist():
            yield self._batch(batches[index], generator)

    def _sizes(self) -> list[int]:
        """Users in each batch: the same every epoch, because the sorted lengths are."""
        n_batches = -(-len(self.users) // self.batch_size)
        if not self.bucketed:
            return [self.batch_size] * (n_batches - 1) + [len(self.users) - self.batch_size * (n_batches - 1)]
        positions = self.lengths.clamp(max=self.max_length).sort().values.cumsum(0)
        fair = int(positions[-1]) / n_batches
        batch_of_user = ((positions - 1) / fair).long()  # rises with the length; nearly equal positions in each
        sizes: list[int] = []
        for users in batch_of_user.bincount().tolist():
            whole, rest = divmod(users, 4 * self.batch_size)
            sizes += [4 * self.batch_size] * whole + [rest] * (rest > 0)
        return sizes

    def _batch(self, rows: Tensor, generator: torch.Generator) -> NextItemBatch:
        length = int(self.lengths[rows].max().clamp(max=self.max_length))
        lengths, rows_there = self.lengths[rows].to(self.device), rows.to(self.device)
        target_place = self.ends[rows_there, None] - length + torch.arange(length, device=self.device)
        empty = torch.arange(length, device=self.device) < (length - lengths)[:, None]
        targets = self.items[target_place.clamp(min=0)].masked_fill(empty, self.n_items)
        sequences = self.items[(target_place - 1).clamp(min=0)].masked_fill(empty, self.n_items)
        users = self.users[rows].to(self.device)
        if self.shared_negatives or not self.n_negatives:
            negatives = torch.randint(self.n_items, (self.n_negatives,), generator=generator, device=self.device)
        else:
            negatives = self.seen.negatives(users[:, None, None].expand(len(users), length, self.n_negatives), generator)
        return NextItemBatch(users, sequences, targets, negatives, self.shared_negatives, self.n_items)
