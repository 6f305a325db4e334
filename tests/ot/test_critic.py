"""The critic's losses beside sums by hand and slopes by differences; Gumbel rows beside their formula and their law."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from monge.ot import critic_loss, generator_loss, gradient_penalty, gumbel_noise, gumbel_softmax_rows, mixed, observed_dominates
from tests.reference.mmssl import slope_penalty, soft_row


def test_losses_pull_in_opposite_directions() -> None:
    real, fake = torch.tensor([0.9, 0.7], requires_grad=True), torch.tensor([0.2, 0.1, 0.3], requires_grad=True)
    assert critic_loss(real, fake).item() == pytest.approx(0.2 - 0.8)
    assert generator_loss(fake).item() == pytest.approx(-0.2)
    critic_loss(real, fake).backward()
    assert real.grad is not None
    assert fake.grad is not None
    assert (real.grad < 0).all()  # a critic's step raises real scores
    assert (fake.grad > 0).all()


def small_critic(seed: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return (
        torch.randn(width, 4, generator=rng, dtype=torch.float64),
        torch.randn(4, generator=rng, dtype=torch.float64),
        torch.randn(4, generator=rng, dtype=torch.float64),
    )


@given(B=st.integers(1, 4), width=st.integers(1, 6), seed=st.integers(0, 99))
def test_the_penalty_is_the_mean_squared_distance_of_the_slope_from_one(B: int, width: int, seed: int) -> None:
    weight, bias, last = small_critic(seed, width)
    points = torch.randn(B, width, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)

    def critic(rows: Tensor) -> Tensor:
        return (rows @ weight + bias).tanh() @ last

    by_hand = slope_penalty(
        lambda x: sum(
            math.tanh(sum(a * w for a, w in zip(x, column, strict=True)) + b) * out
            for column, b, out in zip(weight.T.tolist(), bias.tolist(), last.tolist(), strict=True)
        ),
        points.tolist(),
    )
    assert gradient_penalty(critic, points).item() == pytest.approx(by_hand, rel=1e-5, abs=1e-7)
    in_factors = gradient_penalty(lambda hidden: hidden.tanh() @ last, points @ weight + bias, weight)
    assert in_factors.item() == pytest.approx(by_hand, rel=1e-5, abs=1e-7)


def test_both_ways_give_the_critic_the_same_gradients() -> None:
    weight, bias, last = (part.requires_grad_() for part in small_critic(3, 5))
    points = torch.randn(4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    direct = torch.autograd.grad(gradient_penalty(lambda rows: (rows @ weight + bias).tanh() @ last, points), (weight, bias, last))
    factored = gradient_penalty(lambda hidden: hidden.tanh() @ last, points @ weight + bias, weight)
    for one, other in zip(direct, torch.autograd.grad(factored, (weight, bias, last)), strict=True):
        assert one.abs().max() > 1e-3
        torch.testing.assert_close(one, other)


def test_a_linear_critic_has_the_penalty_of_its_weight_everywhere() -> None:
    weight = torch.tensor([[3.0], [4.0]], dtype=torch.float64)
    assert gradient_penalty(lambda rows: rows @ weight, torch.zeros(7, 2, dtype=torch.float64)).item() == pytest.approx(16.0)


def test_mixtures_of_rows_are_mixtures_of_what_a_layer_makes_of_them() -> None:
    rng = torch.Generator().manual_seed(0)
    real, fake, share = torch.rand(2, 3, 5, generator=rng)[0], torch.rand(3, 5, generator=rng), torch.rand(3, generator=rng)
    layer = torch.nn.Linear(5, 4)
    torch.testing.assert_close(layer(mixed(real, fake, share)), mixed(layer(real), layer(fake), share))
    torch.testing.assert_close(mixed(real, fake, torch.ones(3)), real)


@given(seed=st.integers(0, 99), temperature=st.floats(0.05, 3), scale=st.floats(0, 2))
def test_gumbel_rows_are_equation_5(seed: int, temperature: float, scale: float) -> None:
    rng = torch.Generator().manual_seed(seed)
    rows = (torch.rand(3, 6, generator=rng) < 0.4).double()
    noise = scale * gumbel_noise(rows, rng)
    found = gumbel_softmax_rows(rows, temperature=temperature, noise=noise)
    for row, g, soft in zip(rows.tolist(), noise.tolist(), found.tolist(), strict=True):
        assert soft == pytest.approx(soft_row(row, g, temperature), rel=1e-10, abs=1e-12)
    with pytest.raises(ValueError, match="temperature must be > 0"):
        gumbel_softmax_rows(rows, temperature=0)


def test_gumbel_noise_has_the_mean_and_deviation_of_its_law_and_picks_by_softmax() -> None:
    noise = gumbel_noise(torch.empty(200_000, dtype=torch.float64), torch.Generator().manual_seed(0))
    assert noise.mean().item() == pytest.approx(0.5772, abs=0.01)
    assert noise.std().item() == pytest.approx(math.pi / math.sqrt(6), abs=0.01)
    logits = torch.tensor([0.0, 1.0, -1.0])
    picks = (logits + gumbel_noise(torch.empty(100_000, 3), torch.Generator().manual_seed(1))).argmax(1)
    torch.testing.assert_close(picks.bincount() / 100_000, logits.softmax(0), atol=0.006, rtol=0)


def test_when_rows_stay_sparse_is_known_before() -> None:
    assert observed_dominates(temperature=0.005, noise_scale=1e-5)
    assert not observed_dominates(temperature=0.005, noise_scale=1.0)
    assert not observed_dominates(temperature=0.5, noise_scale=1e-5)
    rows = torch.zeros(1, 50_000)
    rows[0, 3] = 1
    for seed in range(3):
        noise = 1e-5 * gumbel_noise(rows, torch.Generator().manual_seed(seed))
        soft = gumbel_softmax_rows(rows, temperature=0.005, noise=noise)
        assert (soft > 0).nonzero().tolist() == [[0, 3]]
