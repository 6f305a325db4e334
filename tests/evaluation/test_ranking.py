"""Ranks and lists against brute force: masks, candidates, blocks, ties."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn

from monge.data import Queries, QueryBatch, Ragged
from monge.errors import DataError, QueryError
from monge.evaluation import evaluate, rank_truth, score_blocks, top_items
from monge.evaluation.ranking import UNRANKED, TieOrder, block_size_for
from tests.conftest import queries_of


class Table:
    """Answers query number q (its user) with row q of a table."""

    Config: ClassVar = object
    answers_unknown_users: ClassVar = True

    def __init__(self, table: Any) -> None:
        self.table = torch.from_numpy(np.asarray(table, dtype=np.float32))
        self.n_asked: list[int] = []

    def scores(self, queries: QueryBatch) -> Tensor:
        self.n_asked.append(len(queries))
        return self.table[queries.user]


class Vectors(nn.Module):
    """The same table as an inner product, with a bias or without; must be asked in evaluation mode only."""

    Config: ClassVar = object
    answers_unknown_users: ClassVar = True

    def __init__(self, table: Any, *, bias: bool) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.from_numpy(np.asarray(table, dtype=np.float32)))
        self.bias = torch.arange(self.table.shape[1]).float() if bias else None

    def query_vectors(self, queries: QueryBatch) -> Tensor:
        assert not self.training
        return self.table[queries.user] - (0 if self.bias is None else self.bias)

    def item_vectors(self) -> tuple[Tensor, Tensor | None]:
        return torch.eye(self.table.shape[1]), self.bias

    def scores(self, queries: QueryBatch) -> Tensor:
        raise AssertionError("the vectors are there to be used")


def random_case(seed: int, *, n_levels: int, candidates: bool, n_queries: int = 25, n_items: int = 17) -> tuple[np.ndarray, Queries]:
    """Scores with few distinct values, histories of 0 to 5 items, truths of 1 to 4, candidates that hold the truth."""
    rng = np.random.default_rng(seed)
    table = rng.integers(-n_levels, n_levels, size=(n_queries, n_items)).astype(np.float32) / 3
    history, truth, allowed = [], [], []
    for _ in range(n_queries):
        order = rng.permutation(n_items).tolist()
        seen, held_out = int(rng.integers(0, 6)), int(rng.integers(1, 5))
        history.append(order[:seen])
        truth.append(order[seen : seen + held_out])
        allowed.append(order[max(0, seen - 1) : seen + held_out + int(rng.integers(1, 5))])  # may hold a seen item, which stays out
    queries = queries_of(history, truth, n_items=n_items)
    return table, replace(queries, candidates=Ragged.from_lists(allowed)) if candidates else queries


def eligible(queries: Queries, query: int) -> list[int]:
    allowed = set(range(queries.n_items)) if queries.candidates is None else set(queries.candidates[query].tolist())
    return sorted(allowed - set(queries.history[query].tolist()))


@pytest.mark.parametrize("block", [1, 3, None])
@pytest.mark.parametrize("candidates", [False, True])
@pytest.mark.parametrize("n_levels", [2, 5, 10_000])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["scores", "vectors", "vectors+bias"])
def test_ranks_are_those_of_brute_force(kind: str, seed: int, n_levels: int, candidates: bool, block: int | None) -> None:
    table, queries = random_case(seed, n_levels=n_levels, candidates=candidates)
    model: Any = Table(table) if kind == "scores" else Vectors(np.round(table), bias=kind.endswith("bias"))
    table = table if kind == "scores" else np.round(table)
    ranking = rank_truth(model, queries, seed=seed, block=block)
    assert ranking.n_truth.tolist() == queries.truth.lengths.tolist()
    n_exact = 0
    for query in range(len(queries)):
        truth, pool = queries.truth[query].tolist(), eligible(queries, query)
        ranks = ranking.ranks[query]
        assert (ranks[len(truth) :] == UNRANKED).all()
        assert len(set(ranks[: len(truth)].tolist())) == len(truth)  # no two items at one rank
        for item, rank in zip(truth, ranks.tolist(), strict=False):
            higher = sum(table[query, other] > table[query, item] for other in pool)
            level = sum(table[query, other] == table[query, item] for other in pool)
            assert higher + 1 <= rank <= higher + level
            n_exact += level == 1
    assert n_exact or n_levels < 10


@pytest.mark.parametrize("candidates", [False, True])
def test_blocks_change_nothing(candidates: bool) -> None:
    table, queries = random_case(7, n_levels=2, candidates=candidates)
    found = [rank_truth(Table(table), queries, seed=3, block=block, list_cutoffs=(1, 4)) for block in (1, 3, 8, len(queries), None)]
    assert all(other.ranks.tolist() == found[0].ranks.tolist() for other in found)
    assert all(other.n_recommended == found[0].n_recommended for other in found)
    model = Table(table)
    rank_truth(model, queries, block=3)
    assert sum(model.n_asked) == len(queries)
    assert max(model.n_asked) == 3


def test_the_order_of_queries_is_kept_although_they_are_visited_by_length() -> None:
    table = np.tile(np.arange(6.0), (4, 1))
    queries = queries_of([[5, 4, 3], [], [5], [5, 4]], [[2], [2], [2], [2]], n_items=6)
    assert rank_truth(Table(table), queries).ranks.tolist() == [[1], [4], [3], [2]]


def test_the_hand_example() -> None:
    """Items by score: 3 0 5 1 4 2. Seen: 3 and 5. Then 0 1 4 2 are ranked."""
    model = Table([[0.9, 0.5, 0.1, 1.0, 0.4, 0.8]] * 3)
    queries = queries_of([[3, 5]] * 3, [[0], [4], [2]], n_items=6)
    found = evaluate(model, queries, ["recall@1", "recall@3", "ndcg@3", "mrr", "mrr@3"])
    assert found.ranking.ranks.tolist() == [[1], [3], [4]]
    assert found.values["recall@1"].tolist() == [1, 0, 0]
    assert found.values["ndcg@3"].tolist() == pytest.approx([1, 1 / 2, 0])
    assert found.values["mrr"].tolist() == pytest.approx([1, 1 / 3, 1 / 4])
    assert found.values["mrr@3"].tolist() == pytest.approx([1, 1 / 3, 0])
    assert found["recall@3"] == pytest.approx(2 / 3)


def test_mrr_beyond_the_fortieth_place() -> None:
    scores = -np.arange(60.0)
    queries = queries_of([[0, 1]] * 2, [[41], [42]], n_items=60)
    found = evaluate(Table([scores, scores]), queries, ["mrr", "mrr@40"])
    assert found.values["mrr"].tolist() == [1 / 40, 1 / 41]
    assert found.values["mrr@40"].tolist() == [1 / 40, 0]


def test_the_rank_of_a_tied_item_is_uniform_over_the_seeds() -> None:
    """Item 0 ties with five others below one better item; two are seen: ranks 2 to 5 alike often, and not the lowest id first."""
    table = [[1.0, 1, 1, 1, 1, 1, 9, 0]]
    queries = queries_of([[2, 4]], [[0]], n_items=8)
    ranks = [int(rank_truth(Table(table), queries, seed=seed).ranks[0, 0]) for seed in range(1200)]
    assert set(ranks) == {2, 3, 4, 5}
    assert stats.chisquare(np.bincount(ranks)[2:]).pvalue > 1e-3


@pytest.mark.parametrize("item", [0, 3, 10])
def test_the_rank_of_a_tied_item_is_uniform_over_the_queries(item: int) -> None:
    """One seed, many queries with the same constant scores: popularity of an id must not help."""
    n = 2200
    queries = queries_of([[]] * n, [[item]] * n, n_items=11)
    ranks = rank_truth(Table(np.zeros((n, 11))), queries, seed=1).ranks[:, 0]
    assert set(ranks.tolist()) == set(range(1, 12))
    assert stats.chisquare(np.bincount(ranks)[1:]).pvalue > 1e-3


def test_same_seed_same_ranks_and_another_seed_others() -> None:
    table, queries = random_case(0, n_levels=1, candidates=False)
    first, again, other = (rank_truth(Table(table), queries, seed=seed).ranks.tolist() for seed in (4, 4, 5))
    assert first == again
    assert first != other


@pytest.mark.parametrize("k", [1, 2, 5, 17])
@pytest.mark.parametrize("n_levels", [1, 3, 10_000])
@pytest.mark.parametrize("candidates", [False, True])
def test_lists_and_ranks_tell_one_story(k: int, n_levels: int, candidates: bool) -> None:
    """An item's place in the list is its rank; lists are sorted, hold no seen item, and end in -1 where nothing is left."""
    table, queries = random_case(11, n_levels=n_levels, candidates=candidates)
    ranks = rank_truth(Table(table), queries, seed=2).ranks
    ties = TieOrder(queries.n_items, 2, torch.device("cpu"))
    n_checked = 0
    for rows, scores in score_blocks(Table(table), queries, block=4):
        top = top_items(scores, rows, k, ties).tolist()
        for query, items in zip(rows.tolist(), top, strict=True):
            pool = eligible(queries, query)
            shown = [item for item in items if item >= 0]
            assert len(items) == k
            assert items == shown + [-1] * (k - len(shown))
            assert len(shown) == min(k, len(pool))
            assert len(set(shown)) == len(shown)
            assert set(shown) <= set(pool)
            values = [table[query, item] for item in shown]
            assert values == sorted(values, reverse=True)
            assert values == sorted((table[query, item] for item in pool), reverse=True)[:k]
            for item, rank in zip(queries.truth[query].tolist(), ranks[query].tolist(), strict=False):
                assert (shown.index(item) + 1 == rank) if item in shown else rank > k
                n_checked += 1
    assert n_checked == queries.truth.lengths.sum()


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_lists_sort_negative_zero_and_tiny_numbers(scale: float) -> None:
    row = torch.tensor([[-2.0, 0.0, 3.0, -0.0, -1.0, 3.0, 0.0]]) * scale
    top = top_items(row.clone(), np.array([0]), 7, TieOrder(7, 0, row.device))[0].tolist()
    assert set(top[:2]) == {2, 5}
    assert set(top[2:5]) == {1, 3, 6}
    assert top[5:] == [4, 0]


