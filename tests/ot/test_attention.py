import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from monge.ot import causal_mask, wasserstein_attention
from tests.reference import wasserstein as by_hand


def streams(seed: int, B: int, H: int, T: int, D: int) -> list[tuple[Tensor, Tensor]]:
    """Queries, keys and values as (mean, variance), float64."""
    rng = torch.Generator().manual_seed(seed)
    shape = (B, H, T, D)
    return [
        (torch.randn(shape, generator=rng, dtype=torch.float64), torch.rand(shape, generator=rng, dtype=torch.float64) * 2 + 0.01)
        for _ in range(3)
    ]


def left_padded(seed: int, B: int, T: int) -> Tensor:
    """(B, T) bool, True from a random place on; some rows may be all padding."""
    rng = torch.Generator().manual_seed(seed)
    return torch.arange(T) >= torch.randint(T + 1, (B, 1), generator=rng)


def z_of(gaussian: tuple[Tensor, Tensor]) -> Tensor:
    return torch.cat([gaussian[0], gaussian[1].sqrt()], -1)


@given(real=st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=1, max_size=4))
@settings(deadline=None, max_examples=30)
def test_causal_mask_allows_earlier_real_positions_and_itself(real: list[list[bool]]) -> None:
    mask = causal_mask(torch.tensor(real))
    assert mask.shape == (len(real), 1, 4, 4)
    for b, i, j in itertools.product(range(len(real)), range(4), range(4)):
        assert mask[b, 0, i, j].item() == ((j <= i and real[b][j]) or i == j)


@given(B=st.integers(1, 3), H=st.integers(1, 2), T=st.integers(1, 5), D=st.integers(1, 3), drop=st.booleans(), seed=st.integers(0, 999))
@settings(deadline=None, max_examples=25)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_attention_is_its_definition(B: int, H: int, T: int, D: int, drop: bool, seed: int, dtype: torch.dtype, tolerance: float) -> None:
    query, key, value = streams(seed, B, H, T, D)
    mask = causal_mask(left_padded(seed, B, T))
    kept = 1.5 * (torch.rand(B, H, T, T, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) < 0.6)
    mean, variance = wasserstein_attention(
        z_of(query).to(dtype),
        z_of(key).to(dtype),
        value[0].to(dtype),
        value[1].to(dtype),
        mask=mask,
        dropout=(lambda weights: weights * kept.to(dtype)) if drop else None,
    )
    assert mean is not None
    assert mean.dtype == variance.dtype == dtype
    for b, h in itertools.product(range(B), range(H)):
        q, k, v = ((m[b, h].tolist(), s[b, h].tolist()) for m, s in (query, key, value))
        expected = by_hand.wasserstein_attention(q, k, v, mask[b, 0].tolist(), kept[b, h].tolist() if drop else None)
        np.testing.assert_allclose(mean[b, h], expected[0], rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(variance[b, h], expected[1], rtol=tolerance, atol=tolerance)


def test_without_a_mean_stream_the_variance_is_the_same() -> None:
    query, key, value = streams(3, 2, 2, 4, 3)
    mask = causal_mask(left_padded(3, 2, 4))
    _, expected = wasserstein_attention(z_of(query), z_of(key), *value, mask=mask)
    mean, variance = wasserstein_attention(z_of(query), z_of(key), None, value[1], mask=mask)
    assert mean is None
    torch.testing.assert_close(variance, expected, rtol=0, atol=0)


def test_a_single_position_attends_to_itself() -> None:
    query, key, value = streams(4, 2, 1, 1, 3)
    mean, variance = wasserstein_attention(z_of(query), z_of(key), *value, mask=causal_mask(torch.tensor([[True], [False]])))
    torch.testing.assert_close(mean, value[0])
    torch.testing.assert_close(variance, value[1])


def test_padded_rows_are_finite_and_take_nothing_from_others() -> None:
    query, key, value = streams(5, 2, 2, 4, 3)
    real = torch.tensor([[False] * 4, [False, False, True, True]])
    mean, variance = wasserstein_attention(z_of(query), z_of(key), *value, mask=causal_mask(real))
    assert mean is not None
    torch.testing.assert_close(mean[0], value[0][0])
    torch.testing.assert_close(variance[0], value[1][0])
    torch.testing.assert_close(mean[1, :, :3], value[0][1, :, :3])


def test_far_away_keys_do_not_overflow() -> None:
    query, key, value = streams(6, 1, 1, 3, 2)
    far = z_of(key)
    far[0, 0, 0] += 1e4  # W2 of 1e8
    mean, variance = wasserstein_attention(
        z_of(query).float(), far.float(), value[0].float(), value[1].float(), mask=causal_mask(torch.ones(1, 3) > 0)
    )
    assert mean is not None
    assert mean.isfinite().all()
    assert variance.isfinite().all()


def test_mixed_precision_leaves_the_distances_in_float32() -> None:
    query, key, value = streams(8, 1, 2, 4, 3)
    mask = causal_mask(torch.ones(1, 4) > 0)
    z_q, z_k = (z_of(gaussian).float() + 20 for gaussian in (query, key))  # norms in the thousands, distances of a few
    seen = []

    def note(weights: Tensor) -> Tensor:
        seen.append(weights)
        return weights

    values = value[0].float(), value[1].float()
    wasserstein_attention(z_q, z_k, *values, mask=mask, dropout=note)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        wasserstein_attention(z_q, z_k, *values, mask=mask, dropout=note)
    assert torch.equal(seen[0], seen[1])


def test_gradients() -> None:
    query, key, value = streams(7, 1, 2, 3, 2)
    mask = causal_mask(torch.tensor([[False, True, True]]))
    parts = [part.requires_grad_() for part in (z_of(query), z_of(key), *value)]
    assert torch.autograd.gradcheck(lambda q, k, m, s: wasserstein_attention(q, k, m, s, mask=mask), parts)
