import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monge.errors import DataError
from monge.sampling import NextItemBatch, NextItemBatches, PairBatches, SeenPairs, epoch_seed, generator_for
from tests import conftest

N_ITEMS = 9
log_of = partial(conftest.log_of, n_items=N_ITEMS)
HISTORIES = st.lists(st.lists(st.integers(0, N_ITEMS - 1), max_size=8), min_size=1, max_size=9)  # items may repeat, users be empty
LEARNABLE = HISTORIES.filter(lambda histories: any(len(history) >= 2 for history in histories))


def padded(items: list[int], width: int) -> list[int]:
    return [N_ITEMS] * (width - len(items)) + items


def same(a: NextItemBatch, b: NextItemBatch) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in ("users", "sequences", "targets", "negatives"))


@given(histories=LEARNABLE, batch_size=st.integers(1, 5), max_length=st.integers(1, 9), bucketed=st.booleans(), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_an_epoch_is_every_user_once_with_the_logs_next_items(
    histories: list[list[int]], batch_size: int, max_length: int, bucketed: bool, seed: int
) -> None:
    sampler = NextItemBatches(log_of(histories), batch_size=batch_size, max_length=max_length, seed=seed, bucketed=bucketed)
    batches = list(sampler(epoch=3))
    assert len(batches) == len(sampler)
    expected_users = [user for user, history in enumerate(histories) if len(history) >= 2]
    assert sorted(user for batch in batches for user in batch.users.tolist()) == expected_users
    sizes = sorted(len(batch.users) for batch in batches)
    if bucketed:  # like numbers of positions: nothing beyond a fair share by more than the last user who fits in
        lengths = [min(len(history) - 1, max_length) for history in histories if len(history) >= 2]
        fair = sum(lengths) / math.ceil(len(lengths) / batch_size)
        assert sizes[-1] <= 4 * batch_size
        assert all(int((batch.targets < batch.n_items).sum()) < fair + max(lengths) for batch in batches)
    else:
        assert sizes[1:] == [batch_size] * (len(batches) - 1)  # only one may be smaller
    for batch in batches:
        pairs = [(histories[user][:-1][-max_length:], histories[user][1:][-max_length:]) for user in batch.users.tolist()]
        width = max(len(inputs) for inputs, _ in pairs)  # no wider than needed
        assert batch.sequences.tolist() == [padded(inputs, width) for inputs, _ in pairs]
        assert batch.targets.tolist() == [padded(targets, width) for _, targets in pairs]
        assert batch.n_items == N_ITEMS
        assert batch.negatives.shape == (0,)
        assert not batch.shared


@given(histories=LEARNABLE, n_negatives=st.integers(1, 3), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_negatives_of_a_position_avoid_all_the_user_took(histories: list[list[int]], n_negatives: int, seed: int) -> None:
    sampler = NextItemBatches(log_of(histories), batch_size=3, max_length=5, seed=seed, n_negatives=n_negatives)
    for batch in sampler(epoch=0):
        assert not batch.shared
        assert batch.negatives.shape == (*batch.sequences.shape, n_negatives)
        for user, negatives in zip(batch.users.tolist(), batch.negatives.flatten(1).tolist(), strict=True):
            assert set(negatives) <= set(range(N_ITEMS)) - set(histories[user])


def test_shared_negatives_are_one_uniform_draw_for_the_batch() -> None:
    histories = [list(range(N_ITEMS))[:5]] * 6
    sampler = NextItemBatches(log_of(histories), batch_size=2, max_length=5, seed=0, n_negatives=2000, shared_negatives=True)
    batches = list(sampler(epoch=0))
    for batch in batches:
        assert batch.shared
        assert batch.negatives.shape == (2000,)
        shares = torch.bincount(batch.negatives, minlength=N_ITEMS) / 2000
        assert shares.tolist() == pytest.approx([1 / N_ITEMS] * N_ITEMS, abs=5 * (0.1 / 2000) ** 0.5)  # seen items too
    assert not torch.equal(batches[0].negatives, batches[1].negatives)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("bucketed", [True, False])
def test_batches_depend_on_seed_and_epoch_alone(shared: bool, bucketed: bool) -> None:
    log = log_of([[user % 7, (user + 1) % 7, (user + 3) % 7] for user in range(30)])

    def epoch(seed: int, number: int) -> list[NextItemBatch]:
        sampler = NextItemBatches(log, batch_size=8, max_length=5, seed=seed, n_negatives=2, shared_negatives=shared, bucketed=bucketed)
        return list(sampler(number))

    before = torch.get_rng_state()
    first, again, other_epoch, other_seed = epoch(1, 4), epoch(1, 4), epoch(1, 5), epoch(2, 4)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(same(a, b) for a, b in zip(first, again, strict=True))
    for other in (other_epoch, other_seed):
        assert not any(torch.equal(a.users, b.users) for a, b in zip(first, other, strict=True) if len(a.users) == len(b.users))
        assert not any(torch.equal(a.negatives, b.negatives) for a, b in zip(first, other, strict=True))


def test_an_epoch_does_not_depend_on_the_epochs_before_it() -> None:
    sampler = NextItemBatches(log_of([[0, 1, 2]] * 20), batch_size=8, max_length=5, seed=1, n_negatives=1)
    alone = list(sampler(7))
    for number in range(3):
        list(sampler(number))
    assert all(same(a, b) for a, b in zip(alone, sampler(7), strict=True))


def test_buckets_hold_like_lengths_in_random_order() -> None:
    histories = [[0] * (2 + user % 10) for user in range(100)]
    log = log_of(histories)
    first_lengths, mates = set(), set()
    for number in range(8):
        lengths = []
        for batch in NextItemBatches(log, batch_size=20, max_length=50, seed=0)(number):
            lengths.append(sorted((row != N_ITEMS).sum().item() for row in batch.sequences))
            mates.add(tuple(sorted(batch.users.tolist())))
        ordered = sorted(lengths)
        assert [length for batch in ordered for length in batch] == sorted(len(history) - 1 for history in histories)
        first_lengths.add(tuple(lengths[0]))
    assert len(first_lengths) > 1  # not always the shortest first
    batch = next(NextItemBatches(log, batch_size=20, max_length=50, seed=0, bucketed=False)(0))
    assert (batch.sequences != N_ITEMS).sum(1).unique().numel() > 2


def test_buckets_mix_users_of_one_length_anew_each_epoch() -> None:
    sampler = NextItemBatches(log_of([[0, 1, 2]] * 40), batch_size=10, max_length=50, seed=0)
    mates = [{tuple(sorted(batch.users.tolist())) for batch in sampler(number)} for number in range(2)]
    assert not mates[0] & mates[1]


def test_beyond_max_length_bucketing_does_not_sort() -> None:
    histories = [[0] * (20 + user) for user in range(40)]  # all fill the window: their order stays random
    batches = list(NextItemBatches(log_of(histories), batch_size=10, max_length=5, seed=0)(0))
    for batch in batches:
        assert max(batch.users.tolist()) - min(batch.users.tolist()) > 10


@pytest.mark.parametrize("histories", [[[1]], [[], [3], [4]]])
def test_a_log_without_any_next_item_is_refused(histories: list[list[int]]) -> None:
    with pytest.raises(DataError, match="no user has two training items"):
        NextItemBatches(log_of(histories), batch_size=2, max_length=5, seed=0)


@given(histories=HISTORIES.filter(any), batch_size=st.integers(1, 7), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_pairs_visit_every_interaction_once_with_unseen_negatives(histories: list[list[int]], batch_size: int, seed: int) -> None:
    log = log_of(histories)
    sampler = PairBatches(log, batch_size=batch_size, seed=seed)
    batches = list(sampler(2))
    assert len(batches) == len(sampler)
    visited = [pair for batch in batches for pair in zip(batch.users.tolist(), batch.positives.tolist(), strict=True)]
    assert sorted(visited) == sorted(zip(log.user.tolist(), log.item.tolist(), strict=True))
    for batch in batches[:-1]:
        assert len(batch.users) == batch_size
    for batch in batches:
        for user, negative in zip(batch.users.tolist(), batch.negatives.tolist(), strict=True):
            assert 0 <= negative < N_ITEMS
            assert negative not in histories[user]


def test_pairs_depend_on_seed_and_epoch_alone() -> None:
    log = log_of([[0, 1, 2, 3]] * 20)

    def epoch(seed: int, number: int) -> torch.Tensor:
        batches = PairBatches(log, batch_size=7, seed=seed)(number)
        return torch.cat([torch.stack([batch.users, batch.positives, batch.negatives]) for batch in batches], 1)

    assert torch.equal(epoch(1, 2), epoch(1, 2))
    for other in (epoch(1, 3), epoch(2, 2)):
        assert not torch.equal(epoch(1, 2)[:2], other[:2])
        assert not torch.equal(epoch(1, 2)[2], other[2])


@given(histories=HISTORIES)
@settings(deadline=None, max_examples=30)
def test_seen_pairs_are_those_of_the_log(histories: list[list[int]]) -> None:
    users, items = torch.meshgrid(torch.arange(len(histories)), torch.arange(N_ITEMS), indexing="ij")
    expected = [[item in history for item in range(N_ITEMS)] for history in histories]
    assert SeenPairs(log_of(histories)).contains(users, items).tolist() == expected


def test_the_table_of_who_took_what_is_every_pair_asked_for() -> None:
    histories = [[0, 3, 3], [5], [], [1, 2, 4, 5]]
    seen = SeenPairs(log_of(histories, n_items=8))
    users, items = torch.tensor([3, 0, 2, 1, 3]), torch.tensor([5, 7, 3, 3, 0, 1])
    expected = [[item in histories[user] for item in items.tolist()] for user in users.tolist()]
    assert seen.table(users, items).tolist() == expected
    assert any(map(any, expected))
    assert seen.table(users[:0], items).shape == (0, 6)
    assert seen.table(users, items[:0]).shape == (5, 0)
    assert not SeenPairs(log_of([[], []], n_items=3)).table(torch.tensor([1, 0]), torch.tensor([2])).any()


def test_negatives_are_uniform_over_what_the_user_did_not_take() -> None:
    seen = SeenPairs(log_of([[0, 1, 2, 3, 3, 3], [8]]))
    negatives = seen.negatives(torch.tensor([[0, 1]]).expand(20_000, 2), generator_for(0, 0))
    for user, left in ((0, [4, 5, 6, 7, 8]), (1, list(range(8)))):
        shares = torch.bincount(negatives[:, user], minlength=N_ITEMS) / 20_000
        expected = [1 / len(left) if item in left else 0 for item in range(N_ITEMS)]
        assert shares.tolist() == pytest.approx(expected, abs=5 * (0.2 / 20_000) ** 0.5)
        assert shares[[item for item in range(N_ITEMS) if item not in left]].sum() == 0


def test_a_user_with_one_item_left_gets_it() -> None:
    seen = SeenPairs(log_of([[item for item in range(N_ITEMS) if item != 5]]))
    assert (seen.negatives(torch.zeros(200, dtype=torch.int64), generator_for(0, 0)) == 5).all()


def test_a_user_who_took_everything_does_not_hang() -> None:
    histories = [list(range(N_ITEMS)), [0, 1]]
    for batch in NextItemBatches(log_of(histories), batch_size=2, max_length=20, seed=0, n_negatives=2)(0):
        assert ((batch.negatives >= 0) & (batch.negatives < N_ITEMS)).all()
        beside = batch.negatives[batch.users == 1]  # the other user's negatives are still right
        assert (beside >= 2).all()
    assert len(list(PairBatches(log_of(histories), batch_size=4, seed=0)(0))) == 3


def test_seeds_differ_by_seed_epoch_and_purpose() -> None:
    seeds = {epoch_seed(seed, epoch, purpose) for seed in range(20) for epoch in range(20) for purpose in ("data", "order")}
    assert len(seeds) == 800
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert epoch_seed(1, 11) != epoch_seed(11, 1)
    draw = torch.rand(3, generator=generator_for(1, 2))
    assert torch.equal(draw, torch.rand(3, generator=torch.Generator().manual_seed(epoch_seed(1, 2))))
    assert not torch.equal(draw, torch.rand(3, generator=generator_for(1, 2, purpose="order")))


def test_seeds_are_those_of_every_release() -> None:
    # another number here means: the same seed trains another model
    assert (epoch_seed(0, 0), epoch_seed(42, 7, "order")) == (1620423220646905219, 2676434416818116067)


def test_bucketed_batches_hold_like_numbers_of_positions() -> None:
    histories = [list(range(2)) for _ in range(300)] + [list(range(31)) for _ in range(30)]  # 300 positions and 900
    sampler = NextItemBatches(log_of(histories, n_items=31), batch_size=33, max_length=50, seed=0)
    positions = [int((batch.targets < batch.n_items).sum()) for batch in sampler(epoch=0)]
    assert positions == [120] * 10  # 330 users / 33 a batch: 120 users of one position, or 4 of thirty
