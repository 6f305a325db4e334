"""Intervals, groups, paired tests, and the group counts of MStein's paper."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from monge.data import leave_one_out, load
from monge.errors import DataError, UnknownNameError
from monge.evaluation import bootstrap_interval, compare_paired, evaluate, labels_between, standard_groups
from monge.evaluation.evaluate import LENGTH_BOUNDS, POPULARITY_BOUNDS
from monge.models.collaborative.popular import Popular, PopularConfig
from tests.conftest import log_of, queries_of
from tests.evaluation.test_ranking import Table


@pytest.mark.parametrize("kind", ["hits", "reciprocal ranks"])
def test_intervals_are_those_of_scipy(kind: str) -> None:
    rng = np.random.default_rng(0)
    values = (rng.random(600) < 0.2).astype(float) if kind == "hits" else 1 / rng.integers(1, 50, 600)
    low, high = bootstrap_interval(values)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=2000, rng=1).confidence_interval
    width = theirs.high - theirs.low
    assert low == pytest.approx(theirs.low, abs=0.1 * width)
    assert high == pytest.approx(theirs.high, abs=0.1 * width)
    assert low < values.mean() < high


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        low, high = bootstrap_interval((rng.random(120) < 0.3).astype(float), resamples=300)
        covered += low <= 0.3 <= high
    assert 0.89 <= covered / 200 <= 0.99


def test_intervals_narrow_with_level_and_size_and_depend_on_the_seed_alone() -> None:
    values = np.random.default_rng(2).random(5000)  # more than one block of the resampling

    def width(interval: tuple[float, float]) -> float:
        return interval[1] - interval[0]

    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)
    assert width(bootstrap_interval(values, level=0.5)) < width(bootstrap_interval(values)) < width(bootstrap_interval(values[:200]))
    assert width(bootstrap_interval(values)) == pytest.approx(2 * 1.96 * values.std() / np.sqrt(5000), rel=0.15)
    assert bootstrap_interval(np.ones(50)) == pytest.approx((1.0, 1.0))


def test_labels_between_are_closed_at_their_upper_end() -> None:
    labels, names = labels_between(np.array([0, 3, 4, 7, 8, 19, 20, 500]), (3, 7, 19))
    assert names == ["<=3", "4-7", "8-19", ">=20"]
    assert labels.tolist() == ["<=3", "<=3", "4-7", "4-7", "8-19", "8-19", ">=20", ">=20"]


def test_groups_average_over_their_own_queries() -> None:
    # training parts of 1, 4 and 8 items; items 0..9; popularity in training: item 0 three times
    log = log_of([[0, 8, 9], [0, 1, 2, 3, 8, 9], [0, 1, 2, 3, 4, 5, 6, 7, 9, 8]])
    split = leave_one_out(log)
    ranks = [[0.0] * 8 + [1, 2], [0.0] * 8 + [2, 1], [0.0] * 8 + [1, 2]]
    test = replace(split.test, groups={"country": np.array(["se", "fi", "se"], dtype=object)})
    found = evaluate(Table(ranks), test, ["mrr", "recall@1"])
    rows = {(row["group"], row["label"]): row for row in standard_groups(found, test, split.train)}
    by_length = {label: row for (group, label), row in rows.items() if group == "training interactions of the user"}
    assert {label: row["n_queries"] for label, row in by_length.items()} == {"<=3": 1, "4-7": 1, "8-19": 1}
    assert by_length["4-7"]["metrics"]["mrr"]["mean"] == pytest.approx(found.values["mrr"][1])
    by_item = {label: row for (group, label), row in rows.items() if group == "training interactions of the held-out item"}
    assert {label: row["n_queries"] for label, row in by_item.items()} == {"<=3": 3}
    assert rows["country", "se"]["n_queries"] == 2
    assert rows["country", "se"]["metrics"]["mrr"]["mean"] == pytest.approx(found.values["mrr"][[0, 2]].mean())
    assert rows["country", "fi"]["metrics"]["recall@1"] == dict.fromkeys(("mean", "low", "high"), found.values["recall@1"][1])


@pytest.mark.parametrize("n", [1, 2, 3])
def test_intervals_of_very_few_queries_lie_within_their_values(n: int) -> None:
    """Poisson weights may all be zero: such a resample holds no query and says nothing, least of all 0."""
    assert bootstrap_interval(np.full(n, 0.7)) == pytest.approx((0.7, 0.7))
    low, high = bootstrap_interval(np.linspace(0.4, 0.8, n))
    assert 0.4 <= round(low, 6) <= round(high, 6) <= 0.8


@pytest.mark.skipif("MONGE_DATA" not in os.environ, reason="MONGE_DATA does not name the folder that holds amazon-beauty")
def test_group_counts_of_the_paper_on_beauty() -> None:
    """MStein's paper, figures by user length and by item popularity: counts over v_1..v_{k-2}."""
    log = load("amazon-beauty")
    assert (log.n_users, log.n_items, len(log)) == (22_363, 12_101, 198_502)
    split = leave_one_out(log)
    lengths, names = labels_between(split.train.sequences.lengths, LENGTH_BOUNDS)
    assert [int((lengths == name).sum()) for name in names] == [7162, 10078, 4104, 1019]
    counts = split.train.item_counts
    popularity, names = labels_between(counts[counts > 0], POPULARITY_BOUNDS)
    assert names == ["<=3", "4-7", "8-20", "21-50", ">=51"]
    assert [int((popularity == name).sum()) for name in names] == [1445, 5416, 3598, 1112, 497]

    model = Popular(PopularConfig(), n_users=log.n_users, n_items=log.n_items)
    model.solve(split.train)
    few = split.test.take(np.arange(0, len(split.test), 50))
    rows = standard_groups(evaluate(model, few, ["ndcg@5"]), few, split.train)
    by_user = [row["n_queries"] for row in rows if row["group"] == "training interactions of the user"]
    assert sum(by_user) == len(few)
    assert np.array(by_user) / len(few) == pytest.approx(np.array([7162, 10078, 4104, 1019]) / 22_363, abs=0.05)


