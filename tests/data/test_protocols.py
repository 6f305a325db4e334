from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monge.data import PROTOCOLS, Interactions, Queries, Split, leave_one_out, predefined, ratio, strong_generalisation, temporal
from monge.errors import ConfigError, DataError, MongeError

Log = list[tuple[int, int, int]]
ROW = st.tuples(st.integers(0, 5), st.integers(0, 9), st.integers(0, 12))
LARGE_LOGS = st.lists(ROW, min_size=25, max_size=50)
LOGS = st.one_of(st.lists(ROW, min_size=1, max_size=20), LARGE_LOGS)
ROOMY = st.integers(
    4, 12
).flatmap(  # every user has several distinct items: nothing is empty
    lambda n: st.lists(st.permutations(range(12)).map(lambda items: items[:n]), min_size=8, max_size=14)
)


def log_of(rows: Log) -> Interactions:
    user, item, time = zip(*rows, strict=True)
    return Interactions.from_columns(list(user), list(item), time=list(time))


def log_of_sequences(sequences: list[list[int]]) -> Interactions:
    return log_of([(user, item, 100 * place + user) for user, items in enumerate(sequences) for place, item in enumerate(items)])


def pairs_of(log: Interactions) -> Counter[tuple[int, int]]:
    return Counter(zip(log.user.tolist(), log.item.tolist(), strict=True))


def truths_of(queries: Queries) -> Counter[tuple[int, int]]:
    return Counter(zip(queries.user[queries.truth.row_of_value].tolist(), queries.truth.values.tolist(), strict=True))


def histories_of(queries: Queries) -> dict[int, list[int]]:
    return {int(user): queries.history[place].tolist() for place, user in enumerate(queries.user)}


def is_subsequence(part: list[int], whole: list[int]) -> bool:
    rest = iter(whole)
    return all(item in rest for item in part)


def number_in(notes: Any, start: str, words: str) -> int:
    """The count that a note gives: `test: 3 held-out rows repeat ...`."""
    found = [note for note in notes if note.startswith(start) and words in note]
    return sum(int(note.removeprefix(start).strip().split()[0].replace(",", "")) for note in found)


def assert_sound(split: Split, log: Interactions, *, dropped_unseen: int = 0) -> None:
    """What holds for every split."""
    for queries in (split.validation, split.test):
        assert len(queries) > 0
        assert (np.diff(queries.user) > 0).all()
        assert (queries.truth.lengths > 0).all()
        for place, user in enumerate(queries.user.tolist()):
            history, truth = queries.history[place].tolist(), queries.truth[place].tolist()
            assert not set(history) & set(truth)
            assert len(set(truth)) == len(truth)
            assert is_subsequence(history, log.sequences[user].tolist())
            assert is_subsequence(truth, log.sequences[user].tolist())
    for user in range(log.n_users):
        assert is_subsequence(split.train.sequences[user].tolist(), log.sequences[user].tolist())
    repeats = number_in(split.notes, "validation:", "repeat") + number_in(split.notes, "test:", "repeat")
    accounted = pairs_of(split.train) + truths_of(split.validation) + truths_of(split.test)
    accounted += pairs_of(split.fold_in) if split.fold_in is not None else Counter()
    assert not accounted - pairs_of(log)  # no row is used twice
    assert len(log) == sum(accounted.values()) + repeats + dropped_unseen


OPTIONS: dict[str, list[dict[str, Any]]] = {
    "leave-one-out": [{}, {"min_length": 5}],
    "ratio": [{}, {"per": "global"}, {"test_history": "train"}, {"train": 0.4, "validation": 0.3, "test": 0.3}],
    "temporal": [
        {"keep_unseen_items": True},
        {"validation": 0.3, "test": 0.3, "keep_unseen_items": True},
        {"validation_time": 4, "test_time": 7},
    ],
    "strong-generalisation": [{"heldout_users": 0.3}, {"heldout_users": 1, "order": "random", "fold_in": 0.5}],
}
CASES = [pytest.param(name, options, id=f"{name}-{number}") for name, several in OPTIONS.items() for number, options in enumerate(several)]


