"""i2VAE: what a user wants in one domain, from three latents: this domain's own, one carried over from the other, one of pseudo-items.

    z^x ~ q(z | S^X)    z_a^x ~ q(z | S_a^X)    z_t^y ~ q(z | H^X, H^Y)    r^y(z | S^Y)        x = Dec(z^x, z_t^y, z_a^x)   s_i = <x, e_i>
    loss_u = (1 + lambda_c) BCE + (1 + lambda_c) KL(z^x || p^X) + KL(z_a^x || p^X) + KL(z_t^y || N(0, I))
             + lambda_c KL(z_t^y || r^y) + lambda_a lambda_d KL(z^x || z_a^x),     lambda_d = exp(.8 L / T) - .8

H are the states of SASRec blocks over a domain's items, S their mean, S_a that of the history with pseudo-items behind it. An example asks
for one domain X; Y is the other. In evaluation every latent is its mean. Whoever has items of Y alone gets r^y in place of z_t^y, z^x and
z_a^x masked, in training too; whoever has items of X alone gets z_t^y = 0, its prior's mean; whoever has neither gets zeros.

Source: Ning et al., "i2VAE", UAI 2025, secs. 3 and D.2. Ours: more than two domains (Y is then all others pooled: their states side by
side); pads are left out of attention and means; terms of an empty history are left out; KL(z_t^y || r^y) counts users with both histories;
sigma = softplus + 1e-4; a LayerNorm behind the attention between domains, as the code has it; `domain_dropout`, `kl_weight`, `kl_warmup`,
`n_negatives`, `n_targets`. The authors' code differs in many places: `REFERENCE` holds the options that do as it does, and says what they
leave out.

Axes: K domains, B users, T positions, P pseudo-items, D width, N negatives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from monge.data import Domains, Interactions, QueryBatch, examples_of
from monge.data.cross_domain import long_tail_bound
from monge.data.examples import with_earlier_targets
from monge.errors import ConfigError
from monge.losses import denoising_weight, interest_bounds, kl_of_gaussians
from monge.losses.variational import Gaussian
from monge.models.contract import Batches, check_positive, check_ranges
from monge.models.crossdomain.domain_scores import scores_by_domain
from monge.models.crossdomain.pseudo import PseudoItems, PseudoSequences
from monge.nn import Dropout, PairMLP
from monge.nn.interests import Attention, InterestEncoder, pooled, states_by_length
from monge.sampling import ExampleBatch, ExampleBatches, by_domain

INFINITY = float("inf")
INITIAL_PRIOR = {"vector": 0.0, "scalar": 1.0}
"""What a prior's deviation is made of at first: exp(0), or 1 in the code, which its map makes 2.51."""


