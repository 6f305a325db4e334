"""Noise: false rows in the training part, as many as asked for, of nobody's known pairs, and nothing else touched."""

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import monge
from monge.data import PROTOCOLS, Interactions, Queries, Ragged, Split, Vocabulary, add_noise, cold_items, cross_domain
from monge.errors import ConfigError, DataError, UnknownNameError
from tests.conftest import cycle_sequences, log_of
from tests.crossdomain import rounds

Pair = tuple[int, int]
SEQUENCES = st.lists(st.permutations(range(14)).flatmap(lambda items: st.integers(4, 14).map(lambda n: items[:n])), min_size=6, max_size=12)
OPTIONS: dict[str, dict[str, Any]] = {
    "leave-one-out": {},
    "ratio": {"train": 0.6, "validation": 0.2, "test": 0.2},
    "temporal": {"validation": 0.2, "test": 0.2},
    "strong-generalisation": {"heldout_users": 0.2},
}


def pairs_of(log: Interactions) -> Counter[Pair]:
    return Counter(zip(log.user.tolist(), log.item.tolist(), strict=True))


def known_of(split: Split) -> set[Pair]:
    """Every pair that the split has, with Python's sets."""
    known = set(pairs_of(split.train)) | {(user, item) for user in range(len(split.histories)) for item in split.histories[user].tolist()}
    known |= set() if split.fold_in is None else set(pairs_of(split.fold_in))
    for queries in (split.validation, split.test):
        for row, user in enumerate(queries.user.tolist()):
            known |= {(user, item) for item in [*queries.history[row].tolist(), *queries.truth[row].tolist()]}
    return known


def rows_of(log: Interactions) -> list[tuple[int, ...]]:
    columns = [log.user, log.item, *([] if log.time is None else [log.time]), *([] if log.weight is None else [log.weight])]
    return list(zip(*(column.tolist() for column in columns), strict=True))


def assert_only_training_grew(noisy: Split, split: Split) -> None:
    for name in ("user", "history", "truth"):
        for ours, theirs in ((noisy.validation, split.validation), (noisy.test, split.test)):
            mine, other = getattr(ours, name), getattr(theirs, name)
            assert (mine.values.tolist() if isinstance(mine, Ragged) else mine.tolist()) == (
                other.values.tolist() if isinstance(other, Ragged) else other.tolist()
            )
    assert noisy.histories is split.histories
    assert noisy.fold_in is split.fold_in
    rest = iter(rows_of(noisy.train))
    assert all(row in rest for row in rows_of(split.train))  # the true rows are all there, in their order


@settings(max_examples=60, deadline=None)
@given(
    sequences=SEQUENCES,
    protocol=st.sampled_from(sorted(PROTOCOLS.keys() - {"cold-items", "cross-domain", "released"})),
    ratio=st.floats(0, 1.5),
    seed=st.integers(0, 99),
    timed=st.booleans(),
)
def test_noise_is_new_pairs_of_training_users_and_nothing_else(
    sequences: list[list[int]], protocol: str, ratio: float, seed: int, timed: bool
) -> None:
    log = log_of(sequences)
    log = replace(log, weight=np.arange(len(log), dtype=np.float32), time=log.time if timed or protocol == "temporal" else None)
    split = PROTOCOLS[protocol](log, **OPTIONS[protocol])
    known = known_of(split)
    trained = set(split.train.user.tolist())
    n_added = math.floor(ratio * len(split.train) + 0.5)
    n_free = sum((user, item) not in known for user in trained for item in range(log.n_items))
    if n_added > n_free:
        with pytest.raises(DataError, match=rf"{n_added} pairs that nobody observed.*{n_free} in all; lower noise_ratio"):
            add_noise(split, ratio=ratio, seed=seed)
        return
    noisy = add_noise(split, ratio=ratio, seed=seed)
    assert_only_training_grew(noisy, split)
    added = pairs_of(noisy.train) - pairs_of(split.train)
    assert sum(added.values()) == n_added == len(noisy.train) - len(split.train)
    assert set(added.values()) <= {1}
    assert not known & set(added)
    assert {user for user, _ in added} <= trained
    assert rows_of(add_noise(split, ratio=ratio, seed=seed).train) == rows_of(noisy.train)
    if not n_added:
        assert noisy is split
        return
    assert noisy.options == {**split.options, "noise_ratio": ratio, "noise_seed": seed}
    assert list(noisy.notes) == [
        *split.notes,
        f"train: {n_added} pairs that nobody observed were added (noise_ratio {ratio}, noise_seed {seed})",
    ]
    before: tuple[int, ...] | None = None
    for row in rows_of(noisy.train):
        if row[:2] in added:  # user and all but the item are those of the true row before it
            assert before is not None
            assert (row[0], *row[2:]) == (before[0], *before[2:])
        else:
            before = row


