"""Self-attention blocks of SASRec over embedded sequences, attention from one sequence to another, and pooling, with or without pads.

    Q = LN(X)    X' = Q + Attention(Q, X, X)    X'' = LN(X') + W_2 relu(W_1 LN(X'))      and one LN behind the last block

Source: SASRec (Kang & McAuley, ICDM 2018) as its PyTorch code and C2DSR's write it: only the query is normalised before attention.

Axes: B sequences, T positions, S positions of another sequence, D width, H heads.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from monge.nn.dropout import Dropout

PIECE = 64
"""Sequences of like length that are encoded together."""


class Attention(nn.Module):
    """Multi-head attention with queries, keys and values of their own."""

    def __init__(self, dim: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(4))
        self.dropout = Dropout(dropout)

    def forward(self, query_BTD: Tensor, key_BSD: Tensor, value_BSD: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, D), (B, S, D), (B, S, D); mask broadcastable to (B, H, T, S), True where a key is allowed -> (B, T, D).

        A query that may look at no key gets the values' mean instead of NaN; whoever pools leaves it out.
        """
        query, key, value = (
            part(x).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
            for part, x in ((self.query, query_BTD), (self.key, key_BSD), (self.value, value_BSD))
        )
        logits_BHTS = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        if mask is not None:
            logits_BHTS = logits_BHTS.masked_fill(~mask, torch.finfo(logits_BHTS.dtype).min)
        return self.out((self.dropout(logits_BHTS.softmax(-1)) @ value).transpose(1, 2).flatten(2))


class InterestEncoder(nn.Module):
    """Causal blocks over embedded sequences, newest at the right.

    Args:
        dim, n_blocks, n_heads, dropout: of the blocks.
        max_length: of positions; None: no learned positions.
        mask_pads: whether empty places are left out of attention (the code of C2DSR and i2VAE lets them in).
    """

    def __init__(self, dim: int, *, n_blocks: int, n_heads: int, dropout: float, max_length: int | None, mask_pads: bool = True) -> None:
        super().__init__()
        self.positions = None if max_length is None else nn.Embedding(max_length, dim)
        if self.positions is not None:
            nn.init.normal_(self.positions.weight, std=0.02)
        self.mask_pads = mask_pads
        self.norm_query = nn.ModuleList(nn.LayerNorm(dim, eps=1e-8) for _ in range(n_blocks))
        self.attention = nn.ModuleList(Attention(dim, n_heads, dropout) for _ in range(n_blocks))
        self.norm_inner = nn.ModuleList(nn.LayerNorm(dim, eps=1e-8) for _ in range(n_blocks))
        self.inner = nn.ModuleList(nn.Linear(dim, dim) for _ in range(n_blocks))
        self.outer = nn.ModuleList(nn.Linear(dim, dim) for _ in range(n_blocks))
        self.last_norm = nn.LayerNorm(dim, eps=1e-8)
        self.dropout = Dropout(dropout)

    def forward(self, x_BTD: Tensor, real_BT: Tensor) -> Tensor:
        """(B, T, D) embedded items and which places hold one -> (B, T, D) states."""
        length = x_BTD.shape[1]
        mask = torch.ones(length, length, dtype=torch.bool, device=x_BTD.device).tril()[None, None]
        if self.mask_pads:
            itself = torch.eye(length, dtype=torch.bool, device=x_BTD.device)
            mask = (mask & real_BT[:, None, None, :]) | itself
        if self.positions is not None:
            x_BTD = x_BTD + self.positions.weight[-length:]
        x_BTD = self.dropout(x_BTD)
        parts = zip(self.norm_query, self.attention, self.norm_inner, self.inner, self.outer, strict=True)
        for norm_query, attention, norm_inner, inner, outer in parts:
            query = norm_query(x_BTD)
            x_BTD = norm_inner(query + attention(query, x_BTD, x_BTD, mask))
            x_BTD = x_BTD + self.dropout(outer(self.dropout(torch.relu(inner(x_BTD)))))
        return self.last_norm(x_BTD)


def states_by_length(encoder: nn.Module, sequences_BT: Tensor, real_BT: Tensor, look_up: Callable[[Tensor], Tensor]) -> Tensor:
    """States of an encoder that leaves pads out, for a fraction of the work where most places are pads (whose states mean nothing here).

    Rows of like length are encoded together, trimmed to the longest of them, and empty ones not at all.

    Args:
        encoder: an `InterestEncoder` with `mask_pads`.
        sequences_BT: (B, T) items, pads at the left; T at least 1, B may be 0.
        real_BT: (B, T) which places hold an item.
        look_up: (N,) items and pads -> their vectors (N, D).

    Returns:
        (B, T, D).
    """
    if not len(sequences_BT):
        return look_up(sequences_BT.flatten()).unflatten(0, sequences_BT.shape)
    longest = sequences_BT.shape[1]
    length_B = (longest - real_BT.int().argmax(1)) * real_BT.any(1)
    longest_last = length_B.argsort(stable=True)
    trimmed = [(rows, longest - int(length_B[rows[-1]])) for rows in longest_last.split(PIECE)]
    pieces = [(sequences_BT[rows, first:], real_BT[rows, first:]) for rows, first in trimmed]
    vectors = look_up(torch.cat([items.flatten() for items, _ in pieces]))  # one lookup: one gradient the table's size
    states: list[Tensor] = []
    for (items, real), vectors_BTD in zip(pieces, vectors.split([items.numel() for items, _ in pieces]), strict=True):
        vectors_BTD = vectors_BTD.view(*items.shape, vectors.shape[1])
        found = encoder(vectors_BTD, real) if items.shape[1] else vectors_BTD
        states.append(F.pad(found, (0, 0, longest - items.shape[1], 0)))
    back = torch.empty_like(longest_last)
    back[longest_last] = torch.arange(len(back), device=back.device)
    return torch.cat(states)[back]


def pooled(states_BTD: Tensor, real_BT: Tensor, *, mask_pads: bool = True) -> Tensor:
    """The mean over the places that hold an item, zero where none does: (B, T, D), (B, T) -> (B, D). Without mask_pads, over all places."""
    if not mask_pads:
        return states_BTD.mean(1)
    weight_BT1 = real_BT.to(states_BTD.dtype)[..., None]
    return (states_BTD * weight_BT1).sum(1) / weight_BT1.sum(1).clamp(min=1)
