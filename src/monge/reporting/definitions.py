"""How each metric is defined, in a line that a reader of a table needs."""

from __future__ import annotations

from collections.abc import Mapping

SAMPLED = "sampled_"
"""As in `monge.evaluation.metrics`, which would import PyTorch."""

DEFINITIONS: Mapping[str, str] = {
    "ndcg": "DCG@k / ideal DCG@k, where DCG@k = Σ 1 / log₂(r + 1) over the true items at rank r ≤ k, "
    "and the ideal list has min(k, |truth|) true items first.",
    "ndcg_found": "DCG@k / DCG@k of a list that has its hits first: of the true items in the top max(k, 50), min(k, how many) in front. "
    "A user with a single hit out of many true items can have 1; this is the NDCG of some published code, kept to compare with it.",
    "recall": "True items in the top k / |truth|.",
    "recall_min": "True items in the top k / min(k, |truth|), so that 1 can be reached for every k.",
    "precision": "True items in the top k / k, also where fewer than k items can be recommended.",
    "hit": "1 where at least one true item is in the top k, else 0.",
    "mrr": "1 / rank of the first true item; 0 where none is in the top k (without @k, the whole list counts).",
    "map": "Σ precision@r over the true items at rank r ≤ k, / min(k, |truth|).",
    "coverage": "Share of all items that stand in the top k of at least one query: one number for all queries, so without an interval.",
}

CONVENTIONS: tuple[str, ...] = (
    "A query is one user's known history; its truth is the set of items held out. Each query counts once in the mean.",
    "Users with nothing held out are not queried, so they enter no denominator.",
    "Items of the known history are left out of the ranking.",
    "Items with equal scores are ranked in a fixed random order, drawn once per query: no model gains from ties.",
    "Intervals are 95 % bootstrap intervals over queries: how the number would move with other users, not with another seed.",
    "Metrics lie between 0 and 1, have no unit, and higher is better.",
)


def definition(metric: str) -> str | None:
    """The definition of `ndcg@10` or `ndcg`; None for a metric that is not Monge's own.

    >>> definition("recall@20")
    'True items in the top k / |truth|.'
    """
    name = metric.partition("@")[0].lower()
    full = DEFINITIONS.get(name.removeprefix(SAMPLED))
    if full is None or not name.startswith(SAMPLED):
        return full
    return f"{full} Here the list holds the true item and the query's own drawn negatives only, and every tie counts against the true item."
