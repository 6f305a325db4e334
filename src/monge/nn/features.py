"""Item content as vectors: a modality's rows times a learned matrix; and which items are alike by their rows.

Axes: I items, F width of a modality, D width of a vector, K neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from monge.data import Modality
from monge.errors import DataError, UnknownNameError, nearest
from monge.nn.rows import places

Missing = Literal["learned", "mean", "zero"]
Scale = Literal["raw", "standard"]


def chosen(modalities: Mapping[str, Modality], names: str, model: str, *, scale: Scale = "raw") -> dict[str, Modality]:
    """The modalities that a model is to read, in the order given; all of them where none is named.

    Args:
        modalities: those of the log.
        names: separated by commas, or empty.
        model: for messages.
        scale: "standard" makes rows of numbers `standardised`.

    Raises:
        DataError: there is none, or one knows no item. UnknownNameError: one has no such name.
    """
    if not modalities:
        raise DataError(f"{model} reads item content, and the log has none: give --modality NAME=FILE (see monge data embed for texts)")
    wanted = [name.strip() for name in names.split(",") if name.strip()] or list(modalities)
    for name in wanted:
        if name not in modalities:
            raise UnknownNameError(f"the log has no modality {name!r}{nearest(name, modalities)}")
        if modalities[name].missing.all():
            raise DataError(f"modality {name} knows none of the {len(modalities[name].missing):,} items; leave it out of --modalities")
    return {name: modalities[name] if scale == "raw" else standardised(modalities[name]) for name in wanted}


def standardised(modality: Modality) -> Modality:
    """Rows of numbers, each column less its mean over its deviation and the root of the width; attributes as they are.

    So a row's squared length is 1 on average, whatever the numbers' unit, and what all rows have in common is gone. Mean and deviation
    are those of the items that have a row; a column without deviation becomes 0.

    >>> rows = Modality(missing=np.array([False, False, True]), width=2, values=np.array([[9.0, 5], [7, 5], [0, 0]], dtype=np.float32))
    >>> (standardised(rows).values * 2**0.5).round(3).tolist()
    [[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]]
    """
    if modality.values is None:
        return modality
    present, values = ~modality.missing, modality.values.astype(np.float64)
    mean, deviation = values[present].mean(0), values[present].std(0)
    along = np.where(deviation > 1e-6 * np.abs(mean), deviation, np.inf) * np.sqrt(modality.width)
    return replace(modality, values=np.where(present[:, None], (values - mean) / along, 0).astype(np.float32))


class Projection(nn.Module):
    """f W + b of items' rows f; attributes count as a row of ones over the root of their number.

    The rows are buffers that no file of weights holds: a model is built with them. They are computed with in float32.

    Args:
        modality: (I, F) rows or attributes.
        dim: D.
        missing: what an item without a row has: "learned", a vector of its own that all such items share; "mean", the mean row of the
            others; "zero", no row at all (b remains).
    """

    values: Tensor
    attributes: Tensor
    offsets: Tensor
    missing: Tensor
    mean: Tensor

    def __init__(self, modality: Modality, dim: int, *, missing: Missing = "learned") -> None:
        super().__init__()
        self.how = missing
        self.weight = nn.Parameter(torch.empty(modality.width, dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        nn.init.xavier_uniform_(self.weight)
        self.has_gaps = bool(modality.missing.any())
        self.unknown = nn.Parameter(torch.empty(dim).normal_(std=0.1)) if missing == "learned" and self.has_gaps else None
        self.is_dense = modality.values is not None
        empty = np.zeros(0, dtype=np.float32)
        self._keep("values", empty if modality.values is None else modality.values.astype(np.float32))
        self._keep("attributes", empty.astype(np.int64) if modality.active is None else modality.active.values)
        self._keep("offsets", empty.astype(np.int64) if modality.active is None else modality.active.offsets)
        self._keep("missing", modality.missing)
        self._keep("mean", _mean_row(modality) if missing == "mean" and self.has_gaps else empty)

    def _keep(self, name: str, array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> None:
        self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(array)), persistent=False)

    def forward(self, items: Tensor | None = None) -> Tensor:
        """(I, D) of all items, or (B, D) of the given (B,) ones."""
        vectors = (self._from_values(items) if self.is_dense else self._from_attributes(items)) + self.bias
        if not self.has_gaps or self.how == "zero":
            return vectors
        gap = (self.missing if items is None else self.missing[items])[:, None]
        return torch.where(gap, self.mean @ self.weight + self.bias if self.unknown is None else self.unknown, vectors)

    def _from_values(self, items: Tensor | None) -> Tensor:
        return (self.values if items is None else self.values[items]) @ self.weight

    def _from_attributes(self, items: Tensor | None) -> Tensor:
        starts, lengths = self.offsets[:-1], self.offsets.diff()
        attributes = self.attributes
        if items is not None:
            starts, lengths = starts[items], lengths[items]
            attributes = attributes[places(starts, lengths)]
        along = torch.repeat_interleave(lengths.clamp(min=1).to(self.weight.dtype).rsqrt(), lengths)
        bounds = F.pad(lengths.cumsum(0), (1, 0))
        return F.embedding_bag(attributes, self.weight, bounds, mode="sum", per_sample_weights=along, include_last_offset=True)


def _mean_row(modality: Modality) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """(F,) the mean of the rows that are there."""
    present = ~modality.missing
    if modality.values is not None:
        return modality.values[present].astype(np.float32).mean(0)
    assert modality.active is not None
    weights = 1 / np.sqrt(modality.active.lengths[modality.active.row_of_value])
    return (np.bincount(modality.active.values, weights=weights, minlength=modality.width) / present.sum()).astype(np.float32)


def nearest_items(modality: Modality, k: int, *, block: int = 1024) -> tuple[Tensor, Tensor]:
    """The k items whose rows are most alike by cosine, for each item, itself among them; computed in blocks of rows.

    Returns:
        (I, K) int64 numbers, best first, and (I, K) float32 cosines; where an item or its neighbour has no row the cosine is 0. K is
        at most I.
    """
    n = len(modality.missing)
    k = min(k, n)
    numbers, cosines = torch.empty(n, k, dtype=torch.int64), torch.empty(n, k)
    if modality.values is not None:
        rows = F.normalize(torch.from_numpy(modality.values.astype(np.float32)), dim=-1)
    else:
        assert modality.active is not None
        ones = np.ones(len(modality.active.values), dtype=np.float32) / np.sqrt(modality.active.lengths[modality.active.row_of_value])
        matrix = sp.csr_array((ones.astype(np.float32), modality.active.values, modality.active.offsets), shape=(n, modality.width))
        rows = None
    for start in range(0, n, block):
        stop = min(start + block, n)
        alike = rows[start:stop] @ rows.T if rows is not None else torch.from_numpy((matrix[start:stop] @ matrix.T).toarray())  # pyright: ignore[reportPossiblyUnboundVariable]
        found = alike.topk(k, dim=1)
        numbers[start:stop], cosines[start:stop] = found.indices, found.values
    return numbers, cosines


def most_alike(rows: Tensor, k: int, *, block: int = 1024) -> Tensor:
    """(I, D) vectors -> (I, K) the k most alike rows by cosine, in blocks."""
    unit = F.normalize(rows.detach(), dim=-1)
    found: list[Tensor] = []
    for start in range(0, len(unit), block):
        alike = unit[start : start + block] @ unit.T
        found.append(alike.topk(min(k, len(unit)), dim=1).indices)
    return torch.cat(found)


def inner_products_of_neighbours(rows: Tensor, neighbours: Tensor) -> Tensor:
    """<row i, row n_ik>: (I, D) rows, (I, K) int64 numbers of rows -> (I, K), with a gradient to the rows.

    Neither this nor its gradient has an array of I x K x D numbers: gradients are sums over a row's neighbours, and over those whose
    neighbour it is.
    """
    return _InnerProducts.apply(rows, neighbours)  # pyright: ignore[reportReturnType]


def sums_of_neighbours(rows: Tensor, neighbours: Tensor, weights: Tensor) -> Tensor:
    """sum_k w_ik row n_ik: (J, D) rows, (I, K) int64 numbers of rows and weights -> (I, D), with gradients to rows and weights."""
    return _WeightedSums.apply(rows, neighbours, weights)  # pyright: ignore[reportReturnType]


def _products(left: Tensor, rows: Tensor, neighbours: Tensor) -> Tensor:
    return torch.stack([(left * rows.index_select(0, column)).sum(1) for column in neighbours.T.contiguous()], 1)


def _sums(rows: Tensor, neighbours: Tensor, weights: Tensor) -> Tensor:
    return F.embedding_bag(neighbours, rows, per_sample_weights=weights.contiguous(), mode="sum")


def _transposed_sums(left: Tensor, neighbours: Tensor, weights: Tensor, n_rows: int) -> Tensor:
    """(n_rows, D) sum over the edges i -> j of w_ij left_i, for each j."""
    flat = neighbours.flatten()
    order = flat.argsort(stable=True)
    offsets = F.pad(torch.bincount(flat, minlength=n_rows).cumsum(0), (1, 0))
    sources, along = order // neighbours.shape[1], weights.flatten()[order]
    return F.embedding_bag(sources, left.contiguous(), offsets, per_sample_weights=along, mode="sum", include_last_offset=True)


class _InnerProducts(torch.autograd.Function):
    @staticmethod
    def forward(rows: Tensor, neighbours: Tensor) -> Tensor:
        return _products(rows, rows, neighbours)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] (of the decorator)
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        rows, neighbours = ctx.saved_tensors
        (gradient_IK,) = gradients
        return _sums(rows, neighbours, gradient_IK) + _transposed_sums(rows, neighbours, gradient_IK, len(rows)), None


class _WeightedSums(torch.autograd.Function):
    @staticmethod
    def forward(rows: Tensor, neighbours: Tensor, weights: Tensor) -> Tensor:
        return _sums(rows, neighbours, weights)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] (of the decorator)
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        rows, neighbours, weights = ctx.saved_tensors
        (gradient_ID,) = gradients
        to_rows = _transposed_sums(gradient_ID, neighbours, weights, len(rows)) if ctx.needs_input_grad[0] else None
        to_weights = _products(gradient_ID, rows, neighbours) if ctx.needs_input_grad[2] else None
        return to_rows, None, to_weights
