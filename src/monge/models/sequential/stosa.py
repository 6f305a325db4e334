"""STOSA: sequences and items as Gaussians, self-attention and scores by Wasserstein distance.

Source: Fan et al., "Sequential Recommendation via Stochastic Self-Attention", WWW 2022, arXiv:2201.06035.
Where the authors' code differs from the paper: the mean stream is never updated there (`mean_stream="passthrough"`), and
attention is scaled by 1/sqrt(width of a head), which we keep. log sigmoid is computed as such: the code's log(sigmoid(x) +
1e-24) is -inf in float32 for hard pairs. Negatives avoid a user's training items only (theirs also validation and test).
Ours: the choice of losses over -W2 scores, their temperature and normalisation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from monge.data import Interactions, QueryBatch
from monge.models.contract import INFINITY, Batches, check_ranges, inner_product_scores, require_history
from monge.models.sequential.next_item import Loss, NextItemConfig, next_item_batches, next_item_loss
from monge.nn import Scoring, StochasticEncoder
from monge.nn.stochastic import MeanStream
from monge.sampling import NextItemBatch


@dataclass(frozen=True, kw_only=True)
class STOSAConfig(NextItemConfig):
    """STOSA's options; the defaults are the authors' published setting for Beauty."""

    max_length: int = 100
    """How many of the newest items of a history are read."""
    n_layers: int = 1
    """Self-attention layers."""
    n_heads: int = 4
    """Attention heads; must divide the width."""
    dropout: float = 0.3
    """Dropout on embeddings and on what a layer adds."""
    attention_dropout: float = 0.0
    """Dropout on attention weights."""
    loss: Loss = "bpr"
    """bpr and bce_1neg draw one negative a position, gbce and sampled_softmax draw n_negatives, full_ce takes all items."""
    mean_stream: MeanStream = "attended"
    """attended: as the paper says; passthrough: as the authors' code does (the mean is never updated)."""
    pvn_weight: float = 0.005
    """Weight of the positive-versus-negative hinge (loss bpr only)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, pvn_weight=(0, INFINITY))

    def space(self) -> dict[str, str]:
        """The paper's grid: narrower streams, since there are two, and the hinge that goes with bpr."""
        return gaussian_space(super().space(), self.loss)


def gaussian_space(shared: Mapping[str, str], loss: Loss) -> dict[str, str]:
    """The space that next-item models share -> that of those whose states are Gaussians, for STOSA and MStein alike."""
    return {**shared, "dim": "32,64", **({"pvn_weight": "0.005,0.01,0.05,0.1"} if loss == "bpr" else {})}


class STOSA(nn.Module):
    """Next-item Wasserstein transformer."""

    Config: ClassVar = STOSAConfig
    answers_unknown_users: ClassVar = True
    needs_history: ClassVar = True

    def __init__(self, config: STOSAConfig, *, n_users: int, n_items: int) -> None:
        super().__init__()
        self.config = config
        self.scoring = Scoring("w2", config.temperature, config.normalise)
        self.encoder = StochasticEncoder(
            n_items,
            dim=config.dim,
            max_length=config.max_length,
            n_layers=config.n_layers,
            n_heads=config.n_heads,
            dropout=config.dropout,
            attention_dropout=config.attention_dropout,
            mean_stream=config.mean_stream,
        )

    def batches(self, train: Interactions, *, seed: int, device: torch.device) -> Batches:
        """Every user once an epoch, every position a target."""
        return next_item_batches(self.config, train, seed=seed, device=device)

    def loss(self, batch: NextItemBatch) -> dict[str, Tensor]:
        """Eq. 4 of MStein's paper (bpr + pvn_weight * pvn), or the configured next-item loss over -W2 scores."""
        return next_item_loss(
            self.config,
            self.scoring,
            self.encoder.states(batch.sequences),
            self.encoder.item_gaussians,
            batch,
            positive_from_negative=self.config.pvn_weight,
        )

    def query_vectors(self, queries: QueryBatch) -> Tensor:
        """(B, 2D): the Gaussian at the newest item, scaled so that an inner product with a bias is -W2 up to a constant."""
        require_history(queries, "stosa")
        states = self.encoder.states(queries.padded(self.config.max_length))[:, -1]
        return self.scoring.vectors(states) * (2 / self.config.temperature)

    def item_vectors(self) -> tuple[Tensor, Tensor | None]:
        """(n_items, 2D) and the bias -|v|^2 / temperature."""
        items = self.scoring.vectors(self.encoder.item_gaussians())
        _, vectors, bias = self.scoring.as_inner_product(items[:0], items)
        return vectors, bias

    def scores(self, queries: QueryBatch) -> Tensor:
        """(B, n_items), higher is better: -W2 up to a constant per query."""
        return inner_product_scores(self, queries)
