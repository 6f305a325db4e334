import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monge.augment import drop_edges
from monge.nn import BipartiteGraph, propagate
from monge.nn.graph import Normalisation
from tests.nn.test_graph import NORMALISATIONS, ROWS, edges_of, log_of_pairs, tables


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, rate=st.floats(0, 0.95), seed=st.integers(0, 999), normalisation=st.sampled_from(NORMALISATIONS))
def test_what_is_left_is_the_graph_of_a_log_that_has_only_those_pairs(
    rows: list[tuple[int, int]], rate: float, seed: int, normalisation: Normalisation
) -> None:
    graph = BipartiteGraph.from_interactions(log_of_pairs(rows), normalisation=normalisation, dtype=torch.float64)
    before = graph.items.clone()
    dropped = drop_edges(graph, rate, seeded(seed))
    assert torch.equal(graph.items, before)
    left, by_items = edges_of(dropped)
    assert left == by_items <= set(rows)
    anew = BipartiteGraph.from_interactions(log_of_pairs(sorted(left)), normalisation=normalisation, dtype=torch.float64)
    for name in ("user_offsets", "items", "item_offsets", "users", "order"):
        assert torch.equal(getattr(dropped, name), getattr(anew, name)), name
        assert getattr(dropped, name).dtype == getattr(graph, name).dtype
    for mine, theirs in zip(propagate(dropped, *tables(seed), 2), propagate(anew, *tables(seed), 2), strict=True):
        assert torch.equal(mine, theirs)
    again = drop_edges(drop_edges(graph, rate, seeded(seed)), rate, seeded(seed + 1))
    assert edges_of(again)[0] <= left


def test_each_edge_is_dropped_at_the_rate_and_by_its_generator_alone() -> None:
    rows = [(user, item) for user in range(60) for item in range(50)]
    graph = BipartiteGraph.from_interactions(log_of_pairs(rows, 60, 50))
    kept = drop_edges(graph, 0.2, seeded(0))
    assert abs(kept.n_edges / 3000 - 0.8) < 4 * math.sqrt(0.16 / 3000)
    torch.manual_seed(99)
    assert torch.equal(drop_edges(graph, 0.2, seeded(0)).items, kept.items)
    other = drop_edges(graph, 0.2, seeded(1))
    assert edges_of(other)[0] != edges_of(kept)[0]
    common = len(edges_of(other)[0] & edges_of(kept)[0]) / 3000
    assert abs(common - 0.64) < 4 * math.sqrt(0.64 * 0.36 / 3000)


def test_rate_0_is_the_graph_itself_and_draws_nothing() -> None:
    graph = BipartiteGraph.from_interactions(log_of_pairs([(0, 0), (1, 2)]))
    generator = seeded(5)
    assert drop_edges(graph, 0.0, generator) is graph
    assert torch.equal(torch.rand(3, generator=generator), torch.rand(3, generator=seeded(5)))


@pytest.mark.parametrize("rate", [-0.1, 1.0, np.nan])
def test_a_rate_out_of_range_is_refused(rate: float) -> None:
    graph = BipartiteGraph.from_interactions(log_of_pairs([(0, 0)]))
    with pytest.raises(ValueError, match="at least 0 and below 1"):
        drop_edges(graph, rate, seeded(0))
