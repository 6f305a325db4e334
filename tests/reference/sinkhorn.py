"""Sinkhorn, item cosines and observation models in Python floats (64 bit), one loop per sum; shares nothing with monge.

`unrolled` is the exception: a few lines of torch whose gradient plain autograd takes, the witness of the written-out one.
"""

import math

import numpy as np
import torch
from scipy.optimize import linprog
from torch import Tensor


def plan(cost: list[list[float]], mu: list[float], nu: list[float], epsilon: float, n_iterations: int) -> list[list[float]]:
    """Eq. 12: a = mu / (K b), b = nu / (K^T a) from b = 1; P = diag(a) K diag(b)."""
    m, n = len(mu), len(nu)
    kernel = [[math.exp(-c / epsilon) for c in row] for row in cost]
    a, b = [0.0] * m, [1.0] * n
    for _ in range(n_iterations):
        a = [mu[i] / sum(kernel[i][j] * b[j] for j in range(n)) for i in range(m)]
        b = [nu[j] / sum(kernel[i][j] * a[i] for i in range(m)) for j in range(n)]
    return [[a[i] * kernel[i][j] * b[j] for j in range(n)] for i in range(m)]


def value(cost: list[list[float]], mu: list[float], nu: list[float], epsilon: float, n_iterations: int) -> float:
    moved = plan(cost, mu, nu, epsilon, n_iterations)
    return sum(moved[i][j] * cost[i][j] for i in range(len(mu)) for j in range(len(nu)))


def unrolled(cost: Tensor, log_mu: Tensor, log_nu: Tensor, epsilon: float, n_iterations: int) -> tuple[Tensor, Tensor, Tensor]:
    """Value, f and g of one problem (m, n), (m,), (n,), all masses > 0, by autograd through every iteration."""
    g = torch.zeros_like(log_nu)
    f = torch.zeros_like(log_mu)
    for _ in range(n_iterations):
        f = log_mu - torch.logsumexp(-cost / epsilon + g[None, :], 1)
        g = log_nu - torch.logsumexp(-cost / epsilon + f[:, None], 0)
    return ((f[:, None] - cost / epsilon + g[None, :]).exp() * cost).sum(), f, g


def wasserstein(cost: np.ndarray, mu: np.ndarray, nu: np.ndarray) -> float:
    """Eq. 10 as a linear programme."""
    m, n = cost.shape
    rows = np.kron(np.eye(m), np.ones((1, n)))
    columns = np.kron(np.ones((1, m)), np.eye(n))
    solved = linprog(cost.ravel(), A_eq=np.vstack([rows, columns]), b_eq=np.concatenate([mu, nu]), bounds=(0, None), method="highs")
    assert solved.fun is not None, solved.message
    return float(solved.fun)


def item_cost(pairs: list[tuple[int, int]], n_items: int, shrink: float) -> list[list[float]]:
    takers = [{u for u, i in pairs if i == item} for item in range(n_items)]
    cost = [[1.0] * n_items for _ in range(n_items)]
    for i in range(n_items):
        for j in range(n_items):
            if i == j:
                cost[i][j] = 0.0
            elif takers[i] and takers[j]:
                norms = math.sqrt(len(takers[i])) * math.sqrt(len(takers[j]))
                cost[i][j] = 1 - len(takers[i] & takers[j]) / (norms + shrink)
    return cost


def softmax(logits: list[float]) -> list[float]:
    largest = max(logits)
    total = sum(math.exp(x - largest) for x in logits)
    return [math.exp(x - largest) / total for x in logits]


def squared_distance(x: list[int], xhat: list[float], weights: list[float]) -> float:
    return sum(w * (a - b) ** 2 for a, b, w in zip(x, xhat, weights, strict=True))


def kl(p: list[float], q: list[float]) -> float:
    """sum p log(p / q), 0 log 0 = 0."""
    return sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True) if a > 0)


def transported(
    cost: list[list[float]], taken: list[int], logits: list[float], k: int, epsilon: float, n_iterations: int, *, debias: bool = False
) -> float:
    """Algorithm 1, L1 of one user, before the mean."""
    if not taken:
        return 0.0
    xhat = softmax(logits)
    top = sorted(range(len(xhat)), key=lambda i: -xhat[i])[:k]
    nu = [xhat[j] for j in top]
    result = value([[cost[i][j] for j in top] for i in taken], [1.0] * len(taken), nu, epsilon, n_iterations)
    if not debias:
        return result
    return 2 * result - value([[cost[i][j] for j in top] for i in top], nu, nu, epsilon, n_iterations)


def doubly_stochastic(similarity: list[list[float]], entropy: float, n_iterations: int, *, rows_first: bool = True) -> list[list[float]]:
    """SCLRec, Eqs. 3 and 4: rows and columns divided by their sums in turn, the diagonal 0, the rows once more at the end."""
    n = len(similarity)
    highest = max(max(row) for row in similarity)
    m = [[0.0 if i == j else math.exp((similarity[i][j] - highest) / entropy) for j in range(n)] for i in range(n)]

    def by_rows() -> None:
        for i in range(n):
            total = sum(m[i])
            m[i] = [x / total for x in m[i]]

    def by_columns() -> None:
        for j in range(n):
            total = sum(m[i][j] for i in range(n))
            for i in range(n):
                m[i][j] /= total

    for _ in range(n_iterations):
        for half_step in (by_rows, by_columns) if rows_first else (by_columns, by_rows):
            half_step()
    by_rows()
    return m
