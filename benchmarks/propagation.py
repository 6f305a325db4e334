"""Sparse products for propagation over the user-item graph: users' = A items, forward and backward, by the kernels at hand.

"stored transpose" means that A^T is kept by rows as well and the backward pass is a product with it; the others are PyTorch's autograd.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor

import monge
from benchmarks.measure import median_after_first
from benchmarks.quiet import OtherWork
from monge.api import open_log
from monge.nn.graph import BipartiteGraph, SparseRows

DATA = ("ml-100k", "gowalla")
WIDTH = 64
ROUNDS = 12
Product = Callable[[Tensor], Tensor]


class StoredTranspose(torch.autograd.Function):
    """A product whose gradient is another product."""

    @staticmethod
    def forward(ctx: Any, dense: Tensor, product: Product, transposed: Product) -> Tensor:
        ctx.transposed = transposed
        return product(dense)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return ctx.transposed(gradients[0]), None, None


def torch_rows(rows: SparseRows, n_columns: int) -> Tensor:
    """As a tensor of PyTorch's layout CSR."""
    return torch.sparse_csr_tensor(rows.offsets, rows.columns, rows.values, size=(len(rows.offsets) - 1, n_columns))


def scipy_rows(rows: SparseRows, n_columns: int) -> sp.csr_array:
    """As SciPy's CSR."""
    arrays = (rows.values.numpy(), rows.columns.numpy(), rows.offsets.numpy())
    return sp.csr_array(arrays, shape=(len(rows.offsets) - 1, n_columns))


def kernels(graph: BipartiteGraph) -> dict[str, Product]:
    """Every way to multiply, as a differentiable function of the items."""
    rows, columns = graph.layer.to_users, graph.layer.to_items  # symmetric: one is the transpose of the other
    long, long_t = (SparseRows(matrix.offsets.long(), matrix.columns.long(), matrix.values) for matrix in (rows, columns))
    csr, csr_t = torch_rows(rows, graph.n_items), torch_rows(columns, graph.n_users)
    coo = csr.to_sparse_coo().coalesce()
    mine, mine_t = scipy_rows(rows, graph.n_items), scipy_rows(columns, graph.n_users)
    user_of_edge = torch.repeat_interleave(rows.offsets.long().diff())
    item_of_edge = rows.columns.long()

    def stored(product: Product, transposed: Product) -> Product:
        return lambda items: StoredTranspose.apply(items, product, transposed)  # pyright: ignore[reportReturnType]

    def gathered(items: Tensor) -> Tensor:
        return F.embedding(item_of_edge, items) * rows.values[:, None]

    return {
        "embedding_bag, stored transpose": stored(lambda x: rows @ x, lambda x: columns @ x),
        "embedding_bag, stored transpose, 64-bit numbers": stored(lambda x: long @ x, lambda x: long_t @ x),
        "torch CSR, stored transpose": stored(lambda x: csr @ x, lambda x: csr_t @ x),
        "torch CSR reduce, stored transpose": stored(
            lambda x: torch.sparse.mm(csr, x, "sum"),  # pyright: ignore[reportCallIssue]
            lambda x: torch.sparse.mm(csr_t, x, "sum"),  # pyright: ignore[reportCallIssue]
        ),
        "SciPy CSR, stored transpose": stored(
            lambda x: torch.from_numpy(mine @ x.detach().numpy()), lambda x: torch.from_numpy(mine_t @ x.numpy())
        ),
        "torch CSR, autograd": lambda items: csr @ items,
        "torch COO, autograd": lambda items: coo @ items,
        "gather and index_add, autograd": lambda items: items.new_zeros(graph.n_users, WIDTH).index_add(0, user_of_edge, gathered(items)),
        "gather and segment_reduce, autograd": lambda items: torch.segment_reduce(gathered(items), "sum", offsets=rows.offsets.long()),
    }


def measure_propagation() -> dict[str, Any]:
    """Milliseconds of one product and its gradient, width 64, float32, one thread, on the training part of a random 8:1:1 split.

    The kernels take turns, so that other work on the machine falls on all of them; medians over the rounds after the first.
    """
    torch.set_num_threads(1)
    figures: dict[str, Any] = {}
    with OtherWork() as others:
        for data in DATA:
            graph = BipartiteGraph.from_interactions(monge.make_split(open_log(data), "ratio").train)
            items, gradient = torch.randn(graph.n_items, WIDTH, requires_grad=True), torch.randn(graph.n_users, WIDTH)
            ways = kernels(graph)
            seconds: dict[str, list[float]] = {}
            expected: tuple[Tensor, ...] | None = None
            for _ in range(ROUNDS):
                for name, product in ways.items():
                    found = product(items).detach(), torch.autograd.grad(product(items), items, gradient)[0]  # also: warm caches
                    expected = expected or found
                    assert all(torch.allclose(mine, other, atol=1e-4) for mine, other in zip(found, expected, strict=True)), name
                    start = time.perf_counter()
                    torch.autograd.grad(product(items), items, gradient)
                    seconds.setdefault(name, []).append(time.perf_counter() - start)
            figures[f"{data}: edges"] = graph.n_edges
            figures |= {f"{data}: {name}, ms": 1000 * median_after_first(times) for name, times in seconds.items()}
    return {**figures, "share of the processors that other programs had": others.share}
