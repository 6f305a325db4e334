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

    def space(self) -> dict[str, str]:
        """The penalties, and both scores."""
        return {**super().space(), "score": "normalised,raw"}


def make_encoder(config: PairConfig, *, n_users: int, n_items: int) -> Encoder:
    """The encoder that the config names; both kinds start from Xavier's normal distribution."""
    if config.encoder == "embedding":
        return Embeddings(n_users, n_items, config.dim)
    view = partial(drop_edges, rate=config.edge_dropout) if config.edge_dropout else None
    return GraphTables(n_users, n_items, config.dim, n_layers=config.n_layers, normalisation=config.normalisation, view=view)


def observed_pairs(
    config: PairConfig, train: Interactions, trained: Tensor, encoders: Iterable[Encoder | None], *, seed: int, device: torch.device
) -> PairBatches:
    """Every training pair once an epoch, without negatives.

    Notes in `trained` (n_users,) which users there are, and gives the encoders (a teacher too) the graph of the pairs where they
    need one. A last batch of one pair is left out: it has nothing to be told apart from.

    Raises:
        DataError: fewer than two training pairs.
    """
    trained.copy_(torch.from_numpy(train.sequences.lengths > 0))
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


def sphere_items(config: SphereConfig, encoder: Encoder) -> tuple[Tensor, None]:
    """The item vectors of a model on the sphere, and no bias: (n_items, D)."""
    vectors_ID = encoder.everything()[1]
    return unit(vectors_ID) if config.score == "normalised" else vectors_ID, None
