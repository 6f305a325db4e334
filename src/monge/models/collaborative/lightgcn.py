"""LightGCN: BPRMF on vectors that were averaged over the user-item graph, layer by layer.

    E^(k+1) = D^-1/2 A D^-1/2 E^(k)       E = (E^(0) + E^(1) + ... + E^(K)) / (K + 1)       s_ui = <e_u, e_i>
    loss = -mean log sigmoid(s_ui - s_uj) + regularisation * mean(|e_u^(0)|^2 + |e_i^(0)|^2 + |e_j^(0)|^2) / 2

A is the graph of the training pairs, each once; only E^(0) is learnt. The penalty is on the layer-0 vectors of the batch.

Source: He et al., "LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation", SIGIR 2020, Eq. 7, 8, 15. The
penalty is that of the authors' code (the batch's vectors, not all of them). They start from N(0, 0.1^2), others (RecBole, DirectAU's
code) from Xavier's: `init` has both. Ours: `normalisation` one-sided, D^-1 A, as a choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from monge.data import Interactions, QueryBatch
from monge.losses import bpr
from monge.models.contract import Batches, check_positive, check_ranges, inner_product_scores, require_trained_users
from monge.nn.graph import GraphTables, Normalisation
from monge.sampling import PairBatch, PairBatches


@dataclass(frozen=True, kw_only=True)
class LightGCNConfig:
    """LightGCN's options."""

    dim: int = 64
    """Width of user and item vectors."""
    n_layers: int = 3
    """Layers of the propagation, K; 0 is BPRMF."""
    normalisation: Normalisation = "symmetric"
    """Of the graph: symmetric, one-sided (a node receives the mean of its neighbours), or the root of its own degree."""
    init: Literal["normal", "xavier"] = "normal"
    """First layer-0 vectors: normal with deviation 0.1, or Xavier's normal."""
    regularisation: float = 1e-4
    """L2 penalty on the layer-0 vectors of a batch."""
    batch_size: int = 2048
    """Pairs in a training batch."""
    learning_rate: float = 1e-3
    """Adam's step size."""
    weight_decay: float = 0.0
    """Coupled L2 penalty on all parameters, in every step."""

    def __post_init__(self) -> None:
        infinity = float("inf")
        check_ranges(self, dim=(1, infinity), n_layers=(0, infinity), regularisation=(0, infinity), batch_size=(1, infinity))
        check_ranges(self, weight_decay=(0, infinity))
        check_positive(self, "learning_rate")

    def space(self) -> dict[str, str]:
        """What `monge tune` searches by itself; the paper tunes the penalty alone, with 3 layers."""
        return {"learning_rate": "5e-4..5e-3:log", "n_layers": "1..4", "regularisation": "1e-6,1e-5,1e-4,1e-3,1e-2"}


class LightGCN(nn.Module):
    """Linear propagation over the graph of the training; it knows the users of its training only."""

    Config: ClassVar = LightGCNConfig
    answers_unknown_users: ClassVar = False

    trained: Tensor

    def __init__(self, config: LightGCNConfig, *, n_users: int, n_items: int) -> None:
        super().__init__()
        self.config = config
        self.tables = GraphTables(
            n_users, n_items, config.dim, n_layers=config.n_layers, normalisation=config.normalisation, init=config.init
        )
        self.register_buffer("trained", torch.zeros(n_users, dtype=torch.bool))

    def batches(self, train: Interactions, *, seed: int, device: torch.device) -> Batches:
        """Every training interaction once an epoch, with one negative; all of them make the graph."""
        self.trained.copy_(torch.from_numpy(train.sequences.lengths > 0))
        self.tables.connect(train, device)
        return PairBatches(train, batch_size=self.config.batch_size, seed=seed, device=device)

    def loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """BPR-Opt on final vectors, in nats a pair; the graph is propagated over once for the batch."""
        items = torch.cat([batch.positives, batch.negatives])
        user, both = self.tables(batch.users, items)
        positive, negative = both.chunk(2)
        parts = {"bpr": bpr((user * positive).sum(-1), (user * negative).sum(-1))}
        if self.config.regularisation:
            squares = self.tables.users(batch.users).square().sum() + self.tables.items(items).square().sum()
            parts["l2"] = self.config.regularisation * squares / (2 * len(batch.users))
        return parts

    def query_vectors(self, queries: QueryBatch) -> Tensor:
        """(B, D)."""
        return self.tables.everything()[0][require_trained_users(queries.user, self.trained, "lightgcn")]

    def item_vectors(self) -> tuple[Tensor, Tensor | None]:
        """(n_items, D), no bias."""
        return self.tables.everything()[1], None

    def scores(self, queries: QueryBatch) -> Tensor:
        """(B, n_items), higher is better."""
        return inner_product_scores(self, queries)
