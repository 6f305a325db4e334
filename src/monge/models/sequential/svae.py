"""SVAE: a recurrent network reads a sequence, and at every position a latent variable says which items come next.

    h_t = GRU(e_1..e_t)    z_t ~ N(mean, deviation^2) = encoder(h_t)    p_t = softmax(decoder(z_t))
    loss = mean_t [ - sum_{j <= k} log p_t(v_{t+j}) + beta KL( q(z_t) || N(0, I) ) ],   beta rises with the steps to its cap

Source: Sachdeva et al., "Sequential Variational Autoencoders for Collaborative Filtering", WSDM 2019, and its code (noveens/svae_cf): items
of width 256, GRU 200, encoder and decoder with one hidden layer of 150 (tanh), latent 64, the next 4 items, weight decay 5e-3. Ours:
batches of many users instead of one; the KL weight may rise faster, as these trainings have fewer steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from monge.data import Interactions, QueryBatch
from monge.losses import kl_to_standard_normal, multinomial
from monge.models.contract import Batches, check_positive, check_ranges, epochs_of, inner_product_scores, require_history
from monge.nn.latent import gaussian_sample, xavier_linear
from monge.sampling import NextItemBatch, NextItemBatches


@dataclass(frozen=True, kw_only=True)
class SVAEConfig:
    """SVAE's options."""

    dim_items: int = 256
    """Width of an item's vector."""
    dim_state: int = 200
    """Width of the recurrent state."""
    hidden: int = 150
    """Hidden width of encoder and decoder."""
    dim: int = 64
    """Width of the latent."""
    n_next: int = 4
    """How many of the following items a position foretells."""
    max_length: int = 50
    """How many of the newest items of a history are read."""
    kl_cap: float = 0.2
    """Largest weight of the KL term."""
    kl_steps: int = 2000
    """That weight rises as step / kl_steps times its cap."""
    batch_size: int = 128
    """Users in a training batch."""
    learning_rate: float = 1e-3
    """Adam's step size."""
    weight_decay: float = 5e-3
    """Coupled L2 penalty."""

    def __post_init__(self) -> None:
        infinity = float("inf")
        check_ranges(self, dim_items=(1, infinity), dim_state=(1, infinity), hidden=(1, infinity), dim=(1, infinity), n_next=(1, infinity))
        check_ranges(self, max_length=(1, infinity), kl_cap=(0, infinity), kl_steps=(1, infinity), batch_size=(1, infinity))
        check_ranges(self, weight_decay=(0, infinity))
        check_positive(self, "learning_rate")

    def space(self) -> dict[str, str]:
        """What `monge tune` searches by itself."""
        return {"learning_rate": "3e-4..3e-3:log", "kl_cap": "0.1,0.2,0.5,1", "weight_decay": "0,1e-4,1e-3,5e-3", "n_next": "1,2,4"}


class SVAE(nn.Module):
    """A latent a position; whoever has a history gets an answer."""

    Config: ClassVar = SVAEConfig
    answers_unknown_users: ClassVar = True
    needs_history: ClassVar = True

    def __init__(self, config: SVAEConfig, *, n_users: int, n_items: int) -> None:
        super().__init__()
        self.config, self.n_items = config, n_items
        self.items = nn.Embedding(n_items + 1, config.dim_items, padding_idx=n_items)
        self.gru = nn.GRU(config.dim_items, config.dim_state, batch_first=True)
        self.encoder = nn.Sequential(
            xavier_linear(config.dim_state, config.hidden), nn.Tanh(), xavier_linear(config.hidden, 2 * config.dim)
        )
        self.decoder = nn.Sequential(xavier_linear(config.dim, config.hidden), nn.Tanh())
        self.out = xavier_linear(config.hidden, n_items)

    def batches(self, train: Interactions, *, seed: int, device: torch.device) -> Batches:
        """(batch, step): every user once an epoch, every position with a next item."""
        made = NextItemBatches(train, batch_size=self.config.batch_size, max_length=self.config.max_length, seed=seed, device=device)

        def run(epoch: int) -> Iterator[tuple[NextItemBatch, int]]:
            return ((batch, epoch * len(made) + index) for index, batch in enumerate(made(epoch)))

        return epochs_of(len(made), run)

    def posterior(self, sequences_BT: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T) items, newest at the right -> mean and log variance (B, T, Z). Pads are moved to the right, where nobody reads them."""
        real_BT = sequences_BT != self.n_items
        order_BT = torch.argsort((~real_BT).to(torch.int8), dim=1, stable=True)
        states, _ = self.gru(self.items(sequences_BT.gather(1, order_BT)))
        back_BT = order_BT.argsort(1)
        states = states.gather(1, back_BT[..., None].expand_as(states))
        mean, log_variance = self.encoder(states).chunk(2, -1)
        return mean, log_variance

    def loss(self, batch: tuple[NextItemBatch, int]) -> dict[str, Tensor]:
        """Log loss of the next items and the weighted KL term, in nats a position."""
        data, step = batch
        real_BT = data.targets != data.n_items
        mean_NZ, log_variance_NZ = (part[real_BT] for part in self.posterior(data.sequences))
        z_NZ = gaussian_sample(mean_NZ, log_variance_NZ, torch.randn_like(mean_NZ)) if self.training else mean_NZ
        place_BT = real_BT.flatten().cumsum(0).view_as(real_BT) - 1
        rows, items = [], []
        for ahead in range(min(self.config.n_next, data.targets.shape[1])):
            here = real_BT[:, : real_BT.shape[1] - ahead] & real_BT[:, ahead:]
            rows.append(place_BT[:, : real_BT.shape[1] - ahead][here])
            items.append(data.targets[:, ahead:][here])
        weight = self.config.kl_cap * min(1.0, step / self.config.kl_steps)
        return {
            "multinomial": multinomial(self.out(self.decoder(z_NZ)), torch.cat(rows), torch.cat(items)),
            "kl": weight * kl_to_standard_normal(mean_NZ, log_variance_NZ),
        }

    def query_vectors(self, queries: QueryBatch) -> Tensor:
        """(B, H): the decoder's hidden state at the newest item."""
        require_history(queries, "svae")
        mean_BTZ, _ = self.posterior(queries.padded(self.config.max_length))
        return self.decoder(mean_BTZ[:, -1])

    def item_vectors(self) -> tuple[Tensor, Tensor | None]:
        """(n_items, H) and the bias: the decoder's last layer."""
        return self.out.weight, self.out.bias

    def scores(self, queries: QueryBatch) -> Tensor:
        """(B, n_items) logits."""
        return inner_product_scores(self, queries)
