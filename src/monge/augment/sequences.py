"""Augmented views of user sequences: crop, mask, reorder, substitute, insert, on whole batches on the device.

Every operator works on left-aligned sequences (item t of user b at [b, t]) with their lengths, and returns the same
form; what is chosen at random comes from an explicit generator. No loop over sequences.

Source: CoSeRec (Liu et al., arXiv:2108.06479, sec. 3.2); crop, mask and reorder from CL4SRec (arXiv:2010.14395).
Ours: the crop may start at every place (the released code never takes the last window), a mask keeps at least one
item, the reorder ratio is an option of its own (the released code passes the mask ratio).

Axes: B sequences, T positions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

OPERATORS = ("substitute", "insert", "mask", "crop", "reorder")
SHORT_SETS = {
    "SI": ("substitute", "insert"),
    "SIM": ("substitute", "insert", "mask"),
    "SIR": ("substitute", "insert", "reorder"),
    "SIC": ("substitute", "insert", "crop"),
    "SIMR": ("substitute", "insert", "mask", "reorder"),
    "SIMC": ("substitute", "insert", "mask", "crop"),
    "SIRC": ("substitute", "insert", "reorder", "crop"),
    "SIMRC": OPERATORS,
}
"""Operators for short sequences, named by their initials."""

Nearest = Callable[[Tensor, torch.Generator], Tensor]
"""(items, generator) -> the most similar item of each, same shape."""


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device)


def _count(lengths: Tensor, ratio: float, *, least: int) -> Tensor:
    """floor(ratio * length), at least `least`, at most the length. (The tiny term undoes float32 rounding such as 0.29999.)"""
    return torch.floor((ratio + 1e-6) * lengths).long().clamp(min=least).minimum(lengths)


def _chosen_positions(lengths: Tensor, counts: Tensor, width: int, generator: torch.Generator) -> Tensor:
    """(B, width) bool: `counts` distinct real positions of each sequence, uniform."""
    real = torch.arange(width, device=lengths.device) < lengths[:, None]
    keys = _uniform((len(lengths), width), generator).masked_fill(~real, 2.0)
    ranks = keys.argsort(1).argsort(1)
    return ranks < counts[:, None]


def crop(items: Tensor, lengths: Tensor, ratio: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Keep one contiguous window of floor(ratio * length) items, at least one; every start is equally likely."""
    counts = _count(lengths, ratio, least=1)
    starts = (_uniform((len(lengths),), generator) * (lengths - counts + 1)).long().minimum(lengths - counts)
    place = (starts[:, None] + torch.arange(items.shape[1], device=items.device)).clamp(max=items.shape[1] - 1)
    return items.gather(1, place), counts


def mask(items: Tensor, lengths: Tensor, ratio: float, generator: torch.Generator, *, empty: int) -> tuple[Tensor, Tensor]:
    """Replace floor(ratio * length) random items by `empty`, but never all of them."""
    counts = _count(lengths, ratio, least=0).minimum((lengths - 1).clamp(min=0))
    return items.masked_fill(_chosen_positions(lengths, counts, items.shape[1], generator), empty), lengths


