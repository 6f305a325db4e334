import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from monge.losses import binary_cross_entropy, bpr, full_cross_entropy, gbce, sampled_softmax
from tests.reference import ranking as by_hand

PRECISIONS = pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])


@given(N=st.integers(1, 6), K=st.integers(1, 5), spread=st.floats(0.1, 8), seed=st.integers(0, 999), calibration=st.floats(0, 1))
@settings(deadline=None, max_examples=25)
@PRECISIONS
def test_losses_on_scores_are_their_definitions(
    N: int, K: int, spread: float, seed: int, calibration: float, dtype: torch.dtype, tolerance: float
) -> None:
    rng = torch.Generator().manual_seed(seed)
    positive = spread * torch.randn(N, generator=rng, dtype=torch.float64)
    negatives = spread * torch.randn(N, K, generator=rng, dtype=torch.float64)
    hit = torch.rand(N, K, generator=rng) < 0.3
    p, n = positive.tolist(), negatives.tolist()
    beta = by_hand.gbce_beta(K, K + 3, calibration)
    pairs = [
        (bpr(positive.to(dtype), negatives[:, 0].to(dtype)), by_hand.bpr(p, [row[0] for row in n])),
        (binary_cross_entropy(positive.to(dtype), negatives.to(dtype)), by_hand.binary_cross_entropy(p, n)),
        (
            gbce(positive.to(dtype), negatives.to(dtype), n_items=K + 3, calibration=calibration),
            by_hand.gbce(p, n, beta=beta),
        ),
        (sampled_softmax(positive.to(dtype), negatives.to(dtype)), by_hand.sampled_softmax(p, n)),
        (sampled_softmax(positive.to(dtype), negatives.to(dtype), hit=hit), by_hand.sampled_softmax(p, n, hit.tolist())),
    ]
    for got, expected in pairs:
        assert got.shape == ()
        assert got.dtype == dtype
        assert got.item() == pytest.approx(expected, rel=tolerance, abs=tolerance)


def test_known_values() -> None:
    zero, zeros = torch.zeros(3), torch.zeros(3, 4)
    assert bpr(zero, zero).item() == pytest.approx(math.log(2))
    assert binary_cross_entropy(zero, zeros).item() == pytest.approx(5 * math.log(2))
    assert sampled_softmax(zero, zeros).item() == pytest.approx(math.log(5))
    # all items but one are negatives: nothing to calibrate
    assert gbce(zero, zeros, n_items=5, calibration=1.0).item() == pytest.approx(5 * math.log(2))
    # a tenth of them, fully calibrated: the positive counts a tenth
    assert gbce(zero, zeros, n_items=41, calibration=1.0).item() == pytest.approx(4.1 * math.log(2))
    assert gbce(zero, zeros, n_items=41, calibration=0.0).item() == pytest.approx(5 * math.log(2))


def test_the_hardest_pairs_keep_their_gradient() -> None:
    positive = torch.tensor([-1e4, 1e4], requires_grad=True)
    loss = bpr(positive, torch.zeros(2))
    (gradient,) = torch.autograd.grad(loss, positive)
    assert loss.item() == pytest.approx(5000)
    assert gradient.tolist() == [-0.5, 0.0]
    positive = torch.tensor([-1e4], requires_grad=True)
    negatives = torch.tensor([[1e4, 1e4]], requires_grad=True)
    gradients = torch.autograd.grad(binary_cross_entropy(positive, negatives), (positive, negatives))
    assert [gradient.tolist() for gradient in gradients] == [[-1.0], [[1.0, 1.0]]]
    gradients = torch.autograd.grad(gbce(positive, negatives, n_items=5, calibration=1.0), (positive, negatives))
    assert [gradient.tolist() for gradient in gradients] == [[-0.5], [[1.0, 1.0]]]
    gradients = torch.autograd.grad(sampled_softmax(positive, negatives), (positive, negatives))
    assert gradients[0].tolist() == [-1.0]
    assert gradients[1].tolist() == [[pytest.approx(0.5, abs=1e-3)] * 2]  # log 2 beside 1e4 has three digits left


def test_a_position_whose_every_negative_is_the_positive_costs_nothing() -> None:
    positive, negatives = torch.tensor([0.3, 0.1], requires_grad=True), torch.randn(2, 3).requires_grad_()
    hit = torch.tensor([[True] * 3, [False, True, False]])
    loss = sampled_softmax(positive, negatives, hit=hit)
    gradients = torch.autograd.grad(loss, (positive, negatives))
    alone = sampled_softmax(positive[1:], negatives[1:], hit=hit[1:])
    assert loss.item() == pytest.approx(alone.item() / 2)
    assert gradients[0][0] == 0
    assert torch.equal(gradients[1] == 0, hit)  # and no NaN


