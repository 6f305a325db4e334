"""Batches of a cross-domain training: what was known of a user in each domain, and the item that came next in one of them.

Axes: K domains, B examples, T positions (newest at the right), N negatives.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from monge.data import Domains, Interactions, Queries, examples_of
from monge.errors import DataError
from monge.sampling.negatives import MAX_ROUNDS, SeenPairs
from monge.sampling.seeds import generator_for


@dataclass(frozen=True, eq=False)
class ExampleBatch:
    """B examples."""

    rows: Tensor  # (B,) int64, their numbers among the training's examples
    users: Tensor  # (B,) int64
    domain: Tensor  # (B,) int64, of the target
    sequences: Tensor  # (K, B, T) int64, the newest items of each domain, n_items where empty
    targets: Tensor  # (B,) int64
    negatives: Tensor  # (B, N) int64, of the target's domain
    n_items: int
    epoch: int  # 0 for the first
    step: int  # batches before this one, of all epochs


def by_domain(items: Tensor, row_of_item: Tensor, n_rows: int, domain_of_item: Tensor, n_domains: int, max_length: int) -> Tensor:
    """Histories cut by domain: (nnz,) items, back to back and oldest first, and the row of each, rising -> (K, B, T) newest at the right.

    T is the longest cut, at most `max_length`, at least 1; empty places hold the number of items.
    """
    n_items = len(domain_of_item)
    domain = domain_of_item[items]
    cuts: list[tuple[Tensor, Tensor, Tensor]] = []
    for number in range(n_domains):
        here = domain == number
        values, rows = items[here], row_of_item[here]
        ends = torch.bincount(rows, minlength=n_rows).cumsum(0)
        from_end = ends[rows] - 1 - torch.arange(len(rows), device=items.device)
        kept = from_end < max_length
        cuts.append((values[kept], rows[kept], from_end[kept]))
    length = 1 + max((int(from_end.max()) for _, _, from_end in cuts if len(from_end)), default=0)
    sequences_KBT = torch.full((n_domains, n_rows, length), n_items, dtype=torch.int64, device=items.device)
    for number, (values, rows, from_end) in enumerate(cuts):
        sequences_KBT[number, rows, length - 1 - from_end] = values
    return sequences_KBT


class ExampleBatches:
    """Each epoch visits every example once, in an order and with negatives set by (seed, epoch).

    Negatives are drawn uniformly from the items of the target's domain that the training has, but for those that the user took in
    training; see `Interactions.examples` for what the examples are.

    Args:
        train: the interactions, with or without examples of their own.
        batch_size: examples in a batch.
        max_length: how many of the newest items of each domain are read.
        n_negatives: an example.
        seed: of order and negatives.
        device: where the examples live and batches are made.
        examples: in place of the interactions' own.

    Raises:
        DataError: there is no example, or a domain has no training item that could be a negative.
    """

    def __init__(
        self,
        train: Interactions,
        *,
        batch_size: int,
        max_length: int,
        n_negatives: int,
        seed: int,
        device: torch.device | str = "cpu",
        examples: Queries | None = None,
    ) -> None:
        examples = examples_of(train) if examples is None else examples
        if not len(examples):
            raise DataError("no user has two items in one domain, or one in each of two, so there is nothing to foretell; use more data")
        domains = Domains.of(train.item_columns)
        assert examples.domain is not None
        self.n_items, self.batch_size, self.n_negatives, self.seed, self.device = train.n_items, batch_size, n_negatives, seed, device
        self.examples = examples
        domain_of_item = torch.from_numpy(domains.of_item)
        history = torch.from_numpy(examples.history.values), torch.from_numpy(examples.history.row_of_value)
        self.sequences = by_domain(*history, len(examples), domain_of_item, len(domains), max_length).to(device)
        self.users, self.domain = torch.from_numpy(examples.user).to(device), torch.from_numpy(examples.domain).to(device)
        self.targets = torch.from_numpy(examples.truth.values[examples.truth.offsets[:-1]]).to(device)
        trained = torch.from_numpy(train.item_counts > 0)
        pools = [(trained & (domain_of_item == number)).nonzero().squeeze(1) for number in range(len(domains))]
        self.pool = torch.cat(pools).to(device)
        self.pool_size = torch.tensor([len(pool) for pool in pools], device=device)
        self.pool_start = self.pool_size.cumsum(0) - self.pool_size
        self.seen = SeenPairs(train, device)

    def __len__(self) -> int:
        return -(-len(self.users) // self.batch_size)

    def __call__(self, epoch: int) -> Iterator[ExampleBatch]:
        """The batches of an epoch."""
        order = torch.randperm(len(self.users), generator=generator_for(self.seed, epoch, purpose="order")).to(self.device)
        generator = generator_for(self.seed, epoch, self.device)
        for index, rows in enumerate(order.split(self.batch_size)):
            sequences_KBT = self.sequences[:, rows]
            used = (sequences_KBT != self.n_items).flatten(0, 1).any(0).nonzero()
            start = int(used[0]) if len(used) else sequences_KBT.shape[2] - 1
            yield ExampleBatch(
                rows,
                self.users[rows],
                self.domain[rows],
                sequences_KBT[:, :, start:],
                self.targets[rows],
                self._negatives(rows, generator),
                self.n_items,
                epoch,
                epoch * len(self) + index,
            )

    def _negatives(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        users_BN = self.users[rows, None].expand(-1, self.n_negatives)
        domain_BN = self.domain[rows, None].expand(-1, self.n_negatives)
        drawn_BN = self._draw(domain_BN, generator)
        rejected = self.seen.contains(users_BN, drawn_BN).nonzero(as_tuple=True)
        for _ in range(MAX_ROUNDS):
            if not len(rejected[0]):
                break
            drawn_BN[rejected] = self._draw(domain_BN[rejected], generator)
            again = self.seen.contains(users_BN[rejected], drawn_BN[rejected])
            rejected = tuple(index[again] for index in rejected)
        return drawn_BN

    def _draw(self, domain: Tensor, generator: torch.Generator) -> Tensor:
        uniform = torch.rand(domain.shape, generator=generator, device=self.device, dtype=torch.float64)
        return self.pool[self.pool_start[domain] + (uniform * self.pool_size[domain]).long()]
