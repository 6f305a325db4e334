import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from monge.losses import (
    accelerated_sinkhorn,
    bernoulli,
    concentration,
    gaussian,
    multinomial,
    poisson,
    sinkhorn_loss,
    top_k_mass,
    weighted_gaussian,
)
from monge.ot import ItemCost
from tests.reference import sinkhorn as by_hand

PRECISIONS = pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
LENGTHS = st.lists(st.integers(0, 6), min_size=1, max_size=5)

S = torch.tensor([[1.0, 0.8, 0.1, 0.1], [0.8, 1.0, 0.1, 0.1], [0.1, 0.1, 1.0, 0.8], [0.1, 0.1, 0.8, 1.0]])
TOY = ItemCost.from_similarity(S)


def batch(lengths: list[int], n_items: int, seed: int, spread: float = 2.0) -> tuple[Tensor, Tensor, Tensor, list[list[int]]]:
    """Logits (float64), the pairs shuffled, and the items of each user."""
    rng = torch.Generator().manual_seed(seed)
    taken = [torch.randperm(n_items, generator=rng)[:length].tolist() for length in lengths]
    logits = torch.randn(len(lengths), n_items, generator=rng, dtype=torch.float64) * spread
    pairs = torch.tensor([(row, item) for row, items in enumerate(taken) for item in items], dtype=torch.int64).view(-1, 2)
    rows, items = pairs[torch.randperm(len(pairs), generator=rng)].T
    return logits, rows, items, taken


def random_cost(n_items: int, seed: int) -> ItemCost:
    similarity = torch.rand(n_items, n_items, generator=torch.Generator().manual_seed(seed + 5000))
    return ItemCost.from_similarity(torch.maximum((similarity + similarity.T) / 2, torch.eye(n_items)))


@given(lengths=LENGTHS, seed=st.integers(0, 999), weight=st.floats(0, 100))
@settings(deadline=None, max_examples=30)
@PRECISIONS
def test_proposition_2_1(lengths: list[int], seed: int, weight: float, dtype: torch.dtype, tolerance: float) -> None:
    """Each observation model is a squared Euclidean distance or a KL divergence, up to constants of the data."""
    logits, rows, items, taken = batch(lengths, 7, seed)
    B, entries = len(lengths), len(lengths) * 7
    x = [[int(i in of_user) for i in range(7)] for of_user in taken]
    outputs = logits.tolist()
    expected: dict[str, float] = {"gaussian": 0.0, "weighted": 0.0, "bernoulli": 0.0, "poisson": 0.0, "multinomial": 0.0}
    for x_u, logits_u in zip(x, outputs, strict=True):
        n = sum(x_u)
        expected["gaussian"] += by_hand.squared_distance(x_u, logits_u, [1.0] * 7) / entries
        expected["weighted"] += by_hand.squared_distance(x_u, logits_u, [weight if taken else 1.0 for taken in x_u]) / entries
        for taken_ui, logit in zip(x_u, logits_u, strict=True):
            xhat = 1 / (1 + math.exp(-logit))
            expected["bernoulli"] += by_hand.kl([float(taken_ui), 1.0 - taken_ui], [xhat, 1 - xhat]) / entries
        rate = [math.log1p(math.exp(logit)) for logit in logits_u]
        expected["poisson"] += sum(rate) / B
        if n:
            rho = [taken_ui / n for taken_ui in x_u]
            expected["poisson"] += n * (by_hand.kl(rho, rate) + math.log(n)) / B
            expected["multinomial"] += n * (by_hand.kl(rho, by_hand.softmax(logits_u)) + math.log(n)) / B
    args = logits.to(dtype), rows, items
    got = {
        "gaussian": gaussian(*args),
        "weighted": weighted_gaussian(*args, weight=weight),
        "bernoulli": bernoulli(*args),
        "poisson": poisson(*args),
        "multinomial": multinomial(*args),
    }
    for name, loss in got.items():
        assert loss.dtype == dtype
        assert loss.item() == pytest.approx(expected[name], rel=tolerance, abs=tolerance), name


