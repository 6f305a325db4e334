"""The user-item graph and its propagation: sparse products on the device, never users x items in memory.

A (U, I) holds 1 where a user took an item, once each; D_u and D_i hold how many neighbours users and items have. A layer is

    symmetric:  users' = D_u^-1/2 A D_i^-1/2 items      items' = D_i^-1/2 A^T D_u^-1/2 users
    one-sided:  users' = D_u^-1 A items                 items' = D_i^-1 A^T users
    root:       users' = D_u^-1/2 A items               items' = D_i^-1/2 A^T users

Every product, of the backward pass too, runs over a matrix stored by rows (CSR): A and its transpose are both kept, so no gradient is
scattered. `docs/decisions/0013-sparse-propagation.md` has what was compared.

A user or an item without a neighbour receives nothing: from layer 1 on it is zero, and the mean over layers 0..K leaves it its layer-0
vector divided by K + 1.

Axes: U users, I items, E edges, D width of a vector; R rows and C columns of any matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from monge.data import Interactions

Normalisation = Literal["symmetric", "one-sided", "root"]


@dataclass(frozen=True, eq=False)
class SparseRows:
    """An (R, C) matrix stored by rows."""

    offsets: Tensor
    """(R + 1,) int32 where each row starts."""
    columns: Tensor
    """(E,) int32."""
    values: Tensor
    """(E,) float."""

    def __matmul__(self, dense: Tensor) -> Tensor:
        """(C, D) -> (R, D), without a gradient; in the wider type of the two."""
        dtype = torch.promote_types(dense.dtype, self.values.dtype)
        return F.embedding_bag(
            self.columns,
            dense.detach().to(dtype).contiguous(),
            self.offsets,
            mode="sum",
            per_sample_weights=self.values.to(dtype),
            include_last_offset=True,
        )


@dataclass(frozen=True, eq=False)
class Layer:
    """The linear map (users, items) -> (to_users @ items, to_items @ users)."""

    to_users: SparseRows
    """(U, I)."""
    to_items: SparseRows
    """(I, U)."""


@dataclass(frozen=True, eq=False, kw_only=True)
class BipartiteGraph:
    """Who took what, each pair once, by users and by items. Build it with `from_interactions`; it is never changed in place."""

    user_offsets: Tensor
    """(U + 1,) int32 where the edges of each user start."""
    items: Tensor
    """(E,) int32 the item of each edge, users one after the other."""
    item_offsets: Tensor
    """(I + 1,) int32 where the edges of each item start."""
    users: Tensor
    """(E,) int32 the user of each edge, items one after the other."""
    order: Tensor
    """(E,) int64: edge e by items is edge order[e] by users."""
    normalisation: Normalisation = "symmetric"
    dtype: torch.dtype = torch.float32
    """Of the weights."""

    @classmethod
    def from_interactions(
        cls,
        log: Interactions,
        *,
        normalisation: Normalisation = "symmetric",
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> BipartiteGraph:
        """The graph of a log; a pair that stands there several times is one edge.

        >>> log = Interactions.from_columns(["ann", "bob", "bob", "bob"], ["x", "x", "y", "y"])
        >>> graph = BipartiteGraph.from_interactions(log)
        >>> graph.n_edges, graph.items.tolist(), graph.users.tolist()
        (3, [0, 0, 1], [0, 1, 1])
        """
        user, item = torch.from_numpy(log.user).to(device), torch.from_numpy(log.item).to(device)
        return cls.from_pairs(user, item, log.n_users, log.n_items, normalisation=normalisation, dtype=dtype)

    @classmethod
    def from_pairs(
        cls,
        user: Tensor,
        item: Tensor,
        n_users: int,
        n_items: int,
        *,
        normalisation: Normalisation = "symmetric",
        dtype: torch.dtype = torch.float32,
    ) -> BipartiteGraph:
        """The graph of (E,) users with (E,) items, on their device; a pair that stands there several times is one edge."""
        pairs = torch.unique(user * n_items + item)  # sorted: by users, then by items
        user, item = pairs // n_items, pairs % n_items
        order = torch.argsort(item, stable=True)
        return cls(
            user_offsets=_offsets(user, n_users),
            items=item.int(),
            item_offsets=_offsets(item, n_items),
            users=user[order].int(),
            order=order,
            normalisation=normalisation,
            dtype=dtype,
        )

    @property
    def n_users(self) -> int:
        """U, those without an edge too."""
        return len(self.user_offsets) - 1

    @property
    def n_items(self) -> int:
        """I, those without an edge too."""
        return len(self.item_offsets) - 1

    @property
    def n_edges(self) -> int:
        """E."""
        return len(self.items)

    def subgraph(self, keep: Tensor) -> BipartiteGraph:
        """The graph of some edges, normalised anew by the neighbours that are left.

        Args:
            keep: (E,) bool, in the order of `items`.

        Raises:
            ValueError: another shape or type.
        """
        if keep.shape != self.items.shape or keep.dtype != torch.bool:
            raise ValueError(f"keep must be ({self.n_edges},) bool; got {tuple(keep.shape)}, {keep.dtype}")
        keep_by_item = keep[self.order]
        place, place_by_item = _places(keep), _places(keep_by_item)
        return BipartiteGraph(
            user_offsets=place[self.user_offsets].int(),
            items=self.items[keep],
            item_offsets=place_by_item[self.item_offsets].int(),
            users=self.users[keep_by_item],
            order=place[self.order[keep_by_item]],
            normalisation=self.normalisation,
            dtype=self.dtype,
        )

    @property
    def layer(self) -> Layer:
        """One layer's normalised matrices."""
        return self._layers[0]

    @property
    def adjoint(self) -> Layer:
        """What takes gradients back through a layer: its transpose, stored by rows too."""
        return self._layers[1]

    @cached_property
    def _layers(self) -> tuple[Layer, Layer]:
        """Weight of an edge (u, i): into[u] out_of[i] on the way to users, into[i] out_of[u] on the way to items."""
        degree_U, degree_I = self.user_offsets.diff(), self.item_offsets.diff()
        exponent = -1.0 if self.normalisation == "one-sided" else -0.5
        into_U, into_I = (degree.clamp(min=1).to(self.dtype).pow(exponent) for degree in (degree_U, degree_I))
        out_of_U, out_of_I = (into_U, into_I) if self.normalisation == "symmetric" else (torch.ones_like(into_U), torch.ones_like(into_I))

        def by_users(of_users: Tensor, of_items: Tensor) -> SparseRows:
            values = torch.repeat_interleave(of_users, degree_U, output_size=self.n_edges) * of_items[self.items]
            return SparseRows(self.user_offsets, self.items, values)

        def by_items(of_items: Tensor, of_users: Tensor) -> SparseRows:
            values = torch.repeat_interleave(of_items, degree_I, output_size=self.n_edges) * of_users[self.users]
            return SparseRows(self.item_offsets, self.users, values)

        layer = Layer(by_users(into_U, out_of_I), by_items(into_I, out_of_U))
        if self.normalisation == "symmetric":
            return layer, layer  # its own transpose
        return layer, Layer(by_users(out_of_U, into_I), by_items(out_of_I, into_U))

    def to_users(self, items: Tensor) -> Tensor:
        """(I, D) -> (U, D): one half of a layer, with gradients."""
        return _Product.apply(items, self.layer.to_users, self.adjoint.to_items)  # pyright: ignore[reportReturnType]

    def to_items(self, users: Tensor) -> Tensor:
        """(U, D) -> (I, D): the other half."""
        return _Product.apply(users, self.layer.to_items, self.adjoint.to_users)  # pyright: ignore[reportReturnType]


