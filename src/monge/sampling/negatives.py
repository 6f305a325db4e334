"""Negatives: items that a user did not take, drawn and rejected on the device."""

from __future__ import annotations

import torch
from torch import Tensor

from monge.data import Interactions
from monge.nn.rows import places

MAX_ROUNDS = 100


class SeenPairs:
    """The (user, item) pairs of a log as one sorted column, for membership tests by binary search."""

    def __init__(self, log: Interactions, device: torch.device | str = "cpu") -> None:
        self.n_items = log.n_items
        keys = torch.from_numpy(log.user) * log.n_items + torch.from_numpy(log.item)
        self.keys = keys.unique().to(device)  # sorted

    def contains(self, users: Tensor, items: Tensor) -> Tensor:
        """Whether each (user, item) is in the log: same shapes -> bool."""
        if not len(self.keys):
            return torch.zeros_like(users, dtype=torch.bool)
        wanted = users * self.n_items + items
        place = torch.searchsorted(self.keys, wanted).clamp(max=len(self.keys) - 1)
        return self.keys[place] == wanted

    def table(self, users: Tensor, items: Tensor) -> Tensor:
        """Whether each user took each item: (B,), (N,) -> (B, N) bool, by way of what the users took instead of B x N searches."""
        starts, ends = (torch.searchsorted(self.keys, (users + after) * self.n_items) for after in (0, 1))
        row = torch.repeat_interleave(ends - starts)
        taken = self.keys[places(starts, ends - starts)] - users[row] * self.n_items
        distinct, column_N = items.unique(return_inverse=True)
        column_of_item = torch.full((self.n_items,), -1, device=items.device)
        column_of_item[distinct] = torch.arange(len(distinct), device=items.device)
        column = column_of_item[taken]
        found = users.new_zeros(len(users), len(distinct), dtype=torch.bool)
        found[row[column >= 0], column[column >= 0]] = True
        return found[:, column_N]

    def negatives(self, users: Tensor, generator: torch.Generator) -> Tensor:
        """One item for each user entry, uniform over what that user did not take: any shape -> same shape, int64.

        A user who took (nearly) everything keeps a seen item after 100 rounds of redrawing.
        """
        items = torch.randint(self.n_items, users.shape, generator=generator, device=users.device)
        rejected = self.contains(users, items).nonzero(as_tuple=True)
        for _ in range(MAX_ROUNDS):
            if not len(rejected[0]):
                break
            redrawn = torch.randint(self.n_items, rejected[0].shape, generator=generator, device=users.device)
            items[rejected] = redrawn
            again = self.contains(users[rejected], redrawn)
            rejected = tuple(index[again] for index in rejected)
        return items
