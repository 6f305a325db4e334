import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monge.losses import info_nce_two_views, two_view_cross_entropy, wasserstein_discrepancy
from tests.reference import contrastive as by_hand

PRECISIONS = pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])


@given(B=st.integers(1, 5), D=st.integers(1, 5), temperature=st.floats(0.1, 20), seed=st.integers(0, 999))
@settings(deadline=None, max_examples=25)
@pytest.mark.parametrize("similarity", ["neg_w2", "inv_w2"])
@PRECISIONS
def test_wasserstein_discrepancy_is_equation_12(
    B: int, D: int, temperature: float, seed: int, similarity: str, dtype: torch.dtype, tolerance: float
) -> None:
    rng = torch.Generator().manual_seed(seed)
    mean = torch.randn(2, B, D, generator=rng, dtype=torch.float64)
    variance = torch.rand(2, B, D, generator=rng, dtype=torch.float64) + 0.01
    a, b = torch.cat([mean, variance.sqrt()], -1).to(dtype)
    got = wasserstein_discrepancy(torch.cat([a, b]), similarity=similarity, temperature=temperature)  # pyright: ignore[reportArgumentType]
    views = [(mean[view].tolist(), variance[view].tolist()) for view in range(2)]
    expected = by_hand.mstein(*views, inverse=similarity == "inv_w2", temperature=temperature)
    assert got.item() == pytest.approx(expected, rel=tolerance, abs=tolerance * 10)


@given(B=st.integers(1, 5), D=st.integers(1, 5), temperature=st.floats(0.1, 20), seed=st.integers(0, 999))
@settings(deadline=None, max_examples=25)
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@PRECISIONS
def test_info_nce_is_equation_6(
    B: int, D: int, temperature: float, seed: int, similarity: str, dtype: torch.dtype, tolerance: float
) -> None:
    a, b = torch.randn(2, B, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    got = info_nce_two_views(torch.cat([a, b]).to(dtype), similarity=similarity, temperature=temperature)  # pyright: ignore[reportArgumentType]
    expected = by_hand.info_nce(a.tolist(), b.tolist(), cosine=similarity == "cosine", temperature=temperature)
    assert got.item() == pytest.approx(expected, rel=tolerance, abs=tolerance * 10)


def test_defaults_are_the_papers() -> None:
    a, b = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)).abs()
    assert wasserstein_discrepancy(torch.cat([a, b])) == wasserstein_discrepancy(torch.cat([a, b]), similarity="neg_w2", temperature=1.0)
    assert info_nce_two_views(torch.cat([a, b])) == info_nce_two_views(torch.cat([a, b]), similarity="cosine", temperature=1.0)


@pytest.mark.parametrize("B", [2, 5])
def test_well_separated_identical_views_cost_nothing(B: int) -> None:
    z = 10 * torch.eye(B, 6)
    assert wasserstein_discrepancy(torch.cat([z, z])).item() == pytest.approx(0, abs=1e-6)
    assert wasserstein_discrepancy(torch.cat([z, z]), similarity="inv_w2", temperature=1e-2).item() == pytest.approx(0, abs=1e-6)
    assert info_nce_two_views(torch.cat([z, z]), similarity="dot").item() == pytest.approx(0, abs=1e-6)
    assert info_nce_two_views(torch.cat([z, z]), temperature=0.05).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("B", [1, 2, 7])
def test_equal_rows_cannot_be_told_apart(B: int) -> None:
    z = torch.full((B, 4), 0.5)
    expected = pytest.approx(math.log(2 * B - 1), abs=1e-6)
    assert wasserstein_discrepancy(torch.cat([z, z])).item() == expected
    assert wasserstein_discrepancy(torch.cat([z, z]), similarity="inv_w2", temperature=1e-6).item() == expected
    assert info_nce_two_views(torch.cat([z, z])).item() == expected
    assert info_nce_two_views(torch.cat([z, z]), similarity="dot").item() == expected


def test_order_of_users_and_of_views_does_not_matter() -> None:
    a, b = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    shuffled = torch.tensor([3, 0, 4, 1, 2])
    for loss in (wasserstein_discrepancy, info_nce_two_views):
        torch.testing.assert_close(loss(torch.cat([a, b])), loss(torch.cat([b, a])))
        torch.testing.assert_close(loss(torch.cat([a, b])), loss(torch.cat([a[shuffled], b[shuffled]])))
        assert not torch.isclose(loss(torch.cat([a, b])), loss(torch.cat([a, b[shuffled]])))  # the partner matters


@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (4,), (2, 2, 2)])
def test_logits_must_be_a_square_with_an_even_side(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(2B, 2B\)"):
        two_view_cross_entropy(torch.zeros(shape))


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_temperature_must_be_positive(temperature: float) -> None:
    z = torch.ones(2, 2)
    with pytest.raises(ValueError, match="temperature must be > 0"):
        wasserstein_discrepancy(torch.cat([z, z]), temperature=temperature)
    with pytest.raises(ValueError, match="temperature must be > 0"):
        info_nce_two_views(torch.cat([z, z]), temperature=temperature)


def test_gradients() -> None:
    a, b = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    views = (a.requires_grad_(), b.requires_grad_())
    for similarity in ("neg_w2", "inv_w2"):
        assert torch.autograd.gradcheck(
            lambda a, b, s=similarity: wasserstein_discrepancy(torch.cat([a, b]), similarity=s, temperature=3.0), views
        )
    for similarity in ("cosine", "dot"):
        assert torch.autograd.gradcheck(
            lambda a, b, s=similarity: info_nce_two_views(torch.cat([a, b]), similarity=s, temperature=0.5), views
        )


def test_gradients_are_finite_where_the_softmax_is_saturated() -> None:
    a = torch.randn(4, 3200, generator=torch.Generator().manual_seed(3)).requires_grad_()
    b = a.detach() + 0.1
    for loss in (
        wasserstein_discrepancy(torch.cat([a, b])),
        wasserstein_discrepancy(torch.cat([a, b]), similarity="inv_w2", temperature=1e-6),
        info_nce_two_views(torch.cat([a, b]), similarity="dot"),
    ):
        (gradient,) = torch.autograd.grad(loss, a)
        assert loss.isfinite()
        assert gradient.isfinite().all()
