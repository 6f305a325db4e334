"""ASL, adversarial self-supervision: what a modality says who likes what shall look like what users really took, to a critic.

    fake rows   A^_u = cos(f_u, f_i) over all items i, of each modality                    (Eq. 3), observed items hidden, length 1
    real rows   A~_u = softmax_i((A_ui + s g_ui) / tau) + zeta cos(h_u, h_i)                (Eq. 5), length 1
    critic      two blocks Linear -> LeakyReLU -> norm -> dropout, then Linear, sigmoid     (Eq. 4)
    L_D = E[D(A^)] - E[D(A~)] + lambda_1 penalty,   L_G = -E[D(A^)]                         (Eqs. 6, 7 as WGAN-GP has them)

f and h are a modality's and the final vectors of users and items, g Gumbel noise. Any model that has such vectors can take this part.

Source: Wei et al., "Multi-Modal Self-Supervised Learning for Recommendation" (MMSSL), WWW 2023, sec. 3.1. The paper prints Eqs. 6, 7 with
signs by which the critic would favour fakes and L_G would not reach the generator; the authors' code has the ones above. That code also
scales the noise by 1e-5, takes inner products in place of cosines, hides observed items in the second term of real rows and scales it to
length 1 before zeta, multiplies the critic's output by 100 and the penalty by 0.3, and has LeakyReLU with slope 1: each is an option.

Ours: rows are a low-rank part plus a sparse one (`monge.nn.item_rows`), and the critic's first layer is applied to the factors, so no row
over all items is written out; real rows, which the code repeats for each modality, pass the critic once; the penalty is taken at some of
the rows, drawn anew in each step (`penalty_rows`). All of it is in float32 under mixed precision too: lengths of rows are differences of
large numbers, and slopes are differentiated twice.

Axes: U users, I items, B users of a batch, D width, M modalities, Z outputs of the critic's first layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from monge.models.contract import check_positive, check_ranges
from monge.models.multimodal.content import INFINITY
from monge.nn import BipartiteGraph, Dropout
from monge.nn.item_rows import ItemRows, through
from monge.nn.rows import places
from monge.ot import critic_loss, generator_loss, gradient_penalty, gumbel_noise, gumbel_softmax_rows, mixed, observed_dominates
from monge.ot.gaussian import no_autocast

Tables = tuple[Tensor, Tensor]
"""(U, D) and (I, D)."""


@dataclass(frozen=True, kw_only=True)
class AdversarialConfig:
    """Options of the adversarial part."""

    asl: bool = False
    """Adversarial self-supervision: a critic compares rows made of a modality's vectors with rows of the log."""
    adversarial_weight: float = 1e-2
    """Lambda_3: weight of the generator's loss; the authors' code has 1e-4, of a critic whose output is 100 times as large."""
    relation: Literal["cosine", "dot"] = "cosine"
    """Fake rows by cosines (the paper), or by inner products (the authors' code)."""
    gumbel: bool = True
    """Real rows made soft by Gumbel noise and final vectors; off: the observed items alone (the ablation w/o-GT)."""
    gumbel_temperature: float = 0.005
    """Temperature of real rows."""
    gumbel_noise: float = 1e-5
    """Scale of the Gumbel noise; at 1, as printed, and this temperature a row is one random item."""
    real_weight: float = 100.0
    """Zeta: weight of the final vectors' part in real rows."""
    real_term: Literal["cosine", "hidden_dot"] = "cosine"
    """That part as cosines (the paper), or inner products with observed items hidden, scaled to length 1 (the authors' code)."""
    penalty_weight: float = 1.0
    """Lambda_1: weight of the gradient penalty; the authors' code has 0.3."""
    penalty_rows: int = 64
    """Rows, drawn anew in each step, whose slope is penalised: the most costly part; 0: all of them."""
    critic_shrink: int = 4
    """The critic's layers have n_items / this and half of that as outputs."""
    critic_norm: Literal["batch", "layer"] = "batch"
    """Normalisation in the critic."""
    critic_slope: float = 0.2
    """Slope of LeakyReLU below zero; the authors' code has 1, no LeakyReLU at all."""
    critic_dropout: float = 0.31
    """Dropout of the critic's first block."""
    critic_dropout_2: float = 0.5
    """Dropout of its second block."""
    critic_scale: float = 1.0
    """The critic's output is multiplied by it; the authors' code has 100."""
    critic_learning_rate: float = 3e-4
    """Adam's step size for the critic, with betas 0.5 and 0.9."""

    def __post_init__(self) -> None:
        check_ranges(
            self, adversarial_weight=(0, INFINITY), gumbel_noise=(0, INFINITY), real_weight=(0, INFINITY), critic_dropout=(0, 0.99)
        )
        check_ranges(
            self, penalty_weight=(0, INFINITY), penalty_rows=(0, INFINITY), critic_shrink=(1, INFINITY), critic_dropout_2=(0, 0.99)
        )
        check_positive(self, "gumbel_temperature", "critic_learning_rate", "critic_scale")

    def unused_of_adversary(self) -> dict[str, str]:
        """Options without effect -> the option that makes them so."""
        if not self.asl:
            return {name: "--no-asl" for name in AdversarialConfig.__dataclass_fields__ if name != "asl"}
        of_gumbel = ("gumbel_temperature", "gumbel_noise", "real_weight", "real_term")
        return {} if self.gumbel else dict.fromkeys(of_gumbel, "--no-gumbel")


