"""Evaluation protocols: which rows train, which select, which test. None of them ever looks at a model.

What holds for all of them:
- the parts of a split share the log's vocabularies; a user's rows stay in time order within each part;
- an item of a query's truth never stands in its history: a held-out row that repeats an item of the history, or another row
  of the same truth, is no truth, does not go to training either, and is counted in the notes;
- a user with no truth in a part has no query in it; a part without any query, or without a training row, is an error;
- randomness comes from `numpy.random.default_rng(seed)` alone: the same log and seed give the same split.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from monge.data.cross_domain import cross_domain
from monge.data.interactions import Interactions, ObjectArray
from monge.data.queries import Queries
from monge.data.ragged import IntArray, Ragged
from monge.data.released import released
from monge.data.split import Split
from monge.errors import ConfigError, DataError

BoolArray = npt.NDArray[np.bool_]
History = Literal["train", "train+validation"]

LABELS = {
    "train": ("0", "train", "training"),
    "validation": ("1", "valid", "validation", "val", "dev"),
    "test": ("2", "test"),
}
"""How files mark the part that a row belongs to (`x_label` and the like), in lower case."""


def leave_one_out(log: Interactions, *, min_length: int = 3) -> Split:
    """The newest item of each user tests, the one before it validates, the rest train.

    For a user with items v_1 .. v_k: train v_1 .. v_{k-2}; validation: history v_1 .. v_{k-2}, truth v_{k-1}; test: history
    v_1 .. v_{k-1}, truth v_k. All rows of users with fewer than `min_length` items train, and those users are not queried.
    """
    if min_length < 3:
        raise ConfigError(f"leave-one-out needs min_length >= 3 (one item each to train, validate and test); got {min_length}")
    lengths = log.sequences.lengths
    from_end = lengths[log.user] - log.position_in_sequence
    long = lengths[log.user] >= min_length
    test, validation = long & (from_end == 1), long & (from_end == 2)
    n_short = int(((lengths < min_length) & (lengths > 0)).sum())
    notes = [f"{n_short:,} users with fewer than {min_length} rows train but are not queried"] if n_short else []
    return _split(
        log,
        protocol="leave-one-out",
        options={"min_length": min_length},
        validation=(~long | ~(validation | test), validation),
        test=(~test, test),
        train=~(validation | test),
        notes=notes,
        remedy=f"no user has {min_length} rows or more; use another protocol",
    )


def ratio(
    log: Interactions,
    *,
    train: float = 0.8,
    validation: float = 0.1,
    test: float = 0.1,
    per: Literal["user", "global"] = "user",
    seed: int = 0,
    test_history: History = "train+validation",
) -> Split:
    """Rows go to the parts at random in the given shares.

    Rounding: of n rows (of a user, or of the log), floor(n * share + 1/2) go to test and as many by their share to
    validation; where that would leave fewer than one row to train, validation gives way first, then test. Per user, all rows
    of users with fewer than 3 rows train. The history of a validation query is the user's training rows; that of a test
    query also has the validation rows, unless `test_history="train"`.
    """
    _check_shares(train=train, validation=validation, test=test)
    if abs(train + validation + test - 1) > 1e-6:
        raise ConfigError(f"train, validation and test must add up to 1; got {train} + {validation} + {test}")
    if per not in ("user", "global"):
        raise ConfigError(f"per must be user or global; got {per!r}")
    _check_history(test_history)
    draw = np.random.default_rng(seed).random(len(log))
    if per == "user":
        lengths = log.sequences.lengths
        rank = _rank_within_user(log, draw)
        n_test, n_validation = _shares(np.where(lengths < 3, 0, lengths), validation, test)
        is_test = rank < n_test[log.user]
        is_validation = ~is_test & (rank < (n_test + n_validation)[log.user])
        n_short = int(((lengths < 3) & (lengths > 0)).sum())
        notes = [f"{n_short:,} users with fewer than 3 rows train but are not queried"] if n_short else []
    else:
        rank = np.empty(len(log), dtype=np.int64)
        rank[np.argsort(draw, kind="stable")] = np.arange(len(log), dtype=np.int64)
        n_test, n_validation = _shares(np.array([len(log)], dtype=np.int64), validation, test)
        is_test = rank < n_test
        is_validation = ~is_test & (rank < n_test + n_validation)
        notes = []
    is_train = ~(is_test | is_validation)
    return _split(
        log,
        protocol="ratio",
        options={"train": train, "validation": validation, "test": test, "per": per, "seed": seed, "test_history": test_history},
        validation=(is_train, is_validation),
        test=(is_train if test_history == "train" else ~is_test, is_test),
        train=is_train,
        notes=notes,
        remedy="the log is too small for these shares; raise them" + (", or split per='global'" if per == "user" else ""),
    )


def temporal(
    log: Interactions,
    *,
    validation_time: int | None = None,
    test_time: int | None = None,
    validation: float = 0.1,
    test: float = 0.1,
    keep_unseen_items: bool = False,
) -> Split:
    """One point in time for all users: what is older trains, what comes after is to be foretold.

    Rows before `validation_time` train, rows from there to before `test_time` validate, rows from `test_time` on test. A
    query's history is everything of its user before its part begins. Points that are not given are the times at which the
    newest `test` (and before them `validation`) share of the rows begins; rows of equal time stay in one part. Items that
    training never saw are left out of the truth unless `keep_unseen_items`.
    """
    if log.time is None:
        raise DataError("temporal: the log has no times; read it with --time-column NAME, or use leave-one-out or ratio")
    _check_shares(validation=validation, test=test)
    if validation + test >= 1:
        raise ConfigError(f"validation and test must leave something to train; got {validation} + {test}")
    rising = np.sort(log.time)
    if not len(rising):
        raise DataError("the log has no row to split")
    point_2 = int(rising[_place(len(rising), 1 - test)]) if test_time is None else test_time
    point_1 = int(rising[_place(len(rising), 1 - test - validation)]) if validation_time is None else validation_time
    if point_1 >= point_2:
        if validation_time is None and test_time is None:
            raise DataError(
                f"temporal: validation would be empty: too many rows share the time {point_2}; give both times, or a larger share"
            )
        raise ConfigError(f"validation must begin before test; got validation_time {point_1} and test_time {point_2}")
    is_train, is_test = log.time < point_1, log.time >= point_2
    is_validation = ~(is_train | is_test)
    return _split(
        log,
        protocol="temporal",
        options={"validation_time": point_1, "test_time": point_2, "keep_unseen_items": keep_unseen_items},
        validation=(is_train, is_validation),
        test=(~is_test, is_test),
        train=is_train,
        notes=[],
        remedy=f"the times run from {rising[0]} to {rising[-1]}, validation begins at {point_1}, test at {point_2}; move these points",
        keep_unseen_items=keep_unseen_items,
    )


def strong_generalisation(
    log: Interactions,
    *,
    heldout_users: float = 0.1,
    fold_in: float = 0.8,
    seed: int = 0,
    order: Literal["time", "random"] = "time",
) -> Split:
    """Some users are never trained on: a part of their rows is shown as history, the rest is to be foretold.

    Args:
        log: the interactions.
        heldout_users: share of the users with 2 rows or more held out for validation, and as many again for test; 1 or more
            is a number of users.
        fold_in: share of a held-out user's n rows that makes the history: floor(n * fold_in + 1/2), within 1 .. n - 1.
        seed: of the drawing of users, and of rows where the order is random.
        order: whether the history is a user's oldest rows ("time") or random ones ("random"); it is in time order in either case.

    Returns:
        A split whose `fold_in` are the histories of all held-out users: extra training rows for models that cannot answer
        users whom they never saw. The users keep their numbers.
    """
    if not 0 < fold_in < 1:
        raise ConfigError(f"fold_in must lie between 0 and 1; got {fold_in}")
    if heldout_users <= 0 or (heldout_users >= 1 and heldout_users != int(heldout_users)):
        raise ConfigError(f"heldout_users must be a share between 0 and 1 or a whole number of users; got {heldout_users}")
    if order not in ("time", "random"):
        raise ConfigError(f"order must be time or random; got {order!r}")
    rng = np.random.default_rng(seed)
    lengths = log.sequences.lengths
    eligible = np.flatnonzero(lengths >= 2)
    n_held_out = int(heldout_users) if heldout_users >= 1 else int(np.floor(len(eligible) * heldout_users + 0.5 + 1e-9))
    if not 0 < 2 * n_held_out < max(1, int((lengths > 0).sum())):
        raise DataError(
            f"cannot hold out {n_held_out:,} users each for validation and test: the log has {len(eligible):,} users with 2 rows or more "
            f"(of {int((lengths > 0).sum()):,}); change heldout_users"
        )
    if 2 * n_held_out > len(eligible):
        raise DataError(f"cannot hold out {2 * n_held_out:,} users: only {len(eligible):,} have 2 rows or more; lower heldout_users")
    drawn = rng.permutation(eligible)[: 2 * n_held_out]
    part = np.zeros(log.n_users, dtype=np.int64)  # 0 train, 1 validation, 2 test
    part[drawn[:n_held_out]] = 1
    part[drawn[n_held_out:]] = 2
    rank = log.position_in_sequence if order == "time" else _rank_within_user(log, rng.random(len(log)))
    n_shown = np.clip(np.floor(lengths * fold_in + 0.5 + 1e-9).astype(np.int64), 1, np.maximum(lengths - 1, 1))
    shown = rank < n_shown[log.user]
    of_part = part[log.user]
    return _split(
        log,
        protocol="strong-generalisation",
        options={"heldout_users": heldout_users, "fold_in": fold_in, "seed": seed, "order": order},
        validation=((of_part == 1) & shown, (of_part == 1) & ~shown),
        test=((of_part == 2) & shown, (of_part == 2) & ~shown),
        train=of_part == 0,
        notes=[f"{2 * n_held_out:,} users are held out of training: {n_held_out:,} for validation, {n_held_out:,} for test"],
        remedy="every held-out row repeats an item of its user's history; remove repeats from the log",
        fold_in=(of_part > 0) & shown,
    )


def cold_items(log: Interactions, *, heldout_items: float = 0.1, seed: int = 0) -> Split:
    """Some items are never trained on; what is asked is which users of the training took them. For models that read item content.

    Args:
        log: the interactions.
        heldout_items: share of the items with a row held out for validation, and as many again for test; 1 or more is a number of items.
        seed: of the drawing of items.

    Returns:
        A split whose queries have a user's training rows as history and the user's held-out items of the part as truth; only the held-out
        items of the part are ranked (`Queries.eligible`). The items keep their numbers.
    """
    if heldout_items <= 0 or (heldout_items >= 1 and heldout_items != int(heldout_items)):
        raise ConfigError(f"heldout_items must be a share between 0 and 1 or a whole number of items; got {heldout_items}")
    taken = np.flatnonzero(log.item_counts)
    n_held_out = int(heldout_items) if heldout_items >= 1 else int(np.floor(len(taken) * heldout_items + 0.5 + 1e-9))
    if not 0 < 2 * n_held_out < len(taken):
        raise DataError(
            f"cannot hold out {n_held_out:,} items each for validation and test: the log has {len(taken):,}; change heldout_items"
        )
    drawn = np.random.default_rng(seed).permutation(taken)[: 2 * n_held_out]
    cold = {"validation": np.sort(drawn[:n_held_out]), "test": np.sort(drawn[n_held_out:])}
    part = np.zeros(log.n_items, dtype=np.int64)  # 0 train, 1 validation, 2 test
    part[cold["validation"]], part[cold["test"]] = 1, 2
    of_part = part[log.item]
    split = _split(
        log,
        protocol="cold-items",
        options={"heldout_items": heldout_items, "seed": seed},
        validation=(of_part == 0, of_part == 1),
        test=(of_part == 0, of_part == 2),
        train=of_part == 0,
        notes=[f"{2 * n_held_out:,} items never train: {n_held_out:,} are to be ranked for validation, {n_held_out:,} for test, no others"],
        remedy="change heldout_items",
    )
    queries = {name: replace(getattr(split, name), eligible=items) for name, items in cold.items()}
    return replace(split, **queries, histories=split.train.sequences)


def predefined(log: Interactions, labels: ObjectArray, *, test_history: History = "train+validation") -> Split:
    """The split that came with the data: `labels` names the part of each row (see `LABELS`), in the order of the log's rows."""
    _check_history(test_history)
    if len(labels) != len(log):
        raise ValueError(f"there are {len(labels)} labels for {len(log)} rows")
    distinct, which = np.unique(np.array([str(label).strip().lower() for label in labels.tolist()], dtype=object), return_inverse=True)
    unknown = [label for label in distinct.tolist() if not any(label in spellings for spellings in LABELS.values())]
    if unknown:
        raise DataError(f"split label {unknown[0]!r} is not known; rows must be marked 0, 1, 2 or train, validation, test")
    is_train, is_validation, is_test = (np.isin(distinct, LABELS[part])[which] for part in ("train", "validation", "test"))
    return _split(
        log,
        protocol="predefined",
        options={"test_history": test_history},
        validation=(is_train, is_validation),
        test=(is_train if test_history == "train" else ~is_test, is_test),
        train=is_train,
        notes=[],
        remedy="no row is marked so, or all of them repeat earlier ones",
    )