def test_a_list_longer_than_the_catalogue_is_the_catalogue() -> None:
    row = torch.tensor([[0.0, 2.0, 1.0]])
    assert top_items(row, np.array([0]), 50, TieOrder(3, 0, row.device)).tolist() == [[1, 2, 0]]


@pytest.mark.parametrize("value", [float("nan"), float("-nan")])
def test_scores_that_are_no_numbers_are_a_query_error(value: float) -> None:
    table = np.zeros((2, 5), dtype=np.float32)
    table[1, 3] = value
    queries = queries_of([[3], [0]], [[1], [1]], n_items=5)
    with pytest.raises(QueryError, match="not numbers"):
        rank_truth(Table(table), queries)
    with pytest.raises(QueryError, match="not numbers"):
        rank_truth(Vectors(table, bias=False), queries)


def test_infinite_scores_are_numbers() -> None:
    queries = queries_of([[]], [[1]], n_items=4)
    assert rank_truth(Table([[np.inf, 2, 1, 0]]), queries).ranks.tolist() == [[2]]


def test_coverage_counts_distinct_recommended_items() -> None:
    table, queries = random_case(3, n_levels=10_000, candidates=False, n_queries=6)
    found = evaluate(Table(table), queries, ["coverage@1", "coverage@3", "recall@2"])
    for k in (1, 3):
        recommended = {
            item for query in range(6) for item in sorted(eligible(queries, query), key=lambda item, query=query: -table[query, item])[:k]
        }
        assert found[f"coverage@{k}"] == len(recommended) / 17
        assert found.metrics[f"coverage@{k}"].low == found.metrics[f"coverage@{k}"].high == found[f"coverage@{k}"]
    assert "coverage@1" not in found.values
    one_for_all = evaluate(Table(np.tile(np.arange(17.0), (6, 1))), queries_of([[]] * 6, [[0]] * 6, n_items=17), ["coverage@5"])
    assert one_for_all["coverage@5"] == 5 / 17