class Critic(nn.Module):
    """Rows over items -> one number each. Its first layer's weight stands alone, because rows are applied to it in factors."""

    def __init__(self, config: AdversarialConfig, n_items: int) -> None:
        super().__init__()
        self.scale = config.critic_scale
        first = max(2, n_items // config.critic_shrink)
        second = max(1, first // 2)
        self.weight, self.bias = nn.Parameter(torch.empty(n_items, first)), nn.Parameter(torch.zeros(first))
        norm = _BatchNorm if config.critic_norm == "batch" else nn.LayerNorm
        between, last = nn.Linear(first, second), nn.Linear(second, 1)
        self.rest = nn.Sequential(
            nn.LeakyReLU(config.critic_slope), norm(first), Dropout(config.critic_dropout),
            between,
            nn.LeakyReLU(config.critic_slope), norm(second), Dropout(config.critic_dropout_2),
            last,
            nn.Sigmoid(),
        )  # fmt: skip
        nn.init.kaiming_normal_(self.weight, mode="fan_out")  # (in, out): fan_out counts the inputs
        for layer in (between, last):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def first(self, rows: Sequence[ItemRows | Tensor]) -> Tensor:
        """Several (B, I), those in factors first -> (sum of B, Z)."""
        in_factors = [some for some in rows if isinstance(some, ItemRows)]
        written_out = [some @ self.weight for some in rows if isinstance(some, Tensor)]
        return torch.cat([through(in_factors, self.weight), *written_out]) + self.bias

    def after_first(self, hidden: Tensor) -> Tensor:
        """(B, Z) -> (B,)."""
        return self.scale * self.rest(hidden).squeeze(-1)

    def forward(self, rows: Tensor) -> Tensor:
        """(B, I) written out -> (B,)."""
        return self.after_first(rows @ self.weight + self.bias)


class _BatchNorm(nn.BatchNorm1d):
    """One row alone, as a last batch may have, has no spread: it is normalised by what earlier batches had."""

    def forward(self, input: Tensor) -> Tensor:
        if len(input) > 1 or not self.training:
            return super().forward(input)
        return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps)


class Adversary(nn.Module):
    """The critic and its losses."""

    def __init__(self, config: AdversarialConfig, n_items: int) -> None:
        super().__init__()
        self.config = config
        self.critic = Critic(config, n_items)
        self.graph: BipartiteGraph | None = None

    def connect(self, graph: BipartiteGraph) -> None:
        """Who took what."""
        self.graph = graph

    def parameter_group(self) -> dict[str, object]:
        """The critic's own settings of the optimizer."""
        return {"params": list(self.parameters()), "lr": self.config.critic_learning_rate, "betas": (0.5, 0.9), "weight_decay": 0.0}

    def observed(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) users -> their items back to back (N,), and where each user's start (B + 1,)."""
        assert self.graph is not None, "connect() sets it"
        starts = self.graph.user_offsets[users].long()
        lengths = self.graph.user_offsets[users + 1].long() - starts
        return self.graph.items[places(starts, lengths)].long(), F.pad(lengths.cumsum(0), (1, 0))

    def fake(self, users: Tensor, features: Sequence[Tables]) -> list[ItemRows]:
        """Eq. 3 for the (B,) users in each modality, with gradients to the vectors."""
        items, offsets = self.observed(users)
        rows: list[ItemRows] = []
        for users_UD, items_ID in features:
            left, right = F.embedding(users, users_UD), items_ID
            if self.config.relation == "cosine":
                left, right = F.normalize(left, dim=-1), F.normalize(right, dim=-1)
            low_rank = ItemRows(left=left, right=right, items=items, offsets=offsets, entries=left.new_zeros(len(items)))
            rows.append(low_rank.hidden().unit())
        return rows

    @torch.no_grad()
    def real(self, users: Tensor, final: Tables) -> ItemRows | Tensor:
        """Eq. 5 for the (B,) users; (B, I) written out only where the noise is so strong that no entry is zero."""
        config = self.config
        items, offsets = self.observed(users)
        users_BD, items_ID = F.embedding(users, final[0]), final[1]
        ones = users_BD.new_ones(len(items))
        raw = ItemRows(left=users_BD[:, :0], right=items_ID[:, :0], items=items, offsets=offsets, entries=ones)
        if not config.gumbel:
            return raw.unit()
        if config.real_term == "cosine":
            users_BD, items_ID = F.normalize(users_BD, dim=-1), F.normalize(items_ID, dim=-1)
        alike = ItemRows(left=users_BD, right=items_ID, items=items, offsets=offsets, entries=torch.zeros_like(ones))
        if config.real_term == "hidden_dot":
            alike = alike.hidden().unit()
        alike = alike.scaled(users_BD.new_full((len(users),), config.real_weight))
        if observed_dominates(temperature=config.gumbel_temperature, noise_scale=config.gumbel_noise):
            noisy = (ones + config.gumbel_noise * gumbel_noise(ones)) / config.gumbel_temperature
            return raw.with_entries(_softmax_in_rows(noisy, raw)).plus(alike).unit()
        dense = raw.dense()
        noise = config.gumbel_noise * gumbel_noise(dense)
        soft = gumbel_softmax_rows(dense, temperature=config.gumbel_temperature, noise=noise)
        return F.normalize(soft + alike.dense(), dim=-1)

    def critic_loss(self, users: Tensor, features: Sequence[Tables], final: Tables) -> dict[str, Tensor]:
        """L_D for the (B,) users, with gradients to the critic alone; vectors are taken as they are."""
        with no_autocast(users):
            with torch.no_grad():
                fake_rows, real_rows = self.fake(users, features), self.real(users, final)
            fake_MZ, real_BZ = self.critic.first([*fake_rows, real_rows]).tensor_split([len(fake_rows) * len(users)])
            parts = {"critic": critic_loss(self.critic.after_first(real_BZ), self.critic.after_first(fake_MZ))}
            if self.config.penalty_weight:
                n = len(fake_MZ)
                drawn = torch.randperm(n, device=users.device)[: self.config.penalty_rows or n]
                share = torch.rand(len(drawn), device=users.device, dtype=fake_MZ.dtype)
                points = mixed(real_BZ[drawn % len(users)], fake_MZ[drawn], share)
                penalty = gradient_penalty(self.critic.after_first, points, self.critic.weight)
                parts["critic_penalty"] = self.config.penalty_weight * penalty
        return parts

    def loss(self, users: Tensor, features: Sequence[Tables]) -> Tensor:
        """Lambda_3 L_G for the (B,) users, with gradients to the modalities' vectors alone."""
        with _frozen(self.critic), no_autocast(users):
            scores = self.critic.after_first(self.critic.first(self.fake(users, features)))
        return self.config.adversarial_weight * generator_loss(scores)


def _softmax_in_rows(logits: Tensor, rows: ItemRows) -> Tensor:
    """(N,) logits -> (N,) shares that add up to 1 within each row."""
    row_N = rows.row_of_entry
    highest_B = logits.new_full((len(rows),), -torch.inf).scatter_reduce(0, row_N, logits, "amax")
    weights_N = (logits - highest_B[row_N]).exp()
    return weights_N / logits.new_zeros(len(rows)).index_add(0, row_N, weights_N)[row_N]


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """What is computed inside has no gradient to the module's parameters."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
