"""What models of item content share: options, one projection a modality, and who is known of the training.

Axes: I items, D width of a vector.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from monge.data import Interactions, Modality
from monge.models.contract import check_positive, check_ranges
from monge.nn.features import Missing, Projection, Scale

INFINITY = float("inf")


@dataclass(frozen=True, kw_only=True)
class ContentConfig:
    """Options of every model that reads item content."""

    modalities: str = ""
    """Names of the modalities to read, separated by commas; none named: all that the log has."""
    missing: Missing = "learned"
    """An item without a row in a modality has: a learned vector that such items share, the mean row of the others, or nothing."""
    feature_scale: Scale = "raw"
    """Rows of numbers as they are, as in the papers, or standard: each column less its mean over its deviation and the root of the width,
    so that modalities of any unit count alike (ours). Attributes stay as they are."""
    dim: int = 64
    """Width of user and item vectors."""
    batch_size: int = 1024
    """Pairs (MMSSL: users) in a training batch."""
    learning_rate: float = 1e-3
    """Adam's step size."""
    weight_decay: float = 0.0
    """L2 penalty on all parameters, in every step."""

    def __post_init__(self) -> None:
        check_ranges(self, dim=(1, INFINITY), batch_size=(1, INFINITY), weight_decay=(0, INFINITY))
        check_positive(self, "learning_rate")


def projections(modalities: Mapping[str, Modality], dim: int, missing: Missing) -> nn.ModuleDict:
    """A projection to (I, dim) for each modality, by name."""
    return nn.ModuleDict({name: Projection(modality, dim, missing=missing) for name, modality in modalities.items()})


class Trained(nn.Module):
    """Which users and items have a training row, as persistent buffers."""

    users: Tensor
    items: Tensor

    def __init__(self, n_users: int, n_items: int) -> None:
        super().__init__()
        self.register_buffer("users", torch.zeros(n_users, dtype=torch.bool))
        self.register_buffer("items", torch.zeros(n_items, dtype=torch.bool))

    def note(self, train: Interactions) -> None:
        """Take them from the training rows."""
        self.users.copy_(torch.from_numpy(train.sequences.lengths > 0))
        self.items.copy_(torch.from_numpy(train.item_counts > 0))
