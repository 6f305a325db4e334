import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monge.errors import DataError
from monge.sampling import BagBatch, BagBatches, PairBatches
from tests import conftest

N_ITEMS = 9
log_of = partial(conftest.log_of, n_items=N_ITEMS)
HISTORIES = st.lists(st.lists(st.integers(0, N_ITEMS - 1), max_size=8), min_size=1, max_size=9)  # items may repeat, users be empty
TAKEN = HISTORIES.filter(any)


def bags(batch: BagBatch) -> dict[int, list[int]]:
    """User -> items of the batch, one at a time."""
    found: dict[int, list[int]] = {user: [] for user in batch.users.tolist()}
    for row, item in zip(batch.row_of_item.tolist(), batch.items.tolist(), strict=True):
        found[batch.users[row].item()].append(item)  # pyright: ignore[reportArgumentType]
    return found


@given(histories=TAKEN, batch_size=st.integers(1, 5), seed=st.integers(0, 99), epoch=st.integers(0, 3))
@settings(deadline=None, max_examples=40)
def test_an_epoch_is_every_user_once_with_each_item_once(histories: list[list[int]], batch_size: int, seed: int, epoch: int) -> None:
    sampler = BagBatches(log_of(histories), batch_size=batch_size, seed=seed)
    batches = list(sampler(epoch))
    expected = {user: sorted(set(history)) for user, history in enumerate(histories) if history}
    assert len(batches) == len(sampler) == math.ceil(len(expected) / batch_size)
    assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    visited = [user for batch in batches for user in batch.users.tolist()]
    assert sorted(visited) == sorted(expected)
    for number, batch in enumerate(batches):
        assert {user: sorted(items) for user, items in bags(batch).items()} == {user: expected[user] for user in batch.users.tolist()}
        assert batch.row_of_item.tolist() == sorted(batch.row_of_item.tolist())
        assert (batch.n_items, batch.epoch, batch.step) == (N_ITEMS, epoch, epoch * len(sampler) + number)
        expected_rows = [[float(item in histories[user]) for item in range(N_ITEMS)] for user in batch.users.tolist()]
        assert batch.dense().tolist() == expected_rows


def test_the_first_users_of_a_batch_keep_their_items() -> None:
    histories = [[user % N_ITEMS, (user + 2) % N_ITEMS, (user + 5) % N_ITEMS][: 1 + user % 3] for user in range(7)]
    batch = next(BagBatches(log_of(histories), batch_size=7, seed=0)(2))
    for n in (1, 3, 7, 20):
        some = batch.first(n)
        assert some.users.tolist() == batch.users.tolist()[:n]
        assert bags(some) == {user: sorted(histories[user]) for user in some.users.tolist()}
        assert (some.n_items, some.epoch, some.step) == (batch.n_items, batch.epoch, batch.step)


def test_order_depends_on_seed_and_epoch_alone() -> None:
    log = log_of([[user % N_ITEMS, (user + 1) % N_ITEMS] for user in range(40)])

    def order(seed: int, epoch: int) -> list[int]:
        return [user for batch in BagBatches(log, batch_size=7, seed=seed)(epoch) for user in batch.users.tolist()]

    before = torch.get_rng_state()
    assert order(1, 2) == order(1, 2)
    assert torch.equal(torch.get_rng_state(), before)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)
    sampler = BagBatches(log, batch_size=7, seed=1)
    for epoch in range(2):
        list(sampler(epoch))
    assert [user for batch in sampler(2) for user in batch.users.tolist()] == order(1, 2)


@pytest.mark.parametrize("histories", [[[]], [[], []]])
def test_a_log_without_any_item_is_refused(histories: list[list[int]]) -> None:
    with pytest.raises(DataError, match="no user has a training item"):
        BagBatches(log_of(histories), batch_size=2, seed=0)


def test_pairs_with_several_negatives_are_those_with_one_and_more() -> None:
    histories = [[user % N_ITEMS, (user + 1) % N_ITEMS] for user in range(20)]
    several = list(PairBatches(log_of(histories), batch_size=7, seed=3, n_negatives=4)(1))
    one = list(PairBatches(log_of(histories), batch_size=7, seed=3)(1))
    for batch, single in zip(several, one, strict=True):
        assert torch.equal(batch.users, single.users)
        assert torch.equal(batch.positives, single.positives)
        assert batch.negatives.shape == (len(batch.users), 4)
        for user, negatives in zip(batch.users.tolist(), batch.negatives.tolist(), strict=True):
            assert not set(negatives) & set(histories[user])
    same = [batch.negatives for batch in PairBatches(log_of(histories), batch_size=7, seed=3, n_negatives=1)(1)]
    assert torch.equal(torch.cat(same)[:, 0], torch.cat([batch.negatives for batch in one]))
