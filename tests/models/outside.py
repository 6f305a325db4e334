"""Somebody else's model, known by its import path alone: first-order transitions learnt by gradient steps, without vectors."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from monge.data import Interactions, QueryBatch
from monge.models.contract import Batches, require_history
from monge.sampling import NextItemBatch, NextItemBatches


@dataclass(frozen=True, kw_only=True)
class TransitionsConfig:
    batch_size: int = 64
    learning_rate: float = 0.1
    weight_decay: float = 0.0


class Transitions(nn.Module):
    Config: ClassVar = TransitionsConfig
    answers_unknown_users: ClassVar = True

    def __init__(self, config: TransitionsConfig, *, n_users: int, n_items: int) -> None:
        super().__init__()
        self.config = config
        self.table = nn.Embedding(n_items + 1, n_items)

    def batches(self, train: Interactions, *, seed: int, device: torch.device) -> Batches:
        return NextItemBatches(train, batch_size=self.config.batch_size, max_length=50, seed=seed, device=device)

    def loss(self, batch: NextItemBatch) -> dict[str, Tensor]:
        logits = self.table(batch.sequences)
        return {"ce": F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=batch.n_items)}

    def scores(self, queries: QueryBatch) -> Tensor:
        require_history(queries, "transitions")
        return self.table(queries.padded(1)[:, -1])
