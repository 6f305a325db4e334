"""Losses between two views, or within a batch of pairs, in Python floats (64 bit), one loop per sum; shares nothing with monge."""

import math

from tests.reference.wasserstein import Rows, w2


def two_views(similarities: Rows) -> float:
    """Mean over 2B anchors of -log softmax at the other view of the same user, the anchor itself left out."""
    rows = len(similarities)
    total = 0.0
    for i in range(rows):
        partner = i + rows // 2 if i < rows // 2 else i - rows // 2
        others = [similarities[i][j] for j in range(rows) if j != i]
        highest = max(others)
        total += highest + math.log(sum(math.exp(s - highest) for s in others)) - similarities[i][partner]
    return total / rows


def info_nce(a: Rows, b: Rows, *, cosine: bool, temperature: float) -> float:
    """MStein, Eq. 6 (cosine), or CoSeRec's code (dot)."""
    rows = a + b

    def length(row: list[float]) -> float:
        return math.sqrt(sum(x * x for x in row)) if cosine else 1.0

    return two_views([[sum(x * y for x, y in zip(r, s, strict=True)) / length(r) / length(s) / temperature for s in rows] for r in rows])


def mstein(a: tuple[Rows, Rows], b: tuple[Rows, Rows], *, inverse: bool, temperature: float) -> float:
    """MStein, Eq. 12: each view is (means, variances). The similarity is -W2, or 1 / (1 + W2) as in the authors' code."""
    means, variances = a[0] + b[0], a[1] + b[1]
    similarities = []
    for m, s in zip(means, variances, strict=True):
        distances = [w2(m, s, n, t) for n, t in zip(means, variances, strict=True)]
        similarities.append([(1 / (1 + d) if inverse else -d) / temperature for d in distances])
    return two_views(similarities)


def unit(row: list[float]) -> list[float]:
    length = math.sqrt(sum(x * x for x in row))
    return [x / length for x in row]


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def in_batch(queries: Rows, keys: Rows, temperature: float, wanted: Rows, hidden: list[list[bool]] | None = None) -> float:
    """SCLRec, Eq. 6: cross-entropy of each row of `wanted` (M) against the softmax over the keys that are not hidden."""
    total = 0.0
    for i in range(len(queries)):
        left = [j for j in range(len(keys)) if j == i or hidden is None or not hidden[i][j]]
        logits = {j: dot(queries[i], keys[j]) / temperature for j in left}
        highest = max(logits.values())
        log_sum = highest + math.log(sum(math.exp(x - highest) for x in logits.values()))
        mass = sum(wanted[i][j] for j in left)
        for j in left:
            share = wanted[i][j] / mass if mass > 0 else float(j == i)
            total -= share * (logits[j] - log_sum)
    return total / len(queries)


def squared_distance(a: list[float], b: list[float]) -> float:
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def alignment(queries: Rows, keys: Rows) -> float:
    return sum(squared_distance(q, k) for q, k in zip(queries, keys, strict=True)) / len(queries)


def uniformity(rows: Rows, t: float = 2.0) -> float:
    pairs = [(i, j) for i in range(len(rows)) for j in range(i)]
    return math.log(sum(math.exp(-t * squared_distance(rows[i], rows[j])) for i, j in pairs) / len(pairs))
