"""How a state scores an item: inner product, cosine, or negative Wasserstein distance, over a temperature.

A state and an item are ONE vector each. For Gaussians it is z = [mean, standard deviation] of width Z = 2 D.
Every form is an inner product with a bias, so ranking, losses and indexes are written once.

Axes: N states, M items, V width of a vector.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from monge.ot.gaussian import at_least_float32, no_autocast

Geometry = Literal["dot", "w2"]


@dataclass(frozen=True)
class Scoring:
    """What is meant by a score.

    geometry "dot": s = q.v / T; normalised: the cosine over T.
    geometry "w2":  s = -|q - v|^2 / T; normalised: mean and standard-deviation halves scaled to length 1 each, so that
    s = (2 q.v - 4) / T.
    """

    geometry: Geometry
    temperature: float = 1.0
    normalise: bool = False

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ValueError(f"temperature must be > 0; got {self.temperature}")

    def vectors(self, raw: Tensor) -> Tensor:
        """States or items as they enter the score: (..., V) -> (..., V)."""
        if not self.normalise:
            return raw
        if self.geometry == "dot":
            return F.normalize(raw, dim=-1)
        return F.normalize(raw.unflatten(-1, (2, -1)), dim=-1).flatten(-2)

    def paired(self, states: Tensor, items: Tensor) -> Tensor:
        """Scores row by row of vectors from `vectors`: (..., V), (..., V) -> (...)."""
        if self.geometry == "dot":
            return (states * items).sum(-1) / self.temperature
        return -(states - items).square().sum(-1) / self.temperature

    def as_inner_product(self, states: Tensor, items: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """(queries, items, bias) whose `queries @ items.T + bias` equals the scores up to a constant per state."""
        if self.geometry == "dot":
            return states / self.temperature, items, None
        bias = None if self.normalise else -items.square().sum(-1) / self.temperature
        return states * (2 / self.temperature), items, bias

    def all_pairs(self, states: Tensor, items: Tensor) -> Tensor:
        """Scores of all pairs: (N, V), (M, V) -> (N, M)."""
        states, items = at_least_float32(states), at_least_float32(items)
        queries, items, bias = self.as_inner_product(states, items)
        with no_autocast(queries):
            scores = queries @ items.T
        if self.geometry == "w2":
            scores = scores - states.square().sum(-1, keepdim=True) / self.temperature
            scores = scores - (2 / self.temperature if bias is None else -bias)
        return scores
