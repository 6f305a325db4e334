"""Evaluate a model on queries: metrics with intervals, by group, and one row per query where wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from monge.data import Interactions, Queries
from monge.errors import DataError
from monge.evaluation.metrics import DEFAULT_METRICS, Floats, bootstrap_interval, largest_cutoff, parse_metric, per_query
from monge.evaluation.ranking import Ranking, rank_truth
from monge.models.contract import Recommender


@dataclass(frozen=True)
class Estimate:
    """The mean over queries and its 95 % bootstrap interval (coverage has no interval: low = high = mean)."""

    mean: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """{"mean", "low", "high"}."""
        return {"mean": self.mean, "low": self.low, "high": self.high}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The outcome of one evaluation."""

    metrics: Mapping[str, Estimate]
    values: Mapping[str, Floats] = field(repr=False)
    """Metric -> one value a query, in the order of the queries."""
    ranking: Ranking = field(repr=False)

    def __getitem__(self, metric: str) -> float:
        return self.metrics[metric].mean

    def to_dict(self) -> dict[str, dict[str, float]]:
        """Metric -> {"mean", "low", "high"}."""
        return {name: estimate.to_dict() for name, estimate in self.metrics.items()}

    def by_group(self, name: str, labels: Sequence[str | None], order: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Metrics for each label of the queries, with counts; queries whose label is None are in no group."""
        labels_of = np.asarray(labels, dtype=object)
        rows: list[dict[str, Any]] = []
        for label in order if order is not None else sorted({label for label in labels if label is not None}):
            chosen = np.asarray(labels_of == label)
            if chosen.any():
                metrics = {metric: _estimate(values[chosen]).to_dict() for metric, values in self.values.items()}
                rows.append({"group": name, "label": label, "n_queries": int(chosen.sum()), "metrics": metrics})
        return rows


def _estimate(values: Floats, seed: int = 0) -> Estimate:
    return Estimate(float(values.mean()), *bootstrap_interval(values, seed=seed))


def evaluate(
    model: Recommender,
    queries: Queries,
    metrics: Sequence[str] = DEFAULT_METRICS,
    *,
    intervals: bool = True,
    seed: int = 0,
    block: int | None = None,
    progress: Callable[[int], Any] | None = None,
) -> Evaluation:
    """Rank all items for every query and measure where the held-out ones stand.

    Args:
        model: anything that scores.
        queries: with held-out items.
        metrics: names such as `ndcg@10`, `mrr`, `coverage@10`.
        intervals: bootstrap the means (else low = high = mean).
        seed: of the random order of ties and of the bootstrap.
        block: queries ranked at once; by default what fits 256 MiB.
        progress: called with the number of queries done.

    Raises:
        UnknownNameError, ConfigError: a metric has no such name, or no cut-off. DataError: there is no query.
    """
    if not len(queries):
        raise DataError("there is no query to evaluate on")
    parsed = {name: parse_metric(name) for name in metrics}
    cutoffs = tuple(sorted({cutoff or 0 for metric, cutoff in parsed.values() if metric == "coverage"}))
    ranking = rank_truth(model, queries, list_cutoffs=cutoffs if largest_cutoff(metrics) else (), seed=seed, block=block, progress=progress)
    values = per_query(metrics, ranking.ranks, ranking.n_truth, sampled=ranking.sampled)
    estimates: dict[str, Estimate] = {}
    for name, (metric, cutoff) in parsed.items():
        if metric == "coverage":
            share = ranking.n_recommended[cutoff or 0] / queries.n_items
            estimates[name] = Estimate(share, share, share)
        elif intervals:
            estimates[name] = _estimate(values[name], seed)
        else:
            mean = float(values[name].mean())
            estimates[name] = Estimate(mean, mean, mean)
    return Evaluation(estimates, values, ranking)


LENGTH_BOUNDS = (3, 7, 19)
POPULARITY_BOUNDS = (3, 7, 20, 50)
"""The bounds of MStein's paper (users by history length, items by training frequency)."""


def labels_between(values: np.ndarray[Any, Any], bounds: Sequence[int]) -> tuple[np.ndarray[Any, Any], list[str]]:
    """`<=3`, `4-7`, ..., `>=20` for each value, and the labels in order.

    >>> labels_between(np.array([2, 5, 99]), (3, 7))[0].tolist()
    ['<=3', '4-7', '>=8']
    """
    names = [f"<={bounds[0]}"] + [f"{a + 1}-{b}" for a, b in pairwise(bounds)] + [f">={bounds[-1] + 1}"]
    return np.array(names, dtype=object)[np.searchsorted(np.asarray(bounds), values, side="left")], names


def standard_groups(
    evaluation: Evaluation,
    queries: Queries,
    train: Interactions,
    *,
    user_bounds: Sequence[int] = LENGTH_BOUNDS,
    item_bounds: Sequence[int] = POPULARITY_BOUNDS,
) -> list[dict[str, Any]]:
    """Metrics by history length and by how often the (first) held-out item was taken in training, and by the queries' own labels.

    Args:
        evaluation: of these queries.
        queries: with held-out items.
        train: the training rows.
        user_bounds: upper ends of all groups of users but the last, rising; a group does not hold its lower end.
        item_bounds: the same of items.
    """
    lengths, length_names = labels_between(train.sequences.lengths[np.maximum(queries.user, 0)], user_bounds)
    counts = train.item_counts[queries.truth.values[queries.truth.offsets[:-1]]]
    popularity, popularity_names = labels_between(counts, item_bounds)
    rows = evaluation.by_group("training interactions of the user", lengths.tolist(), length_names)
    rows += evaluation.by_group("training interactions of the held-out item", popularity.tolist(), popularity_names)
    for name, labels in queries.groups.items():
        rows += evaluation.by_group(name, labels.tolist())
    return rows