@given(lengths=LENGTHS, seed=st.integers(0, 999), alpha=st.floats(0.001, 0.99))
@settings(deadline=None, max_examples=30)
@PRECISIONS
def test_concentration_is_l2_of_algorithm_1(lengths: list[int], seed: int, alpha: float, dtype: torch.dtype, tolerance: float) -> None:
    logits, rows, items, taken = batch(lengths, 7, seed)
    expected = 0.0
    for of_user, logits_u in zip(taken, logits.tolist(), strict=True):
        for i, xhat in enumerate(by_hand.softmax(logits_u)):
            expected -= (1.0 if i in of_user else alpha) * math.log(xhat) / len(lengths)
    assert concentration(logits.to(dtype), rows, items, alpha=alpha).item() == pytest.approx(expected, rel=tolerance)


def test_concentration_with_alpha_0_is_the_multinomial_to_the_bit() -> None:
    logits, rows, items, _ = batch([3, 0, 5, 1], 50, seed=1)
    for x in (logits.requires_grad_(), logits.detach().float().requires_grad_()):
        losses = concentration(x, rows, items, alpha=0), multinomial(x, rows, items)
        assert torch.equal(*losses)
        assert torch.equal(*(torch.autograd.grad(loss, x)[0] for loss in losses))
    expected = -(torch.zeros(4, 50, dtype=torch.float64).index_put((rows, items), torch.tensor(1.0).double()) * logits.log_softmax(1))
    torch.testing.assert_close(multinomial(logits, rows, items), expected.sum(1).mean())


def test_the_least_concentration_loss_leaves_alpha_outside() -> None:
    """sec. 5: xhat_i is proportional to 1 on I1 and alpha on I2."""
    alpha, taken = 0.1, torch.tensor([2, 5, 6])
    logits = torch.full((1, 20), math.log(alpha), dtype=torch.float64)
    logits[0, taken] = 0
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(concentration(logits, torch.zeros(3, dtype=torch.int64), taken, alpha=alpha), logits)
    assert gradient.abs().max() < 1e-14
    assert top_k_mass(logits, 3).item() == pytest.approx(3 / (3 + 17 * alpha))


@given(
    lengths=LENGTHS,
    k=st.integers(1, 8),
    L=st.integers(1, 5),
    epsilon=st.floats(0.05, 3),
    debias=st.booleans(),
    seed=st.integers(0, 999),
)
@settings(deadline=None, max_examples=30)
def test_accelerated_sinkhorn_is_l1_of_algorithm_1(lengths: list[int], k: int, L: int, epsilon: float, debias: bool, seed: int) -> None:
    logits, rows, items, taken = batch(lengths, 8, seed)
    cost = random_cost(8, seed)
    C = cost.rows(torch.arange(8)).tolist()
    expected = [
        by_hand.transported(C, of_user, of_logits, k, epsilon, L, debias=debias)
        for of_user, of_logits in zip(taken, logits.tolist(), strict=True)
    ]
    got = accelerated_sinkhorn(logits, rows, items, cost, k=k, epsilon=epsilon, n_iterations=L, debias=debias)
    assert got.item() == pytest.approx(sum(expected) / len(lengths), rel=1e-9, abs=1e-12)
    if k == 8 and not debias:
        assert sinkhorn_loss(logits, rows, items, cost, epsilon=epsilon, n_iterations=L).item() == pytest.approx(got.item(), rel=1e-12)


@pytest.mark.parametrize("epsilon", [1.0, 0.01])
def test_all_items_as_the_top_k_are_the_full_loss_with_its_gradient(epsilon: float) -> None:
    logits, rows, items, _ = batch([3, 0, 5, 1], 30, seed=2)
    logits.requires_grad_()
    cost = random_cost(30, 2)
    losses = [
        sinkhorn_loss(logits, rows, items, cost, epsilon=epsilon),
        accelerated_sinkhorn(logits, rows, items, cost, k=30, epsilon=epsilon),
    ]
    torch.testing.assert_close(*losses, rtol=1e-12, atol=0)
    gradients = [torch.autograd.grad(loss, logits)[0] for loss in losses]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-14)
    assert (gradients[0][1] == 0).all()  # the user without items