PROTOCOLS: Mapping[str, Callable[..., Split]] = {
    "leave-one-out": leave_one_out,
    "ratio": ratio,
    "temporal": temporal,
    "strong-generalisation": strong_generalisation,
    "cold-items": cold_items,
    "cross-domain": cross_domain,
    "released": released,
}
"""Protocols by name: each takes a log and its own options, and gives a split."""


def _split(
    log: Interactions,
    *,
    protocol: str,
    options: Mapping[str, Any],
    train: BoolArray,
    validation: tuple[BoolArray, BoolArray],
    test: tuple[BoolArray, BoolArray],
    notes: Sequence[str],
    remedy: str,
    fold_in: BoolArray | None = None,
    keep_unseen_items: bool = True,
) -> Split:
    """Build the parts from masks over rows; `validation` and `test` are (history rows, held-out rows)."""
    if not train.any():
        raise DataError(f"{protocol}: training would be empty: {remedy}")
    notes = list(notes)
    seen = np.bincount(log.item[train], minlength=log.n_items) > 0
    trained = np.bincount(log.user[train], minlength=log.n_users) > 0
    parts = {}
    for name, (history, held_out) in (("validation", validation), ("test", test)):
        if not held_out.any():
            raise DataError(f"{protocol}: {name} would be empty: {remedy}")
        repeats = held_out & ~_first_of_pair(log, history, held_out)
        unseen = held_out & ~repeats & ~seen[log.item]
        truth = held_out & ~repeats & (keep_unseen_items | ~unseen)
        if repeats.any():
            notes.append(f"{name}: {int(repeats.sum()):,} held-out rows repeat an item of their user and are no truth")
        if unseen.any():
            fate = "stay in the truth" if keep_unseen_items else "are left out of the truth"
            n_unseen = len(np.unique(log.item[unseen]))
            notes.append(f"{name}: {n_unseen:,} items that training never saw ({int(unseen.sum()):,} rows) {fate}")
        if not truth.any():
            reason = "every held-out row repeats an item" + (" or has one that training never saw" if unseen.any() else "")
            raise DataError(f"{protocol}: {name} would be empty: {reason}; {remedy}")
        queries = _queries(log, history, truth)
        n_bare = int((queries.history.lengths == 0).sum())
        if n_bare:
            notes.append(f"{name}: {n_bare:,} of {len(queries):,} queries have no history")
        if fold_in is None and (n_untrained := int((~trained[queries.user]).sum())):
            notes.append(f"{name}: {n_untrained:,} of {len(queries):,} queried users have no training row")
        parts[name] = queries
    return Split(
        train=log.select(train),
        validation=parts["validation"],
        test=parts["test"],
        protocol=protocol,
        options=dict(options),
        notes=tuple(notes),
        histories=log.sequences,
        fold_in=None if fold_in is None else log.select(fold_in),
    )


