"""What models of observed pairs without negatives share: an exchangeable encoder, options, batches.

An encoder is a module with two methods: `encoder(users, items)` gives the vectors of a batch's pairs, `encoder.everything()` those of
all users and all items. Models normalise them where they need it. A teacher that follows an encoder over the graph propagates its own
tables, and sees its own view of the graph.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from monge.augment import drop_edges
from monge.data import Interactions
from monge.models.contract import check_positive, check_ranges, require_trained_users
from monge.nn import Embeddings, GraphTables
from monge.nn.graph import Normalisation
from monge.sampling import PairBatches

Encoder = Embeddings | GraphTables
Score = Literal["normalised", "raw"]
INFINITY = float("inf")


@dataclass(frozen=True, kw_only=True)
class PairConfig:
    """Options of the encoder and of the steps; the defaults are SCLRec's, the same for all models of its paper."""

    encoder: Literal["embedding", "lightgcn"] = "embedding"
    """What gives users and items their vectors; embedding: a table each; lightgcn: tables averaged over the user-item graph."""
    n_layers: int = 2
    """Layers of the propagation over the graph."""
    normalisation: Normalisation = "symmetric"
    """Of the graph: symmetric, or one-sided (a node receives the mean of its neighbours)."""
    edge_dropout: float = 0.0
    """Share of the graph's edges that a training step does not see, drawn anew for each pass over it."""
    dim: int = 64
    """Width of user and item vectors."""
    batch_size: int = 1024
    """Pairs in a training batch."""
    learning_rate: float = 1e-3
    """Adam's step size."""
    weight_decay: float = 0.0
    """Coupled L2 penalty; under a loss of normalised vectors it acts on the size of the steps alone."""

    def __post_init__(self) -> None:
        check_ranges(self, dim=(1, INFINITY), batch_size=(2, INFINITY), weight_decay=(0, INFINITY))
        check_ranges(self, n_layers=(0, INFINITY), edge_dropout=(0, 0.99))
        check_positive(self, "learning_rate")

    def unused(self) -> dict[str, str]:
        """Options that this configuration does not read -> the option that makes it so."""
        return dict.fromkeys(("n_layers", "normalisation", "edge_dropout"), "--encoder embedding") if self.encoder == "embedding" else {}

    def space(self) -> dict[str, str]:
        """What `monge tune` searches by itself: the penalties of SCLRec's paper, which fixes the rest for all models."""
        return {"weight_decay": "0,1e-8,1e-6"}


@dataclass(frozen=True, kw_only=True)
class SphereConfig(PairConfig):
    """Options of models that are trained on unit-norm vectors."""

    score: Score = "normalised"
    """Items are ranked by cosines, as in training, or by raw inner products, where the items' norms act as a prior."""
    prior_weight: float = 0.0
    """Weight of the log of an item's share of the training pairs (each item counted once more than it is there), added to its score (ours).
    A softmax over a batch's items ends at pointwise mutual information, to which popularity adds nothing; its temperature puts it back."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, prior_weight=(0, INFINITY))

    def space(self) -> dict[str, str]:
        """The penalties, both scores, and the popularity put back."""
        return {**super().space(), "score": "normalised,raw", "prior_weight": "0,0.02,0.05,0.1,0.2,0.5,1"}


def make_encoder(config: PairConfig, *, n_users: int, n_items: int) -> Encoder:
    """The encoder that the config names; both kinds start from Xavier's normal distribution."""
    if config.encoder == "embedding":
        return Embeddings(n_users, n_items, config.dim)
    view = partial(drop_edges, rate=config.edge_dropout) if config.edge_dropout else None
    return GraphTables(n_users, n_items, config.dim, n_layers=config.n_layers, normalisation=config.normalisation, view=view)


def observed_pairs(
    config: PairConfig,
    train: Interactions,
    trained: Tensor,
    encoders: Iterable[Encoder | None],
    *,
    log_share: Tensor | None = None,
    seed: int,
    device: torch.device,
) -> PairBatches:
    """Every training pair once an epoch, without negatives.

    Notes in `trained` (n_users,) which users there are and in `log_share` (n_items,) how popular the items are, and gives the encoders
    (a teacher too) the graph of the pairs where they need one. A last batch of one pair is left out: it has nothing to be told apart from.

    Raises:
        DataError: fewer than two training pairs.
    """
    trained.copy_(torch.from_numpy(train.sequences.lengths > 0))
    if log_share is not None:
        counts = torch.from_numpy(train.item_counts.astype(np.float64)) + 1  # one more for each: no log of 0
        log_share.copy_((counts / counts.sum()).log())
    for encoder in encoders:
        if isinstance(encoder, GraphTables):
            encoder.connect(train, device)
    return PairBatches(train, batch_size=config.batch_size, seed=seed, n_negatives=0, smallest=2, device=device)


def unit(vectors: Tensor) -> Tensor:
    """Rows of length 1: (..., D) -> (..., D)."""
    return F.normalize(vectors, dim=-1)


def sphere_queries(config: SphereConfig, encoder: Encoder, users: Tensor, trained: Tensor, model: str) -> Tensor:
    """The query vectors of a model on the sphere: user numbers (B,) -> (B, D).

    Raises:
        QueryError: a user whom training never saw.
    """
    vectors_BD = encoder.everything()[0][require_trained_users(users, trained, model)]
    return unit(vectors_BD) if config.score == "normalised" else vectors_BD


def log_shares(config: SphereConfig, n_items: int) -> Tensor | None:
    """(n_items,) where the items' popularity will stand; None where scores do not have it."""
    return torch.zeros(n_items) if config.prior_weight else None


def sphere_items(config: SphereConfig, encoder: Encoder, log_share: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """The item vectors of a model on the sphere (n_items, D), and the biases (n_items,) where popularity is put back."""
    vectors_ID = encoder.everything()[1]
    bias_I = None if log_share is None else config.prior_weight * log_share
    return unit(vectors_ID) if config.score == "normalised" else vectors_ID, bias_I
