import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from monge.data import Interactions, Vocabulary
from monge.nn import BipartiteGraph, GraphTables, propagate
from monge.nn.graph import Normalisation
from tests.reference.graph import Pairs, layer_mean

ROWS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6)), max_size=25)  # with repeats and isolated nodes, or without any edge
NORMALISATIONS: list[Normalisation] = ["symmetric", "one-sided"]


def log_of_pairs(pairs: list[tuple[int, int]], n_users: int = 6, n_items: int = 7) -> Interactions:
    return Interactions.from_numbers(
        np.array([user for user, _ in pairs], dtype=np.int64),
        np.array([item for _, item in pairs], dtype=np.int64),
        users=Vocabulary.of(list(range(n_users))),
        items=Vocabulary.of(list(range(n_items))),
    )


def tables(seed: int, width: int = 3, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(6, width, generator=rng, dtype=dtype), torch.randn(7, width, generator=rng, dtype=dtype)


def edges_of(graph: BipartiteGraph) -> tuple[Pairs, Pairs]:
    """As they stand by users, and by items."""
    user = torch.repeat_interleave(graph.user_offsets.diff())
    item = torch.repeat_interleave(graph.item_offsets.diff())
    by_items = list(zip(graph.users.tolist(), item.tolist(), strict=True))
    assert by_items == [(user.tolist()[edge], graph.items.tolist()[edge]) for edge in graph.order.tolist()]
    return set(zip(user.tolist(), graph.items.tolist(), strict=True)), set(by_items)


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, n_layers=st.integers(0, 4), seed=st.integers(0, 99), normalisation=st.sampled_from(NORMALISATIONS))
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_it_is_the_mean_of_layers_made_one_neighbour_at_a_time(
    rows: list[tuple[int, int]], n_layers: int, seed: int, normalisation: Normalisation, dtype: torch.dtype, tolerance: float
) -> None:
    graph = BipartiteGraph.from_interactions(log_of_pairs(rows), normalisation=normalisation, dtype=dtype)
    assert edges_of(graph) == (set(rows), set(rows))
    assert (graph.n_users, graph.n_items, graph.n_edges) == (6, 7, len(set(rows)))
    users, items = tables(seed)
    got = propagate(graph, users.to(dtype), items.to(dtype), n_layers)
    expected = layer_mean(set(rows), users.tolist(), items.tolist(), n_layers=n_layers, symmetric=normalisation == "symmetric")
    for mine, theirs in zip(got, expected, strict=True):
        assert mine.dtype == dtype
        torch.testing.assert_close(mine.double(), torch.tensor(theirs, dtype=torch.float64), rtol=tolerance, atol=tolerance)


