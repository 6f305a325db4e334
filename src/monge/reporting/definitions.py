"""How each metric is defined, in a line that a reader of a table needs."""

from __future__ import annotations

from collections.abc import Mapping

DEFINITIONS: Mapping[str, str] = {
    "ndcg": "DCG@k / ideal DCG@k, where DCG@k = Σ 1 / log₂(r + 1) over the true items at rank r ≤ k, "
    "and the ideal list has min(k, |truth|) true items first.",
    "recall": "True items in the top k / |truth|.",
    "precision": "True items in the top k / k, also where fewer than k items can be recommended.",
    "hit": "1 where at least one true item is in the top k, else 0.",
    "mrr": "1 / rank of the first true item; 0 where none is in the top k (without @k, the whole list counts).",
    "map": "Σ precision@r over the true items at rank r ≤ k, / min(k, |truth|).",
}

CONVENTIONS: tuple[str, ...] = (
    "A query is one user's known history; its truth is the set of items held out. Each query counts once, and the metric is the mean over queries.",
    "Users with nothing held out are not queried, so they enter no denominator.",
    "Items of the known history are left out of the ranking.",
    "Items with equal scores are ranked in a fixed random order, drawn once per query, so that no model gains from ties or from the order of items.",
    "Intervals are 95 % bootstrap intervals over queries: they tell how the number would move with other users, not with another random seed.",
    "Metrics lie between 0 and 1, have no unit, and higher is better.",
)


def definition(metric: str, given: Mapping[str, str] | None = None) -> str | None:
    """The definition of `ndcg@10` or `ndcg`: from `given` (what the evaluation wrote with its result), else ours, else None.

    >>> definition("recall@20")
    'True items in the top k / |truth|.'
    """
    name = metric.partition("@")[0].lower()
    return {**DEFINITIONS, **(given or {})}.get(name)
