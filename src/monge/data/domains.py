"""Domains: which part of a catalogue an item belongs to. A cross-domain log is an ordinary log whose items have the column `domain`.

An item stands in one domain. Where the files have one id in several domains, each of these is an item of its own, called `domain:id`,
and the column `id_in_domain` remembers the id, so that a model that wants one vector for both can find them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from monge.data._formats import listed
from monge.data.interactions import Interactions, ObjectArray
from monge.data.ragged import IntArray
from monge.errors import DataError, UnknownNameError, nearest

DOMAIN_COLUMN = "domain"
ID_COLUMN = "id_in_domain"
N_NAMED = 5
"""So many ids are named in a sentence."""


@dataclass(frozen=True, eq=False)
class Domains:
    """The domains of a catalogue, numbered 0, 1, ... by the alphabet."""

    names: tuple[str, ...]
    of_item: IntArray
    """(n_items,) the domain of each item."""
    row_of_item: IntArray
    """(n_items,) 0..n_rows-1: items of several domains that had one id in the files share a row."""

    @classmethod
    def of(cls, item_columns: Mapping[str, ObjectArray]) -> Domains:
        """The domains that items' columns name.

        Raises:
            DataError: there is no such column, or an item has no domain.
        """
        labels = item_columns.get(DOMAIN_COLUMN)
        if labels is None:
            raise DataError(
                "the log's items have no domain; name the column with --domain-column NAME, or give one file a domain: "
                "books=books.csv,films=films.csv"
            )
        missing = [number for number, label in enumerate(labels.tolist()) if label in (None, "")]
        if missing:
            raise DataError(f"{len(missing):,} of {len(labels):,} items have no domain; give every item one, or leave their rows out")
        names, of_item = np.unique(labels.astype(str), return_inverse=True)
        ids = item_columns.get(ID_COLUMN)
        row = np.arange(len(labels)) if ids is None else np.unique(ids.astype(str), return_inverse=True)[1]
        return cls(tuple(names.tolist()), of_item.astype(np.int64), row.astype(np.int64))

    def __len__(self) -> int:
        return len(self.names)

    def number(self, name: str) -> int:
        """The number of a domain.

        Raises:
            UnknownNameError: there is none of that name.
        """
        if name not in self.names:
            raise UnknownNameError(f"no domain {name!r}{nearest(name, self.names)}")
        return self.names.index(name)

    def require_several(self, what: str) -> None:
        """For what needs two domains or more.

        Raises:
            DataError: there is one.
        """
        if len(self) < 2:
            raise DataError(
                f"{what} needs items of two domains or more, and all items are of {self.names[0]!r}; use another model or protocol"
            )


def shared_ids(item_columns: Mapping[str, ObjectArray]) -> str | None:
    """A sentence on ids that stand in several domains, which is why all items are called `domain:id`; None where none does."""
    if ID_COLUMN not in item_columns:
        return None
    ids, first, n = np.unique(item_columns[ID_COLUMN].astype(str), return_index=True, return_counts=True)
    several = ids[n > 1][np.argsort(first[n > 1])].tolist()
    if not several:
        return None
    named = listed(several[:N_NAMED]) + (", ..." if len(several) > N_NAMED else "")
    stand = "stands" if len(several) == 1 else "stand"
    return (
        f"{len(several):,} of {len(ids):,} ids {stand} in several domains ({named}): all ids are written DOMAIN:ID, "
        "and one id in two domains is two items; where that is a mistake, mend those rows"
    )


def sequence_lengths(log: Interactions, domains: Domains) -> IntArray:
    """(n_users, n_domains) how many rows a user has in a domain."""
    group = log.user * len(domains) + domains.of_item[log.item]
    return np.bincount(group, minlength=log.n_users * len(domains)).astype(np.int64).reshape(log.n_users, len(domains))


def without_others_before(log: Interactions, domains: Domains) -> list[str]:
    """The domains of which overlapping users have rows, but none of them a row of another domain before the latest of this one."""
    domain = domains.of_item[log.item]
    group = log.user * len(domains) + domain
    rows = np.arange(len(log), dtype=np.int64)
    first = np.full(log.n_users * len(domains), len(log), dtype=np.int64)
    last = np.full(log.n_users * len(domains), -1, dtype=np.int64)
    first[group[::-1]], last[group] = rows[::-1], rows  # the last write wins
    first, last = first.reshape(-1, len(domains)), last.reshape(-1, len(domains))
    found: list[str] = []
    for number, name in enumerate(domains.names):
        other = np.delete(first, number, axis=1).min(1, initial=len(log))
        both = (last[:, number] >= 0) & (other < len(log))
        latest, earliest = last[both, number], other[both]
        before = earliest < latest if log.time is None else log.time[earliest] < log.time[latest]
        if both.any() and not before.any():
            found.append(name)
    return found