@dataclass(frozen=True, kw_only=True)
class I2VAEConfig:
    """i2VAE's options. Where a switch has the value of the authors' code, its text says which that is; `REFERENCE` sets all of them."""

    dim: int = 128
    """Width of items, states and latents."""
    max_length: int = 20
    """How many of the newest items of each domain are read, T."""
    n_pseudo: int = 20
    """Pseudo-items behind a history (T' = T + n_pseudo)."""
    pseudo: PseudoItems = "lightgcn"
    """Where pseudo-items come from; random is the ablation without the generator."""
    psg_rounds: int = 3
    """Rounds of the iterative recall (the code: 1)."""
    psg_epochs: int = 100
    """Epochs of the generator's LightGCN; the best on a fifth of its edges is kept."""
    n_blocks: int = 2
    """Self-attention blocks of a domain's encoder."""
    n_heads: int = 1
    """Heads of these blocks."""
    cross_heads: int = 4
    """Heads of the attention from one domain to the other."""
    dropout: float = 0.2
    """In the encoders' blocks."""
    head_dropout: float = 0.5
    """On what the heads of the latents read."""
    lambda_a: float = 5e-3
    """Weight of the denoising regulariser."""
    lambda_c: float = 1e-3
    """Weight of the cross-domain and disentangling regularisers."""
    domain_dropout: float = 0.0
    """Share of the examples with both histories that train as if they were cold-start (ours)."""
    kl_weight: float = 1.0
    """Weight of all KL terms (ours; the paper has 1, with which the latents hold next to nothing of a user: KL terms are sums over the
    width, the log loss is a mean over two labels)."""
    kl_warmup: int = 0
    """Epochs in which the weight of all KL terms rises from 0 to 1 (ours); 0: it is 1 at once."""
    n_negatives: int = 1
    """Negatives an example."""
    n_targets: int = 1
    """Newest items of a user in a domain that are targets in training, each with what came before it (ours; the code: the last one)."""
    positions: bool = True
    """Learned positions (the code: none)."""
    mask_pads: bool = True
    """Leave empty places out of attention and means (the code: does not)."""
    unit_items: bool = False
    """Draw item vectors with deviation 1 (the code: yes), otherwise with dim^-1/2."""
    share_items: bool = False
    """One vector for an id that stands in several domains (the code: yes); otherwise each domain has its own."""
    pseudo_order: Literal["append", "interleave"] = "append"
    """Pseudo-items behind the history, or each behind an item of the padded history (the code)."""
    normalise_states: bool = False
    """Scale states to length 1 before the heads read them (the code: yes)."""
    share_heads: bool = False
    """One head for a domain's own and its augmented latent (the code: yes)."""
    cross: Literal["attention", "swapped", "mlp"] = "attention"
    """attention: query own, key and value other; swapped: query other, key own, value other (the code); mlp on both means."""
    transfer_head: Literal["mlp", "linear"] = "mlp"
    """Behind that attention an MLP as for the other latents, or one linear map, without any dropout in both (the code)."""
    deviation: Literal["softplus", "clamped"] = "softplus"
    """softplus(s) + 1e-4, or exp(.1 + .9 softplus(min(s, .4))), which lies between 1.1 and 2.51 (the code)."""
    priors: Literal["vector", "scalar"] = "vector"
    """Learned mean and deviation of each domain's own latents, as vectors or numbers (the code; its prior of z_t has deviation 2.51)."""
    decoder: Literal["joint", "apart"] = "joint"
    """One MLP on the three latents, or an MLP each, that of z and z_a shared, and a linear layer (the code)."""
    score: Literal["dot", "mlp"] = "dot"
    """Inner product, or an MLP on user and item, shared by the domains (the code)."""
    first_without_augmented: bool = False
    """The decoder of the log's first item's domain, a file's first list, reads z twice and z_a never (a slip of the code)."""
    lambda_c_on: Literal["all", "transfer"] = "all"
    """lambda_c on reconstruction, KL(z) and KL(z_t || r), or on the last alone (the code)."""
    denoising: Literal["forward", "reversed"] = "forward"
    """KL(z || z_a), or KL(z_a || z) (the code)."""
    augmentation_weight: float = 0.0
    """Weight of a loss that is in the code only (.1): log loss of "this is augmented", on histories that are not long-tailed."""
    weights: Literal["row", "mean"] = "row"
    """KL terms weighted user by user, or the product of the means of weights and terms (the code)."""
    count_empty: bool = False
    """Also count terms of latents whose history is empty (the code: yes)."""
    cold_start: Literal["mask", "decode"] = "mask"
    """Cold-start users: own and augmented latent masked, or decoded from the empty sequence and pseudo-items (the code)."""
    single_domain: Literal["prior", "posterior"] = "prior"
    """Users without a history in the other domain: z_t = 0, or the posterior of an empty sequence (the code)."""
    batch_size: int = 512
    """Examples in a training batch."""
    learning_rate: float = 8e-4
    """Adam's step size."""
    weight_decay: float = 0.0
    """Coupled L2 penalty."""

    def __post_init__(self) -> None:
        check_ranges(self, dim=(1, INFINITY), max_length=(1, INFINITY), n_pseudo=(1, INFINITY), psg_rounds=(1, INFINITY))
        check_ranges(self, psg_epochs=(1, INFINITY), n_blocks=(0, INFINITY), n_heads=(1, INFINITY), cross_heads=(1, INFINITY))
        check_ranges(self, dropout=(0, 0.99), head_dropout=(0, 0.99), lambda_a=(0, INFINITY), lambda_c=(0, INFINITY), domain_dropout=(0, 1))
        check_ranges(
            self,
            kl_weight=(0, INFINITY),
            kl_warmup=(0, INFINITY),
            n_negatives=(1, INFINITY),
            n_targets=(1, INFINITY),
            augmentation_weight=(0, INFINITY),
            batch_size=(1, INFINITY),
        )
        check_ranges(self, weight_decay=(0, INFINITY))
        check_positive(self, "learning_rate")
        for name in ("n_heads", "cross_heads"):
            if self.dim % getattr(self, name):
                option = name.replace("_", "-")
                raise ConfigError(f"--{option} must divide --dim; got {getattr(self, name)} heads for width {self.dim}")
        if (self.cross, self.transfer_head) == ("mlp", "linear"):
            raise ConfigError("--transfer-head linear stands behind an attention; --cross mlp has none")
        if self.pseudo_order == "interleave" and self.n_pseudo != self.max_length:
            raise ConfigError(f"--pseudo-order interleave needs --n-pseudo = --max-length; got {self.n_pseudo} and {self.max_length}")

    def unused(self) -> dict[str, str]:
        """Options that this configuration does not read -> the option that makes it so."""
        return dict.fromkeys(("psg_rounds", "psg_epochs"), "--pseudo random") if self.pseudo == "random" else {}

    def space(self) -> dict[str, str]:
        """What `monge tune` searches by itself: the paper's ranges, and what we added."""
        lambdas = "5e-4..5e-3:log"
        return {
            "learning_rate": "3e-4..8e-4:log",
            "lambda_a": lambdas,
            "lambda_c": lambdas,
            "domain_dropout": "0,0.1,0.2",
            "kl_weight": "1e-3..1:log",
            "kl_warmup": "0,10",
        }


