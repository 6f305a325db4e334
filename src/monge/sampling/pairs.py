"""Batches of (user, item taken, item not taken) for pairwise losses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from monge.data import Interactions
from monge.sampling.negatives import SeenPairs
from monge.sampling.seeds import generator_for


@dataclass(frozen=True, eq=False)
class PairBatch:
    """B observed pairs with one negative each, or K."""

    users: Tensor  # (B,) int64
    positives: Tensor  # (B,) int64
    negatives: Tensor  # (B,) int64, or (B, K) where n_negatives was given


class PairBatches:
    """Each epoch visits every training interaction once, in an order and with negatives set by (seed, epoch).

    Args:
        train: the interactions.
        batch_size: pairs in a batch.
        seed: of order and negatives.
        n_negatives: K negatives a pair, (B, K); None: one, (B,).
        device: where the log lives and batches are made.
    """

    def __init__(
        self,
        train: Interactions,
        *,
        batch_size: int,
        seed: int,
        n_negatives: int | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.users = torch.from_numpy(train.user).to(device)
        self.items = torch.from_numpy(train.item).to(device)
        self.seen = SeenPairs(train, device)
        self.batch_size, self.seed, self.n_negatives, self.device = batch_size, seed, n_negatives, device

    def __len__(self) -> int:
        return -(-len(self.users) // self.batch_size)

    def __call__(self, epoch: int) -> Iterator[PairBatch]:
        """The batches of an epoch."""
        generator = generator_for(self.seed, epoch, self.device)
        order = torch.randperm(len(self.users), generator=generator, device=self.device)
        users, positives = self.users[order], self.items[order]
        taker = users if self.n_negatives is None else users[:, None].expand(-1, self.n_negatives)
        negatives = self.seen.negatives(taker, generator)
        for rows in zip(users.split(self.batch_size), positives.split(self.batch_size), negatives.split(self.batch_size), strict=True):
            yield PairBatch(*rows)