def reorder(items: Tensor, lengths: Tensor, ratio: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Shuffle one contiguous window of floor(ratio * length) items."""
    counts = _count(lengths, ratio, least=0)
    starts = (_uniform((len(lengths),), generator) * (lengths - counts + 1)).long().minimum(lengths - counts)
    place = torch.arange(items.shape[1], device=items.device)[None]
    inside = (place >= starts[:, None]) & (place < (starts + counts)[:, None])
    by_chance = starts[:, None] + _uniform(tuple(items.shape), generator) * 0.999  # between the window's first place and the next
    keys = torch.where(inside, by_chance, torch.where(place < starts[:, None], place, place + 1).float())
    return items.gather(1, keys.argsort(dim=1, stable=True)), lengths


def substitute(items: Tensor, lengths: Tensor, ratio: float, generator: torch.Generator, *, nearest: Nearest) -> tuple[Tensor, Tensor]:
    """Replace floor(ratio * length) random items, at least one, by their most similar item."""
    chosen = _chosen_positions(lengths, _count(lengths, ratio, least=1), items.shape[1], generator)
    return torch.where(chosen, nearest(items, generator), items), lengths


def insert(items: Tensor, lengths: Tensor, ratio: float, generator: torch.Generator, *, nearest: Nearest) -> tuple[Tensor, Tensor]:
    """Put the most similar item directly before floor(ratio * length) random items, at least one; the width doubles."""
    counts = _count(lengths, ratio, least=1)
    chosen = _chosen_positions(lengths, counts, items.shape[1], generator)
    place = torch.arange(items.shape[1], device=items.device) + chosen.cumsum(1)
    longer = items.new_zeros(len(items), 2 * items.shape[1] + 1)
    longer.scatter_(1, place, items)
    # where nothing is put in, the write goes to a spare last column
    longer.scatter_(1, torch.where(chosen, place - 1, longer.shape[1] - 1), nearest(items, generator))
    return longer[:, :-1], lengths + counts


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Which operators a sequence gets, and how strong they are.

    A sequence of at most `threshold` items draws uniformly from the short set, a longer one from all five;
    threshold -1 means all five for every sequence. Rates follow the released code of CoSeRec.
    """

    crop: float = 0.2
    mask: float = 0.7
    reorder: float = 0.2
    substitute: float = 0.1
    insert: float = 0.4
    threshold: int = 4
    short_set: str = "SIM"

    def view(self, sequences: Tensor, *, empty: int, nearest: Nearest, generator: torch.Generator, max_length: int) -> Tensor:
        """One augmented view of each sequence.

        Args:
            sequences: (B, T) int64, newest at the right, `empty` on the left; a row without items stays empty.
            empty: the padding id.
            nearest: most similar item of each item; must never give `empty`.
            generator: all randomness, on the sequences' device.
            max_length: the newest that many items are kept.

        Returns:
            (B, T') int64 in the same layout, T' = the longest view, at most max_length.
        """
        width = sequences.shape[1]
        lengths = (sequences != empty).sum(1)
        shift = torch.arange(width, device=sequences.device) + (width - lengths)[:, None]
        items = sequences.gather(1, shift.clamp(max=width - 1))  # left-aligned; what lies beyond the length is never used
        items = torch.where(items == empty, 0, items)

        allowed = SHORT_SETS[self.short_set]
        short = torch.tensor([OPERATORS.index(name) for name in allowed], device=sequences.device)
        draw = _uniform((len(sequences),), generator)
        choice = torch.where(lengths <= self.threshold, short[(draw * len(allowed)).long()], (draw * len(OPERATORS)).long())

        result = sequences.new_full((len(sequences), 2 * width), empty)
        new_lengths = lengths.clone()
        for number, name in enumerate(OPERATORS):
            rows = ((choice == number) & (lengths > 0)).nonzero().squeeze(1)
            if len(rows):
                view, new_lengths[rows] = self._apply(name, items[rows], lengths[rows], generator, empty, nearest)
                result[rows, : view.shape[1]] = view
        longest = int(new_lengths.max().clamp(min=1, max=max_length))
        place = torch.arange(longest, device=sequences.device) + (new_lengths - longest)[:, None]
        return result.gather(1, place.clamp(min=0)).masked_fill(place < 0, empty)

    def _apply(
        self, name: str, items: Tensor, lengths: Tensor, generator: torch.Generator, empty: int, nearest: Nearest
    ) -> tuple[Tensor, Tensor]:
        match name:
            case "substitute":
                return substitute(items, lengths, self.substitute, generator, nearest=nearest)
            case "insert":
                return insert(items, lengths, self.insert, generator, nearest=nearest)
            case "mask":
                return mask(items, lengths, self.mask, generator, empty=empty)
            case "crop":
                return crop(items, lengths, self.crop, generator)
            case _:
                return reorder(items, lengths, self.reorder, generator)
