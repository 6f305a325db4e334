"""P3alpha, RP3beta, SLIM and EASE beside loops, scikit-learn and linear algebra of other makes; and the scorer that they share."""

from typing import Any

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import ElasticNet

from monge.data import Interactions
from monge.data.matrix import user_item_matrix
from monge.errors import ConfigError
from monge.models.collaborative import slim
from monge.models.collaborative.ease import EASE, EASEConfig
from monge.models.collaborative.itemknn import ItemKNN, ItemKNNConfig
from monge.models.collaborative.p3alpha import P3alpha, P3alphaConfig
from monge.models.collaborative.rp3beta import RP3beta, RP3betaConfig
from monge.models.collaborative.slim import SLIM, SLIMConfig
from monge.nn import item_weights
from monge.nn.item_weights import ItemWeights, largest_in_rows, products
from tests.conftest import log_of, queries_of
from tests.reference.item_weights import ridge_without_diagonal, walk_weights

N_ITEMS = 13
UNTAKEN = N_ITEMS - 1
SPARSE: list[tuple[type[Any], Any]] = [
    (ItemKNN, ItemKNNConfig(k=4)),
    (P3alpha, P3alphaConfig(k=4)),
    (RP3beta, RP3betaConfig(k=4)),
    (SLIM, SLIMConfig(k=4)),
]


def sequences(seed: int, n_users: int = 30) -> list[list[int]]:
    """Random users, some with repeats; item 11 has one user, item 12 (UNTAKEN) none in training."""
    rng = np.random.default_rng(seed)
    rows = [rng.permutation(N_ITEMS - 2)[: rng.integers(1, 8)].tolist() for _ in range(n_users)]
    return [[0, 1, 0, 2], [N_ITEMS - 2, 3], *rows]


def log(seed: int) -> Interactions:
    """Training rows of `sequences`, and a last user without any."""
    full = log_of([*sequences(seed), [UNTAKEN]])
    return full.select(full.item != UNTAKEN)


def solved(model: type[Any], config: Any, train: Interactions) -> Any:
    built = model(config, n_users=train.n_users, n_items=train.n_items)
    built.solve(train)
    return built


def table(model: Any) -> np.ndarray:
    """w[j, i], j the item of the history."""
    return model.weights.matrix().toarray().astype(np.float64) if isinstance(model.weights, ItemWeights) else model.weights.double().numpy()


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("alpha", [0.0, 0.7, 1.0, 1.6])
@pytest.mark.parametrize("beta", [0.0, 0.5, 1.2])
def test_walk_weights_are_the_formula(seed: int, alpha: float, beta: float) -> None:
    found = table(solved(RP3beta, RP3betaConfig(alpha=alpha, beta=beta, k=N_ITEMS), log(seed)))
    by_hand = walk_weights([set(row) for row in sequences(seed)], N_ITEMS - 1, alpha=alpha, beta=beta)
    np.testing.assert_allclose(found[:-1, :-1], by_hand, rtol=1e-6)
    assert not found[UNTAKEN].any()
    assert not found[:, UNTAKEN].any()


@pytest.mark.parametrize("options", [{}, {"alpha": 0.6, "k": 4}, {"alpha": 1.4, "k": 3, "normalise": True}])
def test_rp3beta_without_beta_is_p3alpha(options: dict[str, Any]) -> None:
    walk = solved(P3alpha, P3alphaConfig(**options), log(3))
    ours = solved(RP3beta, RP3betaConfig(beta=0.0, **options), log(3))
    assert table(ours).tolist() == table(walk).tolist()


@pytest.mark.parametrize("seed", range(3))
def test_the_rows_of_p3alpha_are_probabilities(seed: int) -> None:
    total = table(solved(P3alpha, P3alphaConfig(k=N_ITEMS), log(seed))).sum(1)
    assert (total <= 1 + 1e-6).all()
    back = [sum(1 / len(set(row)) for row in sequences(seed) if item in row) for item in range(N_ITEMS - 1)]  # the way back to itself
    n_takers = [sum(item in row for row in sequences(seed)) for item in range(N_ITEMS - 1)]
    np.testing.assert_allclose(total[:-1], 1 - np.array(back) / n_takers, rtol=1e-5)
    scaled = table(solved(P3alpha, P3alphaConfig(k=3, normalise=True), log(seed))).sum(1)
    np.testing.assert_allclose(scaled[:-1], 1, rtol=1e-6)
    assert scaled[UNTAKEN] == 0


