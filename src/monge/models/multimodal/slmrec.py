"""SLMRec: a graph convolution a modality, fused, with a self-supervised task among the modalities.

    channel c (the ids, then each modality):  users e_u, items e_i or W_m f_i + b_m,  then the mean of K + 1 layers of the graph
    h_u = W_U [channels of u],   h_i = W_I [channels of i],   s_ui = cos(h_u, h_i)
    loss = InfoNCE of the batch's pairs by cosines  +  ssl_weight * task

Tasks: `fac` contrasts an item's channels along the chain ids, first modality, second, ..., through linear heads; `fd` contrasts h with the
h of items whose modality channels lost features by dropout; `fm` with the h that lack one channel, drawn anew in each step.

`cl` replaces the task by MMSSL's contrast of h_u with each modality's channel, without heads; `asl` adds MMSSL's adversarial part on
W_m f + b_m gathered over the graph.

Source: Tao et al., "Self-Supervised Learning for Multimedia Recommendation", TMM 2022; `asl` and `cl`: Wei et al. (MMSSL), WWW 2023,
Table 5 and appendix A.4. Ours: users have one table for all channels; contrasts run within the batch; `fd` and `fm` for users and items.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from monge.data import Interactions, Modality, QueryBatch
from monge.losses import cross_view_info_nce, info_nce
from monge.models.contract import Batches, check_positive, check_ranges, inner_product_scores, require_trained_users
from monge.models.multimodal.adversarial import AdversarialConfig, Adversary, Tables
from monge.models.multimodal.content import INFINITY, ContentConfig, Trained, projections
from monge.nn import BipartiteGraph, propagate
from monge.nn.answers import Answers
from monge.nn.dropout import dropout
from monge.nn.features import chosen
from monge.sampling import PairBatch, PairBatches


@dataclass(frozen=True, kw_only=True)
class SLMRecConfig(AdversarialConfig, ContentConfig):
    """SLMRec's options."""

    n_layers: int = 3
    """Layers of the propagation, K."""
    temperature: float = 0.2
    """Of all contrasts by cosines."""
    task: Literal["fac", "fd", "fm", "fd_fm", "none"] = "fac"
    """The self-supervised task."""
    ssl_weight: float = 0.1
    """Its weight."""
    feature_dropout: float = 0.3
    """Share of features that the task fd drops."""
    cl: bool = False
    """MMSSL's contrast of modalities in place of the task."""
    batch_size: int = 2048
    """Pairs in a training batch."""
    weight_decay: float = 1e-4
    """L2 penalty on all parameters, in every step."""

    def __post_init__(self) -> None:
        ContentConfig.__post_init__(self)
        AdversarialConfig.__post_init__(self)
        check_ranges(self, n_layers=(0, INFINITY), ssl_weight=(0, INFINITY), feature_dropout=(0, 0.99), batch_size=(2, INFINITY))
        check_positive(self, "temperature")

    def unused(self) -> dict[str, str]:
        """Options that this configuration does not read -> the option that makes it so."""
        of_task = {"task": "--cl"} if self.cl else {} if self.task != "none" else {"ssl_weight": "--task none"}
        of_dropout = {} if "fd" in self.task and not self.cl else {"feature_dropout": "--cl" if self.cl else f"--task {self.task}"}
        return self.unused_of_adversary() | of_task | of_dropout

    def space(self) -> dict[str, str]:
        """What `monge tune` searches by itself."""
        return {"learning_rate": "1e-4..1e-2:log", "temperature": "0.1,0.2,0.5", "ssl_weight": "0.01,0.05,0.1,0.5", "n_layers": "1..3"}


