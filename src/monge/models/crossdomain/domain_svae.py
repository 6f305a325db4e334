"""DomainSVAE: SVAE on each domain alone, for tables of cross-domain models.

Source: Sachdeva et al., WSDM 2019, with the history length of i2VAE's paper (Ning et al., UAI 2025, D.1). See
`per_domain` for what such a model sees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from monge.data import Domains
from monge.models.crossdomain.per_domain import PerDomain
from monge.models.sequential.svae import SVAE, SVAEConfig


@dataclass(frozen=True, kw_only=True)
class DomainSVAEConfig(SVAEConfig):
    """SVAE's options, with other defaults."""

    max_length: int = 20
    """How many of the newest items of a history are read."""


class DomainSVAE(PerDomain):
    """One SVAE a domain; queries without a history in their domain get the counts of its targets."""

    Config: ClassVar = DomainSVAEConfig

    def __init__(self, config: DomainSVAEConfig, *, n_users: int, n_items: int, domains: Domains) -> None:
        super().__init__(config, lambda n: SVAE(config, n_users=n_users, n_items=n), domains)