@pytest.mark.parametrize(("model", "config"), SPARSE)
def test_only_the_k_largest_of_each_row_or_column_are_kept(model: type[Any], config: Any) -> None:
    cut = table(solved(model, config, log(1)))
    full = table(solved(model, type(config)(**{**vars(config), "k": N_ITEMS}), log(1)))
    if model is SLIM:  # its k counts the weights of a scored item, the others' those of an item of the history
        cut, full = cut.T, full.T
    for got, all_of_it in zip(cut, full, strict=True):
        assert sorted(got[got > 0]) == sorted(value for value in np.sort(all_of_it)[-4:] if value > 0)
        assert set(np.flatnonzero(got)) <= set(np.flatnonzero(all_of_it))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("g", "r"), [(0.05, 0.1), (0.01, 0.5), (0.3, 1e-3), (0.002, 0.02), (0.02, 0.999)])
@pytest.mark.parametrize("dense_share", [0.0, 2.0])
def test_slim_is_the_elastic_net_of_scikit_learn(
    seed: int, g: float, r: float, dense_share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slim, "DENSE_SHARE", dense_share)
    found = table(solved(SLIM, SLIMConfig(regularisation=g, l1_ratio=r, k=N_ITEMS), log(seed)))
    assert (found >= 0).all()
    assert not np.diag(found).any()
    taken = user_item_matrix(log(seed)).toarray()[:-1]  # the last user has no training row
    common = taken.T @ taken
    for j in range(N_ITEMS):
        others = [item for item in range(N_ITEMS) if item != j]
        net = ElasticNet(alpha=g, l1_ratio=r, fit_intercept=False, positive=True, tol=1e-12, max_iter=100_000)
        net.fit(taken[:, others], taken[:, j])
        np.testing.assert_allclose(found[others, j], net.coef_, rtol=1e-4, atol=1e-6)
        screened = common[others, j] <= len(taken) * g * r  # the page's claim, by the witness
        assert not net.coef_[screened].any()


@given(seed=st.integers(0, 10_000), n=st.integers(2, 25), l1=st.floats(0, 2), l2=st.floats(0.01, 5), chances=st.sampled_from([-1, 3]))
@settings(deadline=None, max_examples=60)
def test_each_column_is_the_optimum_that_scipy_finds(seed: int, n: int, l1: float, l2: float, chances: int) -> None:
    rng = np.random.default_rng(seed)
    taken = (rng.random((rng.integers(1, 40), n)) < rng.random(n)).astype(float)
    taken[:, -1] = taken[:, 0]  # two items that the same users have
    common = taken.T @ taken
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slim, "CHANCES", chances)  # -1: one exchange at a time from the beginning
        found = slim.regress(common, 0, l1=l1, l2=l2)
    system, pull = (common + l2 * np.eye(n))[1:, 1:], (common[0] - l1)[1:]
    root = np.linalg.cholesky(system).T
    expected, _ = scipy.optimize.nnls(root, np.linalg.solve(root.T, pull))
    assert found[0] == 0
    np.testing.assert_allclose(found[1:], expected, atol=1e-8)


def test_slim_says_when_two_equal_items_cannot_be_told_apart() -> None:
    with pytest.raises(ConfigError, match="rounding errors hide the weights of an item; use a larger --regularisation"):
        slim.regress(np.full((3, 3), 4.0), 0, l1=0.0, l2=1e-20)


def test_slim_does_not_depend_on_the_number_of_threads() -> None:
    one = table(solved(SLIM, SLIMConfig(), log(2)))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert table(solved(SLIM, SLIMConfig(), log(2))).tolist() == one.tolist()
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("regularisation", [0.1, 5.0])
def test_ease_is_ridge_regression_without_a_diagonal(seed: int, regularisation: float) -> None:
    found = table(solved(EASE, EASEConfig(regularisation=regularisation), log(seed)))
    taken = user_item_matrix(log(seed)).toarray()
    np.testing.assert_allclose(found, ridge_without_diagonal(taken, regularisation), atol=1e-6)
    inverse = np.linalg.inv(taken.T @ taken + regularisation * np.eye(N_ITEMS))
    closed_form = np.eye(N_ITEMS) - inverse / np.diag(inverse)
    np.testing.assert_allclose(found, closed_form - np.diag(np.diag(closed_form)), atol=1e-6)
    assert not np.diag(found).any()