@pytest.mark.parametrize(("name", "options"), CASES)
@given(rows=LOGS)
@settings(deadline=None, max_examples=60)
def test_every_row_goes_to_one_part_and_no_truth_is_known(name: str, options: dict[str, Any], rows: Log) -> None:
    log = log_of(rows)
    try:
        split = PROTOCOLS[name](log, **options)
    except DataError as error:
        assert "empty" in str(error) or "cannot hold out" in str(error)  # noqa: PT017 (small logs cannot be split)
        return
    n_unseen = 0
    if name == "temporal" and not options.get("keep_unseen_items"):
        n_unseen = sum(int(note.split("(")[1].split()[0]) for note in split.notes if "never saw" in note)
    assert_sound(split, log, dropped_unseen=n_unseen)
    assert split.protocol == name
    assert_same(split, PROTOCOLS[name](log, **options))


def assert_same(first: Split, second: Split) -> None:
    assert first.train.fingerprint == second.train.fingerprint
    assert truths_of(first.test) == truths_of(second.test)
    assert histories_of(first.test) == histories_of(second.test)
    assert histories_of(first.validation) == histories_of(second.validation)


# ---- leave one out


@given(
    sequences=st.lists(st.permutations(range(7)).flatmap(lambda items: st.integers(1, 7).map(lambda n: items[:n])), min_size=1, max_size=6)
)
@settings(deadline=None, max_examples=60)
def test_leave_one_out_is_the_papers_table(sequences: list[list[int]]) -> None:
    log = log_of_sequences(sequences)
    long = {user: items for user, items in enumerate(sequences) if len(items) >= 3}
    if not long:
        with pytest.raises(DataError, match="no user has 3 rows or more"):
            leave_one_out(log)
        return
    split = leave_one_out(log)
    for user, items in enumerate(sequences):
        expected = items[:-2] if user in long else items
        assert log.items.decode(split.train.sequences[log.users.number(user)]).tolist() == expected
    for queries, cut in ((split.validation, 2), (split.test, 1)):
        asked = {int(log.users.ids[user]): place for place, user in enumerate(queries.user)}
        assert set(asked) == set(long)
        for user, items in long.items():
            assert log.items.decode(queries.history[asked[user]]).tolist() == items[:-cut]
            assert log.items.decode(queries.truth[asked[user]]).tolist() == [items[-cut]]
    n_short = len(sequences) - len(long)
    assert any(note.startswith(f"{n_short} users with fewer than 3 rows") for note in split.notes) == (n_short > 0)


def test_a_repeat_is_no_truth_and_is_counted() -> None:
    split = leave_one_out(log_of_sequences([[1, 2, 3, 1], [1, 2, 3, 4], [5, 5, 6, 7]]))
    assert split.validation.user.tolist() == [0, 1, 2]
    assert split.test.user.tolist() == [1, 2]
    assert "test: 1 held-out rows repeat an item of their user and are no truth" in split.notes
    assert split.train.sequences.lengths.tolist() == [2, 2, 2]


# ---- ratio