class _Product(torch.autograd.Function):
    """matrix @ dense, and back by the transpose."""

    @staticmethod
    def forward(dense: Tensor, matrix: SparseRows, transpose: SparseRows) -> Tensor:
        return matrix @ dense

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.matrix, ctx.transpose = inputs[1:]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return _Product.apply(gradients[0], ctx.transpose, ctx.matrix), None, None  # pyright: ignore[reportReturnType]


def propagate(graph: BipartiteGraph, users: Tensor, items: Tensor, n_layers: int) -> tuple[Tensor, Tensor]:
    """The mean over layers 0..K of what the graph's layers make of users and items.

    Args:
        graph: U users, I items, on the device of the vectors.
        users: (U, D) float, layer 0.
        items: (I, D) float, layer 0.
        n_layers: K >= 0; with 0 nothing is propagated.

    Returns:
        (U, D) and (I, D). Gradients flow to both; they pass the same number of sparse products and keep no layer in memory.

    Raises:
        ValueError: the vectors do not fit the graph or each other, or n_layers < 0.

    Source: He et al., "LightGCN", SIGIR 2020, Eq. 3, 4 and 8 with equal weights. The sum over layers is summed by Horner's rule.
    """
    if users.ndim != 2 or items.ndim != 2 or users.shape[1] != items.shape[1]:
        raise ValueError(f"users and items must be (U, D) and (I, D); got {tuple(users.shape)}, {tuple(items.shape)}")
    if len(users) != graph.n_users or len(items) != graph.n_items:
        raise ValueError(f"the graph has {graph.n_users} users and {graph.n_items} items; got {len(users)} and {len(items)} vectors")
    if n_layers < 0:
        raise ValueError(f"n_layers must be >= 0; got {n_layers}")
    if n_layers == 0:
        return users, items
    return _LayerMean.apply(users, items, graph.layer, graph.adjoint, n_layers)  # pyright: ignore[reportReturnType]


