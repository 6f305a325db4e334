"""The two encoders in float64 NumPy, stream by stream and head by head from the papers' equations; shares nothing with monge.

Weights come as a module's state dict. Each sequence is encoded alone; -1 stands for padding. Evaluation mode (no dropout).
"""

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Weights = Mapping[str, Array]


def elu(x: Array) -> Array:
    return np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1)


def gelu(x: Array) -> Array:
    return x * np.vectorize(lambda value: 0.5 * (1 + math.erf(value / math.sqrt(2))))(x)


def linear(w: Weights, name: str, x: Array) -> Array:
    return np.array([w[f"{name}.weight"] @ row + w[f"{name}.bias"] for row in x])


def layer_norm(w: Weights, name: str, x: Array) -> Array:
    rows = [(row - row.mean()) / np.sqrt(((row - row.mean()) ** 2).mean() + 1e-12) for row in x]
    return np.array(rows) * w[f"{name}.weight"] + w[f"{name}.bias"]


def rows_of(w: Weights, sequence: list[int]) -> Array:
    """Item plus position rows; the newest item has the last position, padding the last row of the item table."""
    items, positions = w["items.weight"], w["positions.weight"]
    first = len(positions) - len(sequence)
    return np.array([items[item] + positions[first + t] for t, item in enumerate(sequence)])  # items[-1] is the padding row


def softmax_over_allowed(logits: Array, i: int, sequence: list[int]) -> Array:
    """Row i may look at earlier real positions and at itself."""
    weights = np.zeros(len(sequence))
    for j in range(i + 1):
        if sequence[j] != -1 or j == i:
            weights[j] = math.exp(logits[j] - max(logits[: i + 1]))
    return weights / weights.sum()


def stosa(w: Weights, sequence: list[int], *, n_layers: int, n_heads: int, mean_stream: str) -> tuple[Array, Array, Array]:
    """(T,) -> the embedding stage's mean, the output mean and the output variance, each (T, D)."""
    both = rows_of(w, sequence)
    width = both.shape[1] // 2
    mean = first_mean = elu(layer_norm(w, "norm", both[:, :width]))
    variance = elu(layer_norm(w, "norm", both[:, width:])) + 1
    for number in range(n_layers):
        layer = {name.removeprefix(f"layers.{number}."): value for name, value in w.items() if name.startswith(f"layers.{number}.")}
        query_key = linear(layer, "query_key_mean", mean)
        q_mean, k_mean = query_key[:, :width], query_key[:, width:]
        v_mean = linear(layer, "value_mean", mean)
        triple = elu(linear(layer, "query_key_value_variance", variance)) + 1
        q_var, k_var, v_var = triple[:, :width], triple[:, width : 2 * width], triple[:, 2 * width :]
        context_mean, context_var = np.zeros_like(mean), np.zeros_like(variance)
        for head in range(n_heads):
            part = slice(head * width // n_heads, (head + 1) * width // n_heads)
            for i in range(len(sequence)):
                distances = ((q_mean[i, part] - k_mean[:, part]) ** 2).sum(1)
                distances = distances + ((np.sqrt(q_var[i, part]) - np.sqrt(k_var[:, part])) ** 2).sum(1)
                weights = softmax_over_allowed(-distances / math.sqrt(width // n_heads), i, sequence)
                for j in range(len(sequence)):
                    context_mean[i, part] += weights[j] * v_mean[j, part]
                    context_var[i, part] += weights[j] ** 2 * v_var[j, part]

        def feed_forward(name: str, y: Array, layer: Weights = layer) -> Array:
            return layer_norm(layer, f"{name}.norm", y + linear(layer, f"{name}.outer", elu(linear(layer, f"{name}.inner", y))))

        variance = layer_norm(layer, "norm_attention", variance + linear(layer, "out_variance", context_var))
        variance = elu(feed_forward("feed_forward_variance", variance)) + 1
        if mean_stream == "attended":
            mean = layer_norm(layer, "norm_attention", mean + linear(layer, "out_mean", context_mean))
            mean = feed_forward("feed_forward_mean", mean)
    return first_mean, mean, variance


def sas(w: Weights, sequence: list[int], *, n_layers: int, n_heads: int, pre: bool) -> Array:
    """(T,) -> (T, D): layers with GELU, normalised before (pre) or behind their parts."""
    x = layer_norm(w, "norm", rows_of(w, sequence))
    width = x.shape[1]
    for number in range(n_layers):
        layer = {name.removeprefix(f"layers.{number}."): value for name, value in w.items() if name.startswith(f"layers.{number}.")}
        triple = linear(layer, "attention.qkv", layer_norm(layer, "norm_attention", x) if pre else x)
        query, key, value = triple[:, :width], triple[:, width : 2 * width], triple[:, 2 * width :]
        context = np.zeros_like(x)
        for head in range(n_heads):
            part = slice(head * width // n_heads, (head + 1) * width // n_heads)
            for i in range(len(sequence)):
                logits = key[:, part] @ query[i, part] / math.sqrt(width // n_heads)
                context[i, part] = softmax_over_allowed(logits, i, sequence) @ value[:, part]
        y = x + linear(layer, "attention.out", context)
        if pre:
            x = y + linear(layer, "outer", gelu(linear(layer, "inner", layer_norm(layer, "norm_inner", y))))
        else:
            y = layer_norm(layer, "norm_attention", y)
            x = layer_norm(layer, "norm_inner", y + linear(layer, "outer", gelu(linear(layer, "inner", y))))
    return layer_norm(w, "last_norm", x) if pre else x
