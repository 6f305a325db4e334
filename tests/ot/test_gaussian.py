import math

import numpy as np
import ot
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from monge.ot import gaussian_vectors, root_elu1, w2_all_pairs, w2_as_inner_product, w2_paired, w2_within
from tests.reference import wasserstein as by_hand

PRECISIONS = pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])


def gaussians(seed: int, *shape: int) -> tuple[Tensor, Tensor]:
    """Means and variances, float64."""
    rng = torch.Generator().manual_seed(seed)
    mean = torch.randn(shape, generator=rng, dtype=torch.float64)
    return mean, torch.rand(shape, generator=rng, dtype=torch.float64) * 3 + 1e-3


def vectors(seed: int, *shape: int) -> Tensor:
    mean, variance = gaussians(seed, *shape)
    return torch.cat([mean, variance.sqrt()], -1)


@given(N=st.integers(1, 5), M=st.integers(1, 5), D=st.integers(1, 6), seed=st.integers(0, 999))
@settings(deadline=None, max_examples=25)
@PRECISIONS
def test_w2_is_its_definition(N: int, M: int, D: int, seed: int, dtype: torch.dtype, tolerance: float) -> None:
    (mean_a, variance_a), (mean_b, variance_b) = gaussians(seed, N, D), gaussians(seed + 1000, M, D)
    expected = by_hand.w2_all_pairs(mean_a.tolist(), variance_a.tolist(), mean_b.tolist(), variance_b.tolist())
    z_a = torch.cat([mean_a, variance_a.sqrt()], -1).to(dtype)
    z_b = torch.cat([mean_b, variance_b.sqrt()], -1).to(dtype)
    np.testing.assert_allclose(w2_all_pairs(z_a, z_b), expected, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(w2_paired(z_a[:, None], z_b), expected, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(w2_paired(z_a[0], z_b[0]), expected[0][0], rtol=tolerance, atol=tolerance)


@given(D=st.integers(1, 5), seed=st.integers(0, 999))
@settings(deadline=None, max_examples=20)
def test_w2_is_the_squared_bures_wasserstein_distance_of_pot(D: int, seed: int) -> None:
    (mean_a, variance_a), (mean_b, variance_b) = gaussians(seed, D), gaussians(seed + 1000, D)
    covariances = [np.diag(variance.numpy()) for variance in (variance_a, variance_b)]
    expected = ot.gaussian.bures_wasserstein_distance(mean_a.numpy(), mean_b.numpy(), *covariances) ** 2
    got = w2_paired(torch.cat([mean_a, variance_a.sqrt()]), torch.cat([mean_b, variance_b.sqrt()]))
    assert got.item() == pytest.approx(float(expected), rel=1e-6, abs=1e-8)  # POT takes matrix square roots


@given(seed=st.integers(0, 999))
@settings(deadline=None, max_examples=20)
def test_w2_is_a_squared_distance(seed: int) -> None:
    z = vectors(seed, 6, 3)
    distances = w2_all_pairs(z, z)
    assert distances.diagonal().abs().max() < 1e-13
    assert torch.equal(w2_paired(z, z), torch.zeros(6, dtype=z.dtype))
    torch.testing.assert_close(distances, distances.T)
    torch.testing.assert_close(distances, torch.cdist(z, z, compute_mode="donot_use_mm_for_euclid_dist").square())
    root = distances.sqrt()
    assert (root[:, None, :] <= root[:, :, None] + root[None, :, :] + 1e-6).all()  # i to k is no longer than through j


def test_w2_of_univariate_gaussians_in_closed_form() -> None:
    z_a, z_b = torch.tensor([[1.0, 2.0]]), torch.tensor([[4.0, 6.0]])  # N(1, 4) and N(4, 36): 3^2 + 4^2
    assert w2_paired(z_a, z_b).tolist() == [25.0]
    assert w2_all_pairs(z_a, z_b).tolist() == [[25.0]]


def test_w2_all_pairs_keeps_leading_axes_and_is_never_negative() -> None:
    z_a, z_b = vectors(1, 2, 3, 4, 5), vectors(2, 2, 3, 6, 5)
    assert w2_all_pairs(z_a, z_b).shape == (2, 3, 4, 6)
    torch.testing.assert_close(w2_all_pairs(z_a, z_b)[1, 2], w2_all_pairs(z_a[1, 2], z_b[1, 2]))
    large = (vectors(3, 50, 40) + 300).float()  # cancels: norms of 1e7, distances of 0 on the diagonal
    unclamped = large.square().sum(-1)[:, None] + large.square().sum(-1) - 2 * large @ large.T
    assert unclamped.min() < 0
    assert w2_all_pairs(large, large).min() == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_w2_all_pairs_refuses_half_precision(dtype: torch.dtype) -> None:
    z = vectors(0, 2, 2)
    for pair in [(z.to(dtype), z.to(dtype)), (z.float(), z.to(dtype)), (z.to(dtype), z.float())]:
        with pytest.raises(ValueError, match="half precision"):
            w2_all_pairs(*pair)


def test_mixed_precision_leaves_distances_in_float32() -> None:
    z_a, z_b = (vectors(0, 4, 6) + 20).float(), (vectors(1, 5, 6) + 20).float()
    expected = w2_all_pairs(z_a, z_b), w2_within(z_a)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (z_a @ z_b.T).dtype == torch.bfloat16
        assert torch.equal(w2_all_pairs(z_a, z_b), expected[0])
        assert torch.equal(w2_within(z_a), expected[1])
    assert torch.equal(w2_within(z_a.bfloat16()), w2_within(z_a.bfloat16().float()))


@given(N=st.integers(1, 6), D=st.integers(1, 5), seed=st.integers(0, 999))
@settings(deadline=None, max_examples=20)
def test_w2_within_is_all_pairs_of_one_side_with_its_gradient(N: int, D: int, seed: int) -> None:
    z = vectors(seed, N, D).requires_grad_()
    weights = torch.randn(N, N, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)  # not symmetric
    expected = (z[:, None] - z).square().sum(-1)
    got = w2_within(z)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)
    assert (got.diagonal() == 0).all()
    assert (got >= 0).all()
    (gradient,) = torch.autograd.grad((weights * got).sum(), z)
    (wanted,) = torch.autograd.grad((weights * expected).sum(), z)
    torch.testing.assert_close(gradient, wanted, rtol=1e-9, atol=1e-9)


def test_w2_within_has_an_exact_diagonal_where_the_difference_cancels() -> None:
    large = (vectors(3, 50, 40) + 300).float().repeat(2, 1)  # every row twice: what should be 0 off the diagonal cancels as well
    distances = w2_within(large)
    assert (distances.diagonal() == 0).all()
    assert distances.min() == 0


def test_w2_all_pairs_refuses_different_widths() -> None:
    with pytest.raises(ValueError, match="one width; got 4 and 6"):
        w2_all_pairs(vectors(0, 2, 2), vectors(0, 2, 3))


@given(N=st.integers(1, 4), M=st.integers(2, 8), D=st.integers(1, 5), seed=st.integers(0, 999))
@settings(deadline=None, max_examples=25)
def test_inner_product_form_is_minus_w2_up_to_a_constant_per_row(N: int, M: int, D: int, seed: int) -> None:
    queries, items = vectors(seed, N, D), vectors(seed + 1000, M, D)
    item_vectors, bias = w2_as_inner_product(items)
    scores = queries @ item_vectors.T + bias
    distances = w2_all_pairs(queries, items)
    torch.testing.assert_close(scores.argsort(1, descending=True), distances.argsort(1))
    torch.testing.assert_close(scores + distances, queries.square().sum(-1, keepdim=True).expand(N, M))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_root_elu1_and_its_gradient_are_finite_where_the_naive_root_is_not(dtype: torch.dtype) -> None:
    x = torch.tensor([-100.0, -20.0, -1e-3, 0.0, 5.0], dtype=dtype, requires_grad=True)
    y = root_elu1(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert y.isfinite().all()
    assert gradient.isfinite().all()
    assert (y > 0).all()
    expected = [math.exp(-50), math.exp(-10), math.exp(-5e-4), 1.0, math.sqrt(6)]
    np.testing.assert_allclose(y.detach(), expected, rtol=1e-6)
    np.testing.assert_allclose(gradient, [expected[0] / 2, expected[1] / 2, expected[2] / 2, 0.5, 0.5 / math.sqrt(6)], rtol=1e-6)


@given(x=st.floats(-15, 50))
@settings(deadline=None, max_examples=40)
def test_root_elu1_is_the_root_of_elu_plus_1(x: float) -> None:
    here = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    naive = (F.elu(here) + 1).sqrt()
    torch.testing.assert_close(root_elu1(here), naive, rtol=1e-8, atol=0)
    torch.testing.assert_close(torch.autograd.grad(root_elu1(here), here), torch.autograd.grad(naive, here), rtol=1e-7, atol=0)


def test_gaussian_vectors_hold_mean_and_standard_deviation() -> None:
    mean, x = torch.randn(2, 3, 4, dtype=torch.float64), torch.randn(2, 3, 4, dtype=torch.float64)
    z = gaussian_vectors(mean, x)
    assert z.shape == (2, 3, 8)
    torch.testing.assert_close(z[..., :4], mean)
    variances = [[[by_hand.variance_of(v) for v in row] for row in block] for block in x.tolist()]
    np.testing.assert_allclose(z[..., 4:] ** 2, variances, rtol=1e-12)


def test_gradients() -> None:
    z_a, z_b = vectors(1, 3, 2).requires_grad_(), vectors(2, 4, 2).requires_grad_()
    x = torch.tensor([-100.0, -3.0, -0.2, 0.4, 5.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(w2_all_pairs, (z_a, z_b))
    assert torch.autograd.gradcheck(w2_paired, (z_a, z_b[:3]))
    assert torch.autograd.gradcheck(w2_within, (z_a,))
    assert torch.autograd.gradcheck(root_elu1, (x,))
    assert torch.autograd.gradcheck(gaussian_vectors, (z_a, z_b[:3]))
