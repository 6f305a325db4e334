"""Measure Monge in a process of its own: `python -m benchmarks.measure '{"model": "stosa", "data": "amazon-beauty"}'` prints JSON."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import monge
from benchmarks.quiet import OtherWork
from monge.api import open_log, published_split
from monge.api.preparing import initialised
from monge.data import Queries, Ragged
from monge.evaluation import evaluate
from monge.evaluation.ranking import rank_truth
from monge.models import InnerProduct, Trainable, find_model
from monge.options import build_config
from monge.training.loop import Callbacks, TrainingConfig, fit, make_fabric


def peak_memory() -> int:
    """Bytes, the most that this process had resident."""
    status = Path("/proc/self/status").read_text()  # ru_maxrss would include the process that started this one
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


def split_of(data: str, protocol: str) -> monge.Split:
    """A split file's, the published one, or one that is made."""
    if data.endswith(".safetensors"):
        return monge.Split.load(data)
    return published_split(data, {"known_users_only": True}) if protocol == "published" else monge.make_split(open_log(data), protocol)


def measure(
    model: str,
    data: str,
    *,
    protocol: str = "leave-one-out",
    epochs: int = 4,
    rankings: int = 5,
    options: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
    metrics: Sequence[str] = ("recall@10", "ndcg@10", "hit@10", "mrr"),
) -> dict[str, Any]:
    """Seconds of epochs and of full rankings, peak memory, test metrics after the last epoch."""
    split = split_of(data, protocol)
    cls = find_model(model)
    recommender: Any = initialised(cls, build_config(cls.Config, options or {}), split, seed=0)
    imported = peak_memory()
    seconds: list[float] = []
    with OtherWork() as others:
        if isinstance(recommender, Trainable):
            fit(
                recommender,
                split.train,
                TrainingConfig(epochs=epochs, **(training or {})),
                fabric=make_fabric(device="cpu"),
                callbacks=Callbacks(on_epoch=lambda progress, *_: seconds.append(progress.records[-1].seconds)),
            )
        else:
            start = time.perf_counter()
            recommender.solve(split.train)
            seconds.append(time.perf_counter() - start)
        training = peak_memory()
        ranking: list[float] = []
        for _ in range(rankings):
            start = time.perf_counter()
            found = evaluate(recommender, split.test, metrics, intervals=False)
            ranking.append(time.perf_counter() - start)
    width = int(recommender.item_vectors()[0].shape[1]) if isinstance(recommender, InnerProduct) else 0
    return {
        "epoch_seconds": seconds,
        "ranking_seconds": ranking,
        "imported_memory_bytes": imported,
        "training_memory_bytes": training,
        "peak_memory_bytes": peak_memory(),
        "metrics": {name: estimate.mean for name, estimate in found.metrics.items()},
        "n_queries": len(split.test),
        "n_items": split.train.n_items,
        "width": width,
        "others_share": others.share,
        "settings": options or {},
    }


class Vectors(nn.Module):
    """A table of items and nothing else: for the memory of ranking."""

    answers_unknown_users = True
    Config = object

    def __init__(self, n_items: int, width: int) -> None:
        super().__init__()
        self.items = nn.Parameter(torch.randn(n_items, width), requires_grad=False)

    def query_vectors(self, queries: Any) -> torch.Tensor:
        """The vector of the newest item."""
        return self.items[queries.items[queries.offsets[1:] - 1]]

    def item_vectors(self) -> tuple[torch.Tensor, None]:
        """The table."""
        return self.items, None

    def scores(self, queries: Any) -> torch.Tensor:
        """Not used: the ranking takes the vectors."""
        return self.query_vectors(queries) @ self.items.T


def million(n_items: int = 1_000_000, n_queries: int = 1_000, width: int = 64) -> dict[str, Any]:
    """Full ranking over a million items: seconds, and peak memory above the item table."""
    model = Vectors(n_items, width)
    rng = np.random.default_rng(0)
    items = rng.integers(0, n_items, (n_queries, 11))
    items[:, 10] = (items[:, :10].max(1) + 1) % n_items
    queries = Queries(
        n_items=n_items,
        user=np.arange(n_queries),
        history=Ragged.from_lengths(items[:, :10].ravel(), np.full(n_queries, 10)),
        truth=Ragged.from_lengths(items[:, 10].copy(), np.ones(n_queries, dtype=np.int64)),
    )
    before = peak_memory()
    start = time.perf_counter()
    rank_truth(model, queries)
    return {"seconds": time.perf_counter() - start, "memory_with_table_bytes": before, "above_table_bytes": peak_memory() - before}


def median_after_first(values: list[float]) -> float:
    """The first one warms up."""
    return statistics.median(values[1:] or values)


if __name__ == "__main__":
    torch.set_num_threads(2)
    asked = json.loads(sys.argv[1])
    if asked.get("model") == "million":
        found = million()
    elif asked.get("model") == "mmssl, steps":
        from benchmarks.adversarial import measure_step  # it imports this module

        found = {**measure_step(asked["data"]), "peak_memory_bytes": peak_memory()}
    else:
        found = measure(**asked)
    print(json.dumps(found))
