import importlib
import itertools
import math

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from monge.ot import ItemCost, SinkhornResult, sinkhorn, sinkhorn_ragged
from tests.reference import sinkhorn as by_hand

PRECISIONS = pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 2e-5)])
NO_MASS = -math.inf
module = importlib.import_module("monge.ot.sinkhorn")  # the name monge.ot.sinkhorn is the function


def problem(seed: int, B: int, m: int, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Costs in [0, 1], log masses of both sides; float64."""
    rng = torch.Generator().manual_seed(seed)
    cost = torch.rand(B, m, n, generator=rng, dtype=torch.float64)
    return cost, torch.randn(B, m, generator=rng, dtype=torch.float64), torch.randn(B, n, generator=rng, dtype=torch.float64).log_softmax(1)


@given(
    B=st.integers(1, 3),
    m=st.integers(1, 5),
    n=st.integers(1, 5),
    epsilon=st.floats(0.05, 5),
    L=st.integers(1, 6),
    shared=st.booleans(),
    seed=st.integers(0, 999),
)
@settings(deadline=None, max_examples=30)
@PRECISIONS
def test_value_and_plan_are_equation_12(
    B: int, m: int, n: int, epsilon: float, L: int, shared: bool, seed: int, dtype: torch.dtype, tolerance: float
) -> None:
    cost, log_mu, log_nu = problem(seed, B, m, n)
    cost = cost[0] if shared else cost
    result = sinkhorn(cost.to(dtype), log_mu.to(dtype), log_nu.to(dtype), epsilon=epsilon, n_iterations=L)
    plan = result.plan()
    assert (result.n_iterations, result.converged) == (L, None)
    for b in range(B):
        one = (cost if shared else cost[b]).tolist(), log_mu[b].exp().tolist(), log_nu[b].exp().tolist()
        expected = np.array(by_hand.plan(*one, epsilon, L))
        np.testing.assert_allclose(plan[b], expected, rtol=tolerance * 20, atol=tolerance)
        assert result.value[b].item() == pytest.approx(by_hand.value(*one, epsilon, L), rel=tolerance, abs=tolerance)
        mu = np.array(one[1])
        error = np.abs(expected.sum(1) - mu / mu.sum() * expected.sum()).sum()
        assert result.marginal_error[b].item() == pytest.approx(error, abs=tolerance * 20)


@given(m=st.integers(1, 5), n=st.integers(1, 5), epsilon=st.floats(0.01, 3), shared=st.booleans(), seed=st.integers(0, 999))
@settings(deadline=None, max_examples=30)
def test_gradients_are_those_of_autograd_through_the_iterations(m: int, n: int, epsilon: float, shared: bool, seed: int) -> None:
    cost, log_mu, log_nu = (x.requires_grad_() for x in problem(seed, 2, m, n))
    result = sinkhorn(cost[0] if shared else cost, log_mu, log_nu, epsilon=epsilon, n_iterations=4)
    witnesses = [by_hand.unrolled(cost[0 if shared else b], log_mu[b], log_nu[b], epsilon, 4) for b in range(2)]
    value, f, g = (torch.stack(parts) for parts in zip(*witnesses, strict=True))
    plan = (f[:, :, None] + g[:, None, :] - cost / epsilon if not shared else f[:, :, None] + g[:, None, :] - cost[0] / epsilon).exp()
    weights = torch.tensor([1.0, -2.5], dtype=torch.float64)
    pairs = [
        ((result.value * weights).sum(), (value * weights).sum()),
        ((result.plan().square().sum((1, 2)) * weights).sum(), (plan.square().sum((1, 2)) * weights).sum()),
        (result.row_potentials.sin().sum() + result.column_potentials.cos().sum(), f.sin().sum() + g.cos().sum()),
    ]
    for ours, witness in pairs:
        torch.testing.assert_close(ours, witness, rtol=1e-9, atol=1e-9)
        got = torch.autograd.grad(ours, (cost, log_mu, log_nu), retain_graph=True)
        expected = torch.autograd.grad(witness, (cost, log_mu, log_nu), retain_graph=True)
        for a, b in zip(got, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("epsilon", [0.5, 0.03])  # products with the kernel, sums of logarithms
@pytest.mark.parametrize("shared", [True, False])
def test_gradcheck(epsilon: float, shared: bool) -> None:
    cost, log_mu, log_nu = problem(3, 2, 3, 4)
    inputs = ((cost[0] if shared else cost).requires_grad_(), log_mu.requires_grad_(), log_nu.requires_grad_())
    assert torch.autograd.gradcheck(lambda *x: sinkhorn(*x, epsilon=epsilon, n_iterations=3).value, inputs)


def test_a_second_derivative_is_refused_rather_than_wrong() -> None:
    cost, log_mu, log_nu = problem(4, 1, 2, 2)
    (gradient,) = torch.autograd.grad(sinkhorn(cost, log_mu, log_nu.requires_grad_()).value.square().sum(), log_nu, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        gradient.sum().backward()


@given(m=st.integers(2, 6), n=st.integers(2, 6), epsilon=st.floats(0.02, 2), seed=st.integers(0, 999))
@settings(deadline=None, max_examples=25)
def test_columns_are_exact_and_rows_improve(m: int, n: int, epsilon: float, seed: int) -> None:
    cost, log_mu, log_nu = problem(seed, 2, m, n)
    log_nu = log_nu - 0.7  # a mass below 1, as of the k largest outputs
    errors = []
    for L in (1, 2, 4, 8, 16):
        result = sinkhorn(cost, log_mu, log_nu, epsilon=epsilon, n_iterations=L)
        torch.testing.assert_close(result.plan().sum(1), log_nu.exp(), rtol=1e-10, atol=1e-12)
        assert (result.plan() >= 0).all()
        errors.append(result.marginal_error)
    for before, after in itertools.pairwise(errors):
        assert (after <= before + 1e-12).all()
    assert (errors[-1] < errors[0]).all()


@given(shift=st.floats(-50, 50), epsilon=st.sampled_from([1.0, 0.01]), seed=st.integers(0, 999))
@settings(deadline=None, max_examples=20)
def test_the_scale_of_mu_does_not_matter_and_that_of_nu_is_linear(shift: float, epsilon: float, seed: int) -> None:
    cost, log_mu, log_nu = problem(seed, 2, 4, 5)
    plain = sinkhorn(cost, log_mu, log_nu, epsilon=epsilon)
    torch.testing.assert_close(sinkhorn(cost, log_mu + shift, log_nu, epsilon=epsilon).plan(), plain.plan(), rtol=1e-9, atol=1e-12)
    scaled = sinkhorn(cost, log_mu, log_nu + shift / 10, epsilon=epsilon)
    torch.testing.assert_close(scaled.value, plain.value * math.exp(shift / 10), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_small_epsilon_is_near_the_linear_programme(seed: int) -> None:
    cost, log_mu, log_nu = problem(seed, 1, 5, 6)
    mu, nu = log_mu.softmax(1), log_nu.exp()
    expected = by_hand.wasserstein(cost[0].numpy(), mu[0].numpy(), nu[0].numpy())
    result = sinkhorn(cost, mu.log(), log_nu, epsilon=0.005, n_iterations=5000)
    assert result.value.item() == pytest.approx(expected, abs=1e-3)


@given(seed=st.integers(0, 999), epsilon=st.sampled_from([1.0, 0.1, 0.02]))
@settings(deadline=None, max_examples=15)
def test_the_converged_plan_is_that_of_pot(seed: int, epsilon: float) -> None:
    cost, log_mu, log_nu = problem(seed, 1, 4, 6)
    mu, nu = log_mu.softmax(1)[0].numpy(), log_nu.exp()[0].numpy()
    expected = ot.sinkhorn(mu, nu, cost[0].numpy(), reg=epsilon, method="sinkhorn_log", stopThr=1e-12, numItermax=20_000, warn=False)
    result = sinkhorn(cost, log_mu, log_nu, epsilon=epsilon, n_iterations=20_000, tolerance=1e-11)
    assert isinstance(expected, np.ndarray)
    np.testing.assert_allclose(result.plan()[0], expected, atol=1e-7)


def test_it_stops_at_the_tolerance() -> None:
    cost, log_mu, log_nu = problem(1, 3, 5, 6)
    result = sinkhorn(cost, log_mu, log_nu, n_iterations=500, tolerance=1e-6)
    assert 1 < result.n_iterations < 20
    assert result.converged is not None
    assert result.converged.tolist() == [True] * 3
    assert (result.marginal_error <= 1e-6).all()
    same = sinkhorn(cost, log_mu, log_nu, n_iterations=result.n_iterations)
    assert torch.equal(result.value, same.value)
    one_less = sinkhorn(cost, log_mu, log_nu, n_iterations=result.n_iterations - 1, tolerance=1e-6)
    assert one_less.converged is not None
    assert not one_less.converged.all()
    gradients = [
        torch.autograd.grad(sinkhorn(cost, log_mu, x, n_iterations=L, tolerance=t).value.sum(), x)[0]
        for x in [log_nu.clone().requires_grad_()]
        for L, t in [(500, 1e-6), (result.n_iterations, None)]
    ]
    assert torch.equal(*gradients)


def test_at_epsilon_1_five_iterations_are_as_good_as_fifty() -> None:
    rng = torch.Generator().manual_seed(0)
    cost = torch.rand(1, 70, 200, generator=rng, dtype=torch.float64) * 0.7 + 0.3
    log_nu = torch.randn(1, 200, generator=rng, dtype=torch.float64).log_softmax(1)
    values = [sinkhorn(cost, torch.zeros(1, 70, dtype=torch.float64), log_nu, n_iterations=L).value.item() for L in (3, 5, 50)]
    assert max(values) - min(values) < 1e-8


@pytest.mark.parametrize("epsilon", [1.0, 0.005])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("L", [1, 5])
def test_padding_changes_nothing_and_has_no_gradient(epsilon: float, dtype: torch.dtype, L: int) -> None:
    """A ragged batch: 3 x 4, 1 x 4, 2 x 2 and a problem without rows, padded with costs that would be the cheapest."""
    sizes = [(3, 4), (1, 4), (2, 2), (0, 3)]
    cost, log_mu, log_nu = (x.to(dtype) for x in problem(5, 4, 3, 4))
    for b, (m, n) in enumerate(sizes):
        log_mu[b, m:], log_nu[b, n:] = NO_MASS, NO_MASS
        cost[b, m:, :], cost[b, :, n:] = 0, 0
    inputs = (cost.requires_grad_(), log_mu.requires_grad_(), log_nu.requires_grad_())
    result = sinkhorn(*inputs, epsilon=epsilon, n_iterations=L)
    gradients = torch.autograd.grad(result.value.sum(), inputs, retain_graph=True)
    for b, (m, n) in enumerate(sizes[:3]):
        alone = sinkhorn(cost[b : b + 1, :m, :n], log_mu[b : b + 1, :m], log_nu[b : b + 1, :n], epsilon=epsilon, n_iterations=L)
        torch.testing.assert_close(result.value[b], alone.value[0])
        torch.testing.assert_close(result.plan()[b, :m, :n], alone.plan()[0])
        torch.testing.assert_close(result.marginal_error[b], alone.marginal_error[0])
        expected = torch.autograd.grad(alone.value.sum(), inputs)
        for got, wanted in zip(gradients, expected, strict=True):
            assert got.isfinite().all()
            torch.testing.assert_close(got[b], wanted[b], atol=1e-5 if dtype == torch.float32 else 1e-9, rtol=1e-4)
    assert result.value[3] == 0
    assert result.marginal_error[3] == 0
    assert all((gradient[3] == 0).all() for gradient in gradients)
    (through_plan,) = torch.autograd.grad(result.plan().square().sum(), log_nu)
    assert through_plan.isfinite().all()


def test_one_row_leaves_no_choice() -> None:
    cost, _, log_nu = problem(6, 3, 1, 5)
    result = sinkhorn(cost, torch.zeros(3, 1, dtype=torch.float64), log_nu, n_iterations=1)
    torch.testing.assert_close(result.value, (cost[:, 0] * log_nu.exp()).sum(1))
    assert result.marginal_error.max() < 1e-14


@pytest.mark.parametrize("epsilon", [1 / 29.9, 0.3, 3.0])
def test_both_forms_of_the_sums_agree_also_in_float32(epsilon: float, monkeypatch: pytest.MonkeyPatch) -> None:
    cost, log_mu, log_nu = problem(7, 3, 6, 8)
    cost[0, 0, 0] = 1.0
    log_nu = log_nu * 12  # masses over many orders of magnitude
    assert log_nu.min() < -40
    results: list[tuple[SinkhornResult, Tensor]] = []
    for safe, dtype in [(30.0, torch.float64), (0.0, torch.float64), (30.0, torch.float32), (0.0, torch.float32)]:
        monkeypatch.setattr(module, "SAFE_EXPONENT", safe)
        x = log_nu.to(dtype).requires_grad_()
        result = sinkhorn(cost.to(dtype), log_mu.to(dtype), x, epsilon=epsilon)
        results.append((result, torch.autograd.grad(result.value.sum(), x)[0]))
    (first, slope), others = results[0], results[1:]
    for (other, other_slope), tolerance in zip(others, (1e-10, 1e-4, 1e-4), strict=True):
        torch.testing.assert_close(other.value.double(), first.value, rtol=tolerance, atol=0)
        torch.testing.assert_close(other.column_potentials.double(), first.column_potentials, rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(other_slope.double(), slope, rtol=tolerance, atol=tolerance / 10)


def test_half_precision_is_computed_in_float32_also_under_autocast() -> None:
    cost, log_mu, log_nu = (x.float() for x in problem(8, 2, 3, 4))
    log_nu.requires_grad_()
    items = ItemCost.from_similarity(1 - cost[0, :, :3])
    pairs = torch.tensor([0, 1, 1]), torch.tensor([0, 2, 1])

    def values_and_gradients() -> list[Tensor]:
        values = sinkhorn(cost, log_mu, log_nu).value, sinkhorn_ragged(items, *pairs, log_nu[:, :3])
        return [*values, *(torch.autograd.grad(value.sum(), log_nu)[0] for value in values)]

    expected = values_and_gradients()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (log_mu.T @ log_nu).dtype == torch.bfloat16
        for got, wanted in zip(values_and_gradients(), expected, strict=True):
            assert torch.equal(got, wanted)
    halves = (cost.bfloat16(), log_mu.bfloat16(), log_nu.bfloat16())
    assert torch.equal(sinkhorn(*halves).value, sinkhorn(*(x.float() for x in halves)).value)


def test_bad_arguments_are_named() -> None:
    cost, log_mu, log_nu = problem(9, 2, 3, 4)
    for epsilon in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="epsilon must be > 0"):
            sinkhorn(cost, log_mu, log_nu, epsilon=epsilon)
    with pytest.raises(ValueError, match="n_iterations must be >= 1; got 0"):
        sinkhorn(cost, log_mu, log_nu, n_iterations=0)
    with pytest.raises(ValueError, match="tolerance must be >= 0"):
        sinkhorn(cost, log_mu, log_nu, tolerance=-1e-3)
    for shapes in [(cost, log_nu, log_mu), (cost[:1], log_mu, log_nu), (cost, log_mu[0], log_nu[0]), (cost, log_mu, log_nu[:1])]:
        with pytest.raises(ValueError, match=r"must be \(B, m, n\) or \(m, n\)"):
            sinkhorn(*shapes)
    with pytest.raises(ValueError, match="m, n >= 1"):
        sinkhorn(cost[:, :, :0], log_mu, log_nu[:, :0])
    for wrong in (math.inf, math.nan):
        cost[0, 0, 0] = wrong
        with pytest.raises(ValueError, match="cost must be finite"):
            sinkhorn(cost, log_mu, log_nu)


@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=7),
    capacity=st.sampled_from([1, 500, 2**24]),
    every_column=st.booleans(),
    debias=st.booleans(),
    epsilon=st.sampled_from([1.0, 0.01]),
    seed=st.integers(0, 999),
)
@settings(deadline=None, max_examples=30)
def test_ragged_is_one_problem_after_the_other(
    lengths: list[int], capacity: int, every_column: bool, debias: bool, epsilon: float, seed: int
) -> None:
    rng = torch.Generator().manual_seed(seed)
    B, n_items, n = len(lengths), 9, 9 if every_column else 4
    similarity = torch.rand(n_items, n_items, generator=rng)
    cost = ItemCost.from_similarity((similarity + similarity.T) / 2)
    taken = [torch.randperm(n_items, generator=rng)[:length] for length in lengths]
    columns = torch.stack([torch.randperm(n_items, generator=rng)[:n] for _ in range(B)]).sort(1).values
    log_nu = torch.randn(B, n, generator=rng, dtype=torch.float64).log_softmax(1).requires_grad_()
    rows, items = torch.arange(B).repeat_interleave(torch.tensor(lengths)), torch.cat(taken)
    shuffled = torch.randperm(len(rows), generator=rng)
    options = {"epsilon": epsilon, "n_iterations": 3}
    got = sinkhorn_ragged(
        cost,
        rows[shuffled],
        items[shuffled],
        log_nu,
        None if every_column else columns,
        chunk_bytes=capacity,
        debias=debias,
        **options,  # pyright: ignore[reportArgumentType]
    )
    C = 1 - ((similarity + similarity.T) / 2).double()
    expected = []
    for b in range(B):
        if not lengths[b]:
            expected.append(log_nu[b].sum() * 0)
            continue
        value = by_hand.unrolled(C[taken[b]][:, columns[b]], torch.zeros(lengths[b], dtype=torch.float64), log_nu[b], epsilon, 3)[0]
        if debias:
            value = 2 * value - by_hand.unrolled(C[columns[b]][:, columns[b]], log_nu[b], log_nu[b], epsilon, 3)[0]
        expected.append(value)
    expected = torch.stack(expected)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)  # the cost is kept in float32
    weights = torch.randn(B, generator=rng, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((got * weights).sum(), log_nu)
    (wanted,) = torch.autograd.grad((expected * weights).sum(), log_nu)
    torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        again = sinkhorn_ragged(cost, rows, items, log_nu, columns, debias=debias, **options)  # pyright: ignore[reportArgumentType]
    torch.testing.assert_close(again, got.detach(), rtol=1e-9, atol=1e-12)


@given(lengths=st.lists(st.integers(0, 40) | st.integers(0, 3000), max_size=60), extra=st.integers(0, 200), capacity=st.integers(0, 2000))
@settings(deadline=None, max_examples=40)
def test_chunks_hold_every_user_once_and_keep_to_their_size(lengths: list[int], extra: int, capacity: int) -> None:
    chunks = module._chunks(torch.tensor(lengths, dtype=torch.int64), extra, capacity)
    seen = [user for users, _ in chunks for user in users.tolist()]
    assert sorted(seen) == [user for user, length in enumerate(lengths) if length]
    for users, longest in chunks:
        of_chunk = [lengths[user] for user in users]
        assert longest == max(of_chunk)
        assert len(users) == 1 or len(users) * (longest + extra) <= capacity
        assert longest <= max(min(of_chunk) * 1.5, min(of_chunk) + 8)


def test_no_user_no_item_and_wrong_shapes() -> None:
    cost = ItemCost.from_similarity(torch.eye(4))
    none = torch.zeros(0, dtype=torch.int64)
    log_nu = torch.zeros(2, 4).log_softmax(1).requires_grad_()
    value = sinkhorn_ragged(cost, none, none, log_nu)
    assert value.tolist() == [0, 0]
    value.sum().backward()
    assert log_nu.grad is not None
    assert (log_nu.grad == 0).all()
    assert sinkhorn_ragged(cost, none, none, log_nu[:0]).shape == (0,)
    with pytest.raises(ValueError, match=r"log_nu must be \(B, n\) like its columns, \(2, 4\); got \(2, 3\)"):
        sinkhorn_ragged(cost, none, none, log_nu[:, :3])
    with pytest.raises(ValueError, match=r"\(1, 4\); got \(2, 4\)"):
        sinkhorn_ragged(cost, none, none, log_nu, torch.zeros(1, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"must both be \(N,\)"):
        sinkhorn_ragged(cost, none, none[None], log_nu)
    with pytest.raises(ValueError, match="epsilon must be > 0"):
        sinkhorn_ragged(cost, none, none, log_nu, epsilon=0)
    for pair, sentence in [
        ((2, 0), "rows must lie in 0..1; found 2..2"),
        ((0, 4), "items must lie in 0..3; found 4..4"),
        ((0, -1), "items"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            sinkhorn_ragged(cost, torch.tensor([pair[0]]), torch.tensor([pair[1]]), log_nu)
    with pytest.raises(ValueError, match="chunk_bytes must be >= 1"):
        sinkhorn_ragged(cost, none, none, log_nu, chunk_bytes=0)
