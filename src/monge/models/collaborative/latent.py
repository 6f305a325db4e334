"""What latent-factor models share: the observation model as an option, and the options of a variational auto-encoder.

A model of this family is a user representation, an item representation, a transformation into logits (all three: `monge.nn.latent`)
and an observation model, which is the loss. Any of the losses goes with any of the rest:

| observation | x_u, given the logits                          | loss of a user                                |
|-------------|------------------------------------------------|-----------------------------------------------|
| gaussian    | normal around the logits, one variance         | squared error, summed over all items          |
| bernoulli   | each item with probability sigmoid(logit)      | binary cross-entropy, summed over all items   |
| poisson     | each item a count with rate softplus(logit)    | negative log-likelihood, summed over all items |
| multinomial | drawn from softmax(logits)                     | cross-entropy, summed over what was taken     |
| sinkhorn    | no likelihood: softmax(logits) is moved to x_u | the cost of Sinkhorn's plan                   |

All of them are means over users, so that a penalty of a user (the KL of a posterior) goes with each; the functions of
`monge.losses.observation` that average over items too are multiplied by their number.

Source: Li et al., "Sinkhorn Collaborative Filtering", WWW 2021, Table 1 and sec. 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from monge.data import Interactions
from monge.losses.observation import bernoulli, gaussian, multinomial, poisson, sinkhorn_loss
from monge.models.contract import INFINITY, check_positive, check_ranges
from monge.nn.latent import Activation
from monge.ot.cost import ItemCost
from monge.sampling import BagBatch

Observation = Literal["gaussian", "bernoulli", "poisson", "multinomial", "sinkhorn"]
LIKELIHOODS = {"gaussian": gaussian, "bernoulli": bernoulli, "poisson": poisson, "multinomial": multinomial}
AVERAGED_OVER_ITEMS = ("gaussian", "bernoulli")


@dataclass(frozen=True, kw_only=True)
class TransportConfig:
    """Options of moving mass between items."""

    epsilon: float = 1.0
    """Entropic regularisation of the transport, in units of the cost (which lies in 0..1)."""
    n_iterations: int = 5
    """Sinkhorn iterations; gradients go through all of them."""
    shrink: float = 0.0
    """Added to the norms' product in the items' cosine: items with few users move away from everything."""

    def __post_init__(self) -> None:
        check_positive(self, "epsilon")
        check_ranges(self, n_iterations=(1, INFINITY), shrink=(0, INFINITY))


@dataclass(frozen=True, kw_only=True)
class ObservationConfig(TransportConfig):
    """Options of the loss of a latent-factor model; those of the transport matter to sinkhorn only."""

    observation: Observation
    """What x_u is drawn from, given the logits: it decides the loss."""

    def unused(self) -> dict[str, str]:
        """Options that this configuration does not read -> the option that makes it so."""
        transport = ("epsilon", "n_iterations", "shrink")
        return {} if self.observation == "sinkhorn" else dict.fromkeys(transport, f"--observation {self.observation}")


@dataclass(frozen=True, kw_only=True)
class VariationalConfig:
    """Options of an auto-encoder of bags with a Gaussian posterior."""

    dim: int = 200
    """Width of a user's latent vector."""
    hidden: int = 600
    """Width of hidden layers."""
    n_hidden: int = 1
    """Hidden layers of the encoder, and of the decoder."""
    activation: Activation = "tanh"
    """Between layers."""
    dropout: float = 0.5
    """Share of the input's items that a training step does not see."""
    kl_cap: float = 0.2
    """Largest weight of the posterior's distance from the prior; 0: none."""
    kl_steps: int = 200_000
    """That weight rises as step / kl_steps until it meets its cap."""
    batch_size: int = 500
    """Users in a training batch."""
    learning_rate: float = 1e-3
    """Adam's step size."""
    weight_decay: float = 0.0
    """Coupled L2 penalty."""

    def __post_init__(self) -> None:
        check_ranges(self, dim=(1, INFINITY), hidden=(1, INFINITY), n_hidden=(0, INFINITY), dropout=(0, 0.99), kl_cap=(0, INFINITY))
        check_ranges(self, kl_steps=(1, INFINITY), batch_size=(1, INFINITY), weight_decay=(0, INFINITY))
        check_positive(self, "learning_rate")

    def space(self) -> dict[str, str]:
        """What `monge tune` searches by itself: the ranges of SinkhornCF's paper for its auto-encoders."""
        return {"learning_rate": "3e-4..3e-3:log", "n_hidden": "0..2", "kl_cap": "0.1,0.2,0.3,0.5,1", "dropout": "0.3,0.5,0.7"}


def observation_loss(config: ObservationConfig, logits: Tensor, batch: BagBatch, cost: ItemCost | None) -> Tensor:
    """The loss that the config names, a mean over users: (B, I) logits -> (). Only sinkhorn reads the cost."""
    pairs = batch.row_of_item, batch.items
    if config.observation == "sinkhorn":
        assert cost is not None, "batches() builds the cost"
        return sinkhorn_loss(logits, *pairs, cost, epsilon=config.epsilon, n_iterations=config.n_iterations)
    loss = LIKELIHOODS[config.observation](logits, *pairs)
    return loss * batch.n_items if config.observation in AVERAGED_OVER_ITEMS else loss


def item_cost(config: TransportConfig, train: Interactions, device: torch.device) -> ItemCost:
    """1 - the cosine of items over the users trained on."""
    return ItemCost.from_pairs(train.user, train.item, n_users=train.n_users, n_items=train.n_items, shrink=config.shrink, device=device)


def kl_weight(config: VariationalConfig, step: int) -> float:
    """min(kl_cap, step / kl_steps): 0 at the first step."""
    return min(config.kl_cap, step / config.kl_steps)
