"""Item-based weights by loops over sets and by one small linear system a column; shares nothing with monge."""

import numpy as np


def walk_weights(users: list[set[int]], n_items: int, *, alpha: float, beta: float = 0.0) -> list[list[float]]:
    """w_ji = sum over users of both of (1/|U_j|)^alpha (1/|I_v|)^alpha / |U_i|^beta; 0 on the diagonal. alpha: P3alpha; beta: RP3beta."""
    n_takers = [sum(item in taken for taken in users) for item in range(n_items)]
    table = [[0.0] * n_items for _ in range(n_items)]
    for j in range(n_items):
        for i in range(n_items):
            for taken in users:
                if i != j and i in taken and j in taken:
                    table[j][i] += (1 / n_takers[j]) ** alpha * (1 / len(taken)) ** alpha / n_takers[i] ** beta
    return table


def ridge_without_diagonal(matrix: np.ndarray, regularisation: float) -> np.ndarray:
    """EASE's definition: each column from all others by ridge regression, the weight of the column itself held at 0."""
    n_items = matrix.shape[1]
    table = np.zeros((n_items, n_items))
    for j in range(n_items):
        others = [item for item in range(n_items) if item != j]
        inputs = matrix[:, others]
        system = inputs.T @ inputs + regularisation * np.eye(n_items - 1)
        table[others, j] = np.linalg.solve(system, inputs.T @ matrix[:, j])
    return table
