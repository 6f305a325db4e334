import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from monge.losses.variational import kl_of_flow, kl_to_standard_normal


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
