"""Batches of distinct users, each with one item taken and one not: every user counts alike, however much they took.

Axes: B users.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from monge.data import Interactions
from monge.errors import DataError
from monge.sampling.negatives import SeenPairs
from monge.sampling.pairs import PairBatch
from monge.sampling.seeds import generator_for


class UserBatches:
    """floor(n_train / B) + 1 batches an epoch; each draws B distinct users, one of their training items and one uniform negative.

    Source: MMSSL (Wei et al., WWW 2023), Alg. 1, and its code.

    Raises:
        DataError: fewer than two users have a training item.
    """

    def __init__(self, train: Interactions, *, batch_size: int, seed: int, device: torch.device | str = "cpu") -> None:
        lengths = torch.from_numpy(train.sequences.lengths)
        users = lengths.nonzero().squeeze(1)
        if len(users) < 2:
            raise DataError(f"{len(users)} users have a training item, and a batch needs at least 2; use more data, or hold out less of it")
        self.users, self.lengths = users.to(device), lengths[users].to(device)
        self.starts = torch.from_numpy(train.sequences.offsets[:-1])[users].to(device)
        self.items = torch.from_numpy(train.item).to(device)
        self.seen = SeenPairs(train, device)
        self.batch_size, self.seed, self.device = min(batch_size, len(users)), seed, device
        self.n_batches = len(train) // batch_size + 1

    def __len__(self) -> int:
        return self.n_batches

    def __call__(self, epoch: int) -> Iterator[PairBatch]:
        """The batches of an epoch."""
        generator = generator_for(self.seed, epoch, self.device)
        for _ in range(self.n_batches):
            rows = torch.randperm(len(self.users), generator=generator, device=self.device)[: self.batch_size]
            drawn = torch.rand(len(rows), generator=generator, device=self.device, dtype=torch.float64)
            positives = self.items[self.starts[rows] + (drawn * self.lengths[rows]).long()]
            users = self.users[rows]
            yield PairBatch(users, positives, self.seen.negatives(users, generator))
