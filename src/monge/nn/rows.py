"""Rows of different lengths on the device: histories and sparse matrices, back to back."""

from __future__ import annotations

import itertools
import os

import torch
from torch import Tensor

from monge.data import QueryBatch


def pieces(lengths: Tensor, budget: int) -> list[slice]:
    """Cut (R,) rows into consecutive slices; the lengths within each add up to at most `budget` and one row more.

    >>> pieces(torch.tensor([3, 1, 0, 5, 2]), 4)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    ends = lengths.cumsum(0)
    total = int(ends[-1]) if len(ends) else 0
    cuts = torch.searchsorted(ends, torch.arange(budget, max(budget, total), budget, device=lengths.device)) + 1
    bounds = sorted({0, *cuts.tolist(), len(lengths)})
    return [slice(start, stop) for start, stop in itertools.pairwise(bounds)]


def places(starts: Tensor, lengths: Tensor, *, total: int | None = None) -> Tensor:
    """(R,) where rows start and how long they are -> (sum of lengths,) the place of each of their entries, row by row.

    A caller who knows the sum of the lengths gives it as `total`, and the device need not be waited for.

    >>> places(torch.tensor([7, 0]), torch.tensor([2, 3])).tolist()
    [7, 8, 0, 1, 2]
    """
    shift = starts - (lengths.cumsum(0) - lengths)
    along = torch.repeat_interleave(shift, lengths, output_size=total)
    return along + torch.arange(len(along), device=starts.device)


def distinct_items(queries: QueryBatch) -> tuple[Tensor, Tensor]:
    """Histories as sets: (N,) items back to back, each once in a history and by rising number; (N,) the query of each, rising."""
    keys = torch.unique(queries.row_of_item * queries.n_items + queries.items)  # sorted
    return keys % queries.n_items, keys // queries.n_items


def rows_at_once(n_columns: int, device: torch.device | str = "cpu") -> int:
    """How many float32 rows of so many columns, three times over, fit a tenth of the free memory: a power of two, 1 to 1024.

    The upper end is low enough that machines with a few GiB free all take it, and round alike.
    """
    device = torch.device(device)
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
    elif hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    else:
        free = 2 << 30
    return 1 << (max(1, min(1024, free // 10 // (3 * 4 * max(n_columns, 1)))).bit_length() - 1)
