"""Losses within a batch of pairs against loops in 64 bits, and their laws."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from monge.losses import alignment, info_nce, uniformity
from monge.ot import doubly_stochastic
from tests.reference import contrastive as reference


def pairs(B: int, V: int = 5, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    q, k = F.normalize(torch.randn(2, B, V, generator=rng, dtype=torch.float64), dim=-1).to(dtype)
    return q, k


def blended(targets: torch.Tensor, alpha: float) -> list[list[float]]:
    return (alpha * torch.eye(len(targets), dtype=torch.float64) + (1 - alpha) * targets.double()).tolist()


@given(
    B=st.integers(1, 6),
    alpha=st.sampled_from([0.0, 0.3, 0.9, 1.0]),
    temperature=st.floats(0.05, 2),
    n_items=st.integers(1, 4),
    masked=st.booleans(),
    seed=st.integers(0, 999),
)
@settings(deadline=None, max_examples=80)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_info_nce_is_equation_6(
    B: int, alpha: float, temperature: float, n_items: int, masked: bool, seed: int, dtype: torch.dtype, tolerance: float
) -> None:
    q, k = pairs(B, seed=seed, dtype=dtype)
    rng = torch.Generator().manual_seed(seed)
    items = torch.randint(n_items, (B,), generator=rng)
    hidden = items[:, None] == items if masked else None  # the diagonal too: it stays all the same
    targets = doubly_stochastic(torch.randn(B, B, generator=rng, dtype=torch.float64)).to(dtype)
    got = info_nce(q, k, temperature=temperature, targets=targets, alpha=alpha, hidden=hidden)
    masks = None if hidden is None else hidden.tolist()
    expected = reference.in_batch(q.tolist(), k.tolist(), temperature, blended(targets, alpha), masks)
    assert got.item() == pytest.approx(expected, rel=tolerance, abs=tolerance)


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("alpha", [1.0, 0.6, 0.0])
def test_gradcheck(alpha: float, masked: bool) -> None:
    q, k = pairs(4, 3)
    hidden = torch.tensor([0, 1, 0, 2])[:, None] == torch.tensor([0, 1, 0, 2]) if masked else None
    targets = doubly_stochastic(q @ k.T)
    assert torch.autograd.gradcheck(
        lambda q, k: info_nce(q, k, temperature=0.3, targets=targets, alpha=alpha, hidden=hidden),
        (q.requires_grad_(), k.requires_grad_()),
    )


def test_with_everything_hidden_and_no_share_of_its_own_a_row_is_its_own_target() -> None:
    q, k = (x.requires_grad_() for x in pairs(3))
    hidden = torch.ones(3, 3, dtype=torch.bool)
    hidden[1] = False
    targets = doubly_stochastic(q @ k.T)
    loss = info_nce(q, k, temperature=0.2, targets=targets, alpha=0.0, hidden=hidden)
    loss.backward()
    assert loss.item() == pytest.approx(reference.in_batch(q.tolist(), k.tolist(), 0.2, blended(targets, 0.0), hidden.tolist()), rel=1e-12)
    assert q.grad is not None
    assert q.grad.isfinite().all()
    assert q.grad[[0, 2]].tolist() == [[0] * 5] * 2  # one key alone is certain
    assert q.grad[1].abs().max() > 1e-3


def test_no_gradient_enters_the_targets() -> None:
    q, k = (x.requires_grad_() for x in pairs(4))
    targets = (q @ k.T).softmax(1)
    targets.retain_grad()
    for hidden in (None, torch.zeros(4, 4, dtype=torch.bool)):
        constant = torch.autograd.grad(info_nce(q, k, temperature=0.2, targets=targets.detach(), alpha=0.5, hidden=hidden), (q, k))
        through = torch.autograd.grad(info_nce(q, k, temperature=0.2, targets=targets, alpha=0.5, hidden=hidden), (q, k), retain_graph=True)
        assert all(torch.equal(a, b) for a, b in zip(constant, through, strict=True))
    info_nce(q, k, temperature=0.2, targets=targets, alpha=0.5).backward()
    assert targets.grad is None


def test_alpha_one_does_not_see_the_targets_to_the_last_bit() -> None:
    q, k = pairs(50, dtype=torch.float32)
    plain = info_nce(q, k, temperature=0.1)
    for targets in (doubly_stochastic(q @ k.T), torch.full((50, 50), torch.nan)):
        assert torch.equal(info_nce(q, k, temperature=0.1, targets=targets, alpha=1.0), plain)
    nearly = info_nce(q, k, temperature=0.1, targets=doubly_stochastic(q @ k.T), alpha=1 - 1e-9)
    assert nearly.item() == pytest.approx(plain.item(), rel=1e-6)


def test_known_values() -> None:
    same = torch.ones(8, 3)
    uniform = (torch.ones(8, 8) - torch.eye(8)) / 7
    for options in ({}, {"targets": uniform, "alpha": 0.4}):
        assert info_nce(same, same, temperature=0.2, **options).item() == pytest.approx(math.log(8))  # cannot tell the keys apart
    q, k = pairs(1)
    assert info_nce(q, k, temperature=0.2).item() == 0
    assert info_nce(torch.eye(4), torch.eye(4), temperature=0.01).item() == pytest.approx(0, abs=1e-6)
    order = torch.tensor([2, 0, 3, 1])
    q, k = pairs(4)
    assert info_nce(q[order], k[order], temperature=0.2).item() == pytest.approx(info_nce(q, k, temperature=0.2).item(), rel=1e-12)


def test_it_is_float32_under_autocast() -> None:
    q, k = pairs(16, dtype=torch.float32)
    targets = doubly_stochastic(q @ k.T)
    plain = info_nce(q, k, temperature=0.05, targets=targets, alpha=0.9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = info_nce(q, k, temperature=0.05, targets=targets, alpha=0.9)
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(plain.item(), rel=0.05)


@given(B=st.integers(2, 7), V=st.integers(1, 4), t=st.floats(0.2, 5), seed=st.integers(0, 999), twins=st.booleans())
@settings(deadline=None, max_examples=50)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_alignment_and_uniformity_are_the_loops(
    B: int, V: int, t: float, seed: int, twins: bool, dtype: torch.dtype, tolerance: float
) -> None:
    q, k = pairs(B, V, seed, dtype)
    if twins:
        q = q[torch.arange(B) // 2]
    assert alignment(q, k).item() == pytest.approx(reference.alignment(q.tolist(), k.tolist()), rel=tolerance, abs=tolerance)
    assert uniformity(q, t=t).item() == pytest.approx(reference.uniformity(q.tolist(), t), rel=tolerance, abs=tolerance)


def test_twins_in_a_batch_have_finite_gradients() -> None:
    rows = F.normalize(
        torch.tensor([[1.0, 2.0], [1.0, 2.0], [0.5, -1.0], [0.5, -1.0], [0.5, -1.0]], dtype=torch.float64), dim=1
    ).requires_grad_()
    uniformity(rows).backward()
    assert rows.grad is not None
    assert rows.grad.isfinite().all()
    assert torch.equal(rows.grad[0], rows.grad[1])
    # the slope by differences, of a row without a twin beside it in the way
    moved = rows.detach().clone()
    slopes = []
    for axis in range(2):
        ends = []
        for step in (1e-6, -1e-6):
            shifted = moved.clone()
            shifted[:2, axis] += step
            ends.append(reference.uniformity(shifted.tolist()))
        slopes.append((ends[0] - ends[1]) / 2e-6)
    assert (rows.grad[0] + rows.grad[1]).tolist() == pytest.approx(slopes, rel=1e-5)


def test_the_ends_of_uniformity() -> None:
    assert uniformity(torch.ones(5, 3)).item() == 0
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert uniformity(opposite).item() == pytest.approx(-8)
    assert alignment(opposite, -opposite).item() == 4
    assert uniformity(torch.tensor([[0.0], [1e4]])).isfinite()  # exp(-2e8) is 0, its logarithm is not asked for


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda q, k: info_nce(q, k[:3], temperature=0.2), r"must both be \(B, V\)"),
        (lambda q, k: info_nce(q[:0], k[:0], temperature=0.2), "B >= 1"),
        (lambda q, k: info_nce(q, k, temperature=0.0), "temperature must be > 0; got 0"),
        (lambda q, k: info_nce(q, k, temperature=math.nan), "temperature must be > 0; got nan"),
        (lambda q, k: info_nce(q, k, temperature=0.2, alpha=0.5), "be 1 where there are no targets; got 0.5"),
        (lambda q, k: info_nce(q, k, temperature=0.2, alpha=1.5, targets=q @ k.T), r"alpha must lie in \[0, 1\].*1.5"),
        (lambda q, k: info_nce(q, k, temperature=0.2, alpha=0.5, targets=(q @ k.T)[:3]), r"targets must be .*\(4, 4\); got \(3, 4\)"),
        (lambda q, k: info_nce(q, k, temperature=0.2, hidden=torch.zeros(4, dtype=torch.bool)), r"hidden must be .*got \(4,\)"),
        (lambda q, k: alignment(q, k[:, :2]), r"must both be \(B, V\)"),
        (lambda q, k: uniformity(q[:1]), "B >= 2"),
        (lambda q, k: uniformity(q, t=0.0), "t must be > 0; got 0"),
    ],
)  # fmt: skip
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(*pairs(4))


def test_contrast_within_a_batch_ends_at_pointwise_mutual_information() -> None:
    """A batch that is the population itself: the loss is flat where scores are PMI, and not where they are log p(item | user)."""
    counts_UI = torch.tensor([[6, 1, 1, 2], [9, 3, 1, 1], [5, 1, 4, 1]], dtype=torch.float64)
    users, items = (
        torch.repeat_interleave(side, counts_UI.long().flatten()) for side in torch.cartesian_prod(*map(torch.arange, (3, 4))).T
    )
    share_UI = counts_UI / counts_UI.sum()
    own = torch.eye(4, dtype=torch.float64)

    def slope(scores_UI: torch.Tensor) -> torch.Tensor:
        scores_UI = scores_UI.clone().requires_grad_()
        return torch.autograd.grad(info_nce(scores_UI[users], own[items], temperature=1.0), scores_UI)[0]

    likely_UI = (share_UI / share_UI.sum(1, keepdim=True)).log()
    informative_UI = likely_UI - share_UI.sum(0).log()
    assert slope(informative_UI).abs().max() < 1e-12
    assert slope(likely_UI).abs().max() > 1e-2