class _LayerMean(torch.autograd.Function):
    """(1 + L + L^2 + ... + L^K) / (K + 1), whose adjoint is the same polynomial of the transpose of L."""

    @staticmethod
    def forward(users: Tensor, items: Tensor, layer: Layer, adjoint: Layer, n_layers: int) -> tuple[Tensor, Tensor]:
        sum_UD, sum_ID = users, items
        for _ in range(n_layers):  # Horner: sum <- layer 0 + L sum
            sum_UD, sum_ID = (layer.to_users @ sum_ID).add_(users), (layer.to_items @ sum_UD).add_(items)
        return sum_UD.div_(n_layers + 1), sum_ID.div_(n_layers + 1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.layer, ctx.adjoint, ctx.n_layers = inputs[2:]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        users, items = _LayerMean.apply(*gradients, ctx.adjoint, ctx.layer, ctx.n_layers)  # pyright: ignore[reportGeneralTypeIssues]
        return users, items, None, None, None


class GraphTables(nn.Module):
    """A layer-0 vector for each user and item, and what the graph of the training makes of them: an encoder of (user, item) pairs.

    While a model learns, vectors come from `forward` or `propagated`, with gradients. To answer queries it takes `everything()`, which
    keeps them in persistent buffers. So a run that was loaded answers at once, and it needs no graph and no training rows; the price is
    a second pair of tables in its files. The graph itself is no buffer: its size is not known before the training rows are, and
    `connect` rebuilds it in a fraction of a second where training goes on.

    In evaluation mode the tables are taken to be at rest: they are propagated once after training mode was left, however many blocks of
    queries follow. In training mode `everything()` propagates at every call, so it is right in the middle of an epoch too, and so does
    saving. (Autograd's counter of changes in place would tell more finely, but fused Adam does not raise it.)

    Args:
        n_users, n_items: rows of the tables.
        dim: width of a vector.
        n_layers: K >= 0.
        normalisation: of the graph.
        init: of layer 0, normal with deviation 0.1, or Xavier's normal distribution.
        view: what a training step sees in place of the graph, made anew in every `forward` (the graph with dropped edges, say).
            Answers are always of the whole graph.
    """

    final_users: Tensor
    final_items: Tensor

    def __init__(
        self,
        n_users: int,
        n_items: int,
        dim: int,
        *,
        n_layers: int,
        normalisation: Normalisation = "symmetric",
        init: Literal["normal", "xavier"] = "xavier",
        view: Callable[[BipartiteGraph], BipartiteGraph] | None = None,
    ) -> None:
        super().__init__()
        self.n_layers, self.view = n_layers, view
        self.normalisation: Normalisation = normalisation
        self.users, self.items = nn.Embedding(n_users, dim), nn.Embedding(n_items, dim)
        for table in (self.users, self.items):
            nn.init.normal_(table.weight, std=0.1) if init == "normal" else nn.init.xavier_normal_(table.weight)
        self.register_buffer("final_users", torch.zeros(n_users, dim))
        self.register_buffer("final_items", torch.zeros(n_items, dim))
        self.graph: BipartiteGraph | None = None
        self._at_rest = False
        self.register_state_dict_pre_hook(_up_to_date)

    def connect(self, train: Interactions, device: torch.device | str = "cpu") -> None:
        """Build the graph of the training rows."""
        self.graph = BipartiteGraph.from_interactions(train, normalisation=self.normalisation, device=device)
        self._at_rest = False

    def propagated(self, graph: BipartiteGraph | None = None) -> tuple[Tensor, Tensor]:
        """(U, D) and (I, D) final vectors, by the training's graph or by another one (with dropped edges, say).

        Raises:
            ValueError: neither is there.
        """
        graph = graph or self.graph
        if graph is None:
            raise ValueError("there is no graph to propagate over; call connect(train) first")
        return propagate(graph, self.users.weight, self.items.weight, self.n_layers)

    def forward(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Numbers (B,), (C,) -> final vectors (B, D), (C, D); each call propagates over the whole graph."""
        seen = self.view(self.graph) if self.training and self.view is not None and self.graph is not None else self.graph
        users_UD, items_ID = self.propagated(seen)
        return F.embedding(users, users_UD), F.embedding(items, items_ID)

    def train(self, mode: bool = True) -> GraphTables:
        """Switch the mode; what was propagated before a training is forgotten."""
        self._at_rest = self._at_rest and not mode
        return super().train(mode)

    @torch.no_grad()
    def everything(self) -> tuple[Tensor, Tensor]:
        """(U, D) and (I, D) final vectors without gradients; where there is no graph, those that were saved with the tables."""
        if self.graph is not None and not self._at_rest:
            for buffer, vectors in zip((self.final_users, self.final_items), self.propagated(), strict=True):
                buffer.copy_(vectors)
            self._at_rest = not self.training
        return self.final_users, self.final_items


def _up_to_date(tables: nn.Module, *_: object) -> None:
    """Before a state is saved: final vectors that belong to the tables."""
    assert isinstance(tables, GraphTables)
    tables.everything()


def _offsets(rows: Tensor, n_rows: int) -> Tensor:
    """(E,) row numbers -> (n_rows + 1,) int32 where each row starts."""
    return F.pad(torch.bincount(rows, minlength=n_rows).cumsum(0), (1, 0)).int()


def _places(keep: Tensor) -> Tensor:
    """(E,) bool -> (E + 1,) int64 how many are kept before each place."""
    return F.pad(keep.cumsum(0), (1, 0))
