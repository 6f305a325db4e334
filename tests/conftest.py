"""Toy logs that several folders share; each is built anew, nothing is downloaded."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from monge.data import Interactions, Queries, Ragged, Vocabulary, attach_modality

settings.register_profile("monge", deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no failure
settings.load_profile("monge")


def cycle_sequences(n_users: int = 50, n_items: int = 10) -> list[list[int]]:
    """Item i is always followed by item i + 1 mod n; every start with every length from 5 to 8; what comes next was not seen yet."""
    return [[(user + step) % n_items for step in range(5 + user // n_items % 4)] for user in range(n_users)]


def log_of(sequences: list[list[int]], *, n_items: int | None = None) -> Interactions:
    """Users u0, u1, ... with items i0, i1, ...; item i has the number i. Without `n_items` the largest one is the last."""
    if n_items is None:
        n_items = 1 + max(item for sequence in sequences for item in sequence)
    user = np.repeat(np.arange(len(sequences), dtype=np.int64), [len(sequence) for sequence in sequences])
    return Interactions.from_numbers(
        user,
        np.array([item for sequence in sequences for item in sequence], dtype=np.int64),
        users=Vocabulary.of([f"u{number}" for number in range(len(sequences))]),
        items=Vocabulary.of([f"i{number}" for number in range(n_items)]),
        time=np.arange(len(user), dtype=np.int64),
    )


def queries_of(histories: list[list[int]], truth: list[list[int]], *, n_items: int, users: list[int] | None = None) -> Queries:
    """Queries from plain lists."""
    user = np.array(range(len(histories)) if users is None else users, dtype=np.int64)
    return Queries(n_items=n_items, user=user, history=Ragged.from_lists(histories), truth=Ragged.from_lists(truth))


def with_content(log: Interactions) -> Interactions:
    """Two modalities: rows of numbers that two items lack, and attributes that say which half of the items one is in."""
    rng = np.random.default_rng(7)
    first_half = np.arange(log.n_items) < log.n_items // 2
    rows = (rng.normal(size=(log.n_items, 5)) + 2 * first_half[:, None]).astype(np.float16)
    known = np.setdiff1d(np.arange(log.n_items), [1, log.n_items - 1])
    halves = np.array([f"all half{2 * item // log.n_items}" for item in range(log.n_items)], dtype=object)
    log = attach_modality(log, "visual", rows[known], ids=log.items.ids[known].tolist())
    return attach_modality(replace(log, item_columns={"halves": halves}), "halves", "halves")


@pytest.fixture
def cycle() -> Interactions:
    """50 users, 10 items, a deterministic next-item rule."""
    return log_of(cycle_sequences())


@pytest.fixture
def write_cycle(tmp_path: Path) -> Callable[..., Path]:
    """Write the cycle (more users on demand) as a CSV file; gives its path."""

    def write(name: str = "toy.csv", *, n_users: int = 50, n_items: int = 10) -> Path:
        rows = [
            f"u{user},i{item},{100 * user + place}"
            for user, sequence in enumerate(cycle_sequences(n_users, n_items))
            for place, item in enumerate(sequence)
        ]
        path = tmp_path / name
        path.write_text("user_id,item_id,timestamp\n" + "\n".join(rows) + "\n")
        return path

    return write
