"""Alternating least squares and Poisson factorisation in float64, one user, item and factor at a time; shares nothing with monge."""

import math

import numpy as np
from scipy.special import digamma, gammaln

Rows = list[set[int]]


def transposed(rows: Rows, n: int) -> Rows:
    """Which rows have each of n items."""
    return [{number for number, row in enumerate(rows) if item in row} for item in range(n)]


def als_half_sweep(rows: Rows, other: np.ndarray, *, c: float, regularisation: float) -> np.ndarray:
    """One side's vectors, by the normal equations written out over all entries, observed or not."""
    solved = []
    for row in rows:
        system, pull = regularisation * np.eye(other.shape[1]), np.zeros(other.shape[1])
        for item, vector in enumerate(other):
            weight, target = (c, 1.0) if item in row else (1.0, 0.0)
            system += weight * np.outer(vector, vector)
            pull += weight * target * vector
        solved.append(np.linalg.solve(system, pull))
    return np.array(solved)


def als_objective(rows: Rows, users: np.ndarray, items: np.ndarray, *, c: float, regularisation: float) -> float:
    """Weighted squared errors over all entries, and the penalty."""
    total = regularisation * (float((users**2).sum()) + float((items**2).sum()))
    for user, row in enumerate(rows):
        for item in range(len(items)):
            weight, target = (c, 1.0) if item in row else (1.0, 0.0)
            total += weight * (target - float(users[user] @ items[item])) ** 2
    return total


class PoissonFactors:
    """One side of hierarchical Poisson factorisation: Gammas of N vectors of K entries, and of their N rates."""

    def __init__(self, shape: np.ndarray, rate: np.ndarray, activity: np.ndarray, a: float, a1: float, b1: float) -> None:
        self.shape, self.rate, self.a, self.a1, self.b1 = shape, rate, a, a1, b1
        self.activity_shape = a1 + shape.shape[1] * a
        self.activity_rate = self.activity_shape / activity

    def mean(self, n: int, k: int) -> float:
        return self.shape[n, k] / self.rate[n, k]

    def log(self, n: int, k: int) -> float:
        return float(digamma(self.shape[n, k])) - math.log(self.rate[n, k])

    def half_sweep(self, rows: Rows, other: "PoissonFactors") -> None:
        """phi by hand, then shape and rate, then the rates' rate."""
        N, K = self.shape.shape
        shape, rate = np.full((N, K), self.a), np.zeros((N, K))
        for n in range(N):
            for item in rows[n]:
                phi = [math.exp(self.log(n, k) + other.log(item, k)) for k in range(K)]
                for k in range(K):
                    shape[n, k] += phi[k] / sum(phi)
            for k in range(K):
                rate[n, k] = self.activity_shape / self.activity_rate[n] + sum(other.mean(i, k) for i in range(len(other.shape)))
        self.shape, self.rate = shape, rate
        self.activity_rate = np.array([self.a1 / self.b1 + sum(self.mean(n, k) for k in range(K)) for n in range(N)])

    def prior_and_entropy(self) -> float:
        """E[log p] of the vectors and their rates, and the entropies of the approximation."""

        def entropy(shape: float, rate: float) -> float:
            return shape - math.log(rate) + float(gammaln(shape)) + (1 - shape) * float(digamma(shape))

        total, prior = 0.0, self.a1 / self.b1
        for n in range(len(self.shape)):
            mean, log = self.activity_shape / self.activity_rate[n], float(digamma(self.activity_shape)) - math.log(self.activity_rate[n])
            total += self.a1 * math.log(prior) - float(gammaln(self.a1)) + (self.a1 - 1) * log - prior * mean
            total += entropy(self.activity_shape, self.activity_rate[n])
            for k in range(self.shape.shape[1]):
                total += self.a * log - float(gammaln(self.a)) + (self.a - 1) * self.log(n, k) - mean * self.mean(n, k)
                total += entropy(self.shape[n, k], self.rate[n, k])
        return total


def poisson_bound(rows: Rows, users: PoissonFactors, items: PoissonFactors) -> float:
    """The evidence's lower bound of a log of zeros and ones, at the best phi."""
    K = users.shape.shape[1]
    total = users.prior_and_entropy() + items.prior_and_entropy()
    for user, row in enumerate(rows):
        for item in range(len(items.shape)):
            total -= sum(users.mean(user, k) * items.mean(item, k) for k in range(K))
            if item in row:
                total += math.log(sum(math.exp(users.log(user, k) + items.log(item, k)) for k in range(K)))
    return total