class SLMRec(nn.Module):
    """Graph convolutions over modalities; it knows the users of its training only."""

    Config: ClassVar = SLMRecConfig
    answers_unknown_users: ClassVar = False
    uses_modalities: ClassVar = True

    def __init__(self, config: SLMRecConfig, *, n_users: int, n_items: int, modalities: Mapping[str, Modality]) -> None:
        super().__init__()
        self.config = config
        self.users, self.items = nn.Embedding(n_users, config.dim), nn.Embedding(n_items, config.dim)
        for table in (self.users, self.items):
            nn.init.xavier_normal_(table.weight)
        self.content = projections(chosen(modalities, config.modalities, "slmrec", scale=config.feature_scale), config.dim, config.missing)
        self.n_channels = 1 + len(self.content)
        self.fuse_users, self.fuse_items = (nn.Linear(self.n_channels * config.dim, config.dim) for _ in range(2))
        self.heads = nn.ModuleList(nn.Linear(config.dim, config.dim) for _ in range(self.n_channels if self.uses("fac") else 0))
        self.adversary = Adversary(config, n_items) if config.asl else None
        self.trained = Trained(n_users, n_items)
        self.answers = Answers(n_users, n_items, config.dim, self.final)
        self.graph: BipartiteGraph | None = None
        self.taken: BipartiteGraph | None = None

    def uses(self, task: str) -> bool:
        """Whether a self-supervised task takes part."""
        return not self.config.cl and task in self.config.task.split("_")

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The model's own parameters, and the critic's with settings of their own."""
        critic = set() if self.adversary is None else set(self.adversary.parameters())
        own: list[dict[str, Any]] = [{"params": [parameter for parameter in self.parameters() if parameter not in critic]}]
        return own if self.adversary is None else [*own, self.adversary.parameter_group()]

    def batches(self, train: Interactions, *, seed: int, device: torch.device) -> Batches:
        """Every training interaction once an epoch, without negatives; all of them make the graph."""
        self.trained.note(train)
        self.graph = BipartiteGraph.from_interactions(train, device=device)
        if self.adversary is not None:
            self.taken = BipartiteGraph.from_interactions(train, normalisation="root", device=device)
            self.adversary.connect(self.taken)
        self.answers.outdated()
        return PairBatches(train, batch_size=self.config.batch_size, seed=seed, n_negatives=0, smallest=2, device=device)

    def channels(self, share: float = 0.0) -> Tables:
        """(U, C D) and (I, C D): the graph convolution of all channels, side by side, with a share of the features dropped."""
        assert self.graph is not None, "batches() sets it"
        projected = [dropout(projection(), share) for projection in self.content.values()]
        items = torch.cat([self.items.weight, *projected], 1)
        return propagate(self.graph, self.users.weight.repeat(1, self.n_channels), items, self.config.n_layers)

    def final(self) -> Tables:
        """(U, D) and (I, D) of length 1."""
        users, items = self.channels()
        return F.normalize(self.fuse_users(users), dim=-1), F.normalize(self.fuse_items(items), dim=-1)

    def features(self) -> list[Tables]:
        """MMSSL's Eq. 2: each modality's projected features by what users took."""
        assert self.taken is not None, "batches() sets it"
        users = [self.taken.to_users(projection()) for projection in self.content.values()]
        return [(users_UD, self.taken.to_items(users_UD)) for users_UD in users]

    def critic_loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """MMSSL's L_D (Eq. 7); nothing where there is no critic."""
        if self.adversary is None:
            return {}
        with torch.no_grad():
            features, final = self.features(), self.final()
        return self.adversary.critic_loss(batch.users.unique(), features, final)

    def loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """InfoNCE of pairs, and the tasks, in nats a pair."""
        config, tau = self.config, self.config.temperature
        self.answers.outdated()
        users_UC, items_IC = self.channels()
        user_BC, item_BC = F.embedding(batch.users, users_UC), F.embedding(batch.positives, items_IC)
        user, item = self.fuse_users(user_BC), self.fuse_items(item_BC)
        parts = {"info_nce": info_nce(F.normalize(user, dim=-1), F.normalize(item, dim=-1), temperature=tau)}
        if config.cl:
            users = batch.users.unique()  # whoever stands in the batch twice is no negative of itself
            some_BC = F.embedding(users, users_UC)
            _, *views = some_BC.chunk(self.n_channels, 1)
            anchors = self.fuse_users(some_BC)
            contrasts = [cross_view_info_nce(anchors, view, temperature=tau) for view in views]
            parts["contrast"] = config.ssl_weight * torch.stack(contrasts).sum()
        if self.uses("fac"):
            projected = [head(channel) for head, channel in zip(self.heads, item_BC.chunk(self.n_channels, 1), strict=True)]
            links = [_contrast(a, b, tau) for a, b in pairwise(projected)]
            parts["fac"] = config.ssl_weight * torch.stack(links).sum()
        if self.uses("fd"):
            dropped = self.channels(config.feature_dropout)
            parts["fd"] = config.ssl_weight * self.task(
                user, item, *(F.embedding(*pair) for pair in zip((batch.users, batch.positives), dropped, strict=True))
            )
        if self.uses("fm"):
            hidden = torch.randint(self.n_channels, (), device=user.device)
            shown = (torch.arange(self.n_channels, device=user.device) != hidden).repeat_interleave(config.dim)
            parts["fm"] = config.ssl_weight * self.task(user, item, user_BC * shown, item_BC * shown)
        if self.adversary is not None:
            parts["adversarial"] = self.adversary.loss(batch.users.unique(), self.features())
        return parts

    def task(self, user: Tensor, item: Tensor, user_BC: Tensor, item_BC: Tensor) -> Tensor:
        """Contrast of fused vectors (B, D) with those of changed channels (B, C D), users and items in equal parts."""
        tau = self.config.temperature
        return (_contrast(user, self.fuse_users(user_BC), tau) + _contrast(item, self.fuse_items(item_BC), tau)) / 2

    def query_vectors(self, queries: QueryBatch) -> Tensor:
        """(B, D) of length 1."""
        return self.answers.get()[0][require_trained_users(queries.user, self.trained.users, "slmrec")]

    def item_vectors(self) -> tuple[Tensor, Tensor | None]:
        """(n_items, D) of length 1, no bias."""
        return self.answers.get()[1], None

    def scores(self, queries: QueryBatch) -> Tensor:
        """(B, n_items), higher is better."""
        return inner_product_scores(self, queries)


def _contrast(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """InfoNCE by cosines: row i of a must pick row i of b."""
    return info_nce(F.normalize(a, dim=-1), F.normalize(b, dim=-1), temperature=temperature)