def tiny(n_users: int, n_items: int, pairs: list[Pair], *, truth: list[Pair] | None = None) -> Split:
    """Training rows as given, one query of user 0 at least."""
    log = Interactions.from_numbers(
        np.array([user for user, _ in pairs]),
        np.array([item for _, item in pairs]),
        users=Vocabulary.of(list(range(n_users))),
        items=Vocabulary.of(list(range(n_items))),
    )
    held_out = truth or [(0, pairs[0][1] + 1)]
    queries = Queries(
        n_items=n_items,
        user=np.array([user for user, _ in held_out]),
        history=Ragged.from_lists([[]] * len(held_out)),
        truth=Ragged.from_lists([[item] for _, item in held_out]),
    )
    return Split(train=log, validation=queries, test=queries, protocol="made up", histories=log.sequences)


def test_all_free_pairs_can_be_taken_and_not_one_more() -> None:
    split = tiny(3, 6, [(0, 0), (0, 2), (1, 5), (1, 1)], truth=[(0, 3), (2, 4)])
    free = {(0, 1), (0, 4), (0, 5), (1, 0), (1, 2), (1, 3), (1, 4)}  # user 2 has no training row
    for seed in range(20):
        assert set(pairs_of(add_noise(split, ratio=7 / 4, seed=seed).train) - pairs_of(split.train)) == free
    with pytest.raises(DataError, match=r"noise_ratio 2 asks for 8 pairs .* the 2 training users with room for one have 7 in all"):
        add_noise(split, ratio=2)


def test_items_are_uniform_and_users_go_by_activity() -> None:
    active = [(0, item) for item in range(6)] + [(1, 0), (1, 7)]
    split = tiny(2, 200, active, truth=[(0, 100)])
    added: Counter[Pair] = Counter()
    n_draws = 3000
    for seed in range(n_draws):
        added += pairs_of(add_noise(split, ratio=1 / 8, seed=seed).train) - pairs_of(split.train)  # one row each
    share = sum(count for (user, _), count in added.items() if user == 0) / n_draws
    assert abs(share - 6 / 8) < 4 * math.sqrt(0.75 * 0.25 / n_draws)
    counts = np.zeros(200)
    for (_, item), count in added.items():
        counts[item] += count
    free = counts[8:100]  # items unknown of both users
    expected = n_draws * (0.75 / 193 + 0.25 / 198)
    assert ((free - expected) ** 2 / expected).sum() < 92 + 5 * math.sqrt(2 * 92)


def test_sets_of_items_are_uniform_where_a_user_gives_nearly_all() -> None:
    split = tiny(1, 6, [(0, 0)], truth=[(0, 5)])  # free: 1, 2, 3, 4
    for n_wanted in (1, 2, 3):
        found = Counter(
            tuple(sorted(item for _, item in pairs_of(add_noise(split, ratio=n_wanted, seed=seed).train) if item)) for seed in range(1200)
        )
        assert len(found) == math.comb(4, n_wanted)
        expected = 1200 / len(found)
        assert max(abs(count - expected) for count in found.values()) < 5 * math.sqrt(expected)


def test_a_busy_user_without_room_leaves_the_rest_to_others() -> None:
    pairs = [(0, item) for item in range(9)] + [(1, 0)]
    split = tiny(2, 10, pairs, truth=[(1, 1)])
    added = pairs_of(add_noise(split, ratio=0.6, seed=3).train) - pairs_of(split.train)
    assert Counter(user for user, _ in added) in (Counter({1: 6}), Counter({1: 5, 0: 1}))


