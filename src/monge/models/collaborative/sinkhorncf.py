"""SinkhornCF: MultVAE's auto-encoder, trained to move as little mass over as short a way as possible between likes and predictions.

    xi_u ~ N(mean, variance) = encoder(x_u / |x_u|)      p_u = softmax(decoder(xi_u))      cost C_ij = 1 - cosine of items i and j
    L1 = <C, P>, P the Sinkhorn plan between what u took and the k likeliest items           (the way)
    L2 = - sum_{i taken} log p_ui - alpha sum_{i not taken} log p_ui                         (concentration: L1 alone drains its k items)
    loss = L2 + L1 + beta KL( N(mean, variance) || N(0, I) ),   beta rises with the steps to its cap

Source: Li et al., "Sinkhorn Collaborative Filtering", WWW 2021, sec. 3 and Algorithm 1. Paper and published code differ; the paper is
the default. Like the code: --l1-every 100 --l1-start-epoch 11 --l1-max-users 200 --k 100 --debias --shrink 50 --flow iaf2. The KL
term stands in the code only (Algorithm 1 without it: --kl-cap 0), and so does ReLU. With alpha 0, L1 off and tanh this is MultVAE.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from monge.data import Interactions, QueryBatch
from monge.errors import ConfigError
from monge.losses.observation import accelerated_sinkhorn, concentration, top_k_mass
from monge.losses.variational import kl_of_flow, kl_to_standard_normal
from monge.models.collaborative.latent import TransportConfig, VariationalConfig, item_cost, kl_weight
from monge.models.contract import INFINITY, Batches, check_ranges, inner_product_scores, require_history
from monge.nn import IAF, Decoder, GaussianEncoder
from monge.nn.latent import Activation, gaussian_sample
from monge.nn.rows import distinct_items
from monge.ot.cost import ItemCost
from monge.sampling import BagBatch, BagBatches


@dataclass(frozen=True, kw_only=True)
class SinkhornCFConfig(TransportConfig, VariationalConfig):
    """SinkhornCF's options."""

    activation: Activation = "relu"
    """Between layers."""
    alpha: float = 0.03
    """What an item that was not taken weighs in the concentration loss (0.03 for ML-20M, 0.01 for Netflix; tune it)."""
    k: int = 200
    """Likeliest items that the transport reaches."""
    l1_weight: float = 1.0
    """Weight of the transport part; 0: none."""
    l1_every: int = 1
    """The transport part joins every so many steps, unscaled (authors' code: 100)."""
    l1_start_epoch: int = 0
    """Epochs before it joins (authors' code: 11)."""
    l1_max_users: int = 0
    """It takes so many users of a batch at most (authors' code: 200); 0: all."""
    debias: bool = False
    """Take off what moving the k likeliest items onto themselves costs (authors' code)."""
    flow: Literal["none", "iaf2"] = "none"
    """iaf2: two inverse-autoregressive steps behind the Gaussian posterior (authors' code)."""
    amsgrad: bool = False
    """The AMSGrad variant of Adam (authors' code)."""

    def __post_init__(self) -> None:
        TransportConfig.__post_init__(self)
        VariationalConfig.__post_init__(self)
        check_ranges(self, alpha=(0, 0.99), k=(1, INFINITY), l1_weight=(0, INFINITY), l1_every=(1, INFINITY))
        check_ranges(self, l1_start_epoch=(0, INFINITY), l1_max_users=(0, INFINITY))

    def unused(self) -> dict[str, str]:
        """Options that this configuration does not read -> the option that makes it so."""
        transport = ("epsilon", "n_iterations", "shrink", "k", "l1_every", "l1_start_epoch", "l1_max_users", "debias")
        return {} if self.l1_weight else dict.fromkeys(transport, "--l1-weight 0")

    def space(self) -> dict[str, str]:
        """What `monge tune` searches by itself: the auto-encoder's ranges, and alpha where the paper looked for it."""
        return {**super().space(), "alpha": "0.001..0.1:log"}


