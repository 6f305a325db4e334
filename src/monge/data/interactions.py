"""The log in memory: who took what, in what order; and the mapping from the caller's ids to our numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from monge.data.ragged import IntArray, Ragged

if TYPE_CHECKING:
    from monge.data.modalities import Modality
    from monge.data.queries import Queries

FloatArray = npt.NDArray[np.float32]
ObjectArray = npt.NDArray[np.object_]


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The caller's ids, each standing at its number 0..n-1.

    Ids are whole numbers or text, as the log had them; text that spells a whole number finds it.

    >>> words = Vocabulary.of(["b", "a", "b"])
    >>> words.encode(["a", "b", "c"]).tolist(), words.decode([1]).tolist()
    ([1, 0, -1], ['a'])
    """

    ids: npt.NDArray[np.int64] | ObjectArray
    """(n,) distinct ids, int64 or text; the position is the number."""

    def __post_init__(self) -> None:
        if self.ids.dtype != np.int64 and self.ids.dtype != np.object_:
            raise ValueError(f"ids must be int64 or text (object); got {self.ids.dtype}")
        if len(self._number) != len(self.ids):
            raise ValueError("ids must be distinct")

    @classmethod
    def of(cls, ids: Sequence[int] | Sequence[str] | npt.NDArray[np.int64] | ObjectArray) -> Vocabulary:
        """Distinct ids in the order of their first appearance."""
        array = np.asarray(ids)
        array = array.astype(np.int64) if array.dtype.kind in "iu" else array.astype(object)
        return cls(np.array(list(dict.fromkeys(array.tolist())), dtype=array.dtype))

    @cached_property
    def _number(self) -> dict[int | str, int]:
        return {identifier: number for number, identifier in enumerate(self.ids.tolist())}

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def is_text(self) -> bool:
        """Whether the ids are text (else whole numbers)."""
        return self.ids.dtype == np.object_

    def number(self, identifier: int | str) -> int:
        """The number of one id, or -1 where it is unknown."""
        try:
            key = str(identifier) if self.is_text else int(identifier)
        except ValueError:
            return -1
        return self._number.get(key, -1)

    def encode(self, ids: Sequence[int | str] | Sequence[int] | Sequence[str] | npt.NDArray[np.int64] | ObjectArray) -> IntArray:
        """Numbers of ids, -1 where one is unknown."""
        return np.fromiter((self.number(identifier) for identifier in ids), dtype=np.int64, count=len(ids))

    def decode(self, numbers: Sequence[int] | IntArray) -> npt.NDArray[np.int64] | ObjectArray:
        """Ids of numbers."""
        return self.ids[np.asarray(numbers, dtype=np.int64)]