@given(sequences=ROOMY, seed=st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_ratio_per_user_has_the_promised_sizes(sequences: list[list[int]], seed: int) -> None:
    log = log_of_sequences(sequences)
    split = ratio(log, train=0.6, validation=0.2, test=0.2, seed=seed)
    assert_sound(split, log)
    n = len(sequences[0])
    held_out = int(n * 0.2 + 0.5)
    assert set(split.test.truth.lengths.tolist()) == {held_out}
    assert set(split.validation.truth.lengths.tolist()) == {held_out}
    assert set(split.validation.history.lengths.tolist()) == {n - 2 * held_out}
    assert set(split.test.history.lengths.tolist()) == {n - held_out}
    bare = ratio(log, train=0.6, validation=0.2, test=0.2, seed=seed, test_history="train")
    assert histories_of(bare.test) == histories_of(split.validation)


def test_ratio_rounds_half_up_and_leaves_short_users_in_training() -> None:
    log = log_of_sequences([list(range(5)), list(range(4)), [0, 1], list(range(15))])
    split = ratio(log)
    assert split.test.user.tolist() == [0, 3]
    assert split.test.truth.lengths.tolist() == [1, 2]  # 5 * 0.1 + 1/2 = 1, 15 * 0.1 + 1/2 = 2
    assert split.train.sequences.lengths.tolist() == [3, 4, 2, 11]
    assert "1 users with fewer than 3 rows train but are not queried" in split.notes
    crowded = ratio(log_of_sequences([list(range(4))]), train=0.02, validation=0.49, test=0.49)
    assert (len(crowded.train), len(crowded.validation.truth.values), len(crowded.test.truth.values)) == (1, 1, 2)


@given(sequences=ROOMY, seed=st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_ratio_global_has_the_promised_sizes(sequences: list[list[int]], seed: int) -> None:
    log = log_of_sequences(sequences)
    split = ratio(log, per="global", seed=seed)
    assert_sound(split, log)
    tenth = int(len(log) * 0.1 + 0.5)
    assert (len(split.train), len(split.test.truth.values)) == (len(log) - 2 * tenth, tenth)


def test_another_seed_is_another_split_and_ratio_is_random_in_time() -> None:
    log = log_of_sequences([list(range(12))] * 20)
    assert_same(ratio(log, seed=3), ratio(log, seed=3))
    assert truths_of(ratio(log, seed=3).test) != truths_of(ratio(log, seed=4).test)
    assert len({item for _, item in truths_of(ratio(log).test)}) > 5  # not always the newest
    assert strong_generalisation(log, seed=1).test.user.tolist() != strong_generalisation(log, seed=2).test.user.tolist()


# ---- temporal


@given(rows=LARGE_LOGS, points=st.tuples(st.integers(2, 6), st.integers(7, 10)))
@settings(deadline=None, max_examples=60)
def test_temporal_parts_lie_before_and_after_the_points(rows: Log, points: tuple[int, int]) -> None:
    log = log_of(rows)
    assert log.time is not None
    begin, end = points
    seen = {item for _, item, time in rows if time < begin}
    try:
        split = temporal(log, validation_time=begin, test_time=end)
    except DataError as error:
        assert "would be empty" in str(error)  # noqa: PT017
        return
    assert split.train.time is not None
    assert split.train.time.max() < begin
    assert len(split.train) == sum(time < begin for _, _, time in rows)
    for queries, since, until in ((split.validation, begin, end), (split.test, end, 99)):
        asked = {int(log.users.ids[user]): place for place, user in enumerate(queries.user)}
        for user in {row[0] for row in rows}:
            history = [item for _, item, time in sorted((r for r in rows if r[0] == user), key=lambda row: row[2]) if time < since]
            truth = {item for other, item, time in rows if other == user and since <= time < until and item in seen} - set(history)
            assert (user in asked) == bool(truth)
            if truth:
                assert log.items.decode(queries.history[asked[user]]).tolist() == history
                assert set(log.items.decode(queries.truth[asked[user]]).tolist()) == truth


def test_temporal_shares_and_notes() -> None:
    log = Interactions.from_columns(list("ab" * 5), [1, 2, 3, 4, 1, 2, 4, 3, 2, 9], time=list(range(10)))
    split = temporal(log, validation=0.2, test=0.2)
    assert dict(split.options) == {"validation_time": 6, "test_time": 8, "keep_unseen_items": False}
    assert (len(split.train), len(split.validation.truth.values), len(split.test.truth.values)) == (6, 2, 1)
    assert "test: 1 items that training never saw (1 rows) are left out of the truth" in split.notes
    kept = temporal(log, validation=0.2, test=0.2, keep_unseen_items=True)
    assert len(kept.test.truth.values) == 2
    assert "test: 1 items that training never saw (1 rows) stay in the truth" in kept.notes
    newcomer = Interactions.from_columns(list("aaaab"), [1, 2, 3, 4, 1], time=[1, 2, 3, 4, 5])
    notes = temporal(newcomer, validation_time=4, test_time=5, keep_unseen_items=True).notes
    assert "test: 1 of 1 queries have no history" in notes
    assert "test: 1 of 1 queried users have no training row" in notes


# ---- strong generalisation


@given(sequences=ROOMY, seed=st.integers(0, 99), order=st.sampled_from(["time", "random"]))
@settings(deadline=None, max_examples=40)
def test_held_out_users_are_not_trained_on(sequences: list[list[int]], seed: int, order) -> None:
    log = log_of_sequences(sequences)
    split = strong_generalisation(log, heldout_users=2, seed=seed, order=order, fold_in=0.7)
    assert_sound(split, log)
    validation, test, train = set(split.validation.user.tolist()), set(split.test.user.tolist()), set(split.train.user.tolist())
    assert len(validation) == len(test) == 2
    assert validation | test | train == set(range(log.n_users))
    assert len(validation) + len(test) + len(train) == log.n_users
    assert split.fold_in is not None
    folded = {user: split.fold_in.sequences[user].tolist() for user in validation | test}
    assert folded == histories_of(split.validation) | histories_of(split.test)
    n = len(sequences[0])
    assert {len(history) for history in folded.values()} == {min(n - 1, int(n * 0.7 + 0.5))}
    if order == "time":
        assert all(log.sequences[user].tolist()[: len(history)] == history for user, history in folded.items())


def test_random_order_hides_other_rows_than_the_newest() -> None:
    log = log_of_sequences([list(range(12))] * 30)
    split = strong_generalisation(log, order="random")
    assert any(log.sequences[user].tolist()[: len(history)] != history for user, history in histories_of(split.test).items())
    assert all(history == sorted(history) for history in histories_of(split.test).values())  # in time order all the same
    by_share = strong_generalisation(log, heldout_users=0.2)
    assert (len(by_share.validation), len(by_share.test)) == (6, 6)


def test_items_that_only_held_out_users_have_are_kept_and_counted() -> None:
    log = log_of_sequences([[user * 10 + place for place in range(4)] for user in range(10)])
    split = strong_generalisation(log, heldout_users=2, fold_in=0.5)
    assert len(split.test.truth.values) == 4
    assert "test: 4 items that training never saw (4 rows) stay in the truth" in split.notes
    assert "4 users are held out of training: 2 for validation, 2 for test" in split.notes


# ---- predefined


def test_a_predefined_split_follows_its_labels() -> None:
    log = Interactions.from_columns(list("aaabbb"), [1, 2, 3, 3, 1, 2])
    split = predefined(log, np.array(["0", "Test", "valid", "0", "1", "2"], dtype=object))
    assert_sound(split, log)
    assert log.items.decode(split.train.item).tolist() == [1, 3]
    assert log.items.decode(split.test.truth.values).tolist() == [2, 2]
    assert [log.items.decode(split.test.history[place]).tolist() for place in (0, 1)] == [[1, 3], [3, 1]]
    with pytest.raises(DataError, match="split label 'x' is not known"):
        predefined(log, np.array(["0", "1", "2", "0", "1", "x"], dtype=object))
    with pytest.raises(DataError, match="predefined: test would be empty"):
        predefined(log, np.array(["0", "1", "0", "0", "1", "0"], dtype=object))


# ---- wrong requests


def wrong(name: str, log: Interactions, **options: Any) -> MongeError:
    with pytest.raises(MongeError) as caught:
        PROTOCOLS[name](log, **options)
    return caught.value


def test_wrong_options_and_empty_parts_say_what_to_change() -> None:
    log = log_of_sequences([list(range(4))] * 5)
    assert "no times; read it with --time-column" in str(wrong("temporal", Interactions.from_columns([1, 1], [1, 2])))
    assert "must begin before test; got validation_time 5 and test_time 5" in str(wrong("temporal", log, validation_time=5, test_time=5))
    same_time = Interactions.from_columns([1] * 9, list(range(9)), time=[7] * 9)
    assert "too many rows share the time 7" in str(wrong("temporal", same_time))
    late = str(wrong("temporal", log, validation_time=9000, test_time=9001))
    assert "temporal: validation would be empty: the times run from 0 to 304, validation begins at 9000" in late
    assert "training would be empty" in str(wrong("temporal", log, validation_time=-5, test_time=1))
    assert "ratio: validation would be empty: the log is too small for these shares" in str(wrong("ratio", log))
    assert "must add up to 1" in str(wrong("ratio", log, train=0.5))
    assert "leave-one-out: validation would be empty: no user has 9 rows or more" in str(wrong("leave-one-out", log, min_length=9))
    assert "cannot hold out 3 users each" in str(wrong("strong-generalisation", log, heldout_users=3))
    assert "repeats an item" in str(wrong("leave-one-out", log_of_sequences([[1, 1, 1], [2, 2, 2]])))
    for name, options in {
        "leave-one-out": {"min_length": 2},
        "ratio": {"per": "item"},
        "temporal": {"validation": 0.6, "test": 0.5},
        "strong-generalisation": {"fold_in": 1.0},
    }.items():
        assert isinstance(wrong(name, log, **options), ConfigError)
    assert isinstance(wrong("strong-generalisation", log, heldout_users=1.5), ConfigError)
    assert isinstance(wrong("ratio", log, test_history="all"), ConfigError)
