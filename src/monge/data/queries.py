"""Queries: the one thing that every model answers and every protocol produces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from monge.data.interactions import ObjectArray
from monge.data.ragged import IntArray, Ragged

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class Queries:
    """What is asked (a user, a history) and, where it is known, what the answer was (the truth)."""

    n_items: int
    user: IntArray
    """(Q,) user numbers, -1 where the user is not in the vocabulary."""
    history: Ragged
    """(Q rows) items known of each user, oldest first. They are left out of the ranking."""
    truth: Ragged
    """(Q rows) held-out items; rows are empty where nothing is known (a live recommendation)."""
    candidates: Ragged | None = None
    """(Q rows) the only items to be ranked, or None: all items."""
    eligible: IntArray | None = None
    """(n,) the only items to be ranked, the same for all queries; None: all items."""
    groups: Mapping[str, ObjectArray] = field(default_factory=dict)
    """Named labels of the queries, each (Q,): metrics are also given by group. None: the query is in no such group."""
    domain: IntArray | None = None
    """(Q,) the domain that each query asks for: only its items are ranked. None: items of all domains."""
    domain_of_item: IntArray | None = None
    """(n_items,) the domain of each item; given wherever `domain` is."""
    negatives: Ragged | None = None
    """(Q rows) items that the truth is ranked among by the metrics `sampled_...`, beside the full ranking."""

    def __post_init__(self) -> None:
        if self.domain is not None and (self.domain_of_item is None or len(self.domain_of_item) != self.n_items):
            raise ValueError("queries that ask for a domain need the domain of each item")
        if self.domain is not None and len(self.domain) != len(self.user):
            raise ValueError(f"domain has {len(self.domain)} entries for {len(self.user)} queries")
        for name in ("history", "truth", "candidates", "negatives"):
            rows = getattr(self, name)
            if rows is not None and len(rows) != len(self.user):
                raise ValueError(f"{name} has {len(rows)} rows for {len(self.user)} queries")
            if rows is not None and len(rows.values) and not 0 <= rows.values.min() <= rows.values.max() < self.n_items:
                raise ValueError(f"{name} has item numbers outside 0..{self.n_items - 1}")

    def __len__(self) -> int:
        return len(self.user)

    def take(self, rows: IntArray) -> Queries:
        """The given queries, in the given order."""
        return replace(
            self,
            user=self.user[rows],
            history=self.history.take(rows),
            truth=self.truth.take(rows),
            candidates=None if self.candidates is None else self.candidates.take(rows),
            groups={name: labels[rows] for name, labels in self.groups.items()},
            domain=None if self.domain is None else self.domain[rows],
            negatives=None if self.negatives is None else self.negatives.take(rows),
        )

    def batch(self, device: torch.device | str = "cpu") -> QueryBatch:
        """These queries as tensors, for a model to answer."""
        import torch

        return QueryBatch(
            user=torch.from_numpy(self.user).to(device),
            items=torch.from_numpy(self.history.values).to(device),
            offsets=torch.from_numpy(self.history.offsets).to(device),
            longest=int(self.history.lengths.max(initial=0)),
            n_items=self.n_items,
            domain=None if self.domain is None else torch.from_numpy(self.domain).to(device),
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class QueryBatch:
    """What a model sees of B queries: no truth in it."""

    user: Tensor
    """(B,) int64 user numbers, -1 where unknown."""
    items: Tensor
    """(nnz,) int64 histories back to back, oldest first."""
    offsets: Tensor
    """(B + 1,) int64 where each history starts."""
    longest: int
    """Length of the longest history (kept on the host, so that nobody waits for the device)."""
    n_items: int
    domain: Tensor | None = None
    """(B,) int64 the domain that each query asks for, or None: all of them."""

    def __len__(self) -> int:
        return len(self.user)

    @property
    def lengths(self) -> Tensor:
        """(B,) int64 length of each history."""
        return self.offsets.diff()

    @property
    def row_of_item(self) -> Tensor:
        """(nnz,) int64 the query that each history item belongs to."""
        import torch

        return torch.repeat_interleave(self.lengths, output_size=len(self.items))

    def padded(self, max_length: int) -> Tensor:
        """(B, T) int64 newest items at the right, `n_items` where empty; T = min(max_length, longest), at least 1."""
        import torch

        length = max(1, min(max_length, self.longest))
        place_BT = self.offsets[1:, None] - length + torch.arange(length, device=self.offsets.device)
        empty_BT = place_BT < self.offsets[:-1, None]
        if not len(self.items):
            return torch.full_like(place_BT, self.n_items)
        return self.items[place_BT.clamp(min=0)].masked_fill(empty_BT, self.n_items)
