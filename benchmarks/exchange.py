"""A split as plain text, so that peers train on the same rows and answer the same queries.

The folder holds `train.tsv`, `validation.tsv`, `test.tsv` (tab-separated, one heading line `user item time`, whole
numbers) and `split.json` (protocol, options and counts). Users and items are Monge's numbers. `time` is not the log's
time but the row's place in its user's sequence, training rows first, then validation, then test: it is the order in
which the split reveals them, and RecBole keeps times as float32, which would merge seconds that are a minute apart.

A peer knows of a user what stands in the files before the one it is tested on, so only splits whose histories are just
that can be written; `write_split` checks it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from monge.data.queries import Queries
from monge.data.split import Split

IntArray = npt.NDArray[np.int64]


def write_split(split: Split, folder: str | Path) -> Path:
    """Write a split into a folder (made where missing) in the format of this module; gives the folder.

    Raises:
        ValueError: a peer would not see the same queries (unknown users, candidates, fold-in, other histories).
    """
    folder = Path(folder)
    if split.fold_in is not None:
        raise ValueError(f"a split by {split.protocol!r} has fold-in users, which peers cannot answer")
    n_items = split.train.n_items
    known = np.stack([split.train.user, split.train.item])
    parts = {"train": known}
    for name, queries in (("validation", split.validation), ("test", split.test)):
        _check_queries(name, queries, known, n_items)
        parts[name] = np.stack([queries.user[queries.truth.row_of_value], queries.truth.values])
        known = np.concatenate([known, parts[name]], axis=1)
    folder.mkdir(parents=True, exist_ok=True)
    taken = np.zeros(split.train.n_users, dtype=np.int64)
    for name, (user, item) in parts.items():
        order = np.argsort(user, kind="stable")
        user, item = user[order], item[order]
        starts = np.searchsorted(user, user)
        time = taken[user] + np.arange(len(user)) - starts
        taken += np.bincount(user, minlength=len(taken))
        rows = np.stack([user, item, time], axis=1)
        np.savetxt(folder / f"{name}.tsv", rows, fmt="%d", delimiter="\t", header="user\titem\ttime", comments="")
    about = {
        "protocol": split.protocol,
        "options": dict(split.options),
        "n_users": split.train.n_users,
        "n_items": n_items,
        "rows": {name: part.shape[1] for name, part in parts.items()},
    }
    (folder / "split.json").write_text(json.dumps(about, indent=2) + "\n")
    return folder


def _check_queries(name: str, queries: Queries, known: IntArray, n_items: int) -> None:
    if queries.candidates is not None:
        raise ValueError(f"the {name} queries rank candidates only; peers rank all items")
    if len(np.unique(queries.user)) != len(queries) or (len(queries) and queries.user.min() < 0):
        raise ValueError(f"the {name} queries must be of known users, one query each")
    history = queries.user[queries.history.row_of_value] * n_items + queries.history.values
    asked = np.isin(known[0], queries.user)
    if not np.array_equal(np.unique(history), np.unique(known[0, asked] * n_items + known[1, asked])):
        raise ValueError(f"the histories of the {name} queries are not the rows before them; a peer would see other queries")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m benchmarks.exchange SPLIT_FILE FOLDER")
    write_split(Split.load(sys.argv[1]), sys.argv[2])
