import math

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from monge.losses.variational import denoising_weight, interest_bounds, kl_of_flow, kl_of_gaussians, kl_to_standard_normal


def gaussians(n_users: int = 6, dim: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    mean, log_variance = torch.randn(2, n_users, dim, generator=rng, dtype=torch.float64)
    return mean, log_variance


def test_kl_is_that_of_the_distributions() -> None:
    mean, log_variance = gaussians()
    expected = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0, 1)).sum(-1).mean()
    assert kl_to_standard_normal(mean, log_variance).item() == pytest.approx(expected.item(), rel=1e-12)
    zeros = torch.zeros(3, 2)
    assert kl_to_standard_normal(zeros, zeros).item() == 0


def test_one_sample_of_a_flow_is_the_difference_of_log_densities() -> None:
    mean, log_variance = gaussians()
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    base = mean + (log_variance / 2).exp() * noise
    scale, shift = 1.7, -0.4  # a flow whose outcome is a Gaussian again
    sample, log_det = shift + scale * base, torch.full((len(mean),), mean.shape[1] * torch.log(torch.tensor(scale)).item())
    posterior = Independent(Normal(shift + scale * mean, scale * (log_variance / 2).exp()), 1)
    expected = (posterior.log_prob(sample) - Independent(Normal(torch.zeros_like(mean), 1.0), 1).log_prob(sample)).mean()
    assert kl_of_flow(noise, log_variance, log_det, sample).item() == pytest.approx(expected.item(), rel=1e-6)


def test_samples_of_an_idle_flow_average_to_the_kl() -> None:
    mean, log_variance = gaussians(1, 3)
    many = 200_000
    noise = torch.randn(many, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    sample = mean + (log_variance / 2).exp() * noise
    estimate = kl_of_flow(noise, log_variance.expand(many, 3), torch.zeros(many), sample)
    assert estimate.item() == pytest.approx(kl_to_standard_normal(mean, log_variance).item(), abs=0.05)


def two_gaussians(n_users: int = 5, dim: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(3)
    mean, other = torch.randn(2, n_users, dim, generator=rng, dtype=torch.float64)
    deviation, other_deviation = torch.rand(2, n_users, dim, generator=rng, dtype=torch.float64) + 0.3
    return mean, deviation, other, other_deviation


def kl_by_hand(mean: list[float], deviation: list[float], other: list[float], other_deviation: list[float]) -> float:
    """One row in Python floats, term by term."""
    rows = zip(mean, deviation, other, other_deviation, strict=True)
    return sum(math.log(t / s) + (s * s + (m - n) ** 2) / (2 * t * t) - 0.5 for m, s, n, t in rows)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_kl_between_gaussians_is_the_closed_form(dtype: torch.dtype, tolerance: float) -> None:
    parts = two_gaussians()
    got = kl_of_gaussians(*(part.to(dtype) for part in parts))
    assert got.tolist() == pytest.approx([kl_by_hand(*row) for row in zip(*(part.tolist() for part in parts), strict=True)], rel=tolerance)
    expected = kl_divergence(Normal(*parts[:2]), Normal(*parts[2:])).sum(-1)
    assert got.tolist() == pytest.approx(expected.tolist(), rel=tolerance)
    assert kl_of_gaussians(*parts[:2], *parts[:2]).abs().max().item() < 1e-12
    assert torch.autograd.gradcheck(kl_of_gaussians, tuple(part.clone().requires_grad_() for part in parts))


def test_kl_between_gaussians_is_what_samples_say() -> None:
    mean, deviation, other, other_deviation = (part[:1] for part in two_gaussians())
    sample = mean + deviation * torch.randn(200_000, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    densities = Normal(mean, deviation).log_prob(sample).sum(-1) - Normal(other, other_deviation).log_prob(sample).sum(-1)
    assert kl_of_gaussians(mean, deviation, other, other_deviation).item() == pytest.approx(densities.mean().item(), rel=0.02)


def test_interest_bounds_are_equations_9_to_12() -> None:
    rows = [two_gaussians(4, 2)[:2] for _ in range(5)]
    rng = torch.Generator().manual_seed(5)
    moved = [(mean + torch.randn(4, 2, generator=rng, dtype=torch.float64), deviation) for mean, deviation in rows]
    specific, prior, transferred, auxiliary, augmented = moved
    log_likelihood = -torch.rand(4, generator=rng, dtype=torch.float64)
    bounds = interest_bounds(
        log_likelihood, specific=specific, prior=prior, transferred=transferred, auxiliary=auxiliary, augmented=augmented
    )
    for got, (first, second) in (
        (bounds.specific, (specific, prior)),
        (bounds.conditional, (transferred, auxiliary)),
        (bounds.denoising, (specific, augmented)),
    ):
        by_hand = [-kl_by_hand(*row) for row in zip(*(part.tolist() for part in (*first, *second)), strict=True)]
        assert got.tolist() == pytest.approx(by_hand, rel=1e-12)
    assert bounds.joint is log_likelihood


def test_the_bound_of_equation_10_lies_below_the_information() -> None:
    """X uniform over a few values, z given x Gaussian: I(X; Z) from samples of the mixture is at most the mean KL to any prior."""
    mean, deviation, *_ = two_gaussians(4, 2)
    rng = torch.Generator().manual_seed(6)
    sample = mean + deviation * torch.randn(50_000, 4, 2, generator=rng, dtype=torch.float64)  # (S, X, Z)
    given = Normal(mean, deviation).log_prob(sample).sum(-1)
    everywhere = Normal(mean, deviation).log_prob(sample[:, :, None]).sum(-1).logsumexp(-1) - math.log(4)
    information = (given - everywhere).mean().item()
    for shift in (0.0, 0.7):
        bound = kl_of_gaussians(mean, deviation, torch.full_like(mean, shift), torch.full_like(mean, 1.3)).mean().item()
        assert information <= bound + 0.01
    assert 0 < information <= math.log(4)


def test_the_denoising_weight_rises_from_a_fifth() -> None:
    assert denoising_weight(torch.tensor([0.0, 20.0]), 20).tolist() == pytest.approx([0.2, math.exp(0.8) - 0.8])
    assert denoising_weight(torch.tensor([5.0]), 10, a=1.0, b=0.5).item() == pytest.approx(math.exp(0.5) - 0.5)
