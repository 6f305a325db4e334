"""Propagation over the user-item graph with Python's floats, one neighbour at a time; shares nothing with monge."""

import math

Table = list[list[float]]
Pairs = set[tuple[int, int]]


def one_layer(pairs: Pairs, users: Table, items: Table, *, symmetric: bool) -> tuple[Table, Table]:
    """Every node receives its neighbours' vectors, over sqrt(own degree * theirs), or over its own degree."""
    n_items_of = [sum(user == u for u, _ in pairs) for user in range(len(users))]
    n_users_of = [sum(item == i for _, i in pairs) for item in range(len(items))]
    width = len(users[0])
    new_users = [[0.0] * width for _ in users]
    new_items = [[0.0] * width for _ in items]
    for u, i in sorted(pairs):
        for d in range(width):
            both = math.sqrt(n_items_of[u] * n_users_of[i])
            new_users[u][d] += items[i][d] / (both if symmetric else n_items_of[u])
            new_items[i][d] += users[u][d] / (both if symmetric else n_users_of[i])
    return new_users, new_items


def layer_mean(pairs: Pairs, users: Table, items: Table, *, n_layers: int, symmetric: bool) -> tuple[Table, Table]:
    """(E^0 + E^1 + ... + E^K) / (K + 1), each layer made from the one before it."""
    layers = [(users, items)]
    for _ in range(n_layers):
        layers.append(one_layer(pairs, *layers[-1], symmetric=symmetric))

    def mean(side: int) -> Table:
        tables = [layer[side] for layer in layers]
        rows = range(len(tables[0]))
        return [[sum(table[row][d] for table in tables) / len(tables) for d in range(len(users[0]))] for row in rows]

    return mean(0), mean(1)
