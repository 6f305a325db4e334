"""The parts of latent-factor models: user representations, item representations, and transformations of the two into logits.

| part           | choices here                                                                                          |
|----------------|-------------------------------------------------------------------------------------------------------|
| user           | `Table` (a point mass a user), `GaussianEncoder` (a Gaussian from a user's bag), with `IAF` behind it |
| item           | `Table`, or none (lambda = 0, where the transformation has the items in its weights)                  |
| transformation | `Inner`, `PairMLP`, `Decoder`: always logits; the observation model says what they mean               |

Source of the view: Li et al., "Sinkhorn Collaborative Filtering", WWW 2021, sec. 2.2 and Table 1.

Axes: B users, I items, N items of all bags, Z latent width, H hidden width.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from monge.nn.dropout import Dropout
from monge.ot.gaussian import at_least_float32

Activation = Literal["tanh", "relu"]
ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu}
PIECE = 2**22
"""Hidden numbers of a `PairMLP` in memory at once: 16 MiB a layer."""
PIECE_WITHOUT_GRADIENTS = 2**18
"""The same where nothing is kept for gradients: 1 MiB, so that a layer finds in the cache what the one before left there."""


class Table(nn.Module):
    """A vector for each user (or item): the distribution of the representation is one point mass each."""

    def __init__(self, n: int, dim: int, *, std: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n, dim))
        nn.init.normal_(self.weight, std=std)

    def forward(self, numbers: Tensor | None = None) -> Tensor:
        """Numbers of any shape -> (..., Z); all of them (n, Z) by default."""
        return self.weight if numbers is None else F.embedding(numbers, self.weight)


class GaussianEncoder(nn.Module):
    """A user's bag of items -> mean and log variance of a diagonal Gaussian.

    [mean, log variance] = W_L a( ... a(W_1 drop(x_u / |x_u|_2) + b_1) ... ) + b_L

    The first product sums rows of W_1 over the bag (an embedding bag), so the dense (B, I) input is never formed. One core, forward
    and backward, 500 users, H = 600: 5 ms instead of 33 ms at I = 2,810 (96 items a user), 42 instead of 518 ms at I = 40,000 (34 items).
    """

    def __init__(self, n_items: int, dim: int, *, hidden: tuple[int, ...], activation: Activation, dropout: float) -> None:
        super().__init__()
        widths = (*hidden, 2 * dim)
        self.activation = ACTIVATIONS[activation]
        self.items, self.bias = nn.Parameter(torch.empty(n_items, widths[0])), nn.Parameter(torch.zeros(widths[0]))
        nn.init.xavier_uniform_(self.items)
        self.layers = nn.ModuleList(xavier_linear(n_in, n_out) for n_in, n_out in pairwise(widths))
        self.dropout = Dropout(dropout)

    def forward(self, items_N: Tensor, row_of_item_N: Tensor, n_rows: int, *, whole: bool = False) -> tuple[Tensor, Tensor]:
        """Items of all bags, each once a bag; their rows 0..n_rows-1, rising -> mean (B, Z) and log variance (B, Z).

        `whole`: nothing of a bag is dropped, in training either.
        """
        offsets = torch.searchsorted(row_of_item_N, torch.arange(n_rows + 1, device=row_of_item_N.device))
        x_N = offsets.diff().to(self.items.dtype).rsqrt()[row_of_item_N]
        x_N = x_N if whole else self.dropout(x_N)
        h = F.embedding_bag(items_N, self.items, offsets, mode="sum", per_sample_weights=x_N, include_last_offset=True) + self.bias
        for layer in self.layers:
            h = layer(self.activation(h))
        mean_BZ, log_variance_BZ = at_least_float32(h).chunk(2, -1)
        return mean_BZ, log_variance_BZ


class IAF(nn.Module):
    """Inverse-autoregressive flow: each step moves and scales latent z by what stands before it, then the order is reversed.

    z'_j = m_j(z_<j) + exp(s_j(z_<j)) z_j,   log|det dz'/dz| = sum_j s_j,   (m, s) = a masked MLP with one hidden layer

    There is no reversal behind the last step. It begins as the identity but for the reversals; s is kept within [-5, 3].

    Source: Kingma et al., NeurIPS 2016, arXiv:1606.04934, with the masks of MADE (Germain et al., ICML 2015). The hidden width,
    ten times the latent one, and the bounds of s are those of Pyro's `affine_autoregressive`, which SinkhornCF's authors call.
    """

    def __init__(self, dim: int, *, n_steps: int) -> None:
        super().__init__()
        self.steps = nn.ModuleList(_AutoregressiveStep(dim, 10 * dim) for _ in range(n_steps))

    def forward(self, z_BZ: Tensor) -> tuple[Tensor, Tensor]:
        """(B, Z) -> (B, Z) and the log-determinant (B,)."""
        log_det_B = z_BZ.new_zeros(len(z_BZ))
        for number, step in enumerate(self.steps):
            shift_BZ, log_scale_BZ = step(z_BZ.flip(-1) if number else z_BZ)
            z_BZ = shift_BZ + log_scale_BZ.exp() * (z_BZ.flip(-1) if number else z_BZ)
            log_det_B = log_det_B + log_scale_BZ.sum(-1)
        return z_BZ, log_det_B


class _AutoregressiveStep(nn.Module):
    mask_in: Tensor
    mask_out: Tensor

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.inner, self.outer = xavier_linear(dim, hidden), nn.Linear(hidden, 2 * dim)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)
        place_Z = torch.arange(dim)
        reach_H = torch.arange(hidden) % max(dim - 1, 1)  # hidden unit h reads latents 0..reach_h
        mask_in = place_Z <= reach_H[:, None] if dim > 1 else torch.zeros(hidden, dim, dtype=torch.bool)
        self.register_buffer("mask_in", mask_in.float(), persistent=False)
        self.register_buffer("mask_out", (reach_H < place_Z[:, None]).float().repeat(2, 1), persistent=False)

    def forward(self, z_BZ: Tensor) -> tuple[Tensor, Tensor]:
        h_BH = torch.relu(F.linear(z_BZ, self.inner.weight * self.mask_in, self.inner.bias))
        shift_BZ, log_scale_BZ = F.linear(h_BH, self.outer.weight * self.mask_out, self.outer.bias).chunk(2, -1)
        return shift_BZ, log_scale_BZ.clamp(-5, 3)


class Inner(nn.Module):
    """The inner product <xi, lambda>."""

    def forward(self, users_BZ: Tensor, items_IZ: Tensor) -> Tensor:
        """(B, Z), (I, Z) -> (B, I) logits."""
        return users_BZ @ items_IZ.T

    def pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """(..., Z), (..., Z) that go together -> (...) logits."""
        return (users * items).sum(-1)


class PairMLP(nn.Module):
    """An MLP with ReLU on [xi; lambda], one logit a pair.

    The first layer is W [xi; lambda] + b = (W_u xi + b) + W_i lambda, so users and items pass it once each, not once a pair.
    """

    def __init__(self, dim_user: int, dim_item: int, *, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.sides, self.widest = (dim_user, dim_item), max(hidden)
        self.first = xavier_linear(dim_user + dim_item, hidden[0])
        self.layers = nn.ModuleList(xavier_linear(n_in, n_out) for n_in, n_out in pairwise((*hidden, 1)))

    def pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """(..., Z_u), (..., Z_i), broadcast against each other -> (...) logits."""
        return self._tower(*self._first(users, items))

    def forward(self, users_BZ: Tensor, items_IZ: Tensor) -> Tensor:
        """(B, Z_u), (I, Z_i) -> (B, I) logits, in blocks of items; where there are several, gradients compute them again."""
        user_B1H, item_IH = self._first(users_BZ[:, None], items_IZ)
        piece = PIECE if torch.is_grad_enabled() else PIECE_WITHOUT_GRADIENTS
        blocks = item_IH.split(max(1, piece // (max(1, len(users_BZ)) * self.widest)))
        if len(blocks) == 1:
            return self._tower(user_B1H, item_IH)
        if not torch.is_grad_enabled():
            return torch.cat([self._tower(user_B1H, block) for block in blocks], 1)
        return torch.cat([checkpoint(self._tower, user_B1H, block, use_reentrant=False) for block in blocks], 1)

    def _first(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        weight_user, weight_item = self.first.weight.split(self.sides, 1)
        return F.linear(users, weight_user, self.first.bias), F.linear(items, weight_item)

    def _tower(self, user: Tensor, item: Tensor) -> Tensor:
        h = user + item
        for layer in self.layers:
            h = layer(h.relu_())  # in place: what a layer gives is needed only by the next
        return h.squeeze(-1)


class Decoder(nn.Module):
    """An MLP from the user alone to one logit an item; the last layer is linear in its state, so scores are inner products."""

    def __init__(self, dim: int, n_items: int, *, hidden: tuple[int, ...], activation: Activation) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        widths = (dim, *hidden)
        self.layers = nn.ModuleList(xavier_linear(n_in, n_out) for n_in, n_out in pairwise(widths))
        self.items = xavier_linear(widths[-1], n_items)

    def states(self, users_BZ: Tensor) -> Tensor:
        """(B, Z) -> (B, H): what the last layer reads."""
        for layer in self.layers:
            users_BZ = self.activation(layer(users_BZ))
        return users_BZ

    def forward(self, users_BZ: Tensor) -> Tensor:
        """(B, Z) -> (B, I) logits."""
        return self.items(self.states(users_BZ))


def gaussian_sample(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """mean + sqrt(variance) * noise, differentiable in both: any shape. Source: Kingma & Welling, ICLR 2014, sec. 2.4."""
    return mean + (log_variance / 2).exp() * noise


def xavier_linear(n_in: int, n_out: int) -> nn.Linear:
    """A linear layer with Xavier-uniform weights and zero biases."""
    linear = nn.Linear(n_in, n_out)
    nn.init.xavier_uniform_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
