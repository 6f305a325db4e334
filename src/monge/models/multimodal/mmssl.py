"""MMSSL: users' tastes in each modality, made to look like the log by a critic, and contrasted with their final vectors.

    f_u^m = A_r (F^m W_m + b_m),  f_i^m = A_c f_u^m                        modality features by what users took            (Eq. 2)
    N_u^m = the k items most like u by cos(f_u^m, f_i^m)                   neighbours in a modality, anew every epoch       (Eq. 3)
    e_u^m = A_r^m e_i,            e_i^m = A_c^m e_u                        id vectors gathered over them: views             (Eq. 8)
    e~    = mean over m of self-attention among a node's views                                                           (Eq. 9)
    e^    = mean over layers 0..L of A_r, A_c, from e + eta e~/|e~|                                                      (Eq. 10)
    h     = e^ + omega sum_m f^m / |f^m|,          s_ui = <h_u, h_i>                                                     (Eq. 12)
    loss  = BPR + lambda_2 sum_m contrast(h_u, e_u^m) + lambda_3 L_G                                           (Eqs. 7, 11, 13)

A_r and A_c are the log's 0/1 matrix and its transpose, each row over the root of its own sum (`normalisation`). L_G and its critic stand in
`monge.models.multimodal.adversarial`. An item that training never saw is scored by its features alone, F^m W_m + b_m in place of f_i^m.

Source: Wei et al., "Multi-Modal Self-Supervised Learning for Recommendation", WWW 2023, and the authors' code (HKUDS/MMSSL). The paper
prints some equations in a form that cannot be computed; what is computed here: Eq. 9 weighs the whole views in every head and projects
their concatenation; Eq. 10 goes from items to users and back, starts with a vector of length 1 and has the mean of L + 1 layers; Eq. 11
has a minus sign, and its sums run over the batch. Left open by the paper: how neighbours are chosen (`k`, observed items hidden unless
`observed_views`), the graph auto-encoder of the ablation r/p-GAE (`generator gae`: binary
cross-entropy of inner products). What the code does instead, as options: `sequential_layers`, `last_softmax`, `feature_regularisation`,
the adversarial part's, and `views none`: its defaults rebuild the neighbours so that from the second step of an epoch on there are none.
Not rebuilt: keys of the attention that are reshaped queries. The code declares the schedule of learning rates that Algorithm 1 has and
never steps it: `decay 1`.

Axes: U users, I items, B users of a batch, D width, M modalities, H heads, N nodes of either side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from monge.data import Interactions, Modality, QueryBatch
from monge.errors import ConfigError, DataError
from monge.losses import bpr, cross_view_info_nce
from monge.models.contract import Batches, check_positive, check_ranges, epochs_of, inner_product_scores, require_trained_users
from monge.models.multimodal.adversarial import AdversarialConfig, Adversary, Tables
from monge.models.multimodal.content import INFINITY, ContentConfig, Trained, projections
from monge.nn import BipartiteGraph, propagate
from monge.nn.answers import Answers
from monge.nn.dropout import dropout
from monge.nn.features import chosen
from monge.nn.graph import Normalisation
from monge.nn.rows import places, rows_at_once
from monge.sampling import PairBatch, UserBatches


@dataclass(frozen=True, kw_only=True)
class MMSSLConfig(AdversarialConfig, ContentConfig):
    """MMSSL's options; the defaults are the paper's, and its code's where the paper names none."""

    asl: bool = True
    """Adversarial self-supervision; off: the ablation w/o-ASL."""
    cl: bool = True
    """Contrast final vectors with those of each modality; off: the ablation w/o-CL."""
    generator: Literal["gan", "gae"] = "gan"
    """What teaches the modalities' relations: the critic, or a graph auto-encoder (the ablation r/p-GAE)."""
    gae_weight: float = 0.1
    """Weight of the auto-encoder's loss, where there is one."""
    contrast_weight: float = 0.03
    """Lambda_2: weight of the contrastive loss."""
    contrast_temperature: float = 0.085
    """Its temperature; the authors' code has 0.5."""
    views: Literal["top_k", "log", "none"] = "top_k"
    """The modalities' neighbours: the k most alike, what the log has (ours), or none, as the authors' code has them with its default
    options."""
    k: int = 10
    """Neighbours of a user in a modality."""
    observed_views: bool = False
    """A user's own items may be neighbours too."""
    normalisation: Normalisation = "root"
    """Of all graphs: each row over the root of its own sum (the paper), or symmetric, as in LightGCN, or one-sided (ours)."""
    n_heads: int = 4
    """Heads of the attention among modalities."""
    n_layers: int = 2
    """Layers over the user-item graph, L."""
    view_weight: float = 0.36
    """Eta: weight of the attended views in the first layer."""
    feature_weight: float = 0.55
    """Omega: weight of the modality features in final vectors."""
    dropout: float = 0.2
    """Dropout of projected features."""
    sequential_layers: bool = False
    """Items receive users that were updated already, as in the authors' code."""
    last_softmax: bool = False
    """A softmax over the D numbers of the last layer's vectors, as in the authors' code."""
    regularisation: float = 1e-5
    """L2 penalty on the final vectors of a batch."""
    feature_regularisation: float = 0.0
    """L2 penalty on all modality features over the number of items; the authors' code has 1e-5."""
    learning_rate: float = 5.5e-4
    """AdamW's step size."""
    weight_decay: float = 0.01
    """AdamW's decoupled weight decay; the critic has none."""
    decay: float = 0.96
    """Both learning rates shrink by this factor in 50 epochs, a little in each; 1: they stay, as in the authors' code."""
    block: int = 0
    """Users in a block when neighbours are chosen; 0: by free memory."""

    def __post_init__(self) -> None:
        ContentConfig.__post_init__(self)
        AdversarialConfig.__post_init__(self)
        check_ranges(self, contrast_weight=(0, INFINITY), k=(1, INFINITY), n_layers=(0, INFINITY), dropout=(0, 0.99), block=(0, INFINITY))
        check_ranges(self, n_heads=(1, INFINITY), gae_weight=(0, INFINITY), regularisation=(0, INFINITY), batch_size=(2, INFINITY))
        check_ranges(self, view_weight=(0, INFINITY), feature_weight=(0, INFINITY), feature_regularisation=(0, INFINITY))
        check_positive(self, "contrast_temperature", "decay")
        if self.dim % self.n_heads:
            raise ConfigError(f"--dim must be a multiple of --n-heads; got {self.dim} and {self.n_heads}")

    @property
    def adversarial(self) -> bool:
        """Whether there is a critic."""
        return self.asl and self.generator == "gan"

    def unused(self) -> dict[str, str]:
        """Options that this configuration does not read -> the option that makes it so."""
        of_contrast = {} if self.cl else dict.fromkeys(("contrast_weight", "contrast_temperature"), "--no-cl")
        of_top_k = {} if self.views == "top_k" else dict.fromkeys(("k", "observed_views", "block"), f"--views {self.views}")
        of_views = of_top_k | (dict.fromkeys(("view_weight", "n_heads"), "--views none") if self.views == "none" else {})
        of_adversary = self.unused_of_adversary()
        if self.asl and self.generator == "gae":
            names = (name for name in AdversarialConfig.__dataclass_fields__ if name != "asl")
            of_adversary = dict.fromkeys(names, "--generator gae")
        of_gae = {} if self.asl and self.generator == "gae" else {"gae_weight": "--no-asl" if not self.asl else "--generator gan"}
        return of_contrast | of_views | of_adversary | of_gae

    def space(self) -> dict[str, str]:
        """What `monge tune` searches by itself: what the paper searches or leaves open, and the penalty that its baselines have."""
        contrast = {"contrast_temperature": "0.085,0.2,0.5", "contrast_weight": "0.003..0.3:log"} if self.cl else {}
        weight = {} if self.views == "none" else {"view_weight": "0.03..1:log"}
        views = weight | ({"k": "5,10,20", "observed_views": "false,true"} if self.views == "top_k" else {})
        critic = {"adversarial_weight": "1e-3..1:log"} if self.adversarial else {}
        own = {"learning_rate": "2e-5..1e-3:log", "n_layers": "1..3", "feature_weight": "0.05..1:log", "regularisation": "1e-5..1e-1:log"}
        return own | views | contrast | critic


