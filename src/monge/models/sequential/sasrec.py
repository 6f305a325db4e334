"""SASRec: a causal transformer whose state at each position scores the next item.

Source: Kang & McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, in the S3-Rec variant that MStein's paper
compares with (post-norm, GELU, inner width 4D). Ours: the choice of losses beyond one sampled negative (full and sampled
softmax, gBCE), cosine scores and a temperature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from monge.data import Interactions, QueryBatch
from monge.models.contract import Batches, inner_product_scores, require_history
from monge.models.sequential.next_item import NextItemConfig, next_item_batches, next_item_loss
from monge.nn import Scoring, SequenceEncoder
from monge.nn.transformer import Norm
from monge.sampling import NextItemBatch


@dataclass(frozen=True, kw_only=True)
class SASRecConfig(NextItemConfig):
    """SASRec's options; the defaults are the ones that MStein's paper gives its baselines."""

    norm: Norm = "post"
    """post: layer norms behind attention and feed-forward (S3-Rec variant); pre: before them (the original)."""


class SASRec(nn.Module):
    """Next-item transformer with inner-product scores."""

    Config: ClassVar = SASRecConfig
    answers_unknown_users: ClassVar = True
    needs_history: ClassVar = True

    def __init__(self, config: SASRecConfig, *, n_users: int, n_items: int) -> None:
        super().__init__()
        self.config = config
        self.scoring = Scoring("dot", config.temperature, config.normalise)
        self.encoder = SequenceEncoder(
            n_items,
            dim=config.dim,
            max_length=config.max_length,
            n_layers=config.n_layers,
            n_heads=config.n_heads,
            dropout=config.dropout,
            attention_dropout=config.attention_dropout,
            norm=getattr(config, "norm", "post"),
        )

    def batches(self, train: Interactions, *, seed: int, device: torch.device) -> Batches:
        """Every user once an epoch, every position a target."""
        return next_item_batches(self.config, train, seed=seed, device=device)

    def item_table(self, items: Tensor | None = None) -> Tensor:
        """Item vectors before scoring: any shape -> (..., D); all items (n_items, D) by default."""
        return self.encoder.items.weight[:-1] if items is None else self.encoder.items(items)

    def loss(self, batch: NextItemBatch) -> dict[str, Tensor]:
        """The configured next-item loss, in nats a position."""
        return next_item_loss(self.config, self.scoring, self.encoder(batch.sequences), self.item_table, batch)

    def query_vectors(self, queries: QueryBatch) -> Tensor:
        """(B, D): the state at the newest item, over the temperature."""
        require_history(queries, "sasrec")
        return self.scoring.vectors(self.encoder(queries.padded(self.config.max_length))[:, -1]) / self.config.temperature

    def item_vectors(self) -> tuple[Tensor, Tensor | None]:
        """(n_items, D), no bias."""
        return self.scoring.vectors(self.item_table()), None

    def scores(self, queries: QueryBatch) -> Tensor:
        """(B, n_items), higher is better."""
        return inner_product_scores(self, queries)