@given(N=st.integers(1, 7), M=st.integers(2, 6), V=st.integers(1, 4), biased=st.booleans(), seed=st.integers(0, 999))
@settings(deadline=None, max_examples=25)
@pytest.mark.parametrize("block", [1, 3, 2048])
def test_full_cross_entropy_is_cross_entropy_with_its_gradients(N: int, M: int, V: int, biased: bool, seed: int, block: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    queries, items, bias = (torch.randn(*shape, generator=rng, dtype=torch.float64) for shape in ((N, V), (M, V), (M,)))
    targets = torch.randint(M, (N,), generator=rng)
    given = [part.requires_grad_() for part in ((queries, items, bias) if biased else (queries, items))]
    loss = full_cross_entropy(queries, items, bias if biased else None, targets, block=block)
    expected = F.cross_entropy(queries @ items.T + (bias if biased else 0), targets)
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-12)
    gradients = torch.autograd.grad(3 * loss, given)  # scaled: what comes from above must be used
    for got, wanted in zip(gradients, torch.autograd.grad(3 * expected, given), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-12)
    by_loops = by_hand.full_cross_entropy(queries.tolist(), items.tolist(), bias.tolist() if biased else None, targets.tolist())
    assert loss.item() == pytest.approx(by_loops, rel=1e-10)


def test_full_cross_entropy_in_float32_with_large_scores() -> None:
    rng = torch.Generator().manual_seed(0)
    queries, items, bias = (30 * torch.randn(*shape, generator=rng) for shape in ((20, 8), (50, 8), (50,)))
    targets = torch.randint(50, (20,), generator=rng)
    parts = [part.requires_grad_() for part in (queries, items, bias)]
    loss, expected = full_cross_entropy(*parts, targets, block=7), F.cross_entropy(queries @ items.T + bias, targets)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    for got, wanted in zip(torch.autograd.grad(loss, parts), torch.autograd.grad(expected, parts), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-3)


def test_full_cross_entropy_of_half_precision_states_is_computed_in_float32() -> None:
    rng = torch.Generator().manual_seed(5)
    queries, items = torch.randn(6, 4, generator=rng).bfloat16().requires_grad_(), torch.randn(9, 4, generator=rng).requires_grad_()
    targets = torch.arange(6)
    expected = F.cross_entropy(queries.float() @ items.T, targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = full_cross_entropy(queries, items, None, targets, block=4)
    torch.testing.assert_close(loss, expected)
    for got, wanted in zip(torch.autograd.grad(loss, (queries, items)), torch.autograd.grad(expected, (queries, items)), strict=True):
        torch.testing.assert_close(got, wanted)


def test_full_cross_entropy_of_equal_scores_is_log_m() -> None:
    assert full_cross_entropy(torch.zeros(3, 2), torch.randn(9, 2), None, torch.tensor([0, 4, 8])).item() == pytest.approx(math.log(9))


def test_full_cross_entropy_leaves_its_inputs_alone_and_backward_may_run_twice() -> None:
    queries, items = torch.randn(4, 3).requires_grad_(), torch.randn(5, 3).requires_grad_()
    before = queries.detach().clone(), items.detach().clone()
    loss = full_cross_entropy(queries, items, None, torch.tensor([0, 1, 4, 4]), block=3)
    first = torch.autograd.grad(loss, (queries, items), retain_graph=True)
    second = torch.autograd.grad(loss, (queries, items))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert torch.equal(queries, before[0])
    assert torch.equal(items, before[1])


def test_gradients() -> None:
    rng = torch.Generator().manual_seed(4)

    def leaf(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64).requires_grad_()

    positive, negative, negatives = leaf(3), leaf(3), leaf(3, 2)
    hit = torch.tensor([[False, True], [False, False], [True, False]])
    assert torch.autograd.gradcheck(bpr, (positive, negative))
    assert torch.autograd.gradcheck(binary_cross_entropy, (positive, negatives))
    assert torch.autograd.gradcheck(lambda p, n: gbce(p, n, n_items=9, calibration=0.75), (positive, negatives))
    assert torch.autograd.gradcheck(lambda p, n: sampled_softmax(p, n, hit=hit), (positive, negatives))
    targets = torch.tensor([0, 3, 3, 1])
    assert torch.autograd.gradcheck(lambda q, v, b: full_cross_entropy(q, v, b, targets, block=3), (leaf(4, 2), leaf(5, 2), leaf(5)))