PAIRS = [(0, 0), (0, 1), (1, 1), (2, 1), (2, 3), (2, 3), (4, 0), (4, 5), (4, 1)]  # users 3 and 5, items 2, 4 and 6 are isolated


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize("n_layers", [1, 2, 3])
def test_gradients_and_their_gradients(normalisation: Normalisation, n_layers: int) -> None:
    graph = BipartiteGraph.from_interactions(log_of_pairs(PAIRS), normalisation=normalisation, dtype=torch.float64)
    users, items = (table.requires_grad_() for table in tables(3, width=2))
    assert torch.autograd.gradcheck(lambda u, i: propagate(graph, u, i, n_layers), (users, items))
    assert torch.autograd.gradgradcheck(lambda u, i: propagate(graph, u, i, n_layers), (users, items))
    assert torch.autograd.gradcheck(lambda u: propagate(graph, u, items.detach(), n_layers)[1], (users,))


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_the_backward_pass_is_the_dense_transpose(normalisation: Normalisation) -> None:
    graph = BipartiteGraph.from_interactions(log_of_pairs(PAIRS), normalisation=normalisation, dtype=torch.float64)
    dense = torch.zeros(6, 7, dtype=torch.float64)
    dense[[u for u, _ in PAIRS], [i for _, i in PAIRS]] = 1
    degree_U1, degree_1I = dense.sum(1, keepdim=True).clamp(min=1), dense.sum(0, keepdim=True).clamp(min=1)
    symmetric = dense / (degree_U1 * degree_1I).sqrt()
    to_users, to_items = (symmetric, symmetric.T) if normalisation == "symmetric" else (dense / degree_U1, (dense / degree_1I).T)
    users, items = (table.requires_grad_() for table in tables(4))
    weights = tables(5)

    def gradients(final: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        return torch.autograd.grad((final[0] * weights[0]).sum() + (final[1] * weights[1]).sum(), (users, items))

    first = to_users @ items, to_items @ users
    second = to_users @ first[1], to_items @ first[0]
    by_hand = (users + first[0] + second[0]) / 3, (items + first[1] + second[1]) / 3
    for mine, theirs in zip(gradients(propagate(graph, users, items, 2)), gradients(by_hand), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_isolated_nodes_keep_their_share_of_layer_0(normalisation: Normalisation) -> None:
    graph = BipartiteGraph.from_interactions(log_of_pairs(PAIRS), normalisation=normalisation, dtype=torch.float64)
    users, items = tables(1)
    final_users, final_items = propagate(graph, users, items, 3)
    torch.testing.assert_close(final_users[[3, 5]], users[[3, 5]] / 4)
    torch.testing.assert_close(final_items[[2, 4, 6]], items[[2, 4, 6]] / 4)


def test_one_sided_propagation_keeps_what_is_equal_everywhere_and_symmetric_keeps_square_roots_of_degrees() -> None:
    log = log_of_pairs(
        [(user, (user * 2 + step) % 7) for user in range(6) for step in range(1 + user % 3)] + [(0, item) for item in range(7)]
    )
    ones = torch.ones(6, 1, dtype=torch.float64), torch.ones(7, 1, dtype=torch.float64)
    for mine, theirs in zip(
        propagate(BipartiteGraph.from_interactions(log, normalisation="one-sided", dtype=torch.float64), *ones, 3), ones, strict=True
    ):
        torch.testing.assert_close(mine, theirs)
    graph = BipartiteGraph.from_interactions(log, dtype=torch.float64)
    roots = tuple(offsets.diff().double().sqrt()[:, None] for offsets in (graph.user_offsets, graph.item_offsets))
    for mine, theirs in zip(propagate(graph, roots[0], roots[1], 3), roots, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_inputs_stay_as_they_are_and_half_precision_is_widened() -> None:
    graph = BipartiteGraph.from_interactions(log_of_pairs(PAIRS))
    users, items = tables(2, dtype=torch.float32)
    before = users.clone(), items.clone()
    expected = propagate(graph, users, items, 2)
    assert torch.equal(users, before[0])
    assert torch.equal(items, before[1])
    half = propagate(graph, users.bfloat16(), items.bfloat16(), 2)
    assert half[0].dtype == torch.float32
    torch.testing.assert_close(half[0], expected[0], rtol=0.02, atol=0.02)


def test_wrong_shapes_are_one_sentence() -> None:
    graph = BipartiteGraph.from_interactions(log_of_pairs(PAIRS))
    users, items = tables(0)
    with pytest.raises(ValueError, match=r"must be \(U, D\) and \(I, D\); got \(6, 3\), \(7, 2\)"):
        propagate(graph, users, items[:, :2], 1)
    with pytest.raises(ValueError, match="6 users and 7 items; got 7 and 6 vectors"):
        propagate(graph, items, users, 1)
    with pytest.raises(ValueError, match="n_layers must be >= 0; got -1"):
        propagate(graph, users, items, -1)
    with pytest.raises(ValueError, match=r"keep must be \(8,\) bool; got \(3,\), torch.bool"):
        graph.subgraph(torch.ones(3, dtype=torch.bool))


def made_tables() -> GraphTables:
    torch.manual_seed(0)
    made = GraphTables(6, 7, 3, n_layers=2)
    made.connect(log_of_pairs(PAIRS))
    return made


def assert_up_to_date(made: GraphTables) -> None:
    with torch.no_grad():
        expected = made.propagated()
    for mine, theirs in zip(made.everything(), expected, strict=True):
        assert torch.equal(mine, theirs)


def test_final_vectors_follow_every_change_of_the_tables() -> None:
    made = made_tables()
    optimizer = torch.optim.Adam(made.parameters(), lr=0.1, fused=True)
    seen: list[Tensor] = []
    for step in range(6):
        made.train(mode=step % 2 == 0)
        assert_up_to_date(made)
        seen.append(made.everything()[0].clone())
        made.train()
        optimizer.zero_grad()
        (made.propagated()[0].square().sum() + made.propagated()[1].sum()).backward()
        optimizer.step()
        assert torch.equal(made.state_dict()["final_items"], made.propagated()[1])  # brought up to date when it is saved
        assert_up_to_date(made)  # within an epoch
    assert all(not torch.equal(one, other) for one, other in itertools.pairwise(seen))
    made.eval()
    assert_up_to_date(made)
    made.connect(log_of_pairs(PAIRS[:4]))
    assert_up_to_date(made)


def test_final_vectors_are_propagated_once_an_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    made, calls = made_tables(), []
    monkeypatch.setattr("monge.nn.graph.propagate", lambda *arguments: calls.append(1) or propagate(*arguments))
    for n_evaluations in (1, 2):
        made.eval()
        with torch.inference_mode():
            for _ in range(5):
                made.everything()
        made.state_dict()
        made.eval()
        made.everything()
        assert len(calls) == n_evaluations
        made.train()


def test_tables_without_a_graph_answer_from_what_was_saved_and_cannot_propagate() -> None:
    made = made_tables()
    other = GraphTables(6, 7, 3, n_layers=2)
    other.load_state_dict(made.state_dict())
    assert torch.equal(other.everything()[0], made.propagated()[0])
    assert torch.equal(other.everything()[1], made.propagated()[1])
    with pytest.raises(ValueError, match="no graph to propagate over"):
        other.propagated()


def test_vectors_of_pairs_are_rows_of_all_vectors() -> None:
    made = made_tables()
    users, items = made(torch.tensor([4, 0, 4]), torch.tensor([6, 1]))
    assert torch.equal(users, made.propagated()[0][[4, 0, 4]])
    assert torch.equal(items, made.propagated()[1][[6, 1]])
