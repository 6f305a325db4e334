import math

import pytest
import torch
import torch.nn.functional as F

from monge.nn import Dropout

N = 400_000


def dropped(p: float, seed: int, *shape: int) -> torch.Tensor:
    torch.manual_seed(seed)
    return Dropout(p)(torch.ones(shape))


@pytest.mark.parametrize("p", [0.01, 0.1, 0.3, 0.5, 0.9])
def test_every_element_is_dropped_with_probability_p_and_the_expectation_is_kept(p: float) -> None:
    y = dropped(p, 1, N)
    kept = y != 0
    deviation = math.sqrt(p * (1 - p) / N)
    assert kept.float().mean().item() == pytest.approx(1 - p, abs=5 * deviation)
    assert y[kept].unique().tolist() == [pytest.approx(1 / (1 - round(p * 65536) / 65536))]
    assert y.double().mean().item() == pytest.approx(1, abs=5 * deviation / (1 - p))
    for place in range(4):  # the four elements that share a random number
        assert kept[place::4].float().mean().item() == pytest.approx(1 - p, abs=10 * deviation)


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_elements_are_dropped_independently(p: float) -> None:
    centred = (dropped(p, 2, N) != 0).float() - (1 - p)
    for lag in range(1, 10):  # elements that share a random number and elements that do not
        covariance = (centred[:-lag] * centred[lag:]).mean().item()
        assert abs(covariance) < 5 * p * (1 - p) / math.sqrt(N - lag)


@pytest.mark.parametrize("shape", [(1,), (3,), (5, 7), (2, 3, 5), (0, 4), ()])
def test_any_shape_and_dtype(shape: tuple[int, ...]) -> None:
    for dtype in (torch.float32, torch.float64):
        y = Dropout(0.5)(torch.ones(shape, dtype=dtype))
        assert y.shape == shape
        assert y.dtype == dtype
        assert ((y == 0) | (y == 2)).all()


def test_gradients_and_strided_inputs_follow_the_mask() -> None:
    x = torch.arange(1.0, 13).reshape(3, 4).T.requires_grad_()
    torch.manual_seed(3)
    y = Dropout(0.5)(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert set(gradient.unique().tolist()) <= {0.0, 2.0}
    assert torch.equal(y, x * gradient)


def test_one_seed_one_mask() -> None:
    assert torch.equal(dropped(0.5, 4, 100), dropped(0.5, 4, 100))
    assert not torch.equal(dropped(0.5, 4, 100), dropped(0.5, 5, 100))
    torch.manual_seed(4)
    layer = Dropout(0.5)
    assert not torch.equal(layer(torch.ones(100)), layer(torch.ones(100)))


def test_evaluation_and_p_0_are_the_identity_and_draw_nothing() -> None:
    x = torch.randn(50)
    state = torch.get_rng_state()
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("p", [-0.1, 1.0, 1.5, math.nan])
def test_a_probability_outside_0_to_1_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match=r"dropout must be in \[0, 1\)"):
        Dropout(p)


@pytest.mark.parametrize("p", [1e-7, 1 - 1e-7])
def test_probabilities_at_the_ends_are_defined(p: float) -> None:
    y = dropped(p, 6, 1000)
    assert y.isfinite().all()
    assert (y == 0).float().mean().item() == pytest.approx(p, abs=0.01)


def test_it_agrees_with_pytorchs_dropout_in_scale() -> None:
    torch.manual_seed(7)
    theirs = F.dropout(torch.ones(100), 0.25)
    assert dropped(0.25, 7, 100).max() == theirs.max()


def test_repr_shows_p() -> None:
    assert repr(Dropout(0.25)) == "Dropout(p=0.25)"