class SinkhornCF(nn.Module):
    """Gaussian encoder, multi-layer decoder, Sinkhorn loss; whoever has a history gets an answer."""

    Config: ClassVar = SinkhornCFConfig
    answers_unknown_users: ClassVar = True
    needs_history: ClassVar = True

    def __init__(self, config: SinkhornCFConfig, *, n_users: int, n_items: int) -> None:
        super().__init__()
        if config.l1_weight and config.k > n_items:
            raise ConfigError(f"--k must be at most the number of items, {n_items}; got {config.k}")
        self.config = config
        hidden = (config.hidden,) * config.n_hidden
        self.encoder = GaussianEncoder(n_items, config.dim, hidden=hidden, activation=config.activation, dropout=config.dropout)
        self.flow = IAF(config.dim, n_steps=2) if config.flow == "iaf2" else None
        self.decoder = Decoder(config.dim, n_items, hidden=hidden, activation=config.activation)
        self.cost: ItemCost | None = None
        self.steps_an_epoch = 1
        self.watched: dict[str, Tensor] = {}

    def batches(self, train: Interactions, *, seed: int, device: torch.device) -> Batches:
        """Every training user once an epoch."""
        self.cost = item_cost(self.config, train, device) if self.config.l1_weight else None
        batches = BagBatches(train, batch_size=self.config.batch_size, seed=seed, device=device)
        self.steps_an_epoch = len(batches)
        return batches

    def moves_mass(self, batch: BagBatch) -> bool:
        """Whether the transport part joins in this batch."""
        config = self.config
        return config.l1_weight > 0 and batch.epoch >= config.l1_start_epoch and batch.step % config.l1_every == 0

    def posterior(self, items_N: Tensor, row_of_item_N: Tensor, n_rows: int) -> tuple[Tensor, Tensor]:
        """Bags -> xi (B, Z), a sample in training and the mean's image in evaluation; and the KL term ()."""
        mean_BZ, log_variance_BZ = self.encoder(items_N, row_of_item_N, n_rows)
        noise_BZ = torch.randn_like(mean_BZ) if self.training else torch.zeros_like(mean_BZ)
        xi_BZ = gaussian_sample(mean_BZ, log_variance_BZ, noise_BZ)
        if self.flow is None:
            return xi_BZ, kl_to_standard_normal(mean_BZ, log_variance_BZ)
        xi_BZ, log_det_B = self.flow(xi_BZ)
        return xi_BZ, kl_of_flow(noise_BZ, log_variance_BZ, log_det_B, xi_BZ)

    def loss(self, batch: BagBatch) -> dict[str, Tensor]:
        """Concentration, transport where it is due, and the weighted KL term; means over users.

        It watches what share of the mass an epoch's first batch puts on its k likeliest items: L1 lowers it, L2 raises it.
        """
        config = self.config
        xi_BZ, kl = self.posterior(batch.items, batch.row_of_item, len(batch))
        logits_BI = self.decoder(xi_BZ)
        parts = {"concentration": concentration(logits_BI, batch.row_of_item, batch.items, alpha=config.alpha)}
        if batch.step % self.steps_an_epoch == 0:
            k = min(config.k, logits_BI.shape[1])
            self.watched = {f"top-{k} mass": top_k_mass(logits_BI.detach(), k).mean()}
        if self.moves_mass(batch):
            assert self.cost is not None, "batches() builds the cost"
            some = batch.first(config.l1_max_users or len(batch))
            parts["sinkhorn"] = config.l1_weight * accelerated_sinkhorn(
                logits_BI[: len(some)],
                some.row_of_item,
                some.items,
                self.cost,
                k=config.k,
                epsilon=config.epsilon,
                n_iterations=config.n_iterations,
                debias=config.debias,
            )
        return {**parts, "kl": kl_weight(config, batch.step) * kl}

    def query_vectors(self, queries: QueryBatch) -> Tensor:
        """(B, H): the decoder's last hidden state."""
        require_history(queries, "sinkhorncf")
        xi_BZ, _ = self.posterior(*distinct_items(queries), len(queries))
        return self.decoder.states(xi_BZ)

    def item_vectors(self) -> tuple[Tensor, Tensor | None]:
        """(n_items, H) and the bias: the decoder's last layer."""
        return self.decoder.items.weight, self.decoder.items.bias

    def scores(self, queries: QueryBatch) -> Tensor:
        """(B, n_items) logits."""
        return inner_product_scores(self, queries)
