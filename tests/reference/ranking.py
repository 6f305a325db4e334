"""Next-item losses in Python floats (64 bit), one loop per sum; shares nothing with monge."""

import math

Row = list[float]
Rows = list[Row]


def log_sigmoid(x: float) -> float:
    """log(1 / (1 + e^-x)), by whichever form does not overflow."""
    return -math.log1p(math.exp(-x)) if x >= 0 else x - math.log1p(math.exp(x))


def bpr(positive: Row, negative: Row) -> float:
    """Mean of -log sigmoid(positive - negative)."""
    return sum(-log_sigmoid(p - n) for p, n in zip(positive, negative, strict=True)) / len(positive)


def binary_cross_entropy(positive: Row, negatives: Rows) -> float:
    """Mean over positions of the positive's and all its negatives' -log likelihood."""
    return gbce(positive, negatives, beta=1.0)


def gbce(positive: Row, negatives: Rows, *, beta: float) -> float:
    """gSASRec, Eq. 10: the positive's probability is sigmoid(s)^beta."""
    total = 0.0
    for p, row in zip(positive, negatives, strict=True):
        total -= beta * log_sigmoid(p)
        for n in row:
            total -= log_sigmoid(-n)
    return total / len(positive)


def gbce_beta(n_negatives: int, n_items: int, calibration: float) -> float:
    """gSASRec, Eq. 16, multiplied out: beta = alpha t - t + 1 with alpha the share of negatives that is drawn."""
    return calibration * n_negatives / (n_items - 1) - calibration + 1


def sampled_softmax(positive: Row, negatives: Rows, hit: list[list[bool]] | None = None) -> float:
    """Mean of -log of the positive's share among itself and those negatives that are not the positive."""
    total = 0.0
    for i, p in enumerate(positive):
        rivals = [n for k, n in enumerate(negatives[i]) if hit is None or not hit[i][k]]
        total += math.log(1 + sum(math.exp(n - p) for n in rivals))
    return total / len(positive)


def full_cross_entropy(queries: Rows, items: Rows, bias: Row | None, targets: list[int]) -> float:
    """Mean of -log of the target's share among all items."""
    total = 0.0
    for query, target in zip(queries, targets, strict=True):
        scores = [sum(q * v for q, v in zip(query, item, strict=True)) + (bias[m] if bias else 0.0) for m, item in enumerate(items)]
        total += math.log(sum(math.exp(score - scores[target]) for score in scores))
    return total / len(queries)
