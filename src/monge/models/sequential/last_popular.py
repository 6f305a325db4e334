"""LastPopular: the items that most often end a training sequence, the same list for everybody.

A trivial baseline for next-item tables: it knows what is fresh, and nothing of the user. Where a protocol says what the training asks
(`Interactions.examples`), the truths of these are counted: one list a domain, because each query is ranked among its domain's items.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from monge.data import Interactions, QueryBatch


@dataclass(frozen=True, kw_only=True)
class LastPopularConfig:
    """LastPopular has no options."""


class LastPopular(nn.Module):
    """Counts of items as the last of a training sequence."""

    Config: ClassVar = LastPopularConfig
    answers_unknown_users: ClassVar = True

    counts: Tensor

    def __init__(self, config: LastPopularConfig, *, n_users: int, n_items: int) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("counts", torch.zeros(n_items))

    def solve(self, train: Interactions) -> None:
        """Count the last training item of each user, or the truths of the training's examples."""
        if train.examples is not None:
            self.counts.copy_(torch.from_numpy(train.examples.truth.values).bincount(minlength=train.n_items))
            return
        last = train.position_in_sequence == train.sequences.lengths[train.user] - 1
        self.counts.copy_(torch.from_numpy(train.item[last]).bincount(minlength=train.n_items))

    def scores(self, queries: QueryBatch) -> Tensor:
        """(B, n_items), the counts."""
        return self.counts.expand(len(queries), -1)
