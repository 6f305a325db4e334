"""Ranking metrics from the ranks of the held-out items. Every metric works on anybody's ranks.

Notation of one query: G the held-out items (|G| >= 1), r(g) the 1-based rank of g among all items that may be ranked, k a
cut-off, h_k = |{g in G: r(g) <= k}|. A table shows the mean over queries; queries without a held-out item are never asked.

| name         | formula                                                                            |
|--------------|------------------------------------------------------------------------------------|
| recall@k     | h_k / \\|G\\|                                                                          |
| recall_min@k | h_k / min(k, \\|G\\|)   (1 is reachable for every k: another common denominator)        |
| hit@k        | 1 if h_k >= 1                                                                      |
| precision@k  | h_k / k                                                                            |
| ndcg@k       | sum over hits of 1 / log2(r + 1), over the same sum for ranks 1..min(k, \\|G\\|)        |
| ndcg_found@k | the same hits, over the sum for ranks 1..min(k, hits within the first max(k, 50))    |
| mrr          | 1 / (smallest rank), over the whole list                                           |
| mrr@k        | the same, 0 if no rank is within k                                                 |
| map@k        | sum over hits of (hits up to that rank / that rank), over min(k, \\|G\\|)               |
| coverage@k   | share of all items that stand in somebody's first k                                |

`ndcg_found` is what the code of MMSSL and its relatives calls NDCG: the ideal list is made of the hits that were found, so a user with
many held-out items of which few were found gets more than `ndcg` gives. It is for comparing with such papers only.

`sampled_` before a name (`sampled_hit@10`) takes the ranks among the negatives that a query brings with it, for protocols that have them
(1 of 1,000 as a rule); it does not order models as the full ranking does (Krichene & Rendle, KDD 2020), so both are shown.

With one held-out item (leave-one-out) recall@k = recall_min@k = hit@k.
Ties: items of equal score are put in an order drawn at random for each query from a fixed seed; never by item number.

Axes: Q queries, G held-out items of the fullest query.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from monge.errors import ConfigError, DataError, UnknownNameError, nearest

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FOUND_WITHIN = 50
"""Length of the list whose hits `ndcg_found` takes for the ideal one."""
DEFAULT_METRICS = (
    "recall@1", "recall@5", "recall@10", "recall@20", "ndcg@5", "ndcg@10", "ndcg@20", "mrr", "mrr@40",
    "hit@10", "precision@10", "map@10", "coverage@10",
)  # fmt: skip


def _recall(ranks: Ints, n_truth: Ints, k: int) -> Floats:
    return np.asarray((ranks <= k).sum(1) / n_truth)


def _recall_min(ranks: Ints, n_truth: Ints, k: int) -> Floats:
    return np.asarray((ranks <= k).sum(1) / np.minimum(n_truth, k))


def _hit(ranks: Ints, n_truth: Ints, k: int) -> Floats:
    return np.asarray((ranks <= k).any(1), dtype=np.float64)


def _precision(ranks: Ints, n_truth: Ints, k: int) -> Floats:
    return np.asarray((ranks <= k).sum(1) / k)


def _ndcg(ranks: Ints, n_truth: Ints, k: int) -> Floats:
    gains = np.where(ranks <= k, 1 / np.log2(ranks + 1.0), 0.0).sum(1)
    ideal = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, k + 2)))])
    return gains / ideal[np.minimum(n_truth, k)]


def _ndcg_found(ranks: Ints, n_truth: Ints, k: int) -> Floats:
    gains = np.where(ranks <= k, 1 / np.log2(ranks + 1.0), 0.0).sum(1)
    ideal = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, k + 2)))])
    found = np.minimum((ranks <= max(k, FOUND_WITHIN)).sum(1), k)
    return gains / np.where(found > 0, ideal[found], 1.0)


def _mrr(ranks: Ints, n_truth: Ints, k: int | None) -> Floats:
    first = ranks.min(1)
    return np.where(first <= (np.inf if k is None else k), 1 / first, 0.0)


def _map(ranks: Ints, n_truth: Ints, k: int) -> Floats:
    ordered = np.sort(ranks, axis=1)
    hits_so_far = np.arange(1, ranks.shape[1] + 1)
    return np.where(ordered <= k, hits_so_far / ordered, 0.0).sum(1) / np.minimum(n_truth, k)


_BY_QUERY: dict[str, Callable[[Ints, Ints, int], Floats]] = {
    "recall": _recall,
    "recall_min": _recall_min,
    "hit": _hit,
    "precision": _precision,
    "ndcg": _ndcg,
    "ndcg_found": _ndcg_found,
    "mrr": _mrr,
    "map": _map,
}
METRICS = (*_BY_QUERY, "coverage")
SAMPLED = "sampled_"
"""Stands before the names of metrics that rank among a query's negatives only."""


