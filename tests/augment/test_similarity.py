import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monge.augment import NearestItems, nearest_by_itemcf, nearest_by_vectors
from monge.nn import Scoring
from monge.nn.scoring import Geometry
from tests import conftest
from tests.reference.itemcf import similarities
from tests.reference.wasserstein import w2

N_ITEMS = 7
log_of = partial(conftest.log_of, n_items=N_ITEMS)
LOGS = st.lists(st.lists(st.integers(0, N_ITEMS - 1), max_size=7), min_size=1, max_size=7)  # items may repeat, users be empty


def assert_nearest(got: NearestItems, table: list[list[float]], observed: list[float], tolerance: float) -> None:
    """Item by item the best of a table (-inf where there is none), scaled by the ends of what was observed."""
    low, high = min(observed, default=0.0), max(observed, default=0.0)
    for i, row in enumerate(table):
        best = max(row)
        if best == -math.inf:
            assert got.neighbour[i] == -1
            assert got.score[i] == -math.inf
            continue
        j = int(got.neighbour[i])
        assert j != i
        assert row[j] == pytest.approx(best, rel=1e-9)
        expected = (best - low) / (high - low) if high - low > 1e-12 else 1.0
        assert got.score[i].item() == pytest.approx(expected, abs=tolerance * (1 + 1 / max(high - low, 1e-3)))


@given(histories=LOGS)
@settings(deadline=None, max_examples=40)
@pytest.mark.parametrize("inverse_user_frequency", [True, False])
def test_itemcf_is_its_definition(histories: list[list[int]], inverse_user_frequency: bool) -> None:
    inputs = {user: history[:-1] for user, history in enumerate(histories)}
    table = similarities(inputs, N_ITEMS, inverse_user_frequency=inverse_user_frequency)
    observed = [score for row in table for score in row if score > 0]
    if observed and 0 < max(observed) - min(observed) < 1e-12:
        return  # level but for rounding: which end a score is scaled to is chance
    got = nearest_by_itemcf(log_of(histories), inverse_user_frequency=inverse_user_frequency)
    assert_nearest(got, [[score if score > 0 else -math.inf for score in row] for row in table], observed, 1e-6)


def test_itemcf_by_hand() -> None:
    # the last item of each user is a target, not an input: items 5 and 6 stay unknown
    got = nearest_by_itemcf(log_of([[0, 1, 5], [0, 1, 2, 6], [2, 3, 5], [4, 6]]))
    common = {"01": (1 / math.log(3) + 1 / math.log(4)) / 2, "02": 1 / math.log(4) / 2, "23": 1 / math.log(3) / math.sqrt(2)}
    assert got.neighbour.tolist() == [1, 0, 3, 2, -1, -1, -1]
    scaled = (common["23"] - common["02"]) / (common["01"] - common["02"])
    assert got.score.tolist() == pytest.approx([1, 1, scaled, scaled, -math.inf, -math.inf, -math.inf])


def test_level_similarities_take_the_lowest_number_and_score_1() -> None:
    got = nearest_by_itemcf(log_of([[3, 1, 2, 0]]))
    assert got.neighbour.tolist() == [-1, 2, 1, 1, -1, -1, -1]
    assert got.score.tolist() == [-math.inf, 1, 1, 1, -math.inf, -math.inf, -math.inf]


def test_a_log_without_common_users_has_no_neighbours() -> None:
    got = nearest_by_itemcf(log_of([[0, 1], [2], []]))
    assert got.neighbour.tolist() == [-1] * N_ITEMS
    assert got.score.tolist() == [-math.inf] * N_ITEMS


@given(n_items=st.integers(3, 8), seed=st.integers(0, 999), block=st.sampled_from([1, 2, 3, 100]))
@settings(deadline=None, max_examples=25)
@pytest.mark.parametrize("geometry", ["dot", "w2"])
def test_nearest_by_vectors_is_brute_force(n_items: int, seed: int, block: int, geometry: Geometry) -> None:
    rng = torch.Generator().manual_seed(seed)
    mean, deviation = torch.randn(n_items, 3, generator=rng).double(), torch.rand(n_items, 3, generator=rng).double() + 0.1
    vectors = torch.cat([mean, deviation], 1)
    table = [[-math.inf] * n_items for _ in range(n_items)]
    for i in range(n_items):
        for j in set(range(n_items)) - {i}:
            variances = [(deviation[k] ** 2).tolist() for k in (i, j)]
            by_distance = -w2(mean[i].tolist(), variances[0], mean[j].tolist(), variances[1])
            table[i][j] = by_distance if geometry == "w2" else sum(a * b for a, b in zip(*vectors[[i, j]].tolist(), strict=True))
    observed = [score for row in table for score in row if score > -math.inf]
    got = nearest_by_vectors(vectors, Scoring(geometry), block=block)
    assert_nearest(got, table, observed, 1e-9)
    assert not (got.neighbour == torch.arange(n_items)).any()
    assert ((got.score >= 0) & (got.score <= 1)).all()


def test_an_item_is_never_its_own_neighbour_however_long_its_vector() -> None:
    vectors = torch.tensor([[1.0, 0.0], [1.0, 0.0], [100.0, 0.0], [-1.0, 0.0]])
    assert nearest_by_vectors(vectors, Scoring("dot"), block=3).neighbour.tolist() == [2, 2, 0, 0]
    assert nearest_by_vectors(vectors, Scoring("w2"), block=3).neighbour.tolist() == [1, 0, 0, 0]


def test_scores_are_scaled_over_pairs_of_different_items() -> None:
    # pairs: 8, 3, 3; with themselves: 16 (would be the high end), 5, 2.8 (would be the low end)
    vectors = torch.tensor([[4.0, 0.0], [2.0, 1.0], [0.75, 1.5]])
    got = nearest_by_vectors(vectors, Scoring("dot"))
    assert got.neighbour.tolist() == [1, 0, 0]
    assert got.score.tolist() == pytest.approx([1, 1, 0])


def test_vectors_that_need_a_gradient_give_none() -> None:
    got = nearest_by_vectors(torch.randn(4, 2).requires_grad_(), Scoring("dot"))
    assert not got.score.requires_grad


def test_the_hybrid_takes_the_larger_scaled_score() -> None:
    ours = NearestItems(torch.tensor([1, 2, 3, -1, -1]), torch.tensor([0.9, 0.2, 0.5, -torch.inf, -torch.inf]))
    theirs = NearestItems(torch.tensor([4, 4, 4, 4, -1]), torch.tensor([0.8, 0.3, 0.5, 0.0, -torch.inf]))
    both = ours.better_of(theirs)
    assert both.neighbour.tolist() == [1, 4, 3, 4, -1]
    assert both.score.tolist() == pytest.approx([0.9, 0.3, 0.5, 0.0, -math.inf])


def test_items_without_a_neighbour_get_any_item() -> None:
    nearest = NearestItems(torch.tensor([2, -1, 0]), torch.tensor([1.0, -torch.inf, 1.0]))
    items = torch.tensor([[0, 1, 2]]).repeat(300, 1)
    found = nearest(items, torch.Generator().manual_seed(0))
    assert (found[:, 0] == 2).all()
    assert (found[:, 2] == 0).all()
    assert found[:, 1].unique().tolist() == [0, 1, 2]
    assert torch.equal(found, nearest(items, torch.Generator().manual_seed(0)))