def _queries(log: Interactions, history: BoolArray, truth: BoolArray) -> Queries:
    """One query for each user with a truth row."""
    truth_lengths = np.bincount(log.user[truth], minlength=log.n_users).astype(np.int64)
    user = np.flatnonzero(truth_lengths).astype(np.int64)
    history = history & (truth_lengths[log.user] > 0)
    history_lengths = np.bincount(log.user[history], minlength=log.n_users).astype(np.int64)
    return Queries(
        n_items=log.n_items,
        user=user,
        history=Ragged.from_lengths(log.item[history], history_lengths[user]),
        truth=Ragged.from_lengths(log.item[truth], truth_lengths[user]),
    )


def _first_of_pair(log: Interactions, history: BoolArray, held_out: BoolArray) -> BoolArray:
    """Held-out rows whose item is neither in their user's history nor in an earlier held-out row of the user."""
    pair = log.user * np.int64(log.n_items) + log.item
    rows = np.flatnonzero(held_out)
    rows = rows[np.unique(pair[rows], return_index=True)[1]]
    first = np.zeros(len(log), dtype=np.bool_)
    first[rows[~np.isin(pair[rows], pair[history])]] = True
    return first


def _rank_within_user(log: Interactions, draw: npt.NDArray[np.float64]) -> IntArray:
    """Each row's place 0, 1, ... among its user's rows sorted by their draw."""
    order = np.lexsort((draw, log.user))
    rank = np.empty(len(log), dtype=np.int64)
    rank[order] = log.position_in_sequence  # users' rows stand together in either order
    return rank


def _shares(n: IntArray, validation: float, test: float) -> tuple[IntArray, IntArray]:
    """How many of n rows test and validate: rounded half up, one row at least left to train."""
    most = np.maximum(n - 1, 0)
    n_test = np.minimum(np.floor(n * test + 0.5 + 1e-9).astype(np.int64), most)
    n_validation = np.minimum(np.floor(n * validation + 0.5 + 1e-9).astype(np.int64), most - n_test)
    return n_test, n_validation


def _place(n: int, share: float) -> int:
    return min(n - 1, int(np.floor(n * share + 1e-9)))


def _check_shares(**shares: float) -> None:
    for name, share in shares.items():
        if not 0 < share < 1:
            raise ConfigError(f"{name} must lie between 0 and 1; got {share}")


def _check_history(test_history: str) -> None:
    if test_history not in ("train", "train+validation"):
        raise ConfigError(f"test_history must be train or train+validation; got {test_history!r}")