def parse_metric(name: str) -> tuple[str, int | None]:
    """`ndcg@10` -> ("ndcg", 10); `mrr` -> ("mrr", None).

    Raises:
        UnknownNameError: no such metric. ConfigError: a cut-off is missing or below 1.
    """
    match = re.fullmatch(r"([a-z_]+)(?:@(-?\d+))?", name.strip().lower())
    if not match or (match[1] not in METRICS and match[1].removeprefix(SAMPLED) not in _BY_QUERY):
        known = [*METRICS, *(SAMPLED + metric for metric in _BY_QUERY)]
        raise UnknownNameError(f"no metric {name!r}{nearest(name.partition('@')[0], known)} (with a cut-off: ndcg@10)")
    cutoff = None if match[2] is None else int(match[2])
    if cutoff is None and match[1].removeprefix(SAMPLED) != "mrr":
        raise ConfigError(f"metric {name!r} needs a cut-off, for example {match[1]}@10")
    if cutoff is not None and cutoff < 1:
        raise ConfigError(f"metric {name!r}: the cut-off must be at least 1")
    return match[1], cutoff


def largest_cutoff(metrics: Iterable[str]) -> int:
    """The largest cut-off that coverage needs a list for; 0 where no metric needs one."""
    return max((cutoff or 0 for name, cutoff in map(parse_metric, metrics) if name == "coverage"), default=0)


def per_query(metrics: Sequence[str], ranks: Ints, n_truth: Ints, *, sampled: Ints | None = None) -> dict[str, Floats]:
    """One value a query for each metric (coverage, which belongs to no single query, is left out).

    Args:
        metrics: names such as `ndcg@10`.
        ranks: (Q, G) 1-based ranks of held-out items; places beyond a query's own hold a huge number.
        n_truth: (Q,) how many held-out items each query has, >= 1.
        sampled: (Q, G) the ranks that metrics called `sampled_...` take.

    Raises:
        DataError: a `sampled_...` metric without such ranks.
    """
    values: dict[str, Floats] = {}
    for name in metrics:
        metric, cutoff = parse_metric(name)
        taken = sampled if metric.startswith(SAMPLED) else ranks
        if taken is None:
            raise DataError(
                f"{name}: the queries have no negatives to rank among; use {name.removeprefix(SAMPLED)}, or a protocol with some"
            )
        if metric.removeprefix(SAMPLED) in _BY_QUERY:
            found = _BY_QUERY[metric.removeprefix(SAMPLED)](taken, n_truth, cutoff)  # pyright: ignore[reportArgumentType]
            values[name] = np.asarray(found, dtype=np.float64)
    return values


def bootstrap_interval(values: Floats, *, level: float = 0.95, resamples: int = 1000, seed: int = 0) -> tuple[float, float]:
    """Percentile interval of the mean over resampled queries.

    The resampling weights are Poisson(1) counts (the large-sample form of drawing with replacement), so that the values
    are passed over in blocks and memory stays small.
    """
    rng = np.random.default_rng(seed)
    sums, counts = np.zeros(resamples), np.zeros(resamples)
    for start in range(0, len(values), 4096):
        block = values[start : start + 4096]
        weights = rng.poisson(1.0, size=(resamples, len(block))).astype(np.float32)
        sums += weights @ block
        counts += weights.sum(1)
    drawn = counts > 0  # of very few queries a resample may hold none
    means = sums[drawn] / counts[drawn]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
