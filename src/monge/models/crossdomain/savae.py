"""SA-VAE: a variational auto-encoder a domain, whose prior for a user is what the other domain's says of the same user.

    q(z | x^X) = N(mean, variance)     prior = N(mean of q(z | x^Y), I), or N(0, I) for users without items of Y
    loss_u = - sum_{i in x^X} log softmax(logits)_i + beta KL( q(z | x^X) || prior ),   beta rises with the steps to its cap

A cold-start user gets the prior's mean as latent.

Source: Salah et al., "Towards Source-Aligned Variational Models for Cross-Domain Recommendation", RecSys 2021, the soft alignment; we know
no code, and this is our reading. Ours: all domains are trained together, each the source of the others, without a gradient into the source;
of several other domains the mean of their posteriors' means; a user's bag is the history and the target of an example.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from monge.data import Domains, Interactions, QueryBatch
from monge.losses import kl_of_gaussians, multinomial
from monge.models.collaborative.latent import VariationalConfig
from monge.models.contract import Batches
from monge.models.crossdomain.domain_scores import scores_by_domain
from monge.nn import Decoder, GaussianEncoder
from monge.nn.latent import gaussian_sample
from monge.sampling import ExampleBatch, ExampleBatches, by_domain

READ = 200
"""Newest items of a history in a domain that a bag holds."""


@dataclass(frozen=True, kw_only=True)
class SAVAEConfig(VariationalConfig):
    """SA-VAE's options: those of an auto-encoder of bags, with other defaults."""

    dim: int = 128
    """Width of a user's latent vector."""
    kl_steps: int = 2000
    """That weight rises as step / kl_steps until it meets its cap."""
    batch_size: int = 512
    """Examples in a training batch."""
    learning_rate: float = 8e-4
    """Adam's step size."""


class SAVAE(nn.Module):
    """Encoders and decoders of all domains; anybody gets an answer."""

    Config: ClassVar = SAVAEConfig
    answers_unknown_users: ClassVar = True
    needs_domains: ClassVar = True

    domain_of_item: Tensor
    local: Tensor

    def __init__(self, config: SAVAEConfig, *, n_users: int, n_items: int, domains: Domains) -> None:
        super().__init__()
        domains.require_several("savae")
        self.config, self.n_domains, self.n_items = config, len(domains), n_items
        of_item = torch.from_numpy(domains.of_item)
        sizes = torch.bincount(of_item, minlength=len(domains)).tolist()
        local = torch.empty_like(of_item)
        for number, size in enumerate(sizes):
            local[of_item == number] = torch.arange(size)
        self.register_buffer("domain_of_item", of_item, persistent=False)
        self.register_buffer("local", local, persistent=False)
        hidden = (config.hidden,) * config.n_hidden
        self.encoders = nn.ModuleList(
            GaussianEncoder(size, config.dim, hidden=hidden, activation=config.activation, dropout=config.dropout) for size in sizes
        )
        self.decoders = nn.ModuleList(Decoder(config.dim, size, hidden=hidden, activation=config.activation) for size in sizes)

    def batches(self, train: Interactions, *, seed: int, device: torch.device) -> Batches:
        """Every example once an epoch."""
        return ExampleBatches(train, batch_size=self.config.batch_size, max_length=READ, n_negatives=1, seed=seed, device=device)

    def encoded(self, number: int, sequences_BT: Tensor, *, whole: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """A domain's items (B, T) -> mean and log variance of the posterior (B, Z), and who has any (B,); `whole`: without dropout."""
        sequences_BT = self._once(sequences_BT)
        real_BT = sequences_BT != self.n_items
        rows = real_BT.nonzero()[:, 0]
        mean_BZ, log_variance_BZ = self.encoders[number](self.local[sequences_BT[real_BT]], rows, len(sequences_BT), whole=whole)
        return mean_BZ, log_variance_BZ, real_BT.any(1)

    def source(self, number: int, sequences_KBT: Tensor) -> Tensor:
        """(B, Z): the mean of the other domains' posterior means, of whole bags; zero for users without items there."""
        found = [self.encoded(other, sequences_KBT[other], whole=True) for other in range(self.n_domains) if other != number]
        total = torch.stack([torch.where(has[:, None], mean, torch.zeros_like(mean)) for mean, _, has in found]).sum(0)
        return total / torch.stack([has for _, _, has in found]).sum(0).clamp(min=1)[:, None]

    def loss(self, batch: ExampleBatch) -> dict[str, Tensor]:
        """Log loss of the bag and the weighted KL term, in nats an example."""
        totals: dict[str, Tensor] = {}
        weight = min(self.config.kl_cap, batch.step / self.config.kl_steps)
        for number in range(self.n_domains):
            rows = (batch.domain == number).nonzero().squeeze(1)
            if not len(rows):
                continue
            bag_BT = torch.cat([batch.sequences[number, rows], batch.targets[rows, None]], 1)
            mean_BZ, log_variance_BZ, _ = self.encoded(number, bag_BT)
            with torch.no_grad():
                prior_BZ = self.source(number, batch.sequences[:, rows])
            z_BZ = gaussian_sample(mean_BZ, log_variance_BZ, torch.randn_like(mean_BZ)) if self.training else mean_BZ
            bag_BT = self._once(bag_BT)
            real_BT = bag_BT != self.n_items
            logits = self.decoders[number](z_BZ)
            share = len(rows) / len(batch.rows)
            kl = kl_of_gaussians(mean_BZ, (log_variance_BZ / 2).exp(), prior_BZ, torch.ones_like(prior_BZ)).mean()
            parts = {
                "multinomial": share * multinomial(logits, real_BT.nonzero()[:, 0], self.local[bag_BT[real_BT]]),
                "kl": share * weight * kl,
            }
            for name, value in parts.items():
                totals[name] = totals.get(name, 0.0) + value
        return totals

    def domain_scores(self, number: int, queries: QueryBatch, sequences_KBT: Tensor) -> Tensor:
        """(B, items of the domain) logits, from the user's own posterior, or from the prior where there is no history."""
        mean_BZ, _, has = self.encoded(number, sequences_KBT[number])
        return self.decoders[number](torch.where(has[:, None], mean_BZ, self.source(number, sequences_KBT)))

    def scores(self, queries: QueryBatch) -> Tensor:
        """(B, n_items) logits; -inf on items of other domains than the one that a query asks for."""
        cut_KBT = by_domain(queries.items, queries.row_of_item, len(queries), self.domain_of_item, self.n_domains, READ)
        return scores_by_domain(self, queries, cut_KBT)

    def _once(self, sequences_BT: Tensor) -> Tensor:
        """Each item once in a row, by rising number: copies become empty places."""
        sorted_BT = sequences_BT.sort(dim=-1).values
        again = F.pad(sorted_BT[:, 1:] == sorted_BT[:, :-1], (1, 0))
        return sorted_BT.masked_fill(again, self.n_items)
