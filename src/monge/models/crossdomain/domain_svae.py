"""DomainSVAE: SVAE on each domain alone, for tables of cross-domain models.

Source: Sachdeva et al., WSDM 2019, with the history length of i2VAE's paper (Ning et al., UAI 2025, D.1). See
`per_domain` for what such a model sees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from monge.data import Domains, Interactions, QueryBatch
from monge.models.contract import Batches
from monge.models.crossdomain.per_domain import PerDomain
from monge.models.sequential.svae import SVAE, SVAEConfig


@dataclass(frozen=True, kw_only=True)
class DomainSVAEConfig(SVAEConfig):
    """SVAE's options, with other defaults."""

    max_length: int = 20
    """How many of the newest items of a history are read."""


class DomainSVAE(nn.Module):
    """One SVAE a domain; queries without a history in their domain get the domain's counts."""

    Config: ClassVar = DomainSVAEConfig
    answers_unknown_users: ClassVar = True
    needs_domains: ClassVar = True

    def __init__(self, config: DomainSVAEConfig, *, n_users: int, n_items: int, domains: Domains) -> None:
        super().__init__()
        self.config = config
        self.each = PerDomain(lambda n: SVAE(config, n_users=n_users, n_items=n), domains)

    def batches(self, train: Interactions, *, seed: int, device: torch.device) -> Batches:
        """The batches of all domains' models."""
        return self.each.batches(train, seed=seed, device=device)

    def loss(self, batch: tuple[int, Any]) -> dict[str, Tensor]:
        """The loss of one domain's model."""
        return self.each.loss(batch)

    def scores(self, queries: QueryBatch) -> Tensor:
        """(B, n_items); -inf on items of other domains than the one that a query asks for."""
        return self.each.scores(queries)
