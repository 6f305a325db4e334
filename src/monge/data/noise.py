"""Noise for robustness studies: pairs that nobody observed, added to the training part of a split and to nothing else.

Source: SCLRec (Zhuang & Zhang, their Fig. 2), after Wu et al., "Self-supervised Graph Learning for Recommendation", SIGIR 2021. Ours,
since SCLRec does not say how pairs are drawn: users by their activity, items uniformly.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from monge.data.interactions import Interactions
from monge.data.ragged import IntArray
from monge.data.split import Split
from monge.errors import ConfigError, DataError


def add_noise(split: Split, *, ratio: float, seed: int = 0) -> Split:
    """The split with `ratio` times as many false rows in its training as it has true ones.

    - How many: floor(ratio * |train| + 1/2), all pairs distinct.
    - Users: each row is given to the user of a training row drawn uniformly; a user who has run out of items is drawn no more.
    - Items: uniform over all items of the vocabulary that are not known of the user, in any part: training, validation and test with
      their histories, fold-in, and `split.histories`.
    - Time: a false row stands right after the training row that was drawn for it, with that row's time and weight. So it has a
      random place within the user's sequence, and never the first.

    Queries and `histories` stay as they are, so what is asked and what is hidden from rankings is clean. A set of pairs depends on the
    split, the ratio and the seed alone, so every model gets the same. Memory grows with the rows, not with users x items.

    Args:
        split: any protocol's.
        ratio: >= 0, false rows for each true one; where that makes no row, the split itself comes back.
        seed: >= 0, of the drawing.

    Returns:
        A split whose `options` have `noise_ratio` and `noise_seed`, and whose notes tell of the rows.

    Raises:
        ConfigError: a ratio or a seed that is no number, or below 0; a split that holds items out, or brings training examples.
        DataError: so many pairs do not exist.
    """
    if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 <= ratio < math.inf:
        raise ConfigError(f"noise_ratio must be a number of at least 0 (0.1 adds a tenth of the training rows); got {ratio!r}")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ConfigError(f"noise_seed must be a whole number of at least 0; got {seed!r}")
    train = split.train
    n_added = math.floor(ratio * len(train) + 0.5)
    if not n_added:
        return split
    if split.test.eligible is not None:
        raise ConfigError("noise_ratio cannot go with cold-items: false pairs would train the items that are held out")
    if train.examples is not None:
        raise ConfigError(
            f"noise_ratio cannot go with {split.protocol}: its training examples were made with the split, and false rows would not "
            "stand in them; use ratio, or another protocol of plain logs"
        )
    known = _known_pairs(split)
    room = train.n_items - np.bincount(known // train.n_items, minlength=train.n_users)
    room[train.sequences.lengths == 0] = 0
    if n_added > room.sum():
        raise DataError(
            f"noise_ratio {ratio} asks for {n_added:,} pairs that nobody observed, and the {int((room > 0).sum()):,} training users with "
            f"room for one have {int(room.sum()):,} in all; lower noise_ratio"
        )
    rng = np.random.default_rng(seed)
    after = _draw_rows(train, room, n_added, rng)
    user = train.user[after]
    item = _item_at_rank(user, _draw_ranks(user, room, rng), known, train.n_items)
    note = f"train: {n_added:,} pairs that nobody observed were added (noise_ratio {ratio}, noise_seed {seed})"
    return replace(
        split,
        train=_inserted(train, item, after),
        options={**split.options, "noise_ratio": ratio, "noise_seed": seed},
        notes=[*split.notes, note],
    )


def _known_pairs(split: Split) -> IntArray:
    """user * n_items + item of everything that the split knows, sorted, each once."""
    n_items = split.train.n_items
    logs = [split.train] if split.fold_in is None else [split.train, split.fold_in]
    pairs = [log.user * n_items + log.item for log in logs]
    pairs.append(split.histories.row_of_value * n_items + split.histories.values)
    for queries in (split.validation, split.test):
        for rows in (queries.history, queries.truth):
            users = queries.user[rows.row_of_value]
            pairs.append((users * n_items + rows.values)[users >= 0])
    return np.unique(np.concatenate(pairs))


def _draw_rows(train: Interactions, room: IntArray, n: int, rng: np.random.Generator) -> IntArray:
    """(n,) training rows, uniform with repeats, sorted; of no user more than there is room for."""
    drawn: list[IntArray] = []
    left = room.copy()
    while n:
        open_rows = np.flatnonzero(left[train.user] > 0)
        rows = open_rows[rng.integers(len(open_rows), size=n)]
        rows = rows[np.argsort(train.user[rows], kind="stable")]  # by user, each user's in the order drawn
        user = train.user[rows]
        rows = rows[np.arange(n) - np.searchsorted(user, user) < left[user]]
        left -= np.bincount(train.user[rows], minlength=len(left))
        drawn.append(rows)
        n -= len(rows)
    return np.sort(np.concatenate(drawn))


def _draw_ranks(user: IntArray, room: IntArray, rng: np.random.Generator) -> IntArray:
    """For (n,) sorted users a number in 0 .. room - 1 each, uniform, distinct within a user; in random order within a user.

    Users who need less than half of their room draw until nothing repeats; the others take the first of a random order of all.
    """
    wanted = np.bincount(user, minlength=len(room))
    dense = 2 * wanted > room
    ranks = np.empty(len(user), dtype=np.int64)

    lengths = np.where(dense, room, 0)
    owner = np.repeat(np.arange(len(room)), lengths)
    order = np.lexsort((rng.random(len(owner)), owner))
    place = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)  # 0, 1, ... of each owner
    ranks[dense[user]] = place[order][place < wanted[owner]]

    sparse = np.flatnonzero(~dense[user])
    again, owner, width = np.ones(len(sparse), dtype=np.bool_), user[sparse], int(room.max())
    while again.any():
        ranks[sparse[again]] = rng.integers(room[owner[again]])
        again[:] = True
        again[np.unique(owner * width + ranks[sparse], return_index=True)[1]] = False
    return ranks


def _item_at_rank(user: IntArray, rank: IntArray, known: IntArray, n_items: int) -> IntArray:
    """The item that stands at each rank, from 0, among those that are not known of the user."""
    owner, item = known // n_items, known % n_items
    starts = np.searchsorted(owner, np.arange(int(owner.max(initial=-1)) + 2))
    before = item - (np.arange(len(known)) - starts[owner])  # unknown items of the user below each known one: it never falls
    skipped = np.searchsorted(owner * (n_items + 1) + before, user * (n_items + 1) + rank, side="right") - np.searchsorted(owner, user)
    return rank + skipped


def _inserted(log: Interactions, item: IntArray, after: IntArray) -> Interactions:
    """The log with a row for each new item right after the row numbers given, alike but for the item."""
    order = np.argsort(np.concatenate([np.arange(len(log)), after]), kind="stable")
    source = np.concatenate([np.arange(len(log)), after])[order]

    def taken(column: npt.NDArray[Any] | None) -> npt.NDArray[Any] | None:
        return None if column is None else column[source]

    return replace(log, user=log.user[source], item=np.concatenate([log.item, item])[order], time=taken(log.time), weight=taken(log.weight))
