"""LATTICE: items learn from items of like content, over a graph that is mined anew every epoch.

    original_m, learned_m   the K most alike items by cosine of raw features f, and of W_m f, itself among them, scaled by roots of row sums
    S    = sum_m w_m [ (1 - skip) learned_m + skip original_m ],   w = softmax of a learned weight a modality
    h    = S E_I                                        one layer over items
    item = (layers of the user-item graph)_i + h_i / |h_i|,   user = (layers of the user-item graph)_u,   s_ui = <user, item>

Items that training never saw have h alone, and lend nothing to their neighbours: what they get, they get from trained items. An item
without a row in a modality has no neighbours in its two graphs, whatever `missing` says.

Source: Zhang et al., "Mining Latent Structures for Multimedia Recommendation", MM 2021, Eqs. 2-9, with LightGCN as the collaborative part
(He et al., SIGIR 2020). As in the authors' code: graph D^-1 (A + I) (`self_loops`), neighbours mined once an epoch. Ours: the weights of
the learned graph's edges follow W_m in every step (in the code only in an epoch's first); each modality's learned graph is scaled before
the graphs are added up (in the code after); negative cosines are no edges.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from monge.data import Interactions, Modality, QueryBatch
from monge.losses import bpr
from monge.models.contract import Batches, check_ranges, epochs_of, inner_product_scores, require_trained_users
from monge.models.multimodal.content import INFINITY, ContentConfig, Trained, projections
from monge.nn import BipartiteGraph, propagate
from monge.nn.answers import Answers
from monge.nn.features import chosen, inner_products_of_neighbours, most_alike, nearest_items, sums_of_neighbours
from monge.sampling import PairBatch, PairBatches


@dataclass(frozen=True, kw_only=True)
class LATTICEConfig(ContentConfig):
    """LATTICE's options."""

    content_dim: int = 64
    """Width of projected features, by which the learned graph is mined."""
    k: int = 10
    """Neighbours of an item, itself among them, in each graph."""
    skip: float = 0.9
    """Share of the graph of raw features; the learned one has the rest."""
    n_item_layers: int = 1
    """Layers over the item graph."""
    n_layers: int = 2
    """Layers over the user-item graph."""
    self_loops: bool = True
    """User-item layers D^-1 (A + I), as in the authors' code; off: LightGCN's D^-1/2 A D^-1/2."""
    regularisation: float = 1e-4
    """L2 penalty on the final vectors of a batch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, content_dim=(1, INFINITY), k=(1, INFINITY), skip=(0, 1), n_item_layers=(1, INFINITY), n_layers=(0, INFINITY))
        check_ranges(self, regularisation=(0, INFINITY))

    def unused(self) -> dict[str, str]:
        """Options without effect -> what makes them so."""
        return {"missing": "lattice, whose graphs leave out items that lack a modality"}

    def space(self) -> dict[str, str]:
        """What `monge tune` searches by itself: the paper's grid."""
        return {"learning_rate": "1e-4,5e-4,1e-3,5e-3", "regularisation": "0,1e-5,1e-4,1e-3", "k": "5,10,20"}


