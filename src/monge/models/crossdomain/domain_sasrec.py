"""DomainSASRec: SASRec on each domain alone, for tables of cross-domain models.

Source: Kang & McAuley, ICDM 2018; the settings are those of i2VAE's paper (Ning et al., UAI 2025, D.1). See
`per_domain` for what such a model sees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from monge.data import Domains
from monge.models.crossdomain.per_domain import PerDomain
from monge.models.sequential.sasrec import SASRec, SASRecConfig
from monge.nn.transformer import Norm


@dataclass(frozen=True, kw_only=True)
class DomainSASRecConfig(SASRecConfig):
    """SASRec's options, with other defaults."""

    dim: int = 128
    """Width of items and states."""
    max_length: int = 20
    """How many of the newest items of a history are read."""
    n_heads: int = 1
    """Attention heads; must divide the width."""
    dropout: float = 0.2
    """Dropout on embeddings and on what a layer adds."""
    attention_dropout: float = 0.2
    """Dropout on attention weights."""
    norm: Norm = "pre"
    """post: layer norms behind attention and feed-forward (S3-Rec variant); pre: before them (the original)."""
    batch_size: int = 512
    """Users in a training batch."""
    learning_rate: float = 8e-4
    """Adam's step size."""


class DomainSASRec(PerDomain):
    """One SASRec a domain; queries without a history in their domain get the counts of its targets."""

    Config: ClassVar = DomainSASRecConfig

    def __init__(self, config: DomainSASRecConfig, *, n_users: int, n_items: int, domains: Domains) -> None:
        super().__init__(config, lambda n: SASRec(config, n_users=n_users, n_items=n), domains)
