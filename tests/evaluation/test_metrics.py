"""Every metric against a loop over the ranked list, and against `ranx`."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monge.errors import ConfigError, UnknownNameError
from monge.evaluation import METRICS, parse_metric, per_query
from monge.evaluation.metrics import largest_cutoff
from monge.evaluation.ranking import UNRANKED
from tests.reference.metrics import metric

N_ITEMS = 30
BY_QUERY = [name for name in METRICS if name != "coverage"]


def rankings(seed: int, n_queries: int) -> tuple[list[list[int]], list[list[int]]]:
    """Random full rankings, and the truth of each: 1 to 8 items."""
    rng = np.random.default_rng(seed)
    ranked = [rng.permutation(N_ITEMS).tolist() for _ in range(n_queries)]
    return ranked, [rng.permutation(N_ITEMS)[: rng.integers(1, 9)].tolist() for _ in range(n_queries)]


def table(ranked: list[list[int]], truth: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Ranks (Q, G) and the number of held-out items (Q,)."""
    ranks = np.full((len(truth), max(map(len, truth))), UNRANKED, dtype=np.int64)
    for row, (order, items) in enumerate(zip(ranked, truth, strict=True)):
        ranks[row, : len(items)] = [order.index(item) + 1 for item in items]
    return ranks, np.array([len(items) for items in truth], dtype=np.int64)


@given(seed=st.integers(0, 10_000), n_queries=st.integers(1, 5), k=st.integers(1, N_ITEMS + 5))
def test_every_metric_is_its_formula(seed: int, n_queries: int, k: int) -> None:
    ranked, truth = rankings(seed, n_queries)
    names = [f"{name}@{k}" for name in BY_QUERY] + ["mrr"]
    got = per_query(names, *table(ranked, truth))
    assert set(got) == set(names)
    for name in names:
        expected = [metric(name, order, set(items)) for order, items in zip(ranked, truth, strict=True)]
        assert got[name].tolist() == pytest.approx(expected, rel=1e-12), name


@pytest.mark.parametrize("k", [1, 3, 10, N_ITEMS])
def test_values_are_those_of_ranx(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")  # compiling takes a minute, running these few queries in Python does not
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ranx = pytest.importorskip("ranx")
        ranked, truth = rankings(k, 40)
        wanted = ranx.Qrels({f"q{row}": {str(item): 1 for item in items} for row, items in enumerate(truth)})
        order = {f"q{row}": {str(item): float(N_ITEMS - place) for place, item in enumerate(items)} for row, items in enumerate(ranked)}
        run = ranx.Run(order)

        def theirs(name: str) -> np.ndarray:
            values = ranx.evaluate(wanted, run, f"{name}@{k}", return_mean=False)
            by_query = dict(zip(run.keys(), values, strict=True))
            return np.array([by_query[f"q{row}"] for row in range(len(truth))])

        ranks, n_truth = table(ranked, truth)
        ours = per_query([f"{name}@{k}" for name in BY_QUERY], ranks, n_truth)
        pairs = {"recall": "recall", "hit": "hit_rate", "precision": "precision", "ndcg": "ndcg", "mrr": "mrr"}
        for mine, other in pairs.items():
            np.testing.assert_allclose(ours[f"{mine}@{k}"], theirs(other), rtol=1e-9, err_msg=mine)
        np.testing.assert_allclose(ours[f"map@{k}"] * np.minimum(n_truth, k) / n_truth, theirs("map"), rtol=1e-9)  # theirs is over |G|
        np.testing.assert_allclose(ours[f"recall_min@{k}"] * np.minimum(n_truth, k), theirs("hits"), rtol=1e-9)  # theirs counts hits


def test_with_one_held_out_item_three_recalls_are_one() -> None:
    ranks, n_truth = np.array([[1], [4], [11]]), np.ones(3, dtype=np.int64)
    got = per_query(["recall@10", "recall_min@10", "hit@10", "ndcg@10", "map@10", "mrr@10"], ranks, n_truth)
    assert got["recall@10"].tolist() == got["recall_min@10"].tolist() == got["hit@10"].tolist() == [1, 1, 0]
    assert got["ndcg@10"].tolist() == pytest.approx([1, 1 / np.log2(5), 0])
    assert got["map@10"].tolist() == got["mrr@10"].tolist() == [1, 0.25, 0]


def test_recall_min_can_always_be_one() -> None:
    ranks = np.array([[1, 2, 3, 4, 5]])
    got = per_query(["recall@2", "recall_min@2", "recall_min@9"], ranks, np.array([5]))
    assert {name: values.tolist() for name, values in got.items()} == {"recall@2": [0.4], "recall_min@2": [1], "recall_min@9": [1]}


def test_mrr_reads_the_whole_list_and_mrr_at_40_does_not() -> None:
    got = per_query(["mrr", "mrr@40"], np.array([[40], [41], [5000]]), np.ones(3, dtype=np.int64))
    assert got["mrr"].tolist() == [1 / 40, 1 / 41, 1 / 5000]
    assert got["mrr@40"].tolist() == [1 / 40, 0, 0]


@pytest.mark.parametrize(
    ("name", "meant"),
    [("ndgc@10", "ndcg"), ("recal@5", "recall"), ("MR", "mrr"), ("recall-min@3", "recall_min"), ("sampled_ndcg10", "sampled_ndcg")],
)
def test_an_unknown_metric_gets_the_nearest_name(name: str, meant: str) -> None:
    with pytest.raises(UnknownNameError, match=f"no metric '{name}'; did you mean '{meant}'"):
        parse_metric(name)


@pytest.mark.parametrize("name", ["xyz", "", "@10", "ndcg@ten", "ndcg@1.5", "ndcg@", "ndcg@10@5"])
def test_what_is_no_metric_at_all_is_an_error(name: str) -> None:
    with pytest.raises(UnknownNameError, match="no metric"):
        parse_metric(name)


def test_cut_offs_are_checked() -> None:
    assert parse_metric(" NDCG@10 ") == ("ndcg", 10)
    assert parse_metric("mrr") == ("mrr", None)
    with pytest.raises(ConfigError, match="needs a cut-off, for example recall@10"):
        parse_metric("recall")
    for name in ("ndcg@0", "mrr@-3"):
        with pytest.raises(ConfigError, match="cut-off must be at least 1"):
            parse_metric(name)
    assert largest_cutoff(["ndcg@50", "coverage@7", "coverage@3"]) == 7
    assert largest_cutoff(["ndcg@50", "mrr"]) == 0


def test_ndcg_found_takes_the_hits_of_the_first_fifty_for_the_ideal_list() -> None:
    beyond = np.iinfo(np.int64).max // 2
    ranks = np.array([[1, 60, 70], [21, 2, beyond], [51, 52, 53]])
    found = per_query(["ndcg_found@20", "ndcg@20", "ndcg_found@60"], ranks, np.array([3, 2, 3]))
    second = (1 / np.log2(3)) / (1 + 1 / np.log2(3))  # hits at 2 and, within 50, at 21: an ideal list of two
    assert found["ndcg_found@20"].tolist() == pytest.approx([1.0, second, 0.0])
    assert found["ndcg@20"][0] == pytest.approx(1 / (1 + 1 / np.log2(3) + 1 / np.log2(4)))
    three = 1 + 1 / np.log2(3) + 1 / np.log2(4)
    assert found["ndcg_found@60"][2] == pytest.approx((1 / np.log2(52) + 1 / np.log2(53) + 1 / np.log2(54)) / three)