REFERENCE: Mapping[str, Any] = {
    "psg_rounds": 1,
    "positions": False,
    "mask_pads": False,
    "unit_items": True,
    "share_items": True,
    "pseudo_order": "interleave",
    "normalise_states": True,
    "share_heads": True,
    "cross": "swapped",
    "transfer_head": "linear",
    "deviation": "clamped",
    "priors": "scalar",
    "decoder": "apart",
    "score": "mlp",
    "first_without_augmented": True,
    "lambda_c_on": "transfer",
    "denoising": "reversed",
    "augmentation_weight": 0.1,
    "weights": "mean",
    "count_empty": True,
    "cold_start": "decode",
    "single_domain": "posterior",
}
"""Every switch as the authors' code has it. What no switch gives: its pseudo-items masked the target, ours never do; its means over a batch
count the rows that ask for the other domain; its weights are drawn otherwise in the heads of each domain's first latents."""


class GaussianHead(nn.Module):
    """An MLP from a state to mean and deviation: Linear D-2D, tanh, Linear 2D-2D."""

    def __init__(self, config: I2VAEConfig, n_inputs: int = 1) -> None:
        super().__init__()
        self.normalise, self.clamped = config.normalise_states, config.deviation == "clamped"
        self.dropout = Dropout(config.head_dropout)
        self.inner, self.outer = nn.Linear(n_inputs * config.dim, 2 * config.dim), nn.Linear(2 * config.dim, 2 * config.dim)

    def forward(self, state_BD: Tensor) -> Gaussian:
        """(B, n_inputs D) -> mean and deviation (B, D)."""
        state_BD = F.normalize(state_BD, dim=-1, eps=1e-6) if self.normalise else state_BD
        mean_BD, raw_BD = self.outer(torch.tanh(self.inner(self.dropout(state_BD)))).chunk(2, -1)
        return mean_BD, deviation_of(raw_BD, clamped=self.clamped)


class LinearHead(nn.Module):
    """A linear map from a state to mean and deviation."""

    def __init__(self, config: I2VAEConfig) -> None:
        super().__init__()
        self.clamped = config.deviation == "clamped"
        self.map = nn.Linear(config.dim, 2 * config.dim)

    def forward(self, state_BD: Tensor) -> Gaussian:
        """(B, D) -> mean and deviation (B, D)."""
        mean_BD, raw_BD = self.map(state_BD).chunk(2, -1)
        return mean_BD, deviation_of(raw_BD, clamped=self.clamped)


