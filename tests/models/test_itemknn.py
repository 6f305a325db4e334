"""ItemKNN beside a dense loop of its own and beside the `implicit` library, whose weightings it cites."""

import math
from typing import Any

import numpy as np
import pytest

from monge.data import Interactions
from monge.errors import ConfigError
from monge.models.collaborative.itemknn import ItemKNN, ItemKNNConfig
from tests.conftest import log_of, queries_of

N_ITEMS = 13


def random_sequences(seed: int, n_users: int = 40) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    rows = [rng.permutation(N_ITEMS)[: rng.integers(1, 8)].tolist() for _ in range(n_users)]
    return [list(range(N_ITEMS - 3)), *rows, [N_ITEMS - 1]]


def solved(log: Interactions, **options: Any) -> ItemKNN:
    model = ItemKNN(ItemKNNConfig(**options), n_users=log.n_users, n_items=log.n_items)
    model.solve(log)
    return model


def dense(model: ItemKNN) -> list[list[float]]:
    """w[j][i] of the kept neighbours, 0 elsewhere."""
    return model.weights.matrix().toarray().tolist()


def by_hand(
    sequences: list[list[int]], weighting: str, *, k: int, shrink: float = 0.0, k1: float = 1.2, b: float = 0.75
) -> list[list[float]]:
    """The formulas of the module's page, one loop per sum; shares nothing with monge."""
    users = [set(sequence) for sequence in sequences]
    popularity = [sum(item in taken for taken in users) for item in range(N_ITEMS)]
    mean = sum(popularity) / N_ITEMS

    def x(user: int, item: int) -> float:
        if item not in users[user]:
            return 0.0
        idf = math.log(N_ITEMS / (1 + len(users[user])))
        if weighting == "bm25":
            return idf * (k1 + 1) / (k1 * (1 - b + b * popularity[item] / mean) + 1)
        return idf if weighting == "tfidf" else 1.0

    norm = [math.sqrt(sum(x(u, item) ** 2 for u in range(len(users)))) for item in range(N_ITEMS)]
    table = []
    for j in range(N_ITEMS):
        row = [0.0] * N_ITEMS
        for i in range(N_ITEMS):
            if i != j:
                product = sum(x(u, i) * x(u, j) for u in range(len(users)))
                row[i] = product if weighting == "bm25" else product / (norm[i] * norm[j] + shrink)
        kept = sorted(row, reverse=True)[: min(k, N_ITEMS)]
        table.append([value if value >= kept[-1] else 0.0 for value in row])
    return table


@pytest.mark.parametrize("weighting", ["cosine", "tfidf", "bm25"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("options", [{"k": 100}, {"k": 100, "shrink": 3.0}])
def test_similarities_are_the_formula(weighting: str, seed: int, options: dict[str, Any]) -> None:
    if weighting == "bm25" and "shrink" in options:
        options = {"k": 100, "bm25_k1": 0.7, "bm25_b": 0.3}
    sequences = random_sequences(seed)
    model = solved(log_of(sequences), weighting=weighting, **options)
    hand = {name.removeprefix("bm25_"): value for name, value in options.items()}
    np.testing.assert_allclose(dense(model), by_hand(sequences, weighting, **hand), rtol=1e-5, atol=1e-6)


def test_only_the_k_largest_are_kept_and_never_the_item_itself() -> None:
    sequences = random_sequences(4)
    full, cut = by_hand(sequences, "cosine", k=100), dense(solved(log_of(sequences), weighting="cosine", k=3))
    for j in range(N_ITEMS):
        assert cut[j][j] == 0
        got = sorted((value for value in cut[j] if value), reverse=True)
        assert got == pytest.approx([value for value in sorted(full[j], reverse=True)[:3] if value], rel=1e-5)


def test_a_score_is_the_sum_over_the_history() -> None:
    sequences = random_sequences(5)
    model = solved(log_of(sequences), weighting="tfidf", k=100)
    table = by_hand(sequences, "tfidf", k=100)
    histories = [[3], [0, 7, 2, 9], [], [5, 5]]
    expected = [[sum(table[j][i] for j in history) for i in range(N_ITEMS)] for history in histories]
    got = model.scores(queries_of(histories, [[]] * 4, n_items=N_ITEMS).batch())
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_repeated_rows_count_once() -> None:
    once, twice = [[0, 1], [1, 2], [2, 0]], [[0, 1, 0, 1], [1, 2], [2, 0, 0]]
    assert dense(solved(log_of(once), weighting="cosine")) == dense(solved(log_of(twice), weighting="cosine"))


@pytest.mark.parametrize("weighting", ["tfidf", "bm25", "cosine"])
def test_users_who_took_nearly_everything_give_no_nan(weighting: str) -> None:
    """With |I_u| = n - 1 a user's idf is 0: items that only such users took have norm 0."""
    log = log_of([[0, 1], [0, 2], [1, 2]])
    model = solved(log, weighting=weighting)
    assert model.weights.values.isfinite().all()
    everything = solved(log_of([[0, 1, 2], [0, 1, 2]]), weighting=weighting)
    assert everything.weights.values.isfinite().all()


@pytest.mark.filterwarnings("ignore:Method expects CSR input")  # theirs, of their own conversion
@pytest.mark.parametrize(
    ("weighting", "name"), [("cosine", "CosineRecommender"), ("tfidf", "TFIDFRecommender"), ("bm25", "BM25Recommender")]
)
def test_similarities_and_rankings_are_those_of_implicit(weighting: str, name: str) -> None:
    neighbours = pytest.importorskip("implicit.nearest_neighbours", exc_type=ImportError)
    from scipy.sparse import csr_matrix

    sequences = random_sequences(6, n_users=60)
    log = log_of(sequences)
    user_items = csr_matrix((np.ones(len(log)), (log.user, log.item)), shape=(log.n_users, log.n_items))
    theirs = getattr(neighbours, name)(K=log.n_items, num_threads=1)
    theirs.fit(user_items, show_progress=False)
    similarity = theirs.similarity.toarray()
    np.fill_diagonal(similarity, 0)  # they count an item among its own neighbours
    model = solved(log, weighting=weighting, k=log.n_items)
    np.testing.assert_allclose(np.array(dense(model)), similarity, rtol=1e-5, atol=1e-6)

    histories = [log.sequences[user].tolist() for user in range(20)]
    scores = model.scores(queries_of(histories, [[]] * 20, n_items=log.n_items).batch()).double().numpy()
    for user, history in enumerate(histories):
        n_left = min(5, log.n_items - len(history))  # they would fill up with items of the history at 0
        ids, values = theirs.recommend(user, user_items[user], N=n_left, filter_already_liked_items=True)
        scores[user, history] = -np.inf
        best = np.sort(scores[user])[::-1][: len(ids)]
        np.testing.assert_allclose(values, best, rtol=1e-5)
        np.testing.assert_allclose(scores[user, ids], values, rtol=1e-5)  # the same items, up to ties


def test_ranges() -> None:
    with pytest.raises(ConfigError, match="--k must be at least 1"):
        ItemKNNConfig(k=0)