def test_the_papers_toy_example() -> None:
    """Two outputs that KL and Euclid cannot tell apart, and optimal transport can."""
    row, item = torch.tensor([0]), torch.tensor([0])
    for outputs, transported in [([1.0, 1.0, 0.0, 0.0], 0.1), ([1.0, 0.0, 1.0, 0.0], 0.45)]:
        xhat = torch.tensor([outputs], dtype=torch.float64)
        logits = xhat.log()  # -inf where the output is 0
        assert 4 * gaussian(xhat, row, item).item() == pytest.approx(1)
        assert multinomial(logits, row, item).item() == pytest.approx(math.log(2))
        C = (1 - S.double()).numpy()
        assert by_hand.wasserstein(C[:1], torch.ones(1).numpy(), (xhat / 2)[0].numpy()) == pytest.approx(transported)
        for epsilon in (1.0, 0.005):
            assert sinkhorn_loss(logits, row, item, TOY, epsilon=epsilon).item() == pytest.approx(transported, abs=1e-7)
            assert accelerated_sinkhorn(logits, row, item, TOY, k=2, epsilon=epsilon).item() == pytest.approx(transported, abs=1e-7)


def test_transport_alone_leaks_mass_and_concentration_gathers_it() -> None:
    logits, rows, items, _ = batch([4, 2, 6, 3], 40, seed=3, spread=1.0)
    cost = random_cost(40, 3)
    k = 8

    def mass_after(loss: Callable[[Tensor], Tensor]) -> Tensor:
        x = logits.clone().requires_grad_()
        for _ in range(50):
            (gradient,) = torch.autograd.grad(loss(x), x)
            with torch.no_grad():
                x -= gradient
        return top_k_mass(x, k)

    before = top_k_mass(logits, k)
    assert (mass_after(lambda x: accelerated_sinkhorn(x, rows, items, cost, k=k)) < before - 0.01).all()
    assert (mass_after(lambda x: concentration(x, rows, items, alpha=0.03)) > before + 0.01).all()
    both = mass_after(lambda x: accelerated_sinkhorn(x, rows, items, cost, k=k) + concentration(x, rows, items, alpha=0.03))
    assert (both > before + 0.01).all()


def test_outside_the_top_k_logits_rise_through_the_softmax() -> None:
    logits, rows, items, _ = batch([2], 10, seed=4)
    (gradient,) = torch.autograd.grad(accelerated_sinkhorn(logits.requires_grad_(), rows, items, random_cost(10, 4), k=3), logits)
    outside = torch.ones(10, dtype=torch.bool)
    outside[logits[0].topk(3).indices] = False
    assert (gradient[0, outside] < 0).all()


def test_gradients() -> None:
    logits, rows, items, _ = batch([3, 0, 1], 5, seed=5)
    logits[0, 0] = -20.0  # where log(softplus) changes its form
    cost = random_cost(5, 5)
    for loss in (
        gaussian,
        partial(weighted_gaussian, weight=3.0),
        bernoulli,
        poisson,
        multinomial,
        partial(concentration, alpha=0.2),
        partial(sinkhorn_loss, cost=cost),
        partial(accelerated_sinkhorn, cost=cost, k=3, epsilon=0.5),
        partial(accelerated_sinkhorn, cost=cost, k=3, debias=True),
        partial(accelerated_sinkhorn, cost=cost, k=3, epsilon=0.03),
        lambda x, *_: top_k_mass(x, 2),
    ):
        assert torch.autograd.gradcheck(lambda x, loss=loss: loss(x, rows, items), (logits.requires_grad_(),))


@pytest.mark.parametrize("size", [30.0, 200.0, 1e4])
def test_extreme_logits_have_finite_losses_and_gradients(size: float) -> None:
    logits, rows, items, _ = batch([4, 1, 0], 12, seed=6)
    logits = (logits.sign() * size).float().requires_grad_()
    cost = random_cost(12, 6)
    for loss in (
        weighted_gaussian(logits, rows, items, weight=5.0),
        bernoulli(logits, rows, items),
        poisson(logits, rows, items),
        concentration(logits, rows, items, alpha=0.1),
        sinkhorn_loss(logits, rows, items, cost),
        accelerated_sinkhorn(logits, rows, items, cost, k=9),
        accelerated_sinkhorn(logits, rows, items, cost, k=9, epsilon=0.005, debias=True),
    ):
        (gradient,) = torch.autograd.grad(loss, logits)
        assert loss.isfinite()
        assert gradient.isfinite().all()


