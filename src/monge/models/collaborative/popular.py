"""Popular: the most taken items, the same list for everybody. The baseline under every table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from monge.data import Interactions, QueryBatch


@dataclass(frozen=True, kw_only=True)
class PopularConfig:
    """Popular has no options."""


class Popular(nn.Module):
    """Counts of items in the training part."""

    Config: ClassVar = PopularConfig
    answers_unknown_users: ClassVar = True

    counts: Tensor

    def __init__(self, config: PopularConfig, *, n_users: int, n_items: int) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("counts", torch.zeros(n_items))

    def solve(self, train: Interactions) -> None:
        """Count every item."""
        self.counts.copy_(torch.from_numpy(train.item_counts))

    def scores(self, queries: QueryBatch) -> Tensor:
        """(B, n_items), the counts."""
        return self.counts.expand(len(queries), -1)