def test_ease_refuses_a_table_that_does_not_fit_before_it_is_made() -> None:
    with pytest.raises(ConfigError, match=r"^ease .* 40,981 items need 26,871,077,776 bytes, and --max-gigabytes 8 allows less; raise it"):
        EASE(EASEConfig(), n_users=3, n_items=40_981)
    assert EASE(EASEConfig(max_gigabytes=1e-6), n_users=3, n_items=7).weights.shape == (7, 7)
    with pytest.raises(ConfigError, match="8 items need 1,024 bytes"):
        EASE(EASEConfig(max_gigabytes=1e-6), n_users=3, n_items=8)


@pytest.mark.parametrize(("model", "config"), [*SPARSE, (EASE, EASEConfig(regularisation=1.0))])
def test_a_score_is_the_sum_over_the_history(model: type[Any], config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    built = solved(model, config, log(5))
    weights = table(built)
    histories = [[3], [0, 7, 2, 9], [], [5, 5], [UNTAKEN], [UNTAKEN, 4]]
    expected = [weights[history].sum(0) for history in histories]
    asked = queries_of(histories, [[]] * len(histories), n_items=N_ITEMS, users=[-1] * len(histories)).batch()
    for budget in (item_weights.SCORE_BUDGET, 1, 7):
        monkeypatch.setattr(item_weights, "SCORE_BUDGET", budget)
        found = built.scores(asked)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-6)
        assert not found[:, UNTAKEN].any()  # an item that no training user has
    assert built.scores(queries_of([], [], n_items=N_ITEMS).batch()).shape == (0, N_ITEMS)


@pytest.mark.parametrize(("model", "config"), [*SPARSE, (EASE, EASEConfig())])
def test_repeated_rows_count_once(model: type[Any], config: Any) -> None:
    once, twice = [[0, 1, 3], [1, 2], [2, 0], [3, 2, 1]], [[0, 1, 0, 1, 3], [1, 2], [2, 0, 0], [3, 2, 1, 3]]
    assert table(solved(model, config, log_of(once))).tolist() == table(solved(model, config, log_of(twice))).tolist()


@pytest.mark.parametrize(("model", "config"), [*SPARSE, (EASE, EASEConfig())])
def test_items_without_any_common_user_have_no_weights(model: type[Any], config: Any) -> None:
    assert not np.abs(table(solved(model, config, log_of([[0], [1], [2]])))).max()


def test_a_product_in_blocks_is_the_product_off_its_diagonal(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = user_item_matrix(log(6))
    whole = (taken.T @ taken).toarray()
    for budget in (1, 3 * N_ITEMS, 2**20):
        monkeypatch.setattr(item_weights, "PRODUCT_BUDGET", budget)
        found = largest_in_rows(products(sp.csr_array(taken.T), taken), N_ITEMS, N_ITEMS)
        np.testing.assert_array_equal(found.toarray(), whole - np.diag(np.diag(whole)))


def test_weights_beyond_the_room_are_refused_and_filling_again_leaves_nothing_behind() -> None:
    room = ItemWeights(4, 2)
    with pytest.raises(ValueError, match="room for 8 weights of 4 items; got 16"):
        room.fill(sp.csr_array(np.ones((4, 4))))
    with pytest.raises(ValueError, match=r"shaped \(3, 3\)"):
        room.fill(sp.csr_array(np.eye(3)))
    room.fill(sp.csr_array(np.eye(4)[[0, 0, 0, 0]]))
    room.fill(sp.csr_array(([5.0], ([1], [2])), shape=(4, 4)))
    assert room.matrix().toarray().tolist() == [[0] * 4, [0, 0, 5, 0], [0] * 4, [0] * 4]
    assert room.values.count_nonzero() == 1
