"""Squared 2-Wasserstein distances and attention in Python floats (64 bit), one loop per sum; shares nothing with monge."""

import math

Row = list[float]
Rows = list[Row]


def w2(mean_a: Row, variance_a: Row, mean_b: Row, variance_b: Row) -> float:
    """|mean_a - mean_b|^2 + |sqrt(variance_a) - sqrt(variance_b)|^2."""
    total = 0.0
    for m, n in zip(mean_a, mean_b, strict=True):
        total += (m - n) ** 2
    for s, t in zip(variance_a, variance_b, strict=True):
        total += (math.sqrt(s) - math.sqrt(t)) ** 2
    return total


def w2_all_pairs(means_a: Rows, variances_a: Rows, means_b: Rows, variances_b: Rows) -> Rows:
    """Every a against every b."""
    return [[w2(m, s, n, t) for n, t in zip(means_b, variances_b, strict=True)] for m, s in zip(means_a, variances_a, strict=True)]


def variance_of(x: float) -> float:
    """ELU(x) + 1."""
    return x + 1 if x > 0 else math.exp(x)


def wasserstein_attention(
    query: tuple[Rows, Rows],
    key: tuple[Rows, Rows],
    value: tuple[Rows, Rows],
    allowed: list[list[bool]],
    kept: Rows | None = None,
) -> tuple[Rows, Rows]:
    """One sequence, one head; each pair is (means, variances), each (T, D). `kept` multiplies the weights (dropout).

    The mean is the weighted mean; the variance takes the squared weights.
    """
    width = len(query[0][0])
    means, variances = [], []
    for i, distances in enumerate(w2_all_pairs(*query, *key)):
        logits = [-distance / math.sqrt(width) for distance in distances]
        highest = max(logit for j, logit in enumerate(logits) if allowed[i][j])
        powers = [math.exp(logit - highest) if allowed[i][j] else 0.0 for j, logit in enumerate(logits)]
        weights = [power / sum(powers) * (1.0 if kept is None else kept[i][j]) for j, power in enumerate(powers)]
        means.append([sum(weights[j] * value[0][j][d] for j in range(len(weights))) for d in range(len(value[0][0]))])
        variances.append([sum(weights[j] ** 2 * value[1][j][d] for j in range(len(weights))) for d in range(len(value[1][0]))])
    return means, variances
