"""The self-attentive backbone that SASRec, CL4SRec, DuoRec and CoSeRec share.

    X0 = Drop(LN(E[items] + P))
    post-norm:  Y = LN(X + Drop(W_o Attention(X)));   X' = LN(Y + Drop(W_2 GELU(W_1 Y)))
    pre-norm:   Y = X + Drop(W_o Attention(LN(X)));   X' = Y + Drop(W_2 GELU(W_1 LN(Y))), and one LN behind the last layer

Source: the S3-Rec variant (Zhou et al., CIKM 2020) of SASRec (Kang & McAuley, ICDM 2018): post-norm, GELU, inner width
4D; pre-norm is the original's order. Positions count from the left of a full window, so the newest item always has the last one.

Axes: B sequences, T positions, D width, H heads.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from monge.nn.dropout import Dropout
from monge.ot import causal_mask

Norm = Literal["post", "pre"]


class SelfAttention(nn.Module):
    """Multi-head scaled dot-product attention under a mask."""

    def __init__(self, dim: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.dropout = Dropout(dropout)

    def forward(self, x_BTD: Tensor, mask_B1TT: Tensor) -> Tensor:
        """(B, T, D) and (B, 1, T, T) True where a key is allowed -> (B, T, D)."""
        query, key, value = (part.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for part in self.qkv(x_BTD).chunk(3, -1))
        logits_BHTT = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        weights_BHTT = self.dropout(logits_BHTT.masked_fill(~mask_B1TT, -torch.inf).softmax(-1))
        return self.out((weights_BHTT @ value).transpose(1, 2).flatten(2))


class TransformerLayer(nn.Module):
    """One layer, normalised behind its parts (post) or before them (pre)."""

    def __init__(self, dim: int, n_heads: int, dropout: float, attention_dropout: float, norm: Norm) -> None:
        super().__init__()
        self.pre = norm == "pre"
        self.attention = SelfAttention(dim, n_heads, attention_dropout)
        self.norm_attention = nn.LayerNorm(dim, eps=1e-12)
        self.inner, self.outer = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.norm_inner = nn.LayerNorm(dim, eps=1e-12)
        self.dropout = Dropout(dropout)

    def forward(self, x_BTD: Tensor, mask_B1TT: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        if self.pre:
            y = x_BTD + self.dropout(self.attention(self.norm_attention(x_BTD), mask_B1TT))
            return y + self.dropout(self.outer(F.gelu(self.inner(self.norm_inner(y)))))
        y = self.norm_attention(x_BTD + self.dropout(self.attention(x_BTD, mask_B1TT)))
        return self.norm_inner(y + self.dropout(self.outer(F.gelu(self.inner(y)))))


class SequenceEncoder(nn.Module):
    """Item and position embeddings under causal transformer layers."""

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
        norm: Norm = "post",
    ) -> None:
        super().__init__()
        self.items = nn.Embedding(n_items + 1, dim, padding_idx=n_items)
        self.positions = nn.Embedding(max_length, dim)
        self.norm = nn.LayerNorm(dim, eps=1e-12)
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(TransformerLayer(dim, n_heads, dropout, attention_dropout, norm) for _ in range(n_layers))
        self.last_norm = nn.LayerNorm(dim, eps=1e-12) if norm == "pre" else nn.Identity()
        initialise(self, mean=0.0, std=0.02)

    def forward(self, sequences_BT: Tensor) -> Tensor:
        """(B, T <= max_length) item numbers, newest at the right, padding id where empty -> (B, T, D) states."""
        mask_B1TT = causal_mask(sequences_BT != self.items.padding_idx)
        x = self.items(sequences_BT) + self.positions.weight[-sequences_BT.shape[1] :]
        x = self.dropout(self.norm(x))
        for layer in self.layers:
            x = layer(x, mask_B1TT)
        return self.last_norm(x)


def initialise(module: nn.Module, *, mean: float, std: float) -> None:
    """Normal weights and embeddings (padding rows too), zero biases; layer norms keep gain 1 and bias 0."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            nn.init.normal_(part.weight, mean, std)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)
