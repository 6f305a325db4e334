"""MMSSL's equations with Python's floats, one sum at a time; shares nothing with monge."""

import math
from collections.abc import Callable, Sequence

Row = list[float]
Table = list[Row]
Pairs = set[tuple[int, int]]


def dot(a: Row, b: Row) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def unit(a: Row) -> Row:
    norm = math.sqrt(dot(a, a))
    return [x / norm for x in a] if norm else list(a)


def cosine(a: Row, b: Row) -> float:
    return dot(unit(a), unit(b))


def to_users(pairs: Pairs, n_users: int, items: Table) -> Table:
    """A_r: each user's items added up, over the root of their number."""
    found = []
    for u in range(n_users):
        own = [items[i] for user, i in sorted(pairs) if user == u]
        found.append([sum(row[d] for row in own) / math.sqrt(max(1, len(own))) for d in range(len(items[0]))])
    return found


def to_items(pairs: Pairs, n_items: int, users: Table) -> Table:
    """A_c: the same for items."""
    return to_users({(i, u) for u, i in pairs}, n_items, users)


def fake_row(user: Row, items: Table, taken: set[int]) -> Row:
    """Eq. 3 with what was taken hidden, scaled to length 1."""
    return unit([0.0 if i in taken else cosine(user, item) for i, item in enumerate(items)])


def soft_row(a: Row, noise: Row, temperature: float) -> Row:
    """The first term of Eq. 5."""
    weights = [(x + g) / temperature for x, g in zip(a, noise, strict=True)]
    highest = max(weights)
    return [math.exp(w - highest) / sum(math.exp(v - highest) for v in weights) for w in weights]


def real_row(a: Row, noise: Row, user: Row, items: Table, *, temperature: float, zeta: float) -> Row:
    """Eq. 5, scaled to length 1."""
    soft = soft_row(a, noise, temperature)
    return unit([p + zeta * cosine(user, item) for p, item in zip(soft, items, strict=True)])


def slope_penalty(critic: Callable[[Row], float], points: Sequence[Row], step: float = 1e-5) -> float:
    """Eq. 7's penalty with slopes by central differences."""
    total = 0.0
    for x in points:
        slope = []
        for i in range(len(x)):
            up, down = list(x), list(x)
            up[i] += step
            down[i] -= step
            slope.append((critic(up) - critic(down)) / (2 * step))
        total += (math.sqrt(dot(slope, slope)) - 1) ** 2
    return total / len(points)


def attention(views: Table, queries: Table, keys: Table, out: Table, n_heads: int) -> Row:
    """Eq. 9 of one node: (M, D) views; queries and keys (D, D) and out (D, H D) as matrices that are multiplied from the left."""
    width = len(views[0]) // n_heads
    mean = [0.0] * len(out)
    for view in views:
        concatenated: Row = []
        for head in range(n_heads):
            rows = range(head * width, (head + 1) * width)
            q = [dot(queries[r], view) for r in rows]
            logits = [dot(q, [dot(keys[r], other) for r in rows]) / math.sqrt(width) for other in views]
            shares = [math.exp(x) / sum(math.exp(y) for y in logits) for x in logits]
            concatenated += [sum(share * other[d] for share, other in zip(shares, views, strict=True)) for d in range(len(view))]
        for d, row in enumerate(out):
            mean[d] += dot(row, concatenated) / len(views)
    return mean


def layers(pairs: Pairs, users: Table, items: Table, n_layers: int) -> tuple[Table, Table]:
    """Eq. 10: both sides step at once; the mean over layers 0..L."""
    all_users, all_items = [users], [items]
    for _ in range(n_layers):
        users, items = to_users(pairs, len(users), items), to_items(pairs, len(items), users)
        all_users.append(users)
        all_items.append(items)

    def mean(tables: list[Table]) -> Table:
        return [[sum(table[n][d] for table in tables) / len(tables) for d in range(len(tables[0][0]))] for n in range(len(tables[0]))]

    return mean(all_users), mean(all_items)


def fused(collaborative: Table, features: Sequence[Table], weight: float) -> Table:
    """Eq. 12."""
    return [[x + weight * sum(unit(table[n])[d] for table in features) for d, x in enumerate(row)] for n, row in enumerate(collaborative)]


def contrast(anchors: Table, views: Table, temperature: float) -> float:
    """Eq. 11 of one modality, in the mean over users, with its minus sign."""
    total = 0.0
    for u, view in enumerate(views):
        with_anchors = sum(math.exp(cosine(anchor, view) / temperature) for anchor in anchors)
        with_views = sum(math.exp(cosine(other, view) / temperature) for v, other in enumerate(views) if v != u)
        total -= math.log(math.exp(cosine(anchors[u], view) / temperature) / (with_anchors + with_views))
    return total / len(views)
