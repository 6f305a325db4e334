"""What MMSSL's views know, and how its graph enlarges vectors.

Rows: how long they are and how much they have in common. Views: how many of a user's items, trained on or held out, are among the items
that a modality finds most alike, and how many items are so for anybody. Graph: the largest eigenvalue of A_c A_r, by which two layers can
enlarge a vector.

    python -m benchmarks.views RUN

RUN is the folder of a finished run of mmssl. With what it learnt, each user's K most alike items are chosen as in its training, once
with the user's own items hidden and once with them allowed. Chance: K of the items that could be chosen.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.record import record
from monge import load_run
from monge.data import Ragged
from monge.models.multimodal.mmssl import MMSSL
from monge.nn import BipartiteGraph
from monge.training.run import RunDirectory


def share_in(graph: BipartiteGraph, users: np.ndarray, items: np.ndarray) -> float:
    """Of the (N,) pairs, the share that are edges of the graph."""
    edges = Ragged(graph.items.numpy().astype(np.int64), graph.user_offsets.numpy().astype(np.int64))
    found = edges.row_of_value * graph.n_items + edges.values
    return float(np.isin(users * graph.n_items + items, found).mean())


def growth(graph: BipartiteGraph, *, steps: int = 200) -> float:
    """The largest eigenvalue of to_items after to_users, by power iteration."""
    vector, value = torch.ones(graph.n_items, 1), 0.0
    for _ in range(steps):
        vector = graph.to_items(graph.to_users(vector))
        value = float(vector.norm())
        vector = vector / value
    return value


def measure(path: Path) -> dict[str, float]:
    """The shares, by modality, and the growth of vectors by normalisation."""
    model = load_run(path).model
    assert isinstance(model, MMSSL)
    split = RunDirectory(path).split()
    train, truth = split.train, split.test.truth
    model.batches(train, seed=0, device=torch.device("cpu"))
    k, counts = model.config.k, train.sequences.lengths
    held_out = split.test.user[truth.row_of_value], truth.values
    figures = {
        "a held-out item of a user in so many items at random, hidden": float((k / (train.n_items - counts[held_out[0]])).mean()),
        "a training item of a user in so many items at random, allowed": k / train.n_items,
    }
    for name, (users_UD, items_ID) in zip(model.content, model.features(), strict=True):
        for observed in (False, True):
            model.config = replace(model.config, observed_views=observed)
            with torch.no_grad():
                graph = model.most_alike(users_UD, items_ID)
            how = "own items allowed" if observed else "own items hidden"
            figures[f"{name}, {how}: share of held-out items among the {k} most alike"] = share_in(graph, *held_out)
            figures[f"{name}, {how}: share of training items among the {k} most alike"] = share_in(graph, train.user, train.item)
            has_view = graph.item_offsets.diff().numpy() > 0
            figures[f"{name}, {how}: share of the items that are most alike to anybody"] = float(has_view.mean())
            figures[f"{name}, {how}: share of the training pairs with such an item"] = float(has_view[train.item].mean())
    for name, modality in train.modalities.items():
        rows = modality.dense()[~modality.missing].astype(np.float64)
        lengths, mean = np.linalg.norm(rows, axis=1), rows.mean(0)
        figures[f"{name}: median length of a row"] = float(np.median(lengths))
        figures[f"{name}: mean cosine of a row and the mean row"] = float((rows @ mean / lengths / np.linalg.norm(mean)).mean())
    for normalisation in ("root", "symmetric", "one-sided"):
        graph = BipartiteGraph.from_interactions(train, normalisation=normalisation)
        figures[f"largest eigenvalue of two layers, {normalisation}"] = growth(graph)
    return figures


def main() -> None:
    """Measure and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    path = parser.parse_args().run
    figures = measure(path)
    record("mmssl-views", figures, command=["python", "-m", "benchmarks.views", str(path)], threads=torch.get_num_threads())
    for what, value in figures.items():
        print(f"{value:.4f}  {what}")


if __name__ == "__main__":
    main()
