"""Sparse weights between items, and the scores of histories by them: what item-based models are, once they are solved.

    score(u, i) = sum over j in history(u) of w_ji

Weights are kept by the item of the history (CSR), so a query costs what its items' rows hold, whoever asks: no user is known.

Axes: B queries.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from monge.data import QueryBatch
from monge.nn.rows import pieces, places

Integers = npt.NDArray[np.integer[Any]]
Entries = tuple[Integers, Integers, npt.NDArray[np.floating[Any]]]
"""Rows, columns and values of some entries of a sparse matrix; all entries of a row together."""
PRODUCT_BUDGET = 2**21
"""Entries of a matrix product in memory at once (about 60 bytes each)."""
SCORE_BUDGET = 2**17
"""Weights added at once (about 3 MB: what stays in a cache)."""


class ItemWeights(nn.Module):
    """Room for `k` weights an item; all zero until it is filled."""

    starts: Tensor
    others: Tensor
    values: Tensor

    def __init__(self, n_items: int, k: int) -> None:
        super().__init__()
        self.n_items = n_items
        self.register_buffer("starts", torch.zeros(n_items + 1, dtype=torch.int64))
        """Where the weights of each history item begin."""
        self.register_buffer("others", torch.zeros(n_items * min(k, n_items), dtype=torch.int32))
        """The items that they score."""
        self.register_buffer("values", torch.zeros(n_items * min(k, n_items)))

    def fill(self, weights: sp.csr_array) -> None:
        """Take over (n_items, n_items) weights w_ji, rows j being items of the history.

        Raises:
            ValueError: another shape, or more weights than there is room for.
        """
        if weights.shape != (self.n_items, self.n_items) or weights.nnz > len(self.values):
            raise ValueError(
                f"there is room for {len(self.values)} weights of {self.n_items} items; got {weights.nnz}, shaped {weights.shape}"
            )
        self.starts.copy_(torch.from_numpy(weights.indptr))
        for buffer, content in ((self.others, weights.indices), (self.values, weights.data)):
            buffer.zero_()
            buffer[: weights.nnz] = torch.from_numpy(content)

    def matrix(self) -> sp.csr_array:
        """The weights as (n_items, n_items), row = item of the history."""
        starts = self.starts.cpu().numpy()
        content = (self.values[: starts[-1]].cpu().numpy(), self.others[: starts[-1]].cpu().numpy(), starts)
        return sp.csr_array(content, shape=(self.n_items, self.n_items))

    def scores(self, queries: QueryBatch) -> Tensor:
        """(B, n_items), 0 where nothing in the history has a weight; an item that stands twice in a history counts twice."""
        scores = torch.zeros(len(queries) * self.n_items, device=self.values.device)
        row_start, starts, lengths = queries.row_of_item * self.n_items, self.starts[queries.items], self.starts.diff()[queries.items]
        for some in pieces(lengths, SCORE_BUDGET):
            at = places(starts[some], lengths[some])
            scores.index_add_(0, torch.repeat_interleave(row_start[some], lengths[some]) + self.others[at], self.values[at])
        return scores.view(len(queries), self.n_items)


def products(left: sp.csr_array, right: sp.csr_array) -> Iterator[Entries]:
    """The entries of left @ right off its diagonal, some rows at a time, so that the product is never in memory.

    Args:
        left: (n_items, n_users).
        right: (n_users, n_items).
    """
    n_items = left.shape[0]
    size = max(1, PRODUCT_BUDGET // n_items)
    for start in range(0, n_items, size):
        block = sp.csr_array(left[start : start + size] @ right)
        row = np.repeat(np.arange(start, start + block.shape[0]), np.diff(block.indptr))
        other = block.indices != row
        yield row[other], block.indices[other], block.data[other]


def largest_in_rows(blocks: Iterable[Entries], n_items: int, k: int) -> sp.csr_array:
    """(n_items, n_items) with the k largest entries of each row; the first ones where several are equal."""
    kept: list[Entries] = []
    for row, column, value in blocks:
        order = np.lexsort((-value, row))
        row, column, value = row[order], column[order], value[order]
        begins = np.searchsorted(row, row)  # where each entry's row begins
        largest = np.arange(len(row)) - begins < k
        kept.append((row[largest].astype(np.int32), column[largest].astype(np.int32), value[largest].astype(np.float32)))
    columns: list[Any] = [np.concatenate(parts) for parts in zip(*kept, strict=True)]
    return sp.csr_array((columns[2], (columns[0], columns[1])), shape=(n_items, n_items))
