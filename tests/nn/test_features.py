"""What rows of content are worked with, beside the same written out."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from monge.nn.features import inner_products_of_neighbours, sums_of_neighbours


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
