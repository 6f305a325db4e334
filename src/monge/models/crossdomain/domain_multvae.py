"""DomainMultVAE: MultVAE on each domain alone, for tables of cross-domain models.

Source: Liang et al., WWW 2018; the settings are those of i2VAE's paper (Ning et al.,
UAI 2025, D.1), the KL weight rises within the length of a training there. See
`per_domain` for what such a model sees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from monge.data import Domains
from monge.models.collaborative.multvae import MultVAE, MultVAEConfig
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


class DomainMultVAE(PerDomain):
    """One MultVAE a domain; queries without a history in their domain get the counts of its targets."""

    Config: ClassVar = DomainMultVAEConfig

    def __init__(self, config: DomainMultVAEConfig, *, n_users: int, n_items: int, domains: Domains) -> None:
        super().__init__(config, lambda n: MultVAE(config, n_users=n_users, n_items=n), domains)