@dataclass(frozen=True, eq=False)
class Vectors:
    """All vectors of one pass."""

    features: list[Tables]  # per modality (U, D), (I, D)
    views: list[Tables]  # per modality (U, D), (I, D)
    final: Tables  # (U, D), (I, D)


class Attention(nn.Module):
    """Eq. 9: self-attention among the M views of each node, all heads weighing whole views; then their mean."""

    def __init__(self, dim: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.queries, self.keys = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.out = nn.Linear(n_heads * dim, dim, bias=False)
        for layer in (self.queries, self.keys, self.out):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, views: Tensor) -> Tensor:
        """(N, M, D) -> (N, D)."""
        queries, keys = (layer(views).unflatten(-1, (self.n_heads, -1)) for layer in (self.queries, self.keys))
        # a product a key: with two or three views far sooner than N H matrix products of that size
        logits_NMHM = torch.stack([(queries * key.unsqueeze(1)).sum(-1) for key in keys.unbind(1)], -1) / queries.shape[-1] ** 0.5
        # the mean over m and the output layer are linear, so the weights may be averaged before the views are weighed
        heads_NHD = logits_NMHM.softmax(-1).mean(1) @ views
        return self.out(heads_NHD.flatten(1))


class MMSSL(nn.Module):
    """Multi-modal self-supervised learning; it knows the users of its training only."""

    Config: ClassVar = MMSSLConfig
    answers_unknown_users: ClassVar = False
    uses_modalities: ClassVar = True
    answers_new_items: ClassVar = True
    decoupled_decay: ClassVar = True

    def __init__(self, config: MMSSLConfig, *, n_users: int, n_items: int, modalities: Mapping[str, Modality]) -> None:
        super().__init__()
        self.config = config
        self.users, self.items = nn.Embedding(n_users, config.dim), nn.Embedding(n_items, config.dim)
        for table in (self.users, self.items):
            nn.init.xavier_uniform_(table.weight)
        self.content = projections(chosen(modalities, config.modalities, "mmssl", scale=config.feature_scale), config.dim, config.missing)
        self.attention = Attention(config.dim, config.n_heads)
        self.adversary = Adversary(config, n_items) if config.adversarial else None
        self.trained = Trained(n_users, n_items)
        self.answers = Answers(n_users, n_items, config.dim, self.answer)
        self.graph: BipartiteGraph | None = None
        self.neighbours: list[BipartiteGraph | None] = []

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The model's own parameters, and the critic's with settings of their own."""
        critic = set() if self.adversary is None else set(self.adversary.parameters())
        own: list[dict[str, Any]] = [{"params": [parameter for parameter in self.parameters() if parameter not in critic]}]
        return own if self.adversary is None else [*own, self.adversary.parameter_group()]

    def batches(self, train: Interactions, *, seed: int, device: torch.device) -> Batches:
        """Distinct users with one item and one negative each (Alg. 1); neighbours are chosen at the start of an epoch."""
        self.trained.note(train)
        self.graph = BipartiteGraph.from_interactions(train, normalisation=self.config.normalisation, device=device)
        if self.adversary is not None:
            self.adversary.connect(self.graph)
        self.answers.outdated()
        sampler = UserBatches(train, batch_size=self.config.batch_size, seed=seed, device=device)
        self.neighbours = [None if self.config.views == "none" else self.graph for _ in self.content]
        if self.config.views == "top_k":
            self.refresh()

        def run(epoch: int) -> Iterator[PairBatch]:
            if epoch and self.config.views == "top_k":
                self.refresh()
            yield from sampler(epoch)

        return epochs_of(len(sampler), run)

    @torch.no_grad()
    def refresh(self) -> None:
        """Choose each modality's neighbours of all users anew, in blocks of users.

        Raises:
            DataError: a modality has none for anybody.
        """
        for number, ((name, _), (users_UD, items_ID)) in enumerate(zip(self.content.items(), self.features(), strict=True)):
            self.neighbours[number] = graph = self.most_alike(users_UD, items_ID)
            if not graph.n_edges:
                raise DataError(f"the views of modality {name} are empty: no user has an item to be its neighbour; try --observed-views")
        self.answers.outdated()

    def most_alike(self, users_UD: Tensor, items_ID: Tensor) -> BipartiteGraph:
        """The graph of the k items with the largest cosine for each training user; pairs without a cosine above zero are left out."""
        assert self.graph is not None, "batches() sets it"
        users = self.trained.users.nonzero().squeeze(1)
        unit_UD, unit_ID = F.normalize(users_UD, dim=-1), F.normalize(items_ID, dim=-1)
        k, offsets = min(self.config.k, len(items_ID)), self.graph.user_offsets.long()
        block = self.config.block or rows_at_once(len(items_ID), unit_ID.device)
        pairs: list[tuple[Tensor, Tensor]] = []
        for some in users.split(block):
            cosines = unit_UD[some] @ unit_ID.T
            if not self.config.observed_views:
                lengths = offsets[some + 1] - offsets[some]
                taken = self.graph.items[places(offsets[some], lengths)].long()
                cosines[torch.repeat_interleave(lengths), taken] = -torch.inf
            found = cosines.topk(k, dim=1)
            kept = found.values > 0
            pairs.append((some[:, None].expand_as(kept)[kept], found.indices[kept]))
        user, item = (torch.cat(side) for side in zip(*pairs, strict=True))
        return BipartiteGraph.from_pairs(user, item, self.graph.n_users, self.graph.n_items, normalisation=self.config.normalisation)

    def features(self, share: float = 0.0) -> list[Tables]:
        """Eq. 2: each modality's (U, D) and (I, D), with a share of the projected features dropped."""
        assert self.graph is not None, "batches() sets it"
        tables: list[Tables] = []
        for projection in self.content.values():
            users_UD = self.graph.to_users(dropout(projection(), share))
            tables.append((users_UD, self.graph.to_items(users_UD)))
        return tables

    def views(self) -> list[Tables]:
        """Eq. 8: each modality's (U, D) and (I, D); zero where there are no neighbours."""
        zeros = torch.zeros_like(self.users.weight), torch.zeros_like(self.items.weight)
        return [
            zeros if graph is None else (graph.to_users(self.items.weight), graph.to_items(self.users.weight)) for graph in self.neighbours
        ]

    def vectors(self, share: float = 0.0) -> Vectors:
        """One pass over everything, with a share of the projected features dropped."""
        config = self.config
        features, views = self.features(share), self.views()
        attended = (self.attention(torch.stack([tables[side] for tables in views], 1)) for side in (0, 1))
        first = [
            table.weight + config.view_weight * F.normalize(e, dim=-1) for table, e in zip((self.users, self.items), attended, strict=True)
        ]
        users_UD, items_ID = self.layers(*first)
        for f_UD, f_ID in features:
            users_UD = users_UD + config.feature_weight * F.normalize(f_UD, dim=-1)
            items_ID = items_ID + config.feature_weight * F.normalize(f_ID, dim=-1)
        return Vectors(features, views, (users_UD, items_ID))

    def layers(self, users: Tensor, items: Tensor) -> Tables:
        """Eq. 10, (U, D) and (I, D) of layer 0 -> the mean over layers."""
        assert self.graph is not None, "batches() sets it"
        config = self.config
        if not (config.sequential_layers or config.last_softmax):
            return propagate(self.graph, users, items, config.n_layers)
        sums = users, items
        for layer in range(config.n_layers):
            next_users = self.graph.to_users(items)
            items = self.graph.to_items(next_users if config.sequential_layers else users)
            users = next_users
            if config.last_softmax and layer == config.n_layers - 1:
                users, items = users.softmax(-1), items.softmax(-1)
            sums = sums[0] + users, sums[1] + items
        return sums[0] / (config.n_layers + 1), sums[1] / (config.n_layers + 1)

    def rate_factor(self, epoch: int) -> float:
        """Algorithm 1's schedule, with the constants that the code declares."""
        return self.config.decay ** (epoch / 50)

    def critic_loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """L_D (Eq. 7); nothing where there is no critic."""
        if self.adversary is None:
            return {}
        with torch.no_grad():
            vectors = self.vectors(self.config.dropout)
        return self.adversary.critic_loss(batch.users, vectors.features, vectors.final)

    def loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """Eq. 13, in nats a user."""
        config = self.config
        self.answers.outdated()
        vectors = self.vectors(config.dropout)
        users_UD, items_ID = vectors.final
        user, positive, negative = (
            F.embedding(rows, table) for rows, table in ((batch.users, users_UD), (batch.positives, items_ID), (batch.negatives, items_ID))
        )
        parts = {"bpr": bpr((user * positive).sum(-1), (user * negative).sum(-1))}
        if config.cl:
            contrasts = [
                cross_view_info_nce(user, F.embedding(batch.users, e_UD), temperature=config.contrast_temperature)
                for e_UD, _ in vectors.views
            ]
            parts["contrast"] = config.contrast_weight * torch.stack(contrasts).sum()
        if self.adversary is not None:
            parts["adversarial"] = self.adversary.loss(batch.users, vectors.features)
        elif config.asl:
            parts["gae"] = config.gae_weight * self.auto_encoder(batch, vectors.features)
        if config.regularisation:
            squares = user.square().sum() + positive.square().sum() + negative.square().sum()
            parts["l2"] = config.regularisation * squares / (2 * len(batch.users))
        if config.feature_regularisation:
            squares = torch.stack([table.square().sum() for tables in vectors.features for table in tables]).sum()
            parts["features_l2"] = config.feature_regularisation * squares / (2 * len(items_ID))
        return parts

    def auto_encoder(self, batch: PairBatch, features: list[Tables]) -> Tensor:
        """r/p-GAE: binary cross-entropy of sigmoid(<f_u, f_i>) on the batch's taken and not taken items, summed over modalities."""
        losses: list[Tensor] = []
        for f_UD, f_ID in features:
            user = F.embedding(batch.users, f_UD)
            taken, other = ((user * F.embedding(items, f_ID)).sum(-1) for items in (batch.positives, batch.negatives))
            losses.append((F.softplus(-taken) + F.softplus(other)).mean() / 2)
        return torch.stack(losses).sum()

    def answer(self) -> Tables:
        """(U, D) and (I, D) to answer with; items that training never saw by their features alone."""
        users_UD, items_ID = self.vectors().final
        alone_ID = self.config.feature_weight * torch.stack(
            [F.normalize(projection(), dim=-1) for projection in self.content.values()]
        ).sum(0)
        return users_UD, torch.where(self.trained.items[:, None], items_ID, alone_ID)

    def query_vectors(self, queries: QueryBatch) -> Tensor:
        """(B, D)."""
        return self.answers.get()[0][require_trained_users(queries.user, self.trained.users, "mmssl")]

    def item_vectors(self) -> tuple[Tensor, Tensor | None]:
        """(n_items, D), no bias."""
        return self.answers.get()[1], None

    def scores(self, queries: QueryBatch) -> Tensor:
        """(B, n_items), higher is better."""
        return inner_product_scores(self, queries)