def test_a_query_without_truth_cannot_be_ranked() -> None:
    with pytest.raises(ValueError, match="held-out item"):
        rank_truth(Table(np.zeros((2, 3))), queries_of([[], []], [[1], []], n_items=3))


def test_training_mode_comes_back() -> None:
    model = Vectors(np.eye(3), bias=False).train()
    rank_truth(model, queries_of([[]] * 3, [[0]] * 3, n_items=3))
    assert model.training
    model.eval()
    rank_truth(model, queries_of([[]] * 3, [[0]] * 3, n_items=3))
    assert not model.training


def test_the_models_own_scores_are_left_as_they_were() -> None:
    model = Table([range(6)] * 2)
    model.scores = lambda queries: model.table  # pyright: ignore[reportAttributeAccessIssue] (hands out its own memory)
    rank_truth(model, queries_of([[5], [4]], [[0], [0]], n_items=6))
    assert model.table.tolist() == [[0, 1, 2, 3, 4, 5]] * 2


def test_memory_is_bounded_by_the_block() -> None:
    assert block_size_for(10) == 1024
    assert block_size_for(10**9) == 1
    for n_items in (12_101, 300_000):
        assert 3 * 4 * n_items * block_size_for(n_items) <= 256 * 2**20


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 999), n_queries=st.integers(1, 7))
def test_ranks_in_a_domain_and_among_negatives_are_those_of_a_loop(seed: int, n_queries: int) -> None:
    rng = np.random.default_rng(seed)
    n_items = 9
    domain_of_item = np.array([0, 1, 0, 1, 1, 0, 0, 1, 0])
    table = rng.integers(0, 3, size=(n_queries, n_items)).astype(float)  # many ties
    domain = rng.integers(0, 2, size=n_queries)
    history, truth, negatives = [], [], []
    for wanted in domain.tolist():
        here = rng.permutation(np.flatnonzero(domain_of_item == wanted)).tolist()
        n_truth, n_known = int(rng.integers(1, 3)), int(rng.integers(0, 2))
        truth.append(here[:n_truth])
        history.append(here[n_truth : n_truth + n_known])
        negatives.append(here[n_truth + n_known :][: int(rng.integers(0, 3))])
    queries = Queries(
        n_items=n_items,
        user=np.arange(n_queries),
        history=Ragged.from_lists(history),
        truth=Ragged.from_lists(truth),
        domain=domain,
        domain_of_item=domain_of_item,
        negatives=Ragged.from_lists(negatives),
    )
    found = rank_truth(Table(table), queries, block=3)
    assert found.sampled is not None
    for row in range(n_queries):
        for place, item in enumerate(truth[row]):
            mine = table[row, item]
            rivals = [
                other for other in range(n_items) if domain_of_item[other] == domain[row] and other not in history[row] and other != item
            ]
            higher, tied = sum(table[row, other] > mine for other in rivals), sum(table[row, other] == mine for other in rivals)
            assert 1 + higher <= found.ranks[row, place] <= 1 + higher + tied
            assert found.sampled[row, place] == 1 + sum(table[row, other] >= mine for other in negatives[row])


def test_sampled_metrics_need_negatives() -> None:
    queries = Queries(n_items=2, user=np.array([0]), history=Ragged.from_lists([[]]), truth=Ragged.from_lists([[1]]))
    with pytest.raises(DataError, match="sampled_ndcg@10: the queries have no negatives to rank among; use ndcg@10"):
        evaluate(Table([[0.0, 1.0]]), queries, ["sampled_ndcg@10"])  # pyright: ignore[reportArgumentType]
    drawn = replace(queries, negatives=Ragged.from_lists([[0]]))
    assert evaluate(Table([[0.0, 1.0]]), drawn, ["sampled_hit@1", "sampled_mrr"]).values["sampled_mrr"].tolist() == [1.0]  # pyright: ignore[reportArgumentType]
    grouped = evaluate(Table([[0.0, 1.0]]), drawn, ["mrr"]).by_group("cold-start", [None])  # pyright: ignore[reportArgumentType]
    assert grouped == []