def test_the_log_of_a_small_rate_does_not_vanish() -> None:
    logits = torch.tensor([[-200.0, -15.5, -14.5, -3.0]])
    rows, items = torch.zeros(4, dtype=torch.int64), torch.arange(4)
    expected = [200.0, 15.5, *(-math.log(math.log1p(math.exp(x))) for x in (-14.5, -3.0))]
    rates = sum(math.log1p(math.exp(x)) for x in logits[0].tolist())
    assert poisson(logits, rows, items).item() == pytest.approx(sum(expected) + rates, rel=1e-6)


def test_half_precision_is_computed_in_float32() -> None:
    logits, rows, items, _ = batch([4, 1], 12, seed=7)
    half = logits.bfloat16()
    cost = random_cost(12, 7)
    for loss in (
        gaussian,
        bernoulli,
        poisson,
        multinomial,
        partial(concentration, alpha=0.1),
        partial(sinkhorn_loss, cost=cost),
        partial(accelerated_sinkhorn, cost=cost, k=3),
    ):
        assert loss(half, rows, items).dtype == torch.float32
        assert torch.equal(loss(half, rows, items), loss(half.float(), rows, items))


def test_top_k_mass() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, -1e4, -1e4, -1e4]])
    torch.testing.assert_close(top_k_mass(logits, 1), torch.tensor([0.25, 1.0]))
    torch.testing.assert_close(top_k_mass(logits, 4), torch.ones(2))


def test_bad_arguments_are_named() -> None:
    logits, rows, items, _ = batch([2, 1], 4, seed=8)
    for alpha in (-0.1, 1.0, math.nan):
        with pytest.raises(ValueError, match=r"alpha must lie in \[0, 1\)"):
            concentration(logits, rows, items, alpha=alpha)
    with pytest.raises(ValueError, match="weight must be >= 0; got -1"):
        weighted_gaussian(logits, rows, items, weight=-1)
    for k in (0, 5):
        with pytest.raises(ValueError, match=rf"k must lie in 1..4, the number of items; got {k}"):
            accelerated_sinkhorn(logits, rows, items, TOY, k=k)
        with pytest.raises(ValueError, match=r"k must lie in 1..4"):
            top_k_mass(logits, k)
    with pytest.raises(ValueError, match="epsilon must be > 0"):
        sinkhorn_loss(logits, rows, items, TOY, epsilon=0)
    with pytest.raises(ValueError, match="n_iterations must be >= 1"):
        accelerated_sinkhorn(logits, rows, items, TOY, k=2, n_iterations=0)
    for loss in (gaussian, bernoulli, poisson, multinomial, partial(sinkhorn_loss, cost=TOY), partial(accelerated_sinkhorn, cost=TOY)):
        with pytest.raises(ValueError, match=r"logits, rows and items must be \(B, I\), \(N,\) and \(N,\)"):
            loss(logits, rows, items[:-1])
        with pytest.raises(ValueError, match=r"must be \(B, I\)"):
            loss(logits[0], rows, items)
    with pytest.raises(ValueError, match=r"log_nu must be \(B, n\) like its columns, \(2, 4\)"):
        sinkhorn_loss(torch.zeros(2, 5), rows, items, TOY)


@pytest.mark.parametrize(("epsilon", "mass"), [(1.0, [0, 0, 0, 1, 0, 0]), (0.1, [0, 1 / 3, 0, 0, 1 / 3, 1 / 3])])
def test_where_the_full_loss_leads(epsilon: float, mass: list[float]) -> None:
    """At the paper's epsilon all mass goes to the item nearest to all that was taken, here one that was not; at .1 to what was taken."""
    rows, items, cost = torch.tensor([0, 0, 0]), torch.tensor([1, 4, 5]), random_cost(6, 0)
    logits = torch.zeros(1, 6, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.3)
    for _ in range(100):
        optimizer.zero_grad()
        sinkhorn_loss(logits, rows, items, cost, epsilon=epsilon).backward()
        optimizer.step()
    torch.testing.assert_close(logits.softmax(1).detach(), torch.tensor([mass], dtype=torch.float64), rtol=0, atol=0.06)
