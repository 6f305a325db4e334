"""What rows of content are worked with, beside the same written out."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monge.data import Modality
from monge.nn.features import Projection, chosen, inner_products_of_neighbours, sums_of_neighbours


@given(n=st.integers(1, 6), K=st.integers(1, 4), D=st.integers(1, 3), seed=st.integers(0, 99))
def test_inner_products_and_their_gradient_are_those_of_the_rows_looked_up(n: int, K: int, D: int, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    rows = torch.randn(n, D, generator=rng, dtype=torch.float64).requires_grad_()
    neighbours = torch.randint(n, (n, K), generator=rng)
    found = inner_products_of_neighbours(rows, neighbours)
    by_hand = [
        [sum(a * b for a, b in zip(rows[i].tolist(), rows[j].tolist(), strict=True)) for j in neighbours[i].tolist()] for i in range(n)
    ]
    assert torch.allclose(found, torch.tensor(by_hand, dtype=torch.float64), atol=1e-12)
    assert torch.autograd.gradcheck(lambda some: inner_products_of_neighbours(some, neighbours), rows)


@given(n=st.integers(1, 6), K=st.integers(1, 4), D=st.integers(1, 3), seed=st.integers(0, 99))
def test_sums_and_their_gradients_are_those_of_the_rows_looked_up(n: int, K: int, D: int, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    rows = torch.randn(n, D, generator=rng, dtype=torch.float64).requires_grad_()
    neighbours, weights = torch.randint(n, (n + 1, K), generator=rng), torch.randn(n + 1, K, generator=rng, dtype=torch.float64)
    by_hand = [[sum(weights[i, k].item() * rows[neighbours[i, k]][d].item() for k in range(K)) for d in range(D)] for i in range(n + 1)]
    assert torch.allclose(sums_of_neighbours(rows, neighbours, weights), torch.tensor(by_hand, dtype=torch.float64), atol=1e-12)
    assert torch.autograd.gradcheck(lambda a, w: sums_of_neighbours(a, neighbours, w), (rows, weights.requires_grad_()))


@given(n=st.integers(2, 6), width=st.integers(1, 4), seed=st.integers(0, 99), unit=st.floats(0.01, 100))
def test_standardised_rows_do_not_know_their_unit_and_have_length_1_on_average(n: int, width: int, seed: int, unit: float) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n + 1, width)).astype(np.float32)
    missing = np.arange(n + 1) == n
    values[missing] = 0
    made, other = (
        chosen({"a": Modality(missing=missing, width=width, values=rows)}, "", "vbpr", scale="standard")["a"].dense()
        for rows in (values, np.where(missing[:, None], 0, unit * values + 3).astype(np.float32))
    )
    assert np.square(made[:n]).sum(1).mean() == pytest.approx(1, rel=1e-4)
    assert np.abs(made[:n].mean(0)).max() < 1e-4
    assert (made[n] == 0).all()
    np.testing.assert_allclose(made, other, atol=0.02 * max(1, 1 / unit))


@pytest.mark.parametrize("scale", ["raw", "standard"])
def test_the_scale_reaches_what_a_model_projects(scale: Any) -> None:
    values = np.array([[30.0, 1], [32, 1], [34, 1]], dtype=np.float32)
    modality = Modality(missing=np.zeros(3, dtype=bool), width=2, values=values)
    projection = Projection(chosen({"a": modality}, "", "vbpr", scale=scale)["a"], 1)
    with torch.no_grad():
        projection.weight.copy_(torch.tensor([[1.0], [7.0]]))
    deviation = float(np.std([30, 32, 34])) * 2**0.5
    expected = [37.0, 39, 41] if scale == "raw" else [-2 / deviation, 0, 2 / deviation]  # a column without deviation is nothing
    assert projection().flatten().tolist() == pytest.approx(expected, abs=1e-5)
