"""The STOSA encoder: items and states are Gaussians with diagonal covariance, attention is by Wasserstein distance.

Source: STOSA (Fan et al., WWW 2022, arXiv:2201.06035). Every variance is ELU(x) + 1; the encoder hands out x, so that
its root is taken safely (`monge.ot.root_elu1`).

Where the authors' code differs: a misspelt variable there throws the new mean of every layer away, so the output mean is
the embedding stage's and only the covariance is attended. `mean_stream="passthrough"` does the same;
"attended" (default) is what the paper says. The scale 1/sqrt(width of a head) stands in the code only; we keep it.

Axes: B sequences, T positions, D width of one stream, H heads.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from monge.nn.dropout import Dropout
from monge.nn.transformer import initialise
from monge.ot import causal_mask, gaussian_vectors, wasserstein_attention

MeanStream = Literal["attended", "passthrough"]
PIECE = 16_384
"""Positions whose activations are kept at once: about 0.3 GB in training at width 64."""


class FeedForward(nn.Module):
    """LN(Y + Drop(W_2 ELU(W_1 Y + b_1) + b_2)), inner width 4D."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.norm = nn.LayerNorm(dim, eps=1e-12)
        self.dropout = Dropout(dropout)

    def forward(self, y: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        return self.norm(y + self.dropout(self.outer(F.elu(self.inner(y)))))


class StochasticLayer(nn.Module):
    """Wasserstein self-attention and a feed-forward block for each stream."""

    def __init__(self, dim: int, n_heads: int, dropout: float, attention_dropout: float, mean_stream: MeanStream) -> None:
        super().__init__()
        self.n_heads, self.mean_stream = n_heads, mean_stream
        self.query_key_mean, self.value_mean = nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)
        self.query_key_value_variance = nn.Linear(dim, 3 * dim)
        self.out_mean, self.out_variance = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.norm_attention = nn.LayerNorm(dim, eps=1e-12)  # one, shared by the two streams
        self.feed_forward_mean, self.feed_forward_variance = FeedForward(dim, dropout), FeedForward(dim, dropout)
        self.dropout, self.attention_dropout = Dropout(dropout), Dropout(attention_dropout)

    def _heads(self, x_BTD: Tensor) -> Tensor:
        return x_BTD.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)

    def forward(self, mean: Tensor, variance: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (B, T, D) and variance (B, T, D) > 0 -> mean (B, T, D) and variance logits (B, T, D)."""
        query_mean, key_mean = map(self._heads, self.query_key_mean(mean).chunk(2, -1))
        query_x, key_x, value_x = map(self._heads, self.query_key_value_variance(variance).chunk(3, -1))
        attended = self.mean_stream == "attended"
        context_mean, context_variance = wasserstein_attention(
            gaussian_vectors(query_mean, query_x),
            gaussian_vectors(key_mean, key_x),
            self._heads(self.value_mean(mean)) if attended else None,
            F.elu(value_x) + 1,
            mask=mask,
            dropout=self.attention_dropout,
        )
        new_variance = self.norm_attention(variance + self.dropout(self.out_variance(context_variance.transpose(1, 2).flatten(2))))
        if context_mean is not None:
            mean = self.norm_attention(mean + self.dropout(self.out_mean(context_mean.transpose(1, 2).flatten(2))))
            mean = self.feed_forward_mean(mean)
        return mean, self.feed_forward_variance(new_variance)


class StochasticEncoder(nn.Module):
    """Gaussian item and position embeddings under causal Wasserstein layers."""

    def __init__(
        self,
        n_items: int,
        *,
        dim: int,
        max_length: int,
        n_layers: int,
        n_heads: int,
        dropout: float,
        attention_dropout: float,
        mean_stream: MeanStream,
    ) -> None:
        super().__init__()
        self.items = nn.Embedding(n_items + 1, 2 * dim, padding_idx=n_items)  # [mean, variance logits]
        self.positions = nn.Embedding(max_length, 2 * dim)
        self.norm = nn.LayerNorm(dim, eps=1e-12)  # one, shared by the two streams
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(StochasticLayer(dim, n_heads, dropout, attention_dropout, mean_stream) for _ in range(n_layers))
        initialise(self, mean=0.01, std=0.02)

    def embed(self, sequences_BT: Tensor) -> tuple[Tensor, Tensor]:
        """The embedding stage: (B, T) -> mean M0 (B, T, D) and variance logits (B, T, D)."""
        x = self.items(sequences_BT) + self.positions.weight[-sequences_BT.shape[1] :]
        x = self.dropout(self.norm(x.unflatten(-1, (2, -1))))
        return F.elu(x[..., 0, :]), x[..., 1, :]

    def forward(self, sequences_BT: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T <= max_length), newest at the right, padding id where empty -> mean and variance logits, each (B, T, D)."""
        mask = causal_mask(sequences_BT != self.items.padding_idx)
        mean, logits = self.embed(sequences_BT)
        for layer in self.layers:
            mean, logits = layer(mean, F.elu(logits) + 1, mask)
        return mean, logits

    def states(self, sequences_BT: Tensor) -> Tensor:
        """(B, T) -> (B, T, 2D) states as [mean, standard deviation].

        A large batch is encoded in pieces whose activations are computed again for the gradient: they would fill gigabytes.
        """
        if sequences_BT.numel() <= PIECE:
            return self._states(sequences_BT)
        pieces = sequences_BT.split(max(1, PIECE // sequences_BT.shape[1]))
        if not torch.is_grad_enabled():
            return torch.cat([self._states(piece) for piece in pieces])
        return torch.cat([checkpoint(self._states, piece, use_reentrant=False) for piece in pieces])

    def _states(self, sequences_BT: Tensor) -> Tensor:
        return gaussian_vectors(*self(sequences_BT))

    def item_gaussians(self, items: Tensor | None = None) -> Tensor:
        """Items as targets, without position, norm or dropout: any shape -> (..., 2D); all items (n_items, 2D) by default."""
        raw = self.items.weight[:-1] if items is None else self.items(items)
        mean, logits = raw.chunk(2, -1)
        return gaussian_vectors(mean, logits)
