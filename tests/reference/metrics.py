"""Ranking metrics of one query from a ranked list in Python floats (64 bit), item by item; shares nothing with monge."""

import math


def metric(name: str, ranked: list[int], truth: set[int]) -> float:
    """`ranked` is the whole list of eligible items, best first."""
    kind, _, cutoff = name.partition("@")
    k = int(cutoff) if cutoff else len(ranked)
    hits = [item in truth for item in ranked[:k]]
    match kind:
        case "recall":
            return sum(hits) / len(truth)
        case "recall_min":
            return sum(hits) / min(k, len(truth))
        case "hit":
            return 1.0 if any(hits) else 0.0
        case "precision":
            return sum(hits) / k
        case "mrr":
            return next((1 / place for place, hit in enumerate(hits, start=1) if hit), 0.0)
        case "ndcg":
            gain = sum(1 / math.log2(place + 1) for place, hit in enumerate(hits, start=1) if hit)
            return gain / sum(1 / math.log2(place + 1) for place in range(1, min(k, len(truth)) + 1))
        case "ndcg_found":
            gain = sum(1 / math.log2(place + 1) for place, hit in enumerate(hits, start=1) if hit)
            n_found = sum(item in truth for item in ranked[: max(k, 50)])
            return gain / sum(1 / math.log2(place + 1) for place in range(1, min(k, n_found) + 1)) if n_found else 0.0
        case "map":
            found, total = 0, 0.0
            for place, hit in enumerate(hits, start=1):
                if hit:
                    found += 1
                    total += found / place
            return total / min(k, len(truth))
        case _:
            raise KeyError(name)
