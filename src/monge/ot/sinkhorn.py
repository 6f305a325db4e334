"""Sinkhorn's iterations in the log domain, for a batch of problems, differentiated through every iteration.

    K = exp(-C / epsilon)       a = mu / (K b)       b = nu / (K^T a)       L times from b = 1
    P = diag(a) K diag(b)       value = <C, P>                      f = log a, g = log b

The last half-step fits the columns, so P^T 1 = nu exactly and P 1 = mu only nearly; the value carries the mass of nu and
does not depend on the scale of mu. The entropy that the iterations maximise is no part of the value.

Source: SinkhornCF (Li et al., WWW 2021, sec. 3, Eqs. 10-12, Algorithm 1); Cuturi, NeurIPS 2013. Eq. 12 prints b = 1_m and a
misplaced bracket in K; b has as many entries as there are columns, and epsilon divides C inside the exponential.

Plain autograd through L iterations would keep 2 L matrices of a batch. The gradient is written out by hand here: it keeps the
potentials alone, and where exp(-C / epsilon) cannot underflow all half-steps are products with one stored matrix.

Axes: B problems, m rows, n columns, L iterations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from monge.ot.cost import ItemCost
from monge.ot.gaussian import at_least_float32, no_autocast

SAFE_EXPONENT = 30.0  # exp(+-30) times any sum of ours stays far inside float32, whose range is exp(+-87)
BYTES_PER_CELL = 16  # the cost, its kernel and two passing matrices, in float32


@dataclass(frozen=True, eq=False)
class SinkhornResult:
    """The value of the plan after the last iteration, and what there is to know about it."""

    value: Tensor
    """(B,) <C, P>, in units of the cost times the mass of nu; differentiable."""
    row_potentials: Tensor
    """(B, m) f = log a, in units of epsilon; -inf where a row has no mass; differentiable."""
    column_potentials: Tensor
    """(B, n) g = log b, as above."""
    n_iterations: int
    """Iterations done."""
    marginal_error: Tensor
    """(B,) sum_i |(P 1)_i - mu_i |nu| / |mu||, in units of mass; 0 where a side has no mass; detached."""
    converged: Tensor | None
    """(B,) bool, marginal_error <= tolerance; None where no tolerance was given."""
    cost: Tensor
    """(B, m, n) or (m, n), as given."""
    epsilon: float
    """As given."""

    def plan(self) -> Tensor:
        """(B, m, n) P, formed when asked for; differentiable. Its columns sum to nu."""
        return (self.row_potentials.unsqueeze(-1) + self.column_potentials.unsqueeze(-2) - self.cost / self.epsilon).exp()


def sinkhorn(
    cost: Tensor, log_mu: Tensor, log_nu: Tensor, *, epsilon: float = 1.0, n_iterations: int = 5, tolerance: float | None = None
) -> SinkhornResult:
    """Move mu to nu at the least cost, smoothed by epsilon, in at most `n_iterations` iterations.

    Mass 0 is log mass -inf: that is how shorter problems are padded to one batch. Such rows and columns take part in
    nothing whatever their cost is, and get gradient 0; a problem with no mass on one side has value 0.

    Args:
        cost: (B, m, n), or (m, n) where all problems share it; finite.
        log_mu: (B, m) natural logarithms of the rows' masses; their scale does not matter.
        log_nu: (B, n) of the columns' masses, of any total.
        epsilon: > 0, in units of the cost.
        n_iterations: L, >= 1.
        tolerance: stop as soon as every `marginal_error` is <= tolerance (>= 0, in units of mass); None does all iterations.

    Returns:
        A `SinkhornResult`; value, potentials and plan are differentiable once in cost, log_mu and log_nu. Half precision is
        computed in float32. Kept for the gradient: two matrices as large as the cost and L (m + n) numbers a problem.

    Raises:
        ValueError: epsilon, n_iterations or tolerance out of range; shapes that do not fit; a cost that is not finite.

    Source: SinkhornCF, Eqs. 11 and 12, in the log domain.
    """
    _check_options(epsilon, n_iterations)
    if tolerance is not None and not tolerance >= 0:
        raise ValueError(f"tolerance must be >= 0, or None; got {tolerance}")
    B, m, n = len(log_mu), log_mu.shape[-1], log_nu.shape[-1]
    fits = log_mu.shape == (B, m) and log_nu.shape == (B, n) and cost.shape in ((B, m, n), (m, n))
    if not fits or m == 0 or n == 0:
        shapes = ", ".join(str(tuple(x.shape)) for x in (cost, log_mu, log_nu))
        raise ValueError(f"cost, log_mu and log_nu must be (B, m, n) or (m, n), (B, m) and (B, n) with m, n >= 1; got {shapes}")
    cost, log_mu, log_nu = (at_least_float32(x) for x in (cost, log_mu, log_nu))
    dtype = torch.promote_types(cost.dtype, torch.promote_types(log_mu.dtype, log_nu.dtype))
    cost, log_mu, log_nu = cost.to(dtype), log_mu.to(dtype), log_nu.to(dtype)
    keep = torch.is_grad_enabled() and any(x.requires_grad for x in (cost, log_mu, log_nu))
    outputs: tuple[Any, ...] = _Sinkhorn.apply(cost, log_mu, log_nu, epsilon, n_iterations, tolerance, keep)  # pyright: ignore[reportAssignmentType]
    value, f, g, error, done = outputs
    converged = None if tolerance is None else error <= tolerance
    return SinkhornResult(value, f, g, done, error, converged, cost, epsilon)


def _check_options(epsilon: float, n_iterations: int) -> None:
    if not 0 < epsilon < float("inf"):
        raise ValueError(f"epsilon must be > 0 and finite; got {epsilon}")
    if n_iterations < 1:
        raise ValueError(f"n_iterations must be >= 1; got {n_iterations}")


@dataclass(frozen=True, eq=False)
class _Kernel:
    """Sums over exp(x_j + y_i - C_ij / epsilon): products with exp(-C / epsilon) where it is safe to form, logarithms where not."""

    cost: Tensor  # (B, m, n) or (m, n)
    matrix: Tensor  # of the same shape: exp(-cost / epsilon) if safe, else -cost / epsilon
    safe: bool

    @classmethod
    def of(cls, cost: Tensor, epsilon: float) -> _Kernel:
        low, high = cost.aminmax() if cost.numel() else (cost.new_zeros(()), cost.new_zeros(()))
        largest = max(-float(low), float(high))
        if not largest < float("inf"):
            raise ValueError("cost must be finite; found an infinite value or NaN")
        safe = largest <= SAFE_EXPONENT * epsilon
        matrix = cost * (-1 / epsilon)
        return cls(cost, matrix.exp_() if safe else matrix, safe)

    @property
    def transposed(self) -> _Kernel:
        return _Kernel(self.cost.mT, self.matrix.mT, self.safe)

    def log_sum(self, x: Tensor) -> Tensor:
        """log sum_j exp(x_j - C_ij / epsilon): (B, n) -> (B, m); -inf where every x_j is."""
        if self.safe:
            largest = _finite_max(x)
            return _product((x - largest).exp_(), self.matrix).log_().add_(largest)
        exponents = x.unsqueeze(-2) + self.matrix
        largest = _finite_max(exponents)
        return exponents.sub_(largest).exp_().sum(-1).log_().add_(largest.squeeze(-1))

    def sum(self, x: Tensor, y: Tensor, weights: Tensor | None = None, *, of_cost: bool = False) -> Tensor:
        """sum_j exp(x_j + y_i - C_ij / epsilon) weights_j, times C_ij inside the sum if `of_cost`: (B, n), (B, m) -> (B, m)."""
        if self.safe:
            largest = _finite_max(x)
            x = (x - largest).exp_()
            matrix = self.matrix * self.cost if of_cost else self.matrix
            return _product(x if weights is None else x.mul_(weights), matrix).mul_((y + largest).exp_())
        terms = self.terms(x, y)
        if of_cost:
            terms *= self.cost
        return terms.sum(-1) if weights is None else _product(weights, terms)

    def terms(self, x: Tensor, y: Tensor) -> Tensor:
        """exp(x_j + y_i - C_ij / epsilon): (B, n), (B, m) -> (B, m, n)."""
        exponents = self.matrix.log() if self.safe else self.matrix
        return (exponents + x.unsqueeze(-2)).add_(y.unsqueeze(-1)).exp_()


def _finite_max(x: Tensor) -> Tensor:
    """(..., n) -> (..., 1), 0 where the largest is -inf."""
    largest = x.amax(-1, keepdim=True)
    return largest.masked_fill_(largest == -torch.inf, 0)


def _product(x: Tensor, matrix: Tensor) -> Tensor:
    """sum_j matrix_ij x_j: (B, n) and (B, m, n) or (m, n) -> (B, m). The vector stands left: several times faster on a CPU."""
    with no_autocast(x):
        return x @ matrix.mT if matrix.ndim == 2 else torch.bmm(x.unsqueeze(1), matrix.mT).squeeze(1)


def _minus(log_sum: Tensor) -> Tensor:
    """-log_sum, but -inf where there was nothing to sum: what cannot be reached receives no mass."""
    return (-log_sum).masked_fill_(log_sum == -torch.inf, -torch.inf)


def _ones(log_nu: Tensor) -> Tensor:
    """g of b = 1, where the iterations begin; a column that is padding has no part in the first half-step either."""
    return torch.zeros_like(log_nu).masked_fill_(log_nu == -torch.inf, -torch.inf)


class _Sinkhorn(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, cost: Tensor, log_mu: Tensor, log_nu: Tensor, epsilon: float, n_iterations: int, tolerance: float | None, keep: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
        kernel = _Kernel.of(cost, epsilon)
        mass = log_nu.exp().sum(-1, keepdim=True)
        wanted = (log_mu + _minus(log_mu.logsumexp(-1, keepdim=True))).exp_() * mass
        rows, columns, done = [], [], 0
        log_sum = kernel.log_sum(_ones(log_nu))
        while True:
            rows.append(_minus(log_sum))
            f = log_mu + rows[-1]
            columns.append(_minus(kernel.transposed.log_sum(f)))
            g = log_nu + columns[-1]
            log_sum = kernel.log_sum(g)
            done += 1
            if not keep:
                rows.clear()
                columns.clear()
            last = done == n_iterations
            if last or tolerance is not None:
                moved = (f + log_sum).exp_()
                error = (moved - wanted).abs_().sum(-1)
                if last or bool((error <= tolerance).all()):
                    break
        row_values = kernel.sum(g, f, of_cost=True)
        if keep:
            column_values = kernel.transposed.sum(f, g, of_cost=True)
            ctx.epsilon, ctx.safe = epsilon, kernel.safe
            ctx.save_for_backward(
                cost, kernel.matrix, log_mu, log_nu, f, g, row_values, column_values, torch.stack(rows), torch.stack(columns)
            )
        ctx.mark_non_differentiable(error)
        return row_values.sum(-1), f, g, error, done

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        grad_value, grad_f, grad_g = grad_outputs[:3]
        cost, matrix, log_mu, log_nu, f, g, row_values, column_values, rows, columns = ctx.saved_tensors
        kernel = _Kernel(cost, matrix, ctx.safe)
        grad_f = grad_f + grad_value[:, None] * row_values
        grad_g = grad_g + grad_value[:, None] * column_values
        grad_mu, grad_nu = torch.zeros_like(log_mu), torch.zeros_like(log_nu)
        grad_cost = None
        if ctx.needs_input_grad[0]:
            weights = grad_value[:, None, None] * (1 - cost / ctx.epsilon)
            grad_cost = kernel.terms(g, f).mul_(weights)
        for step in range(len(rows) - 1, -1, -1):
            row, column = rows[step], columns[step]
            f = log_mu + row
            g = log_nu + columns[step - 1] if step else _ones(log_nu)
            if grad_cost is not None:
                by_columns = kernel.terms(column, f).mul_(grad_g.unsqueeze(-2))
                grad_cost += by_columns.div_(ctx.epsilon)
            grad_nu += grad_g
            grad_f = grad_f - kernel.sum(column, f, grad_g)
            if grad_cost is not None:
                by_rows = kernel.terms(g, row).mul_(grad_f.unsqueeze(-1))
                grad_cost += by_rows.div_(ctx.epsilon)
            grad_mu += grad_f
            if step:  # the first b is a constant
                grad_g, grad_f = -kernel.transposed.sum(row, g, grad_f), torch.zeros_like(grad_f)
        if grad_cost is not None and cost.ndim == 2:
            grad_cost = grad_cost.sum(0)
        return grad_cost, grad_mu, grad_nu, None, None, None, None


def sinkhorn_ragged(
    cost: ItemCost,
    rows: Tensor,
    items: Tensor,
    log_nu: Tensor,
    columns: Tensor | None = None,
    *,
    epsilon: float = 1.0,
    n_iterations: int = 5,
    debias: bool = False,
    chunk_bytes: int = 2**24,
) -> Tensor:
    """<C, P> of each user, from what it took (mass 1 an item) to its columns' masses nu.

    Users of like length are taken together, padded to the longest of them, as many at a time as fit `chunk_bytes`. A user's
    value depends on its own masses alone, so its gradient is formed in the same pass, and no chunk outlives its turn.

    Args:
        cost: between items.
        rows: (N,) int64 in 0..B-1, the user of each observed pair, in any order.
        items: (N,) int64, its item; a pair stands once.
        log_nu: (B, n) log masses of the columns.
        columns: (B, n) int64, which items the columns are; None where they are all items in order (n = cost.n_items).
        epsilon, n_iterations: as in `sinkhorn`.
        debias: 2 W(x, nu) - W(nu, nu) in place of W(x, nu), as the authors' code does.
        chunk_bytes: memory for the working matrices of one chunk; a user that needs more gets a chunk of its own.

    Returns:
        (B,), differentiable once in log_nu; 0 for a user with no item.

    Raises:
        ValueError: shapes that do not fit, a number or an option out of range.

    Source: SinkhornCF, Algorithm 1, l. 3-8.
    """
    _check_options(epsilon, n_iterations)
    if rows.ndim != 1 or rows.shape != items.shape:
        raise ValueError(f"rows and items must both be (N,); got {tuple(rows.shape)}, {tuple(items.shape)}")
    expected = (len(log_nu), cost.n_items) if columns is None else tuple(columns.shape)
    if log_nu.ndim != 2 or tuple(log_nu.shape) != expected:
        raise ValueError(f"log_nu must be (B, n) like its columns, {expected}; got {tuple(log_nu.shape)}")
    if chunk_bytes < 1:
        raise ValueError(f"chunk_bytes must be >= 1; got {chunk_bytes}")
    for name, numbers, size in (("rows", rows, len(log_nu)), ("items", items, cost.n_items)):
        if len(numbers) and not (numbers.min() >= 0 and numbers.max() < size):
            raise ValueError(f"{name} must lie in 0..{size - 1}; found {int(numbers.min())}..{int(numbers.max())}")
    lengths = torch.bincount(rows, minlength=len(log_nu))
    starts = lengths.cumsum(0) - lengths
    items = items[rows.argsort(stable=True)]

    def values(users: Tensor, longest: int, log_nu: Tensor) -> Tensor:
        place = torch.arange(longest, device=items.device)
        padded = place >= lengths[users, None]
        taken = items[(starts[users, None] + place).clamp_(max=len(items) - 1)].masked_fill_(padded, cost.n_items)
        log_mu = torch.zeros(taken.shape, device=log_nu.device, dtype=log_nu.dtype).masked_fill_(padded, -torch.inf)
        to = None if columns is None else columns[users]
        block = cost.rows(taken.flatten()).view(*taken.shape, -1) if to is None else cost.block(taken, to)
        value = sinkhorn(block, log_mu, log_nu, epsilon=epsilon, n_iterations=n_iterations).value
        if not debias:
            return value
        block = cost.rows(torch.arange(cost.n_items, device=items.device)) if to is None else cost.block(to, to)
        return 2 * value - sinkhorn(block, log_nu, log_nu, epsilon=epsilon, n_iterations=n_iterations).value

    log_nu = at_least_float32(log_nu)
    keep = torch.is_grad_enabled() and log_nu.requires_grad
    cells = log_nu.shape[1] if debias else 0
    chunks = _chunks(lengths, cells, chunk_bytes // (BYTES_PER_CELL * max(1, log_nu.shape[1])))
    result: Tensor = _RowWise.apply(log_nu, values, chunks, keep)  # pyright: ignore[reportAssignmentType]
    return result


def _chunks(lengths: Tensor, extra: int, capacity: int) -> list[tuple[Tensor, int]]:
    """Users with at least one item, shortest first, cut so that users x (longest + extra) <= capacity and padding stays small.

    Returns:
        (users, longest) of each chunk; the longest is at most half as long again as the shortest, or 8 more.
    """
    order = lengths.argsort(stable=True)
    length = lengths[order].cpu().numpy()
    chunks, start = [], int(np.searchsorted(length, 1))
    while start < len(length):
        near = int(np.searchsorted(length, max(length[start] * 3 // 2, length[start] + 8), side="right"))
        rising = np.arange(1, near - start + 1) * (length[start:near] + extra)
        stop = start + max(1, int(np.searchsorted(rising, capacity, side="right")))
        chunks.append((order[start:stop], int(length[stop - 1])))
        start = stop
    return chunks


class _RowWise(torch.autograd.Function):
    """A function of each row alone, chunk by chunk, with the gradient of every row formed beside its value."""

    @staticmethod
    def forward(
        ctx: Any, log_nu: Tensor, values: Callable[[Tensor, int, Tensor], Tensor], chunks: list[tuple[Tensor, int]], keep: bool
    ) -> Tensor:
        result = log_nu.new_zeros(len(log_nu))
        slopes = torch.zeros_like(log_nu) if keep else None
        for users, longest in chunks:
            part = log_nu[users]
            if slopes is None:
                result[users] = values(users, longest, part)
            else:
                with torch.enable_grad():
                    value = values(users, longest, part.requires_grad_())
                    (slopes[users],) = torch.autograd.grad(value.sum(), part)
                result[users] = value.detach()
        ctx.save_for_backward(slopes)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (slopes,) = ctx.saved_tensors
        return grad_outputs[0][:, None] * slopes, None, None, None