def test_another_seed_draws_other_pairs_and_an_unknown_user_in_a_query_is_no_matter() -> None:
    split = PROTOCOLS["ratio"](log_of(cycle_sequences(60, 20)))
    unknown = replace(split.test, user=np.where(np.arange(len(split.test)) == 0, -1, split.test.user))
    draws = {tuple(rows_of(add_noise(replace(split, test=unknown), ratio=0.5, seed=seed).train)) for seed in range(5)}
    assert len(draws) == 5


@pytest.mark.parametrize("protocol", sorted(PROTOCOLS.keys() - {"cold-items", "cross-domain", "released"}))
def test_it_is_an_option_of_every_protocol_and_lies_in_the_file(protocol: str, tmp_path: Path) -> None:
    log = log_of(cycle_sequences(60, 20))
    options: dict[str, Any] = {"noise_ratio": 0.2, "noise_seed": 4}
    split = monge.make_split(log, protocol, options)
    clean = monge.make_split(log, protocol)
    assert rows_of(split.train) == rows_of(add_noise(clean, ratio=0.2, seed=4).train)
    assert monge.make_split(log, protocol, {"noise_ratio": 0, "noise_seed": 4}).options == clean.options
    split.save(tmp_path / "it.safetensors")
    loaded = Split.load(tmp_path / "it.safetensors")
    assert rows_of(loaded.train) == rows_of(split.train)
    assert (loaded.options["noise_ratio"], loaded.options["noise_seed"]) == (0.2, 4)
    assert any("nobody observed" in note for note in loaded.notes)


def test_a_run_keeps_the_noise_it_trained_on(tmp_path: Path) -> None:
    log = log_of(cycle_sequences())
    options = {"noise_ratio": 0.1}
    run = monge.train("popular", log, protocol="ratio", protocol_options=options, out=tmp_path / "run")
    split = monge.make_split(log, "ratio", options)
    assert run.directory is not None
    assert rows_of(run.directory.split().train) == rows_of(split.train)
    assert run.model.counts.tolist() == split.train.item_counts.tolist()  # pyright: ignore[reportAttributeAccessIssue]
    assert run.info["protocol"]["options"]["noise_ratio"] == 0.1
    assert any("nobody observed" in note for note in run.info["protocol"]["notes"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise_ratio": -0.1}, "noise_ratio must be a number of at least 0.*got -0.1"),
        ({"noise_ratio": float("nan")}, "noise_ratio must be .*got nan"),
        ({"noise_ratio": float("inf")}, "noise_ratio must be .*got inf"),
        ({"noise_ratio": "much"}, "noise_ratio must be .*got 'much'"),
        ({"noise_ratio": True}, "noise_ratio must be .*got True"),
        ({"noise_ratio": 0.1, "noise_seed": -1}, "noise_seed must be a whole number of at least 0; got -1"),
        ({"noise_ratio": 0.1, "noise_seed": 1.5}, "noise_seed must be .*got 1.5"),
    ],
)
def test_wrong_values_are_one_sentence(options: dict[str, Any], message: str, cycle: Interactions) -> None:
    with pytest.raises(ConfigError, match=message):
        monge.make_split(cycle, "ratio", options)


def test_too_much_noise_and_a_misspelt_name(cycle: Interactions) -> None:
    with pytest.raises(DataError, match=r"noise_ratio 50 asks for .* lower noise_ratio"):
        monge.make_split(cycle, "ratio", {"noise_ratio": 50})
    with pytest.raises(UnknownNameError, match="did you mean 'noise_ratio'"):
        monge.make_split(cycle, "ratio", {"noise_rato": 0.1})


def test_noise_would_not_reach_training_examples() -> None:
    split = cross_domain(rounds(), n_negatives=0)
    with pytest.raises(ConfigError, match="noise_ratio cannot go with cross-domain: its training examples were made with the split"):
        add_noise(split, ratio=0.5)
    assert add_noise(split, ratio=0) is split


def test_noise_would_train_items_that_are_held_out() -> None:
    split = cold_items(log_of([[0, 1, 2, 3], [3, 2, 1, 0], [1, 2]]), heldout_items=1)
    with pytest.raises(ConfigError, match="noise_ratio cannot go with cold-items"):
        add_noise(split, ratio=0.5)
    assert add_noise(split, ratio=0) is split