@dataclass(frozen=True, eq=False, kw_only=True)
class Interactions:
    """An interaction log: rows grouped by user, each user's rows oldest first, ties in the log's order.

    Build it with `monge.data.read` or `Interactions.from_columns`; it is never changed in place.
    """

    users: Vocabulary
    items: Vocabulary
    user: IntArray
    """(n,) user numbers, rising."""
    item: IntArray
    """(n,) item numbers, 0..n_items-1."""
    time: IntArray | None = None
    """(n,) int64 as the log had it (seconds as a rule), or None: then the log's order is the time order."""
    weight: FloatArray | None = None
    """(n,) ratings or counts, or None."""
    item_columns: Mapping[str, ObjectArray] = field(default_factory=dict)
    """What is known of items beside their id (title, genres, ...): each (n_items,), aligned with item numbers."""
    modalities: Mapping[str, Modality] = field(default_factory=dict)
    """Features of items by name (images, texts, genres, ...), aligned with item numbers; see `monge.data.attach_modality`."""
    provenance: Mapping[str, object] = field(default_factory=dict)
    """Where the log came from and what was done to it, for the run's record."""
    examples: Queries | None = None
    """What a training asks, where a protocol says it: a history, a domain and the item that came next. None: every model makes its own."""

    @classmethod
    def from_numbers(
        cls,
        user: IntArray,
        item: IntArray,
        *,
        users: Vocabulary,
        items: Vocabulary,
        time: IntArray | None = None,
        weight: FloatArray | None = None,
        item_columns: Mapping[str, ObjectArray] | None = None,
        modalities: Mapping[str, Modality] | None = None,
        provenance: Mapping[str, object] | None = None,
    ) -> Interactions:
        """Put rows of numbers into the canonical order (by user, then time, then the order given)."""
        order = np.lexsort((user,)) if time is None else np.lexsort((time, user))  # lexsort is stable
        return cls(
            users=users,
            items=items,
            user=np.ascontiguousarray(user[order], dtype=np.int64),
            item=np.ascontiguousarray(item[order], dtype=np.int64),
            time=None if time is None else np.ascontiguousarray(time[order], dtype=np.int64),
            weight=None if weight is None else np.ascontiguousarray(weight[order], dtype=np.float32),
            item_columns=dict(item_columns or {}),
            modalities=dict(modalities or {}),
            provenance=dict(provenance or {}),
        )

    @classmethod
    def from_columns(
        cls,
        user: Sequence[int] | Sequence[str] | npt.NDArray[np.int64] | ObjectArray,
        item: Sequence[int] | Sequence[str] | npt.NDArray[np.int64] | ObjectArray,
        *,
        time: Sequence[int] | IntArray | None = None,
        weight: Sequence[float] | FloatArray | None = None,
    ) -> Interactions:
        """From plain columns of ids, e.g. of a program that has no file.

        >>> log = Interactions.from_columns(["ann", "bob", "ann"], ["x", "x", "y"], time=[5, 1, 3])
        >>> log.n_users, log.n_items, log.items.decode(log.sequences[0]).tolist()
        (2, 2, ['y', 'x'])
        """
        users, items = Vocabulary.of(user), Vocabulary.of(item)
        return cls.from_numbers(
            users.encode(user),
            items.encode(item),
            users=users,
            items=items,
            time=None if time is None else np.asarray(time, dtype=np.int64),
            weight=None if weight is None else np.asarray(weight, dtype=np.float32),
        )

    def __post_init__(self) -> None:
        for name in ("item", "time", "weight"):
            column = getattr(self, name)
            if column is not None and len(column) != len(self.user):
                raise ValueError(f"{name} has {len(column)} rows, user has {len(self.user)}")
        if len(self.user) and (self.user[0] < 0 or self.user[-1] >= self.n_users or bool((np.diff(self.user) < 0).any())):
            raise ValueError("user numbers must rise within 0..n_users-1; use Interactions.from_numbers")
        if len(self.item) and (self.item.min() < 0 or self.item.max() >= self.n_items):
            raise ValueError("item numbers must lie within 0..n_items-1")

    def __len__(self) -> int:
        return len(self.user)

    @property
    def n_users(self) -> int:
        """Number of users in the vocabulary (some may have no row here)."""
        return len(self.users)

    @property
    def n_items(self) -> int:
        """Number of items in the vocabulary; also the padding id."""
        return len(self.items)

    @cached_property
    def sequences(self) -> Ragged:
        """(n_users rows) each user's items, oldest first."""
        return Ragged.from_lengths(self.item, np.bincount(self.user, minlength=self.n_users).astype(np.int64))

    @cached_property
    def position_in_sequence(self) -> IntArray:
        """(n,) each row's place in its user's sequence, 0 for the oldest."""
        return np.arange(len(self), dtype=np.int64) - self.sequences.offsets[self.user]

    @property
    def item_counts(self) -> IntArray:
        """(n_items,) how often each item was taken."""
        return np.bincount(self.item, minlength=self.n_items).astype(np.int64)

    def select(self, rows: npt.NDArray[np.bool_] | IntArray) -> Interactions:
        """The rows of a mask or of rising indices; the vocabularies stay as they are."""
        return replace(
            self,
            user=self.user[rows],
            item=self.item[rows],
            time=None if self.time is None else self.time[rows],
            weight=None if self.weight is None else self.weight[rows],
            examples=None,
        )

    def compact(self) -> Interactions:
        """Renumber so that the vocabularies hold only users and items that have a row."""
        kept_users, user = np.unique(self.user, return_inverse=True)
        kept_items, item = np.unique(self.item, return_inverse=True)
        return replace(
            self,
            users=Vocabulary(self.users.ids[kept_users]),
            items=Vocabulary(self.items.ids[kept_items]),
            user=user.astype(np.int64),
            item=item.astype(np.int64),
            item_columns={name: column[kept_items] for name, column in self.item_columns.items()},
            modalities={name: modality.take(kept_items) for name, modality in self.modalities.items()},
            examples=None,
        )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over ids, order, times and weights: the same log gives the same fingerprint."""
        digest = hashlib.sha256()
        for vocabulary in (self.users, self.items):
            digest.update("\x1f".join(map(str, vocabulary.ids.tolist())).encode())
        for column in (self.user, self.item, self.time, self.weight):
            digest.update(b"-" if column is None else column.tobytes())
        return digest.hexdigest()
