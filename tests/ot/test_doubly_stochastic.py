"""SCLRec, Eqs. 3 and 4: the laws of doubly stochastic scaling, a loop in 64 bits, and POT."""

from typing import Any

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monge.ot import doubly_stochastic
from monge.ot.doubly_stochastic import _by_logarithms, _by_products
from tests.reference import sinkhorn as reference


def similarities(n: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """What SCLRec's are: sums of cosines, in [-3, 3], larger between rows of one cluster."""
    rng = torch.Generator().manual_seed(seed)
    centres = torch.randn(4, 6, generator=rng, dtype=torch.float64)
    u, v = (
        torch.nn.functional.normalize(centres[torch.arange(n) % 4] + torch.randn(n, 6, generator=rng, dtype=torch.float64), dim=1)
        for _ in range(2)
    )
    return (u @ u.T + v @ v.T + u @ v.T).to(dtype)


@given(
    n=st.integers(2, 6),
    entropy=st.sampled_from([0.05, 0.1, 0.2, 1.0]),
    n_iterations=st.integers(0, 7),
    rows_first=st.booleans(),
    seed=st.integers(0, 999),
)
@settings(deadline=None, max_examples=60)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 2e-5)])
def test_it_is_the_loop(
    n: int, entropy: float, n_iterations: int, rows_first: bool, seed: int, dtype: torch.dtype, tolerance: float
) -> None:
    similarity = similarities(n, seed, dtype)
    got = doubly_stochastic(similarity, entropy=entropy, n_iterations=n_iterations, rows_first=rows_first)
    expected = reference.doubly_stochastic(similarity.tolist(), entropy, n_iterations, rows_first=rows_first)
    assert got.dtype == dtype
    torch.testing.assert_close(got.double(), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=tolerance)


@pytest.mark.parametrize("rows_first", [True, False])
@pytest.mark.parametrize("entropy", [0.002, 0.05, 0.3])
def test_both_ways_of_computing_are_one(entropy: float, rows_first: bool) -> None:
    exponents = (similarities(40) / entropy).fill_diagonal_(-torch.inf)
    by_logarithms = _by_logarithms(exponents, 6, rows_first)
    by_products = _by_products(exponents, 6, rows_first, torch.empty_like(exponents))
    if entropy > 0.01:
        assert by_products is not None
        torch.testing.assert_close(by_products, by_logarithms, rtol=1e-9, atol=1e-14)
    else:
        assert by_products is None  # scalings beyond what could be trusted in float32
    chosen = doubly_stochastic(similarities(40).float(), entropy=entropy, rows_first=rows_first)
    torch.testing.assert_close(chosen.double(), by_logarithms, rtol=0, atol=3e-5 if entropy > 0.01 else 1e-3)


def test_converged_it_is_pots_plan() -> None:
    similarity = similarities(12)
    cost = -similarity.numpy()
    np.fill_diagonal(cost, 1e3)
    marginal = np.full(12, 1 / 12)
    plan = ot.sinkhorn(marginal, marginal, cost, reg=0.3, method="sinkhorn_log", numItermax=20_000, stopThr=1e-14)
    got = doubly_stochastic(similarity, entropy=0.3, n_iterations=2_000)
    np.testing.assert_allclose(got.numpy(), 12 * np.asarray(plan), rtol=0, atol=1e-8)


@pytest.mark.parametrize("rows_first", [True, False])
@pytest.mark.parametrize("n", [2, 3, 50])
def test_rows_sum_to_one_always_and_columns_at_convergence(n: int, rows_first: bool) -> None:
    similarity = similarities(n, dtype=torch.float32)
    for n_iterations in (0, 1, 6, 400):
        plan = doubly_stochastic(similarity, n_iterations=n_iterations, rows_first=rows_first)
        assert (plan >= 0).all()
        assert plan.diagonal().tolist() == [0] * n
        torch.testing.assert_close(plan.sum(1), torch.ones(n), rtol=0, atol=1e-6)
    torch.testing.assert_close(plan.sum(0), torch.ones(n), rtol=0, atol=1e-5)
    if n == 50:
        few, some = (doubly_stochastic(similarity, n_iterations=k, rows_first=rows_first) for k in (0, 6))
        assert (some.sum(0) - 1).abs().max() < (few.sum(0) - 1).abs().max() / 10


def test_a_number_for_each_row_and_each_column_changes_nothing_at_convergence() -> None:
    similarity, rng = similarities(20), torch.Generator().manual_seed(5)
    rows, columns = torch.randn(2, 20, generator=rng, dtype=torch.float64)
    moved = similarity + rows[:, None] + columns
    converged, also = (doubly_stochastic(s, entropy=0.2, n_iterations=1_000) for s in (similarity, moved))
    torch.testing.assert_close(converged, also, rtol=0, atol=1e-10)
    assert (
        doubly_stochastic(similarity, entropy=0.2, n_iterations=0) - doubly_stochastic(moved, entropy=0.2, n_iterations=0)
    ).abs().max() > 0.1


