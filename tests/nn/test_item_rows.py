"""Rows in factors beside the same rows written out."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from monge.nn.item_rows import ItemRows, through


def rows_of(B: int, I: int, R: int, seed: int) -> tuple[ItemRows, Tensor]:  # noqa: E741 (axes)
    rng = torch.Generator().manual_seed(seed)
    left, right = torch.randn(B, R, generator=rng, dtype=torch.float64), torch.randn(I, R, generator=rng, dtype=torch.float64)
    marked = torch.rand(B, I, generator=rng) < 0.3
    entries = torch.randn(B, I, generator=rng, dtype=torch.float64)
    offsets = F.pad(marked.sum(1).cumsum(0), (1, 0))
    made = ItemRows(left=left, right=right, items=marked.nonzero()[:, 1], offsets=offsets, entries=entries[marked])
    return made, left @ right.T + entries * marked


@given(B=st.integers(1, 5), n=st.integers(1, 7), R=st.integers(1, 3), seed=st.integers(0, 99))
def test_everything_is_as_if_written_out(B: int, n: int, R: int, seed: int) -> None:
    rows, dense = rows_of(B, n, R, seed)
    torch.testing.assert_close(rows.dense(), dense)
    weight = torch.randn(n, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    torch.testing.assert_close(through([rows], weight), dense @ weight)
    other, other_dense = rows_of(B + 1, n, R + 1, seed + 1)
    torch.testing.assert_close(through([rows, other], weight), torch.cat([dense, other_dense]) @ weight)
    torch.testing.assert_close(rows.squared_norms(), dense.square().sum(1))
    torch.testing.assert_close(rows.unit().dense(), F.normalize(dense, dim=-1))
    factors = torch.arange(B, dtype=torch.float64) - 1
    torch.testing.assert_close(rows.scaled(factors).dense(), dense * factors[:, None])
    torch.testing.assert_close(rows.plus(rows.hidden()).dense(), dense + rows.hidden().dense())
    marked = torch.zeros(B, n, dtype=torch.bool)
    marked[rows.row_of_entry, rows.items] = True
    assert rows.hidden().dense()[marked].abs().max().item() < 1e-12 if marked.any() else True
    torch.testing.assert_close(rows.hidden().dense()[~marked], dense[~marked])
    changed = rows.hidden().scaled(factors).plus(rows.hidden())  # what was computed once is the same at every step
    torch.testing.assert_close(changed.at_entries(), replace(changed, known=None).at_entries())
    torch.testing.assert_close(rows.hidden().unit().dense(), F.normalize(dense.masked_fill(marked, 0), dim=-1))


def test_gradients_are_those_of_the_rows_written_out() -> None:
    rows, _ = rows_of(4, 6, 2, seed=1)
    left, right, entries = (part.clone().requires_grad_() for part in (rows.left, rows.right, rows.entries))
    weight = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    made = ItemRows(left=left, right=right, items=rows.items, offsets=rows.offsets, entries=entries)
    parts = (left, right, entries, weight)
    factored = torch.autograd.grad(through([made.unit()], weight).tanh().sum(), parts)
    written_out = torch.autograd.grad((F.normalize(made.dense(), dim=-1) @ weight).tanh().sum(), parts)
    for one, other in zip(factored, written_out, strict=True):
        torch.testing.assert_close(one, other)


def test_a_row_without_entries_and_a_zero_row() -> None:
    empty = torch.zeros(0, dtype=torch.int64)
    rows = ItemRows(left=torch.zeros(2, 1), right=torch.ones(3, 1), items=empty, offsets=torch.tensor([0, 0, 0]), entries=torch.zeros(0))
    assert rows.unit().dense().tolist() == [[0.0] * 3] * 2
    assert through([rows], torch.ones(3, 2)).tolist() == [[0.0, 0.0]] * 2
