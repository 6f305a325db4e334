"""DomainMultVAE: MultVAE on each domain alone, for tables of cross-domain models.

Source: Liang et al., WWW 2018; the settings are those of i2VAE's paper (Ning et al.,
UAI 2025, D.1), the KL weight rises within the length of a training there. See
`per_domain` for what such a model sees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from monge.data import Domains, Interactions, QueryBatch
from monge.models.collaborative.multvae import MultVAE, MultVAEConfig
from monge.models.contract import Batches
from monge.models.crossdomain.per_domain import PerDomain


@dataclass(frozen=True, kw_only=True)
class DomainMultVAEConfig(MultVAEConfig):
    """MultVAE's options, with other defaults."""

    dim: int = 128
    """Width of a user's latent vector."""
    kl_steps: int = 2000
    """That weight rises as step / kl_steps until it meets its cap."""
    batch_size: int = 512
    """Users in a training batch."""
    learning_rate: float = 8e-4
    """Adam's step size."""


class DomainMultVAE(nn.Module):
    """One MultVAE a domain; queries without a history in their domain get the domain's counts."""

    Config: ClassVar = DomainMultVAEConfig
    answers_unknown_users: ClassVar = True
    needs_domains: ClassVar = True

    def __init__(self, config: DomainMultVAEConfig, *, n_users: int, n_items: int, domains: Domains) -> None:
        super().__init__()
        self.config = config
        self.each = PerDomain(lambda n: MultVAE(config, n_users=n_users, n_items=n), domains)

    def batches(self, train: Interactions, *, seed: int, device: torch.device) -> Batches:
        """The batches of all domains' models."""
        return self.each.batches(train, seed=seed, device=device)

    def loss(self, batch: tuple[int, Any]) -> dict[str, Tensor]:
        """The loss of one domain's model."""
        return self.each.loss(batch)

    def scores(self, queries: QueryBatch) -> Tensor:
        """(B, n_items); -inf on items of other domains than the one that a query asks for."""
        return self.each.scores(queries)
