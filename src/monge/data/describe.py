"""What a log looks like before anything is trained on it, and what in it will bite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from monge.data._columns import MISSING_WORDS
from monge.data.domains import DOMAIN_COLUMN, Domains, sequence_lengths, shared_ids, without_others_before
from monge.data.interactions import Interactions
from monge.data.ragged import IntArray
from monge.errors import DataError

QUANTILES = {"min": 0.0, "25%": 0.25, "50%": 0.5, "75%": 0.75, "95%": 0.95, "max": 1.0}


@dataclass(frozen=True, kw_only=True)
class Description:
    """Counts and shapes of a log. Shares lie in 0..1; users and items without a row are not counted."""

    n_users: int
    n_items: int
    n_interactions: int
    density: float
    """Distinct (user, item) pairs over n_users * n_items."""
    sequence_length: Mapping[str, float]
    """Rows a user: min, 25%, 50%, 75%, 95%, max, mean."""
    item_popularity: Mapping[str, float]
    """Rows an item: the same."""
    gini: float
    """Gini coefficient of the items' rows: 0 when all are equally popular, towards 1 when one has everything."""
    top_1_percent: float
    """Share of the rows that the most popular hundredth of the items has (one item at least)."""
    tied_times: float
    """Share of the rows whose user has another row at the same time; 0 without times."""
    repeats: float
    """Share of the rows whose user took the item before."""
    one_row_users: int
    one_row_items: int
    short_users: int
    """Users with fewer than 3 rows."""
    first_time: int | None
    last_time: int | None
    domains: Mapping[str, Mapping[str, int]] | None = None
    """Where items have domains, of each its n_interactions, n_users and n_items."""
    n_users_of_several_domains: int | None = None
    """Where items have domains, users with items of two or more."""
    warnings: tuple[str, ...]
    """What will bite, in plain sentences."""

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values, ready for JSON."""
        return {**asdict(self), "warnings": list(self.warnings)}


def describe(log: Interactions) -> Description:
    """Count what is in a log and say what will bite.

    Raises:
        DataError: the log has no row.
    """
    n = len(log)
    if n == 0:
        raise DataError("the log has no row to describe")
    lengths, popularity = log.sequences.lengths, log.item_counts
    lengths, popularity = lengths[lengths > 0], np.sort(popularity[popularity > 0])
    n_pairs = len(np.unique(log.user * np.int64(log.n_items) + log.item))
    n_tied = 0
    if log.time is not None:  # rows are ordered by user, then time: ties are neighbours
        same = (np.diff(log.user) == 0) & (np.diff(log.time) == 0)
        n_tied = int((np.append(same, False) | np.insert(same, 0, False)).sum())
    n_top = max(1, len(popularity) // 100)
    rank = np.arange(1, len(popularity) + 1)
    counts = {
        "n_interactions": n,
        "one_row_users": int((lengths == 1).sum()),
        "one_row_items": int((popularity == 1).sum()),
        "short_users": int((lengths < 3).sum()),
    }
    domains, n_several, domain_warnings = _of_domains(log)
    return Description(
        n_users=len(lengths),
        n_items=len(popularity),
        density=n_pairs / (len(lengths) * len(popularity)),
        sequence_length=_quantiles(lengths),
        item_popularity=_quantiles(popularity),
        gini=float(2 * (rank * popularity).sum() / (len(popularity) * n) - (len(popularity) + 1) / len(popularity)),
        top_1_percent=float(popularity[-n_top:].sum() / n),
        tied_times=n_tied / n,
        repeats=1 - n_pairs / n,
        first_time=None if log.time is None else int(log.time.min()),
        last_time=None if log.time is None else int(log.time.max()),
        warnings=(
            *_warnings(log, n_tied=n_tied, n_repeats=n - n_pairs, counts=counts, n_users=len(lengths), n_items=len(popularity)),
            *domain_warnings,
        ),
        domains=domains,
        n_users_of_several_domains=n_several,
        **counts,
    )


def _quantiles(counts: IntArray) -> dict[str, float]:
    return {**{name: float(np.quantile(counts, q)) for name, q in QUANTILES.items()}, "mean": float(counts.mean())}


def _warnings(log: Interactions, *, n_tied: int, n_repeats: int, counts: Mapping[str, int], n_users: int, n_items: int) -> list[str]:
    n = len(log)
    found = []
    if log.time is None:
        found.append("There is no time column: the order of the rows is taken as the time order.")
    if n_tied >= 0.1 * n:
        found.append(f"{n_tied:,} of {n:,} rows ({n_tied / n:.0%}) have the time of another row of their user: the file's order decides.")
    if counts["one_row_users"]:
        found.append(f"{counts['one_row_users']:,} of {n_users:,} users have a single row: nothing of theirs can be held out.")
    if counts["short_users"]:
        found.append(f"{counts['short_users']:,} of {n_users:,} users have fewer than 3 rows: leave-one-out does not test them.")
    if counts["one_row_items"]:
        found.append(f"{counts['one_row_items']:,} of {n_items:,} items have a single row: where it is held out, training never sees them.")
    if n_repeats:
        found.append(f"{n_repeats:,} of {n:,} rows repeat an item that the user took before: held-out repeats are not counted as truth.")
    return found


def _of_domains(log: Interactions) -> tuple[dict[str, dict[str, int]] | None, int | None, list[str]]:
    """Counts of each domain, users of several domains, and what will bite a cross-domain training; nothing where items have no domain."""
    labels = log.item_columns.get(DOMAIN_COLUMN)
    if labels is None:
        return None, None, []
    missing = np.array([label in (None, "") for label in labels.tolist()], dtype=bool)
    found: list[str] = []
    if missing.any():
        found.append(f"{int(missing.sum()):,} of {len(labels):,} items have no domain: the cross-domain protocol needs one of every item.")
        log = log.select(~missing[log.item])
    log = log.compact()
    if not len(log):
        return {}, 0, found
    domains = Domains.of(log.item_columns)
    lengths = sequence_lengths(log, domains)
    counts = {
        name: {"n_interactions": rows, "n_users": users, "n_items": items}
        for name, rows, users, items in zip(
            domains.names,
            lengths.sum(0).tolist(),
            (lengths > 0).sum(0).tolist(),
            np.bincount(domains.of_item, minlength=len(domains)).tolist(),
            strict=True,
        )
    }
    n_several = int(((lengths > 0).sum(1) > 1).sum())
    found += _odd_names(domains.names)
    if sentence := shared_ids(log.item_columns):
        found.append(f"{sentence}.")
    if len(domains) > 1 and not n_several:
        found.append("No user has items of two domains: nothing can be carried over from one to another.")
    if late := without_others_before(log, domains):
        cause = "there are no times, so the order of the rows decides" if log.time is None else "by the times"
        names = " or ".join(late)
        found.append(
            f"Before the latest item in {names} no user has an item of another domain ({cause}): nothing can be carried over there."
        )
    return counts, n_several, found


def _odd_names(names: Sequence[str]) -> list[str]:
    """Domains that are called like another one, or like no domain."""
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(name.strip().casefold(), []).append(name)
    found = [
        f"The domains {' and '.join(map(repr, some))} differ only by case or by spaces around them: are they one?"
        for some in alike.values()
        if len(some) > 1
    ]
    missing = [name for name in names if name.strip().casefold() in ("", *MISSING_WORDS)]
    return [*found, *(f"A domain is called {name!r}, as programs write a missing value: do its rows have no domain?" for name in missing)]