@pytest.mark.parametrize(("rows_first", "side"), [(True, "rows"), (False, "columns")])
def test_the_side_that_comes_first_takes_its_numbers_out_at_once(rows_first: bool, side: str) -> None:
    similarity, added = similarities(20), torch.linspace(-2, 2, 20, dtype=torch.float64)
    moved = similarity + (added[:, None] if side == "rows" else added)
    plan, also = (doubly_stochastic(s, n_iterations=2, rows_first=rows_first) for s in (similarity, moved))
    torch.testing.assert_close(plan, also, rtol=0, atol=1e-13)
    other = doubly_stochastic(similarity + (added if side == "rows" else added[:, None]), n_iterations=2, rows_first=rows_first)
    assert (plan - other).abs().max() > 1e-6


def test_renumbering_rows_and_columns_alike_renumbers_the_plan() -> None:
    similarity = similarities(9)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    turned = doubly_stochastic(similarity[order][:, order])
    torch.testing.assert_close(turned, doubly_stochastic(similarity)[order][:, order], rtol=0, atol=1e-12)


def test_the_smallest_ones_are_known() -> None:
    for rows_first in (True, False):
        for n_iterations in (0, 6):
            options = {"n_iterations": n_iterations, "rows_first": rows_first}
            assert doubly_stochastic(torch.tensor([[7.0, -3.0], [2.0, 5.0]]), **options).tolist() == [[0, 1], [1, 0]]
            assert doubly_stochastic(torch.tensor([[7.0]]), **options).tolist() == [[1]]
            assert doubly_stochastic(torch.zeros(0, 0), **options).shape == (0, 0)
    torch.testing.assert_close(doubly_stochastic(torch.zeros(5, 5)), (torch.ones(5, 5) - torch.eye(5)) / 4, rtol=0, atol=1e-7)


def test_a_small_entropy_finds_the_best_permutation() -> None:
    best = [2, 0, 3, 1]
    similarity = torch.zeros(4, 4)
    similarity[torch.arange(4), torch.tensor(best)] = 1.0
    plan = doubly_stochastic(similarity, entropy=0.01, n_iterations=50)
    assert plan.argmax(1).tolist() == best
    assert plan.max(1).values.min() > 0.999


@pytest.mark.parametrize("entropy", [0.01, 0.1])
def test_it_is_float32_under_autocast_and_of_half_precision(entropy: float) -> None:
    similarity = similarities(30, dtype=torch.float32)
    plain = doubly_stochastic(similarity, entropy=entropy)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(doubly_stochastic(similarity, entropy=entropy), plain)
        half = similarity.bfloat16()
        assert torch.equal(doubly_stochastic(half, entropy=entropy), doubly_stochastic(half.float(), entropy=entropy))


def test_no_gradient_and_nothing_changed_in_place() -> None:
    similarity = similarities(5).requires_grad_()
    before = similarity.detach().clone()
    for n_iterations in (0, 6):
        assert not doubly_stochastic(similarity, n_iterations=n_iterations).requires_grad
    assert torch.equal(similarity, before)


@pytest.mark.parametrize("entropy", [0.002, 0.1])
@pytest.mark.parametrize("n", [0, 1, 2, 40])
def test_the_answer_in_given_memory_is_the_same_to_the_last_bit(n: int, entropy: float) -> None:
    similarity = similarities(n, dtype=torch.float32)
    expected = doubly_stochastic(similarity, entropy=entropy)
    out = torch.full((n, n), torch.nan)
    before = similarity.clone()
    assert doubly_stochastic(similarity, entropy=entropy, out=out) is out
    assert torch.equal(out, expected)
    assert torch.equal(similarity, before)
    again = torch.full((n, n), torch.nan)
    assert torch.equal(doubly_stochastic(similarity, entropy=entropy, overwrite=True, out=again), expected)
    assert n < 2 or not torch.equal(similarity, before)


@pytest.mark.parametrize(
    ("similarity", "options", "message"),
    [
        (torch.zeros(3, 3), {"out": torch.zeros(3, 2)}, r"out must be \(3, 3\), torch.float32; got \(3, 2\)"),
        (torch.zeros(3, 3), {"out": torch.zeros(3, 3, dtype=torch.float64)}, "out must be .*float32; got .*float64"),
        (torch.zeros(2, 3), {}, r"must be \(N, N\), float; got \(2, 3\)"),
        (torch.zeros(2, 2, dtype=torch.int64), {}, "int64"),
        (torch.zeros(2, 2), {"entropy": 0.0}, "entropy must be > 0 and finite; got 0"),
        (torch.zeros(2, 2), {"entropy": -1.0}, "entropy must be > 0"),
        (torch.zeros(2, 2), {"n_iterations": -1}, "n_iterations must be >= 0; got -1"),
    ],
)
def test_bad_input_is_named(similarity: torch.Tensor, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        doubly_stochastic(similarity, **options)
