"""SCLRec: CLRec with soft targets: a part of each user goes to other items of the batch, by entropic optimal transport.

    S' = g_u U~^T U~ + g_v V~^T V~ + g_p 1 softmax(p) + U~^T V~ - eta I       eta -> infinity          (Eq. 2)
    M' = the doubly stochastic matrix for S' with entropy lambda              M = alpha I + (1 - alpha) M'   (Eqs. 3-5)
    L  = -mean_i sum_j M_ij log( exp(u_i.v_j / tau) / sum_k exp(u_i.v_k / tau) )                         (Eq. 6)

u and v are unit-norm vectors of the pairs of a batch, u~ and v~ those of a teacher that follows with every step, p the items'
popularity. No gradient enters M; with alpha = 1 this is CLRec to the last bit.

Source: Zhuang & Zhang, "Soft Contrastive Learning for Implicit Feedback Recommendations"; no code was published. What it leaves open,
each by a switch: tau is never given (0.2 is that of DirectAU's published CLRec); which numbers p are (`popularity_scale`: relative
ones here; their softmax is nearly even, that of counts nearly all on one item); which half-step begins (`rows_first`); what no
iteration means (a softmax of each row); pairs of the batch that are themselves observed (`mask_false_negatives`: they stay);
one direction or two (`symmetric`: users to items alone); scores by unit-norm vectors (`score`). The popularity term adds the same to
every row of S', and Eq. 3 scales such terms out again: it can do nothing but disturb iterations that stop early.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from monge.data import Interactions, QueryBatch
from monge.losses import info_nce
from monge.models.collaborative.pairs import (
    INFINITY,
    SphereConfig,
    log_shares,
    make_encoder,
    observed_pairs,
    sphere_items,
    sphere_queries,
    unit,
)
from monge.models.contract import Batches, check_positive, check_ranges, inner_product_scores
from monge.nn import follow, teacher_of
from monge.ot import doubly_stochastic
from monge.ot.gaussian import at_least_float32, no_autocast
from monge.sampling import PairBatch, SeenPairs

PopularityScale = Literal["count", "relative", "log"]


@dataclass(frozen=True, kw_only=True)
class SCLRecConfig(SphereConfig):
    """SCLRec's options; the defaults are the paper's where it names one."""

    tau: float = 0.2
    """Temperature: cosines are divided by it."""
    alpha: float = 0.9
    """Share of the observed item in its user's target; 1: CLRec."""
    user_weight: float = 1.0
    """Weight g_u of the likeness of users in the similarity."""
    item_weight: float = 1.0
    """Weight g_v of the likeness of items."""
    popularity_weight: float = 0.1
    """Weight g_p of the items' popularity; without effect once the iterations have converged."""
    popularity_scale: PopularityScale = "relative"
    """Popularity before its softmax: how often an item was taken, that by the number of users, or its logarithm."""
    entropy: float = 0.1
    """Lambda: the larger, the more evenly a user's soft target spreads."""
    n_iterations: int = 6
    """Sinkhorn rounds; 0: a softmax of each row of the similarity."""
    rows_first: bool = True
    """Which side a Sinkhorn round begins with."""
    ema: bool = True
    """Targets by a teacher, the moving average of the encoder; off: by the encoder itself, without gradient."""
    momentum: float = 0.9
    """Share of itself that the teacher keeps in each step."""
    symmetric: bool = False
    """Also let items pick their user, each direction at half weight."""
    mask_false_negatives: Literal["none", "same_item", "all_observed"] = "none"
    """Leave other places of a user's item out of its sum, or everything in the batch that the user took."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "tau", "entropy")
        check_ranges(self, alpha=(0, 1), momentum=(0, 1), n_iterations=(0, INFINITY))
        check_ranges(self, user_weight=(0, INFINITY), item_weight=(0, INFINITY), popularity_weight=(0, INFINITY))

    def unused(self) -> dict[str, str]:
        """Options that this configuration does not read -> the option that makes it so."""
        weights = ("user_weight", "item_weight", "popularity_weight", "popularity_scale")
        if self.alpha == 1:
            hard = (*weights, "entropy", "n_iterations", "rows_first", "ema", "momentum")
            return {**super().unused(), **dict.fromkeys(hard, "--alpha 1")}
        return {
            **super().unused(),
            **({} if self.ema else {"momentum": "--no-ema"}),
            **({} if self.popularity_weight else {"popularity_scale": "--popularity-weight 0"}),
            **({} if self.n_iterations else {"rows_first": "--n-iterations 0"}),
        }

    def space(self) -> dict[str, str]:
        """Temperature, and where the paper looked for the confidence and the entropy."""
        soft = {} if self.alpha == 1 else {"alpha": "0.8,0.9,0.95,0.99", "entropy": "0.05,0.1,0.2"}
        return {"tau": "0.05..1:log", **soft, **super().space()}


class SCLRec(nn.Module):
    """Soft contrastive learning; it knows the users of its training only."""

    Config: ClassVar = SCLRecConfig
    answers_unknown_users: ClassVar = False

    popularity: Tensor
    trained: Tensor
    log_share: Tensor | None

    def __init__(self, config: SCLRecConfig, *, n_users: int, n_items: int) -> None:
        super().__init__()
        self.config = config
        self.encoder = make_encoder(config, n_users=n_users, n_items=n_items)
        self.teacher = teacher_of(self.encoder) if config.ema and config.alpha < 1 else None
        self.seen: SeenPairs | None = None
        self.memory: Tensor | None = None  # two (B, B) matrices that every step works in
        self.register_buffer("popularity", torch.zeros(n_items), persistent=False)  # of the training data: batches() sets it
        self.register_buffer("trained", torch.zeros(n_users, dtype=torch.bool))
        self.register_buffer("log_share", log_shares(config, n_items))

    def batches(self, train: Interactions, *, seed: int, device: torch.device) -> Batches:
        """Every training pair once an epoch."""
        self.popularity.copy_(torch.from_numpy(popularity(train, self.config.popularity_scale)))
        encoders = self.encoder, self.teacher
        pairs = observed_pairs(self.config, train, self.trained, encoders, log_share=self.log_share, seed=seed, device=device)
        self.seen = pairs.seen if self.config.mask_false_negatives == "all_observed" else None
        return pairs

    def loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """Eq. 6, in nats a pair."""
        config = self.config
        users_BD, items_BD = map(unit, self.encoder(batch.users, batch.positives))
        targets_BB = self.targets(batch, users_BD, items_BD, memory=self._memory(users_BD)) if config.alpha < 1 else None
        hidden_BB = self.false_negatives(batch)
        loss = info_nce(users_BD, items_BD, temperature=config.tau, targets=targets_BB, alpha=config.alpha, hidden=hidden_BB)
        if not config.symmetric:
            return {"info_nce": loss}
        if targets_BB is not None:
            mass_B = targets_BB.sum(0).clamp(min=torch.finfo(targets_BB.dtype).tiny)  # 1 at convergence
            targets_BB = (targets_BB / mass_B).T
        hidden_BB = None if hidden_BB is None else hidden_BB.T
        back = info_nce(items_BD, users_BD, temperature=config.tau, targets=targets_BB, alpha=config.alpha, hidden=hidden_BB)
        return {"info_nce": loss / 2, "items_to_users": back / 2}

    @torch.no_grad()
    def targets(self, batch: PairBatch, users_BD: Tensor, items_BD: Tensor, *, memory: Tensor | None = None) -> Tensor:
        """(B, B) M' of the batch, row = user and column = item, in float32; the student's unit vectors serve where there is no teacher.

        With `memory` (2, B, B) the answer lies in there.
        """
        config = self.config
        if self.teacher is not None:
            users_BD, items_BD = map(unit, self.teacher(batch.users, batch.positives))
        u, v = at_least_float32(users_BD), at_least_float32(items_BD)
        with no_autocast(u):  # three products as one: u (g_u u + v)^T + v (g_v v)^T
            both = torch.cat([u, v], 1), torch.cat([config.user_weight * u + v, config.item_weight * v], 1).T
            similarity_BB, out = (None, None) if memory is None else memory.unbind()
            similarity_BB = torch.mm(*both, out=similarity_BB)
        similarity_BB += config.popularity_weight * self.popularity[batch.positives].softmax(0)
        return doubly_stochastic(
            similarity_BB,
            entropy=config.entropy,
            n_iterations=config.n_iterations,
            rows_first=config.rows_first,
            overwrite=True,
            out=out,
        )

    def _memory(self, users_BD: Tensor) -> Tensor:
        """(2, B, B), the same in every step of that size: fresh pages of that many would cost a fifth of the step."""
        B = len(users_BD)
        dtype = at_least_float32(users_BD[:0]).dtype
        if self.memory is None or self.memory.shape[1] != B or self.memory.dtype != dtype or self.memory.device != users_BD.device:
            self.memory = torch.empty(2, B, B, dtype=dtype, device=users_BD.device)
        return self.memory

    def false_negatives(self, batch: PairBatch) -> Tensor | None:
        """(B, B) bool, True where the config has an item hidden from a user (the diagonal too); None where it hides nothing."""
        if self.config.mask_false_negatives == "same_item":
            return batch.positives[:, None] == batch.positives
        if self.config.mask_false_negatives == "all_observed":
            assert self.seen is not None, "batches() sets it"
            return self.seen.table(batch.users, batch.positives)
        return None

    def after_step(self) -> None:
        """Let the teacher follow: theta~ <- m theta~ + (1 - m) theta."""
        if self.teacher is not None:
            follow(self.teacher, self.encoder, self.config.momentum)

    def query_vectors(self, queries: QueryBatch) -> Tensor:
        """(B, D) of the student."""
        return sphere_queries(self.config, self.encoder, queries.user, self.trained, "sclrec")

    def item_vectors(self) -> tuple[Tensor, Tensor | None]:
        """(n_items, D) of the student, and biases (n_items,) where popularity is put back."""
        return sphere_items(self.config, self.encoder, self.log_share)

    def scores(self, queries: QueryBatch) -> Tensor:
        """(B, n_items), higher is better."""
        return inner_product_scores(self, queries)


def popularity(train: Interactions, scale: PopularityScale) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """(n_items,) p: counts, counts by the number of training users, or ln max(count, 1), whose softmax is the counts' shares."""
    counts = train.item_counts.astype(np.float64)
    if scale == "log":
        return np.log(counts.clip(1))
    return counts / max(1, len(np.unique(train.user))) if scale == "relative" else counts