class LATTICE(nn.Module):
    """Item-item structure from content; it knows the users of its training only."""

    Config: ClassVar = LATTICEConfig
    answers_unknown_users: ClassVar = False
    uses_modalities: ClassVar = True
    answers_new_items: ClassVar = True

    def __init__(self, config: LATTICEConfig, *, n_users: int, n_items: int, modalities: Mapping[str, Modality]) -> None:
        super().__init__()
        self.config = config
        self.users, self.items = nn.Embedding(n_users, config.dim), nn.Embedding(n_items, config.dim)
        for table in (self.users, self.items):
            nn.init.xavier_uniform_(table.weight)
        self.raw = chosen(modalities, config.modalities, "lattice", scale=config.feature_scale)
        self.content = projections(self.raw, config.content_dim, "zero")
        self.modality_weight = nn.Parameter(torch.zeros(len(self.raw)))
        self.trained = Trained(n_users, n_items)
        self.answers = Answers(n_users, n_items, config.dim, self.final)
        self.graph: BipartiteGraph | None = None
        self.original: list[tuple[Tensor, Tensor]] = []
        self.learned: list[Tensor] = []

    def batches(self, train: Interactions, *, seed: int, device: torch.device) -> Batches:
        """Every training interaction once an epoch, with one negative; the item graph is mined before."""
        self.trained.note(train)
        self.graph = BipartiteGraph.from_interactions(
            train, normalisation="one-sided" if self.config.self_loops else "symmetric", device=device
        )
        self.original = []
        for modality in self.raw.values():
            items, cosines = nearest_items(modality, self.config.k)
            self.original.append((items.to(device), _scaled(items, cosines.clamp(min=0)).to(device)))
        self.mine()
        pairs = PairBatches(train, batch_size=self.config.batch_size, seed=seed, device=device)

        def run(epoch: int) -> Iterator[PairBatch]:
            self.mine()
            yield from pairs(epoch)

        return epochs_of(len(pairs), run)

    @torch.no_grad()
    def mine(self) -> None:
        """The neighbours of the learned graphs, by the projections as they are."""
        self.answers.outdated()
        self.learned = [most_alike(unit, self.config.k) for unit in self.projected()]

    def projected(self) -> list[Tensor]:
        """Each modality's W_m f as (I, content_dim) of length 1; zero where an item has no f."""
        return [F.normalize(projection(), dim=-1) * ~projection.get_buffer("missing")[:, None] for projection in self.content.values()]

    def alike(self, vectors: Tensor) -> Tensor:
        """(I, D) -> (I, D) one layer over items: S times the vectors."""
        weights = self.modality_weight.softmax(0)
        layers: list[Tensor] = []
        for unit, (items, fixed), mined in zip(self.projected(), self.original, self.learned, strict=True):
            cosines = inner_products_of_neighbours(unit, mined).clamp(min=0)
            original, learned = (sums_of_neighbours(vectors, *edges) for edges in ((items, fixed), (mined, _scaled(mined, cosines))))
            layers.append(self.config.skip * original + (1 - self.config.skip) * learned)
        return (weights[:, None, None] * torch.stack(layers)).sum(0)

    def final(self) -> tuple[Tensor, Tensor]:
        """(U, D) and (I, D) final vectors."""
        assert self.graph is not None, "batches() sets it"
        own = self.items.weight * self.trained.items[:, None]
        users_UD, items_ID = _with_self(self.graph, self.users.weight, own, self.config.n_layers, self_loops=self.config.self_loops)
        h_ID = own
        for _ in range(self.config.n_item_layers):
            h_ID = self.alike(h_ID)
        return users_UD, items_ID + F.normalize(h_ID, dim=-1)

    def loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """BPR-Opt on final vectors, in nats a pair."""
        self.answers.outdated()
        users_UD, items_ID = self.final()
        user, positive, negative = (
            F.embedding(rows, table) for rows, table in ((batch.users, users_UD), (batch.positives, items_ID), (batch.negatives, items_ID))
        )
        parts = {"bpr": bpr((user * positive).sum(-1), (user * negative).sum(-1))}
        if self.config.regularisation:
            squares = user.square().sum() + positive.square().sum() + negative.square().sum()
            parts["l2"] = self.config.regularisation * squares / (2 * len(batch.users))
        return parts

    def query_vectors(self, queries: QueryBatch) -> Tensor:
        """(B, D)."""
        return self.answers.get()[0][require_trained_users(queries.user, self.trained.users, "lattice")]

    def item_vectors(self) -> tuple[Tensor, Tensor | None]:
        """(n_items, D), no bias."""
        return self.answers.get()[1], None

    def scores(self, queries: QueryBatch) -> Tensor:
        """(B, n_items), higher is better."""
        return inner_product_scores(self, queries)


def _scaled(items: Tensor, values: Tensor) -> Tensor:
    """Weights (I, K) of edges to items (I, K) over the roots of both ends' row sums; 0 where a sum is 0."""
    sums = values.sum(1)
    roots = torch.where(sums > 0, sums, 1).rsqrt() * (sums > 0)
    return values * roots[:, None] * F.embedding(items, roots[:, None]).squeeze(-1)


def _with_self(graph: BipartiteGraph, users: Tensor, items: Tensor, n_layers: int, *, self_loops: bool) -> tuple[Tensor, Tensor]:
    """The mean over layers 0..K of D^-1 (A + I), D counting the node itself; without self-loops LightGCN's layers."""
    if not self_loops:
        return propagate(graph, users, items, n_layers)
    own_U, own_I = (1 / (offsets.diff()[:, None] + 1) for offsets in (graph.user_offsets, graph.item_offsets))
    sums = users, items
    for _ in range(n_layers):
        to_users, to_items = graph.to_users(items), graph.to_items(users)
        users, items = to_users + own_U * (users - to_users), to_items + own_I * (items - to_items)
        sums = sums[0] + users, sums[1] + items
    return sums[0] / (n_layers + 1), sums[1] / (n_layers + 1)
