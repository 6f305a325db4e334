"""Batches of (user, item taken), for pairwise losses with items not taken."""

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
class PairBatch:
    """B observed pairs with one negative each, or K (which may be 0)."""

    users: Tensor  # (B,) int64
    positives: Tensor  # (B,) int64
    negatives: Tensor  # (B,) int64, or (B, K) where n_negatives was given


class PairBatches:
    """Each epoch visits every training interaction once, in an order and with negatives set by (seed, epoch).

    Args:
        train: the interactions.
        batch_size: pairs in a batch.
        seed: of order and negatives.
        n_negatives: K >= 0 negatives a pair, (B, K); None: one, (B,).
        smallest: an epoch's last batch is left out where it has fewer pairs (an in-batch loss needs 2).
        device: where the log lives and batches are made.

    Raises:
        DataError: the log has fewer pairs than the smallest batch.
    """

    def __init__(
        self,
        train: Interactions,
        *,
        batch_size: int,
        seed: int,
        n_negatives: int | None = None,
        smallest: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        if len(train) < smallest:
            raise DataError(
                f"{len(train)} training {'pair' if len(train) == 1 else 'pairs'}, and a batch needs at least {smallest}; "
                "use more data, or hold out less of it"
            )
        self.users = torch.from_numpy(train.user).to(device)
        self.items = torch.from_numpy(train.item).to(device)
        self.seen = SeenPairs(train, device)
        self.batch_size, self.seed, self.n_negatives, self.smallest, self.device = batch_size, seed, n_negatives, smallest, device

    def __len__(self) -> int:
        full, rest = divmod(len(self.users), self.batch_size)
        return full + (rest >= self.smallest)

    def __call__(self, epoch: int) -> Iterator[PairBatch]:
        """The batches of an epoch."""
        generator = generator_for(self.seed, epoch, self.device)
        order = torch.randperm(len(self.users), generator=generator, device=self.device)
        users, positives = self.users[order], self.items[order]
        taker = users if self.n_negatives is None else users[:, None].expand(-1, self.n_negatives)
        negatives = self.seen.negatives(taker, generator)
        for rows in zip(users.split(self.batch_size), positives.split(self.batch_size), negatives.split(self.batch_size), strict=True):
            if len(rows[0]) >= self.smallest:
                yield PairBatch(*rows)
