"""The files that i2VAE's authors released, and the protocol that takes them as they are.

A row is a user with two lists of items, one a domain, and the number of the domain (0, 1) whose list ends with what is to be foretold.
A user may stand in two rows, one for each domain, and in both files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from monge.data.cross_domain import (
    census,
    check_thinning,
    groups_of,
    known_of_every_query,
    labelled,
    long_tail_bound,
    made_cold,
    thinned,
    with_negatives,
)
from monge.data.domains import DOMAIN_COLUMN, ID_COLUMN, Domains
from monge.data.examples import history_lengths
from monge.data.interactions import Interactions, ObjectArray, Vocabulary
from monge.data.leaks import check_leaks, truth_in_history, truth_in_training
from monge.data.queries import Queries
from monge.data.ragged import IntArray, Ragged
from monge.data.split import Split
from monge.errors import ConfigError, DataError

FILES = ("train", "test")
COLUMNS = ("user_id", "seq_d1", "seq_d2", "domain_id")


def read_released(files: Mapping[str, str | Path], domains: tuple[str, str]) -> Interactions:
    """One log of all rows of the released files, which keeps the rows themselves as its examples.

    Items are `domain:id`, because ids are shared by the domains. There are no times: a user's items of the first domain stand before
    those of the second, each in the order of the file. A user's items are those of all the user's rows together, each once.

    Args:
        files: "train" and "test" -> CSV file with the columns user_id, seq_d1, seq_d2 (JSON lists) and domain_id; plain or gzip.
        domains: the names of seq_d1 and seq_d2.

    Returns:
        A log with `examples`, a query a row: the group `file` says which file it stands in, `row length` how long the target's list is.

    Raises:
        DataError: a file cannot be read, or a row is not as it must be.
    """
    users: list[int] = []
    target_domain: list[int] = []
    lists: list[tuple[list[int], list[int]]] = []
    file_of_row: list[str] = []
    for name in FILES:
        for user, first, second, domain in _rows(Path(files[name])):
            users.append(user)
            target_domain.append(domain)
            lists.append((first, second))
            file_of_row.append(name)
    order = sorted(domains)
    ids = [(which, item) for which in (0, 1) for item in sorted({item for row in lists for item in row[which]})]
    number = {pair: place for place, pair in enumerate(ids)}
    vocabulary = Vocabulary.of([f"{domains[domain]}:{item}" for domain, item in ids])
    user_ids = Vocabulary.of(np.array(users, dtype=np.int64))
    user = user_ids.encode(np.array(users, dtype=np.int64))
    rows = [[[number[which, item] for item in items] for which, items in enumerate(row)] for row in lists]
    of_item = np.array([order.index(domains[domain]) for domain, _ in ids], dtype=np.int64)
    history, truth = [], []
    for row, domain in zip(rows, target_domain, strict=True):
        target = row[domain][-1]
        history.append([item for items in row for item in items if item != target])
        truth.append([target])
    examples = Queries(
        n_items=len(vocabulary),
        user=user,
        history=Ragged.from_lists(history),
        truth=Ragged.from_lists(truth),
        domain=np.array([order.index(domains[domain]) for domain in target_domain], dtype=np.int64),
        domain_of_item=of_item,
        groups={
            "file": np.array([*file_of_row, None], dtype=object)[:-1],
            "row length": np.array([len(row[domain]) for row, domain in zip(rows, target_domain, strict=True)], dtype=np.int64).astype(
                object
            ),
        },
    )
    log_user, log_item = _union(user, rows)
    columns: dict[str, ObjectArray] = {
        DOMAIN_COLUMN: np.array([domains[domain] for domain, _ in ids] + [None], dtype=object)[:-1],
        ID_COLUMN: np.array([str(item) for _, item in ids] + [None], dtype=object)[:-1],
    }
    log = Interactions.from_numbers(log_user, log_item, users=user_ids, items=vocabulary, item_columns=columns)
    return replace(log, examples=examples, provenance={"source": str(files["train"]), "format": "i2vae"})


def released(
    log: Interactions,
    *,
    validation: float = 0.1,
    cold_start: float = 0.2,
    n_negatives: int = 999,
    pool: Literal["test", "domain"] = "test",
    overlap: float = 1.0,
    density: float = 1.0,
    seed: int = 0,
) -> Split:
    """The released rows as they are: the rows of the training file train, those of the test file test, leaks included.

    A share of the training file's users makes the validation part, with a share of cold-start queries as the test file has them (the
    authors had no validation part). The groups are those of the authors' code, `cold-start` with the queries that have no history in
    any domain. Beside them: `no history`; `truth in training`, where the truth stands in a training row of the same user; `truth in
    history`, where it stands in the query's own history by its id in the other domain; `leak-free`, where neither is true.

    Args:
        log: from `read_released`, or a known data set of that kind.
        validation: share of the training file's users.
        cold_start: share of the validation queries with both histories whose history in their own domain is taken away.
        n_negatives: per query; 0: no sampled ranking.
        pool: negatives are drawn from the domain's items of the test file (as the authors' code does) or from all of them.
        overlap, density, seed: as in `cross_domain`.

    Raises:
        DataError: the log is not made of released rows.
    """
    rows = log.examples
    if rows is None or "file" not in rows.groups:
        raise DataError(
            "released: this log has no rows of released files; use the protocol cross-domain, or the data set i2vae-cloth-sport"
        )
    if not 0 < validation < 1:
        raise ConfigError(f"validation must lie between 0 and 1; got {validation}")
    if not 0 <= cold_start <= 1 or n_negatives < 0 or pool not in ("test", "domain"):
        raise ConfigError(
            f"released: cold_start must lie between 0 and 1, n_negatives be at least 0 and pool be test or domain; "
            f"got {cold_start}, {n_negatives}, {pool!r}"
        )
    check_thinning(overlap, density)
    domains = Domains.of(log.item_columns)
    in_test = rows.groups["file"] == "test"
    rng = np.random.default_rng(seed)
    training_users = np.unique(rows.user[~in_test])
    held_out = np.zeros(log.n_users, dtype=bool)
    held_out[rng.permutation(training_users)[: int(np.floor(validation * len(training_users) + 0.5))]] = True
    masks = {"train": ~in_test & ~held_out[rows.user], "validation": ~in_test & held_out[rows.user], "test": in_test}
    parts = {name: _labelled(rows.take(np.flatnonzero(mask)), domains) for name, mask in masks.items()}
    for name, some in parts.items():
        if not len(some):
            raise DataError(f"released: {name} would be empty: the training file has {len(training_users):,} users; change validation")
    parts["validation"] = made_cold(parts["validation"], domains, share=cold_start, seed=(seed, 1))
    notes: list[str] = []
    of_test = np.unique(np.concatenate([parts["test"].history.values, parts["test"].truth.values]))
    drawn_from = of_test if pool == "test" else np.arange(log.n_items, dtype=np.int64)
    if n_negatives:
        for number, name in ((1, "validation"), (2, "test")):
            parts[name], said = with_negatives(
                parts[name], log.sequences, drawn_from, domains, n=n_negatives, seed=(seed, 10 + number), part=name
            )
            notes += said
    train = replace(_log_of(log, parts["train"]), examples=replace(parts["train"], groups={}))
    leaked, twin = truth_in_training(train, parts["test"]), truth_in_history(parts["test"], domains.row_of_item)
    name = parts["test"].groups["all"]
    own, other = history_lengths(parts["test"])
    groups = {
        **parts["test"].groups,
        "cold-start": labelled(name, own == 0),
        "no history": labelled(name, own + other == 0),
        "truth in training": labelled(name, leaked),
        "truth in history": labelled(name, twin),
        "leak-free": labelled(name, ~(leaked | twin)),
    }
    parts["test"] = replace(parts["test"], groups=groups)
    split = Split(
        train=train,
        validation=parts["validation"],
        test=parts["test"],
        protocol="released",
        options={
            "validation": validation,
            "cold_start": cold_start,
            "n_negatives": n_negatives,
            "pool": pool,
            "overlap": overlap,
            "density": density,
            "seed": seed,
        },
        histories=log.sequences,
    )
    split = thinned(split, overlap=overlap, density=density, seed=seed)
    split = replace(split, fold_in=known_of_every_query(log, split.validation, split.test))
    twice = int((np.bincount(rows.user, minlength=log.n_users) > 1).sum())
    if twice:
        notes.append(
            f"{twice:,} users stand in several rows of the files: every row stays a query, and a user's items are those of all rows"
        )
    return replace(split, notes=(*notes, *census(split, domains), *check_leaks(split)))


def _rows(path: Path) -> list[tuple[int, list[int], list[int], int]]:
    """(user, first list, second list, domain) of each row."""
    import polars as pl

    try:
        frame = pl.read_csv(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path}: not a CSV file ({str(error).splitlines()[0]})") from error
    missing = [column for column in COLUMNS if column not in frame.columns]
    if missing:
        raise DataError(f"{path}: no column {missing[0]!r} (found: {', '.join(frame.columns)}); a released file has {', '.join(COLUMNS)}")
    found: list[tuple[int, list[int], list[int], int]] = []
    for row, (user, first, second, domain) in enumerate(frame.select(COLUMNS).iter_rows(), start=1):
        try:
            lists = ([int(item) for item in json.loads(first)], [int(item) for item in json.loads(second)])
            user, domain = int(user), int(domain)
        except (ValueError, TypeError) as error:
            raise DataError(f"{path}: row {row}: not a user, two JSON lists of ids and a domain ({error})") from error
        if domain not in (0, 1):
            raise DataError(f"{path}: row {row}: domain_id must be 0 or 1; got {domain}")
        if not lists[domain]:
            raise DataError(f"{path}: row {row}: user {user} has no item in the domain that the row asks for, so it has no target")
        found.append((user, *lists, domain))
    return found


def _union(user: IntArray, rows: list[list[list[int]]]) -> tuple[IntArray, IntArray]:
    """Each user's items once: in each domain the longest of the user's lists, then what other rows add."""
    by_user: dict[int, list[dict[int, None]]] = {}
    longest_first = sorted(range(len(rows)), key=lambda row: -sum(map(len, rows[row])))
    for row in longest_first:
        mine = by_user.setdefault(int(user[row]), [{} for _ in rows[row]])
        for known, items in zip(mine, rows[row], strict=True):
            known.update(dict.fromkeys(items))
    users = [(number, item) for number, domains in sorted(by_user.items()) for items in domains for item in items]
    table = np.array(users, dtype=np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _labelled(rows: Queries, domains: Domains) -> Queries:
    """The groups of rows of one file; the bounds of the long tail are those of all its lists, of either kind of row."""
    assert rows.domain is not None
    length = rows.groups["row length"].astype(np.int64)
    place = rows.history.row_of_value * len(domains) + rows.domain_of_item[rows.history.values]  # pyright: ignore[reportOptionalSubscript]
    lists = np.bincount(place, minlength=len(rows) * len(domains)).reshape(len(rows), len(domains))
    lists[np.arange(len(rows)), rows.domain] = length
    return replace(rows, groups=groups_of(length, rows.domain, domains, [long_tail_bound(some) for some in lists.T]))


def _log_of(log: Interactions, queries: Queries) -> Interactions:
    """The rows of the log that stand in the histories and truths of queries."""
    pairs = [queries.user[rows.row_of_value] * np.int64(log.n_items) + rows.values for rows in (queries.history, queries.truth)]
    return log.select(np.isin(log.user * np.int64(log.n_items) + log.item, np.concatenate(pairs)))
