"""MultVAE: a variational auto-encoder reads the bag of a user's items and says how likely every item is the next draw.

    xi_u ~ N(mean, variance) = encoder(x_u / |x_u|)      logits_u = decoder(xi_u)
    loss = - sum_{i in x_u} log softmax(logits_u)_i + beta KL( N(mean, variance) || N(0, I) ),   beta rises with the steps to its cap

In evaluation xi_u is the mean, and nothing is dropped.

Source: Liang et al., "Variational Autoencoders for Collaborative Filtering", WWW 2018, sec. 2: [I -> 600 -> 200 -> 600 -> I], tanh, half of
the input dropped. Ours: biases begin at 0; any observation model may stand in place of the multinomial (Li et al., WWW 2021, Table 5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from monge.data import Interactions, QueryBatch
from monge.losses.variational import kl_to_standard_normal
from monge.models.collaborative.latent import Observation, ObservationConfig, VariationalConfig, item_cost, kl_weight, observation_loss
from monge.models.contract import Batches, inner_product_scores, require_history
from monge.nn import Decoder, GaussianEncoder
from monge.nn.latent import gaussian_sample
from monge.nn.rows import distinct_items
from monge.ot.cost import ItemCost
from monge.sampling import BagBatch, BagBatches


@dataclass(frozen=True, kw_only=True)
class MultVAEConfig(ObservationConfig, VariationalConfig):
    """MultVAE's options."""

    observation: Observation = "multinomial"
    """The loss beside the KL term: multinomial; gaussian, bernoulli, poisson or sinkhorn in its place."""

    def __post_init__(self) -> None:
        ObservationConfig.__post_init__(self)
        VariationalConfig.__post_init__(self)


class MultVAE(nn.Module):
    """Gaussian encoder, multi-layer decoder; whoever has a history gets an answer."""

    Config: ClassVar = MultVAEConfig
    answers_unknown_users: ClassVar = True
    needs_history: ClassVar = True

    def __init__(self, config: MultVAEConfig, *, n_users: int, n_items: int) -> None:
        super().__init__()
        self.config = config
        hidden = (config.hidden,) * config.n_hidden
        self.encoder = GaussianEncoder(n_items, config.dim, hidden=hidden, activation=config.activation, dropout=config.dropout)
        self.decoder = Decoder(config.dim, n_items, hidden=hidden, activation=config.activation)
        self.cost: ItemCost | None = None

    def batches(self, train: Interactions, *, seed: int, device: torch.device) -> Batches:
        """Every training user once an epoch."""
        self.cost = item_cost(self.config, train, device) if self.config.observation == "sinkhorn" else None
        return BagBatches(train, batch_size=self.config.batch_size, seed=seed, device=device)

    def loss(self, batch: BagBatch) -> dict[str, Tensor]:
        """The observation's loss and the weighted KL term, in nats a user."""
        mean_BZ, log_variance_BZ = self.encoder(batch.items, batch.row_of_item, len(batch))
        xi_BZ = gaussian_sample(mean_BZ, log_variance_BZ, torch.randn_like(mean_BZ)) if self.training else mean_BZ
        return {
            self.config.observation: observation_loss(self.config, self.decoder(xi_BZ), batch, self.cost),
            "kl": kl_weight(self.config, batch.step) * kl_to_standard_normal(mean_BZ, log_variance_BZ),
        }

    def query_vectors(self, queries: QueryBatch) -> Tensor:
        """(B, H): the decoder's last hidden state."""
        require_history(queries, "multvae")
        mean_BZ, _ = self.encoder(*distinct_items(queries), len(queries))
        return self.decoder.states(mean_BZ)

    def item_vectors(self) -> tuple[Tensor, Tensor | None]:
        """(n_items, H) and the bias: the decoder's last layer."""
        return self.decoder.items.weight, self.decoder.items.bias

    def scores(self, queries: QueryBatch) -> Tensor:
        """(B, n_items) logits."""
        return inner_product_scores(self, queries)