def test_paired_tests_are_those_of_scipy() -> None:
    rng = np.random.default_rng(3)
    a = 1 / rng.integers(1, 20, 300)
    b = np.where(rng.random(300) < 0.5, a, 1 / rng.integers(1, 25, 300))
    found = compare_paired(a, b)
    assert found.difference == pytest.approx((a - b).mean())
    assert found.n_queries == 300
    assert found.p_t == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert found.p_wilcoxon == pytest.approx(stats.wilcoxon(a, b, zero_method="zsplit").pvalue)
    assert (found.low, found.high) == bootstrap_interval(a - b)
    turned = compare_paired(b, a)
    assert (turned.difference, turned.p_t, turned.p_wilcoxon) == pytest.approx((-found.difference, found.p_t, found.p_wilcoxon))


def test_equal_models_do_not_differ() -> None:
    values = np.random.default_rng(4).random(50)
    found = compare_paired(values, values.copy())
    assert (found.difference, found.low, found.high, found.p_t, found.p_wilcoxon) == (0, 0, 0, 1, 1)


def test_a_clear_difference_is_found_and_noise_is_not() -> None:
    rng = np.random.default_rng(6)
    base = rng.random(400)
    better = compare_paired(base + 0.05 + rng.normal(0, 0.02, 400), base)
    assert better.low > 0
    assert max(better.p_t, better.p_wilcoxon) < 1e-6
    noise = compare_paired(base + rng.normal(0, 0.2, 400), base)
    assert noise.low < 0 < noise.high
    assert noise.p_t > 0.05


@pytest.mark.parametrize("n", [1, 2, 40])
def test_differences_without_spread_and_few_queries_give_no_warning(n: int) -> None:
    found = compare_paired(np.ones(n), np.zeros(n))
    assert found.difference == 1
    assert 0 <= found.p_wilcoxon <= 1
    assert 0 <= found.p_t <= 1


def test_paired_values_must_be_of_the_same_queries() -> None:
    with pytest.raises(ValueError, match="same queries; got 3 and 4"):
        compare_paired(np.ones(3), np.ones(4))


def test_evaluation_refuses_before_it_scores() -> None:
    model = Table(np.zeros((1, 3)))
    with pytest.raises(UnknownNameError, match="did you mean 'ndcg'"):
        evaluate(model, queries_of([[]], [[0]], n_items=3), ["ndgc@10"])
    with pytest.raises(DataError, match="no query"):
        evaluate(model, queries_of([], [], n_items=3))
    assert model.n_asked == []


def test_without_intervals_the_ends_are_the_mean() -> None:
    found = evaluate(Table([[1.0, 0], [0.0, 1]]), queries_of([[], []], [[0], [0]], n_items=2), ["recall@1"], intervals=False)
    assert found.to_dict() == {"recall@1": {"mean": 0.5, "low": 0.5, "high": 0.5}}
