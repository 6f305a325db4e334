"""Encoders of bags, MLPs on pairs and decoders in float64 loops from the formulas; shares nothing with monge.

Weights come as a module's state dict.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Weights = Mapping[str, Array]
ACTIVATIONS: dict[str, Callable[[float], float]] = {"tanh": math.tanh, "relu": lambda x: max(x, 0.0)}


def dense_layer(weight: Array, bias: Array, x: list[float]) -> list[float]:
    """W x + b with W (n_out, n_in)."""
    return [sum(weight[o, i] * x[i] for i in range(len(x))) + bias[o] for o in range(len(bias))]


def encode(w: Weights, n_layers: int, activation: str, bag: set[int]) -> tuple[list[float], list[float]]:
    """Mean and log variance of one user from the dense row x / |x|; `n_layers` counts the layers behind the first."""
    n_items = len(w["items"])
    norm = math.sqrt(len(bag)) or 1.0
    x = [1.0 / norm if item in bag else 0.0 for item in range(n_items)]
    h = dense_layer(w["items"].T, w["bias"], x)
    for layer in range(n_layers):
        h = dense_layer(w[f"layers.{layer}.weight"], w[f"layers.{layer}.bias"], [ACTIVATIONS[activation](value) for value in h])
    return h[: len(h) // 2], h[len(h) // 2 :]


def decode(w: Weights, n_layers: int, activation: str, z: list[float]) -> list[float]:
    """Logits of all items; `n_layers` counts the layers before the last."""
    for layer in range(n_layers):
        z = [ACTIVATIONS[activation](value) for value in dense_layer(w[f"layers.{layer}.weight"], w[f"layers.{layer}.bias"], z)]
    return dense_layer(w["items.weight"], w["items.bias"], z)


def pair_logit(w: Weights, n_layers: int, user: list[float], item: list[float]) -> float:
    """The MLP on [user; item]; `n_layers` counts the layers behind the first."""
    h = dense_layer(w["first.weight"], w["first.bias"], user + item)
    for layer in range(n_layers):
        h = dense_layer(w[f"layers.{layer}.weight"], w[f"layers.{layer}.bias"], [max(value, 0.0) for value in h])
    return h[0]
