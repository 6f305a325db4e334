"""What every next-item model shares: its options, its batches, and one choice of losses over its own scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from monge.data import Interactions
from monge.errors import ConfigError
from monge.losses import binary_cross_entropy, bpr, full_cross_entropy, gbce, sampled_softmax
from monge.models.contract import INFINITY, check_positive, check_ranges
from monge.nn import Scoring
from monge.sampling import NextItemBatch, NextItemBatches

Loss = Literal["bpr", "bce_1neg", "gbce", "sampled_softmax", "full_ce"]


@dataclass(frozen=True, kw_only=True)
class NextItemConfig:
    """Options of every next-item model."""

    dim: int = 64
    """Width of a state (of each stream, where a state is a Gaussian)."""
    max_length: int = 50
    """How many of the newest items of a history are read."""
    n_layers: int = 2
    """Self-attention layers."""
    n_heads: int = 2
    """Attention heads; must divide the width."""
    dropout: float = 0.5
    """Dropout on embeddings and on what a layer adds."""
    attention_dropout: float = 0.5
    """Dropout on attention weights."""
    loss: Loss = "bce_1neg"
    """bpr and bce_1neg draw one negative a position, gbce and sampled_softmax draw n_negatives, full_ce takes all items."""
    n_negatives: int = 256
    """Negatives of gbce and sampled_softmax."""
    shared_negatives: bool = True
    """gbce and sampled_softmax: one draw for the whole batch, instead of one a position."""
    temperature: float = 1.0
    """Scores are divided by it."""
    normalise: bool = False
    """Scale states and items to length 1 before scoring (cosine; Gaussians: mean and deviation each)."""
    gbce_calibration: float = 0.75
    """gbce only: 0 is plain binary cross-entropy, 1 calibrates fully."""
    batch_size: int = 256
    """Users in a training batch."""
    bucketed: bool = True
    """Put sequences of like length into one batch (faster; off: fully random batches)."""
    learning_rate: float = 1e-3
    """Adam's step size."""
    weight_decay: float = 0.0
    """Coupled L2 penalty."""

    def __post_init__(self) -> None:
        check_ranges(self, dim=(1, INFINITY), max_length=(1, INFINITY), n_layers=(0, INFINITY), n_heads=(1, INFINITY))
        check_ranges(self, dropout=(0, 0.99), attention_dropout=(0, 0.99), n_negatives=(1, INFINITY), batch_size=(1, INFINITY))
        check_ranges(self, gbce_calibration=(0, 1), weight_decay=(0, INFINITY))
        check_positive(self, "temperature", "learning_rate")
        if self.dim % self.n_heads:
            raise ConfigError(f"--n-heads must divide --dim; got {self.n_heads} heads for width {self.dim}")

    def unused(self) -> dict[str, str]:
        """Options that this configuration does not read -> the option that makes it so."""
        needed_by = {
            "n_negatives": ("gbce", "sampled_softmax"),
            "shared_negatives": ("gbce", "sampled_softmax"),
            "gbce_calibration": ("gbce",),
            "pvn_weight": ("bpr",),
        }
        return {option: f"--loss {self.loss}" for option, losses in needed_by.items() if self.loss not in losses}

    def space(self) -> dict[str, str]:
        """What `monge tune` searches by itself: the grid of MStein's paper, with the published settings outside it (no penalty, dropout
        0.1), and the temperature where the loss is a softmax."""
        return {
            "learning_rate": "1e-4..1e-2:log",
            "dim": "64,128",
            "n_layers": "1..3",
            "n_heads": "1,2,4",
            "dropout": "0.1..0.7",
            "max_length": "50,100",
            "weight_decay": "0,1e-3,1e-2,1e-1",
            **({"temperature": "0.05..2:log"} if self.loss in ("sampled_softmax", "full_ce") else {}),
        }


def next_item_batches(config: NextItemConfig, train: Interactions, *, seed: int, device: torch.device) -> NextItemBatches:
    """The batches that a loss needs."""
    n_negatives = {"full_ce": 0, "bpr": 1, "bce_1neg": 1}.get(config.loss, config.n_negatives)
    return NextItemBatches(
        train,
        batch_size=config.batch_size,
        max_length=config.max_length,
        seed=seed,
        n_negatives=n_negatives,
        shared_negatives=config.shared_negatives and config.loss in ("gbce", "sampled_softmax"),
        bucketed=config.bucketed,
        device=device,
    )


def next_item_loss(
    config: NextItemConfig,
    scoring: Scoring,
    states_BTV: Tensor,
    items: Callable[[Tensor | None], Tensor],
    batch: NextItemBatch,
    *,
    positive_from_negative: float = 0.0,
) -> dict[str, Tensor]:
    """The loss that the config names, averaged over the positions that have a target.

    Args:
        config: names the loss.
        scoring: how states score items.
        states_BTV: (B, T, V) one state a position.
        items: item numbers -> vectors (..., V); None -> all items (n_items, V).
        batch: what follows each position, and the negatives.
        positive_from_negative: weight of STOSA's hinge (bpr over distances only): the positive must be nearer to the
            state than to the negative item, max(0, d(state, positive) - d(positive, negative)).
    """
    real_BT = batch.targets != batch.n_items
    targets_N = batch.targets[real_BT]
    states_NV = scoring.vectors(states_BTV[real_BT])
    if config.loss == "full_ce":
        queries, vectors, bias = scoring.as_inner_product(states_NV, scoring.vectors(items(None)))
        return {"full_ce": full_cross_entropy(queries, vectors, bias, targets_N)}
    positives_NV = scoring.vectors(items(targets_N))
    positive_N = scoring.paired(states_NV, positives_NV)
    if batch.shared:
        negative_NK = scoring.all_pairs(states_NV, scoring.vectors(items(batch.negatives)))
        hit_NK = targets_N[:, None] == batch.negatives
    else:
        drawn_NK = batch.negatives[real_BT]
        negatives_NKV = scoring.vectors(items(drawn_NK))
        negative_NK = scoring.paired(states_NV[:, None], negatives_NKV)
        hit_NK = None  # drawn among what the user did not take
        if config.loss == "bpr":
            parts = {"bpr": bpr(positive_N, negative_NK[:, 0])}
            if positive_from_negative:
                between_N = scoring.paired(positives_NV, negatives_NKV[:, 0])
                parts["pvn"] = positive_from_negative * (between_N - positive_N).clamp(min=0).mean()
            return parts
    match config.loss:
        case "bce_1neg":
            return {"bce": binary_cross_entropy(positive_N, negative_NK)}
        case "gbce":
            if hit_NK is not None:
                negative_NK = negative_NK.masked_fill(hit_NK, -torch.inf)
            return {"gbce": gbce(positive_N, negative_NK, n_items=batch.n_items, calibration=config.gbce_calibration)}
        case _:
            return {"softmax": sampled_softmax(positive_N, negative_NK, hit=hit_NK)}
