"""CLRec: users pick their item out of the batch's items, all of them unit-norm vectors.

    L = -mean_i log( exp(u_i.v_i / tau) / sum_j exp(u_i.v_j / tau) )       over the pairs (x_i, y_i) of a batch

Source: Zhou et al., "Contrastive Learning for Debiased Candidate Generation in Large-Scale Recommender Systems", KDD 2021, in the
form of SCLRec's Eq. 1. Differs from the original, which reads histories and keeps a queue of past items as negatives: here users have
vectors of their own, and the negatives are the items of the batch. tau is not given there; 0.2 is that of DirectAU's published code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from monge.data import Interactions, QueryBatch
from monge.losses import info_nce
from monge.models.collaborative.pairs import (
    SphereConfig,
    log_shares,
    make_encoder,
    observed_pairs,
    sphere_items,
    sphere_queries,
    unit,
)
from monge.models.contract import Batches, check_positive, inner_product_scores
from monge.sampling import PairBatch


@dataclass(frozen=True, kw_only=True)
class CLRecConfig(SphereConfig):
    """CLRec's options."""

    tau: float = 0.2
    """Temperature: cosines are divided by it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "tau")

    def space(self) -> dict[str, str]:
        """The temperature, with what models of this family share."""
        return {"tau": "0.05..1:log", **super().space()}


class CLRec(nn.Module):
    """InfoNCE within batches; it knows the users of its training only."""

    Config: ClassVar = CLRecConfig
    answers_unknown_users: ClassVar = False

    trained: Tensor
    log_share: Tensor | None

    def __init__(self, config: CLRecConfig, *, n_users: int, n_items: int) -> None:
        super().__init__()
        self.config = config
        self.encoder = make_encoder(config, n_users=n_users, n_items=n_items)
        self.register_buffer("trained", torch.zeros(n_users, dtype=torch.bool))
        self.register_buffer("log_share", log_shares(config, n_items))

    def batches(self, train: Interactions, *, seed: int, device: torch.device) -> Batches:
        """Every training pair once an epoch."""
        return observed_pairs(self.config, train, self.trained, (self.encoder,), log_share=self.log_share, seed=seed, device=device)

    def loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """SCLRec's Eq. 1, in nats a pair."""
        users_BD, items_BD = self.encoder(batch.users, batch.positives)
        return {"info_nce": info_nce(unit(users_BD), unit(items_BD), temperature=self.config.tau)}

    def query_vectors(self, queries: QueryBatch) -> Tensor:
        """(B, D)."""
        return sphere_queries(self.config, self.encoder, queries.user, self.trained, "clrec")

    def item_vectors(self) -> tuple[Tensor, Tensor | None]:
        """(n_items, D), and biases (n_items,) where popularity is put back."""
        return sphere_items(self.config, self.encoder, self.log_share)

    def scores(self, queries: QueryBatch) -> Tensor:
        """(B, n_items), higher is better."""
        return inner_product_scores(self, queries)