def deviation_of(raw: Tensor, *, clamped: bool) -> Tensor:
    """A positive deviation from any number; `clamped` is the map of the authors' code."""
    return (0.1 + 0.9 * F.softplus(raw.clamp(max=0.4))).exp() if clamped else F.softplus(raw) + 1e-4


class Transfer(nn.Module):
    """q(z_t | x, y): attention from one domain's states to the other's, pooled, and a head."""

    def __init__(self, config: I2VAEConfig) -> None:
        super().__init__()
        self.kind, self.mask_pads = config.cross, config.mask_pads
        linear = config.transfer_head == "linear"
        dropout = 0.0 if linear else config.dropout
        self.attention = None if config.cross == "mlp" else Attention(config.dim, config.cross_heads, dropout)
        self.norm = nn.LayerNorm(config.dim)
        self.head = LinearHead(config) if linear else GaussianHead(config, n_inputs=2 if config.cross == "mlp" else 1)

    def forward(self, own_BTD: Tensor, own_BT: Tensor, other_BSD: Tensor, other_BS: Tensor) -> Gaussian:
        """States of both domains, and which places are real -> mean and deviation (B, D)."""
        if self.attention is None:
            states = pooled(own_BTD, own_BT, mask_pads=self.mask_pads), pooled(other_BSD, other_BS, mask_pads=self.mask_pads)
            return self.head(torch.cat(states, -1))
        if self.kind == "attention":
            query, key, queried, looked_at = own_BTD, other_BSD, own_BT, other_BS
        else:
            query, key, queried, looked_at = other_BSD, own_BTD, other_BS, own_BT
        mask = looked_at[:, None, None, :] if self.mask_pads else None
        return self.head(pooled(self.norm(self.attention(query, key, other_BSD, mask)), queried, mask_pads=self.mask_pads))


class Decode(nn.Module):
    """p(x | z, z_t, z_a): the three latents of a domain -> what the user wants there."""

    def __init__(self, config: I2VAEConfig) -> None:
        super().__init__()
        dim = config.dim
        self.joint = config.decoder == "joint"
        if self.joint:
            self.mlp = nn.Sequential(nn.Linear(3 * dim, 2 * dim), nn.Tanh(), nn.Linear(2 * dim, dim))
        else:
            self.own, self.carried = (nn.Sequential(nn.Linear(dim, 2 * dim), nn.Tanh(), nn.Linear(2 * dim, dim)) for _ in range(2))
            self.mlp = nn.Linear(3 * dim, dim)

    def forward(self, own: Tensor, carried: Tensor, augmented: Tensor) -> Tensor:
        """(B, D) three times -> (B, D)."""
        carried = carried if self.joint else self.carried(carried)
        return self.mlp(torch.cat([self.decoded(own), carried, self.decoded(augmented)], -1))

    def decoded(self, latent: Tensor) -> Tensor:
        """What the code makes of an own or augmented latent before the linear layer; the latent itself where there is one MLP."""
        return latent if self.joint else self.own(latent)


@dataclass(frozen=True, eq=False)
class Latents:
    """The posteriors of users who ask for one domain, and who has what."""

    own: Gaussian
    augmented: Gaussian
    carried: Gaussian
    auxiliary: Gaussian
    pooled_augmented: Tensor  # (B, D) S_a
    has_own: Tensor  # (B,) bool
    has_other: Tensor  # (B,) bool
    length: Tensor  # (B,) items in the domain


