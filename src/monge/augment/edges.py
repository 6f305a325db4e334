"""Edge dropout: a view of the user-item graph that lost a random share of its edges.

Source: Wu et al., "Self-supervised Graph Learning for Recommendation", SIGIR 2021, sec. 3.1 (edge dropout). As there, what is left is
normalised anew by its own degrees; edges are not scaled up by 1 / (1 - rate).
"""

from __future__ import annotations

import torch

from monge.nn.graph import BipartiteGraph


def drop_edges(graph: BipartiteGraph, rate: float, generator: torch.Generator | None = None) -> BipartiteGraph:
    """Each edge is dropped with probability `rate`, in both directions at once.

    Args:
        graph: E edges.
        rate: share of the edges to drop in the mean, 0 <= rate < 1; 0 gives the graph itself, and nothing is drawn.
        generator: on the graph's device; None: PyTorch's own, which the training loop seeds in each epoch.

    Returns:
        A graph of the same users and items, on the same device. Users and items that lost all edges are isolated there.

    Raises:
        ValueError: a rate outside [0, 1).
    """
    if not 0 <= rate < 1:
        raise ValueError(f"rate must be at least 0 and below 1; got {rate}")
    if rate == 0:
        return graph
    return graph.subgraph(torch.rand(graph.n_edges, generator=generator, device=graph.items.device) >= rate)
