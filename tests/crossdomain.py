"""A toy of two domains, or three: what a user takes next in one follows from the last item there, and from what stands in the others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from monge.data import Interactions
from tests.conftest import log_of


def with_domains(log: Interactions, labels: list[str]) -> Interactions:
    """The log with a domain for each item, by number."""
    return replace(log, item_columns={**log.item_columns, "domain": np.array([*labels, None], dtype=object)[:-1]})


def rounds(n_users: int = 48, n_items: int = 6, n_domains: int = 2, single: int = 0) -> Interactions:
    """User u begins at item u mod n and walks on in each domain by turns, 4 items each; the first `single` users have only domain a.

    Item j of domain d has the number d n + j. Domain d starts d items ahead.
    """
    sequences = []
    for user in range(n_users):
        alone = user < single
        walk = [domain * n_items + (user + step + domain) % n_items for step in range(4) for domain in range(1 if alone else n_domains)]
        sequences.append(walk)
    if n_users:
        sequences.append(list(range(n_domains * n_items)))  # everything once, so that no item is unknown
    return with_domains(log_of(sequences), ["abc"[number // n_items] for number in range(n_domains * n_items)])


def tastes(n_users: int = 60, n_items: int = 8, n_domains: int = 2, taken: int = 3) -> Interactions:
    """Even users take only items of the first half of every domain, odd users only of the second: what a user likes in one domain
    tells of the others. The domains' items come by turns."""
    rng = np.random.default_rng(0)
    half = n_items // 2
    sequences = []
    for user in range(n_users):
        chosen = [rng.permutation(half)[:taken] + half * (user % 2) + n_items * domain for domain in range(n_domains)]
        sequences.append(np.stack(chosen, 1).ravel().tolist())
    return with_domains(log_of(sequences), ["abc"[number // n_items] for number in range(n_domains * n_items)])