class I2VAE(nn.Module):
    """One encoder, three posteriors, one decoder and one auxiliary posterior a domain; anybody gets an answer."""

    Config: ClassVar = I2VAEConfig
    answers_unknown_users: ClassVar = True
    needs_domains: ClassVar = True

    domain_of_item: Tensor
    row_of_item: Tensor
    long_tail: Tensor

    def __init__(self, config: I2VAEConfig, *, n_users: int, n_items: int, domains: Domains) -> None:
        super().__init__()
        domains.require_several("i2vae")
        if config.cross == "swapped" and len(domains) > 2:
            raise ConfigError("--cross swapped pairs keys and values of two domains; use --cross attention for more of them")
        self.config, self.n_domains, self.n_items = config, len(domains), n_items
        self.without_augmented = int(domains.of_item[0]) if config.first_without_augmented else None
        rows = torch.from_numpy(domains.row_of_item) if config.share_items else torch.arange(n_items)
        n_rows = int(rows.max()) + 1
        self.register_buffer("domain_of_item", torch.from_numpy(domains.of_item), persistent=False)
        self.register_buffer("row_of_item", torch.cat([rows, torch.tensor([n_rows])]), persistent=False)
        self.register_buffer("long_tail", torch.zeros(self.n_domains))
        self.items = nn.Embedding(n_rows + 1, config.dim)
        nn.init.normal_(self.items.weight, std=1.0 if config.unit_items else config.dim**-0.5)
        each = range(self.n_domains)
        self.encoders = nn.ModuleList(
            InterestEncoder(
                config.dim,
                n_blocks=config.n_blocks,
                n_heads=config.n_heads,
                dropout=config.dropout,
                max_length=config.max_length + config.n_pseudo if config.positions else None,
                mask_pads=config.mask_pads,
            )
            for _ in each
        )
        self.own_heads = nn.ModuleList(GaussianHead(config) for _ in each)
        self.augmented_heads = self.own_heads if config.share_heads else nn.ModuleList(GaussianHead(config) for _ in each)
        self.transfers = nn.ModuleList(Transfer(config) for _ in each)
        self.auxiliaries = nn.ModuleList(GaussianHead(config) for _ in each)
        self.decoders = nn.ModuleList(Decode(config) for _ in each)
        width = 1 if config.priors == "scalar" else config.dim
        self.prior_mean = nn.Parameter(torch.zeros(self.n_domains, width))
        self.prior_raw = nn.Parameter(torch.full((self.n_domains, width), INITIAL_PRIOR[config.priors]))
        self.pair_score = PairMLP(config.dim, config.dim, hidden=(32,)) if config.score == "mlp" else None
        self.is_augmented = nn.Linear(2 * config.dim, 1) if config.augmentation_weight else None
        self.pseudo = PseudoSequences(
            self.domain_of_item, self.n_domains, kind=config.pseudo, n_rounds=config.psg_rounds, epochs=config.psg_epochs
        )
        self.pseudo_of_example = torch.empty(0)

    def batches(self, train: Interactions, *, seed: int, device: torch.device) -> Batches:
        """Every example once an epoch; the pseudo-items of all of them are recalled first, from their inputs."""
        config = self.config
        examples = with_earlier_targets(examples_of(train), train, config.n_targets)
        batches = ExampleBatches(
            train,
            batch_size=config.batch_size,
            max_length=config.max_length,
            n_negatives=config.n_negatives,
            seed=seed,
            device=device,
            examples=examples,
        )
        self.pseudo.fit(examples, train, seed=seed, device=device)
        rows = torch.from_numpy(examples.history.row_of_value).to(device)
        history = torch.from_numpy(examples.history.values).to(device)
        self.pseudo_of_example = self.pseudo(history, rows, len(examples), batches.domain, config.n_pseudo)
        length_KE = (batches.sequences != train.n_items).sum(-1)
        for number in range(self.n_domains):
            self.long_tail[number] = long_tail_bound(length_KE[number][batches.domain == number].cpu().numpy() + 1)
        return batches

    def loss(self, batch: ExampleBatch) -> dict[str, Tensor]:
        """The objective's parts, weighted, in nats an example."""
        beta = self.config.kl_weight * (min(1.0, batch.epoch / self.config.kl_warmup) if self.config.kl_warmup else 1.0)
        totals: dict[str, Tensor] = {}
        for number in range(self.n_domains):
            rows = (batch.domain == number).nonzero().squeeze(1)
            if not len(rows):
                continue
            latents = self.latents(number, batch.sequences[:, rows], self.pseudo_of_example[batch.rows[rows]])
            parts = self._domain_loss(number, latents, batch.targets[rows], batch.negatives[rows], beta)
            for name, value in parts.items():
                totals[name] = totals.get(name, 0.0) + value / len(batch.rows)
        return totals

    def latents(self, number: int, sequences_KBT: Tensor, pseudo_BP: Tensor) -> Latents:
        """The posteriors of users who ask for a domain.

        Args:
            number: of the domain.
            sequences_KBT: (K, B, T) items of each domain, newest at the right.
            pseudo_BP: (B, P) pseudo-items of this domain.
        """
        config, pad = self.config, self.n_items
        if not config.mask_pads:  # pads have states: always the full length
            sequences_KBT = F.pad(sequences_KBT, (config.max_length - sequences_KBT.shape[2], 0), value=pad)
        own_BT = sequences_KBT[number]
        others = [other for other in range(self.n_domains) if other != number]
        own_BTD, own_real = self._states(number, own_BT)
        if config.pseudo_order == "append":
            augmented_BT = torch.cat([own_BT, pseudo_BP], 1)
        else:
            padded = F.pad(own_BT, (pseudo_BP.shape[1] - own_BT.shape[1], 0), value=pad)
            augmented_BT = torch.stack([padded, pseudo_BP], -1).flatten(1)
        augmented_BTD, augmented_real = self._states(number, augmented_BT)
        found = [self._states(other, sequences_KBT[other]) for other in others]
        other_BSD, other_real = torch.cat([states for states, _ in found], 1), torch.cat([real for _, real in found], 1)
        keep = {"mask_pads": config.mask_pads}
        augmented_BD = pooled(augmented_BTD, augmented_real, **keep)
        return Latents(
            own=self.own_heads[number](pooled(own_BTD, own_real, **keep)),
            augmented=self.augmented_heads[number](augmented_BD),
            carried=self.transfers[number](own_BTD, own_real, other_BSD, other_real),
            auxiliary=self.auxiliaries[number](pooled(other_BSD, other_real, **keep)),
            pooled_augmented=augmented_BD,
            has_own=own_real.any(1),
            has_other=other_real.any(1),
            length=own_real.sum(1),
        )

    def _states(self, number: int, sequences_BT: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T) items of one domain -> states (B, T, D) and which places are real."""
        real_BT, encoder = sequences_BT != self.n_items, self.encoders[number]
        if not self.config.mask_pads:
            return encoder(self._vectors(sequences_BT), real_BT), real_BT
        return states_by_length(encoder, sequences_BT, real_BT, self._vectors), real_BT

    def _vectors(self, items: Tensor) -> Tensor:
        """(..., D): of items and pads."""
        return self.items(self.row_of_item[items])

    def wanted(self, number: int, latents: Latents, *, cold: Tensor, sample: bool) -> tuple[Tensor, Tensor]:
        """What users want in a domain, (B, D), and what is read as augmented latent, (B, D); `cold` (B,) marks masked own latents."""

        def drawn(posterior: Gaussian) -> Tensor:
            return posterior[0] + posterior[1] * torch.randn_like(posterior[0]) if sample else posterior[0]

        own, augmented = drawn(latents.own), drawn(latents.augmented)
        cold_B1, other_B1 = cold[:, None], latents.has_other[:, None]
        carried = torch.where(cold_B1, drawn(latents.auxiliary), drawn(latents.carried))
        if self.config.single_domain == "prior":
            carried = torch.where(other_B1, carried, torch.zeros_like(carried))
        if self.config.cold_start == "mask":
            own, augmented = (torch.where(cold_B1, torch.zeros_like(latent), latent) for latent in (own, augmented))
        augmented = own if number == self.without_augmented else augmented
        return self.decoders[number](own, carried, augmented), augmented

    def _domain_loss(self, number: int, latents: Latents, targets: Tensor, negatives: Tensor, beta: float) -> dict[str, Tensor]:
        """Sums over the examples that ask for one domain."""
        config = self.config
        cold = ~latents.has_own
        if config.domain_dropout:
            cold = cold | (latents.has_other & (torch.rand(len(cold), device=cold.device) < config.domain_dropout))
        wanted_BD, augmented_BD = self.wanted(number, latents, cold=cold, sample=self.training)
        scored_BN = self._pairs(wanted_BD, torch.cat([targets[:, None], negatives], 1))
        log_likelihood = -(F.softplus(-scored_BN[:, 0]) + F.softplus(scored_BN[:, 1:]).sum(1)) / scored_BN.shape[1]
        prior = self.prior_mean[number], self._prior_deviation(self.prior_raw[number])
        standard = torch.zeros_like(prior[0]), self._prior_deviation(torch.full_like(prior[0], INITIAL_PRIOR[config.priors]))
        bounds = interest_bounds(
            log_likelihood,
            specific=latents.own,
            prior=prior,
            transferred=latents.carried,
            auxiliary=latents.auxiliary,
            augmented=latents.augmented,
        )
        denoising = bounds.denoising if config.denoising == "forward" else -kl_of_gaussians(*latents.augmented, *latents.own)
        everybody = torch.ones_like(log_likelihood)
        own = everybody if config.count_empty else (~cold).to(everybody.dtype)
        both = everybody if config.count_empty else (latents.has_own & latents.has_other).to(everybody.dtype)
        carried = everybody if config.count_empty else both * own
        more = config.lambda_c if config.lambda_c_on == "all" else 0.0
        weight_d = config.lambda_a * denoising_weight(latents.length.float(), config.max_length)
        parts = {
            "bce": -(1 + more) * bounds.joint.sum(),
            "kl_own": -beta * (1 + more) * self._weighted(bounds.specific, own),
            "kl_augmented": beta * self._weighted(kl_of_gaussians(*latents.augmented, *prior), own),
            "kl_transfer": beta * self._weighted(kl_of_gaussians(*latents.carried, *standard), carried),
            "cross_domain": -beta * self._weighted(bounds.conditional, config.lambda_c * both),
            "denoising": -beta * self._weighted(denoising, weight_d * own),
        }
        if self.is_augmented is not None:
            rich = (latents.length + 1 > self.long_tail[number]).to(everybody.dtype)
            decoder = self.decoders[number]
            assert isinstance(decoder, Decode)
            decoded_BD = decoder.decoded(augmented_BD)
            logit = self.is_augmented(torch.cat([latents.pooled_augmented, decoded_BD], -1)).squeeze(-1)
            parts["augmentation"] = config.augmentation_weight * (F.softplus(-logit) * rich).sum()
        return parts

    def _prior_deviation(self, raw: Tensor) -> Tensor:
        """Of a vector its exponential; the code sends numbers through the map of the posteriors."""
        return raw.exp() if self.config.priors == "vector" else deviation_of(raw, clamped=self.config.deviation == "clamped")

    def _weighted(self, terms: Tensor, weights: Tensor) -> Tensor:
        """sum_u w_u t_u, or the product of both means as often as there are users."""
        return (terms * weights).sum() if self.config.weights == "row" else terms.mean() * weights.mean() * len(terms)

    def _pairs(self, wanted_BD: Tensor, items_BN: Tensor) -> Tensor:
        """(B, D), (B, N) items -> (B, N) scores."""
        items_BND = self.items(self.row_of_item[items_BN])
        if self.pair_score is not None:
            return self.pair_score.pairs(wanted_BD[:, None], items_BND)
        return (items_BND @ wanted_BD[..., None]).squeeze(-1)

    def domain_scores(self, number: int, queries: QueryBatch, sequences_KBT: Tensor) -> Tensor:
        """(B, items of the domain): scores of the domain's items, by the path that each query's histories allow."""
        domain_B = torch.full((len(queries),), number, dtype=torch.int64, device=queries.items.device)
        pseudo_BP = self.pseudo(queries.items, queries.row_of_item, len(queries), domain_B, self.config.n_pseudo)
        latents = self.latents(number, sequences_KBT, pseudo_BP)
        wanted_BD, _ = self.wanted(number, latents, cold=~latents.has_own, sample=False)
        own = (self.domain_of_item == number).nonzero().squeeze(1)
        items_ID = self.items(self.row_of_item[own])
        return wanted_BD @ items_ID.T if self.pair_score is None else self.pair_score(wanted_BD, items_ID)

    def scores(self, queries: QueryBatch) -> Tensor:
        """(B, n_items); -inf on items of other domains than the one that a query asks for."""
        sequences_KBT = by_domain(
            queries.items, queries.row_of_item, len(queries), self.domain_of_item, self.n_domains, self.config.max_length
        )
        return scores_by_domain(self, queries, sequences_KBT)
