"""Pseudo-items: what a user might have taken in a domain, recalled from the user's history by a graph of who took what, or at random.

    E = LightGCN's item vectors (mean of the layers 0..K),  W_i = sum_{k < K} e_i^(k) / sqrt(d_i)
    r_u = |h|^-1/2 sum_{i in h} W_i                         score of item j = <r_u, E_j>

r_u is what a user node with the edges h would receive from the items' layers, so a history is enough, whosever it is: users whom training
never saw get pseudo-items as all others do. The items recalled are those of one domain that the history has not, best first.

Iterative recall: for all rounds but the last, the best few items of every domain are added to h as pseudo-edges and r_u is formed anew;
items that were added in an earlier round come first.

Source: i2VAE (Ning et al., UAI 2025), sec. 3.1; LightGCN (He et al., SIGIR 2020). Ours: the user's own layer-0 vector is left out, and
pseudo-edges move the user alone, not the items (the paper re-propagates the whole graph; its code does one round, masks the target
while recalling, and gives users unknown to its LightGCN random vectors). The graph has the inputs of the training's examples only,
without what is a target of the same user in another example.

Axes: B queries, I items, D width, N pseudo-items.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from monge.data import Interactions, Queries
from monge.losses import bpr
from monge.nn.graph import GraphTables
from monge.sampling import PairBatches, epoch_seed

PseudoItems = Literal["lightgcn", "random"]
PER_ROUND = 5
"""Pseudo-edges that a round adds in each domain."""
HELD_OUT = 0.2
"""Share of the graph's edges that choose the epoch."""
JUDGES = 2000
"""At most so many users judge an epoch."""
BLOCK = 512
"""Queries answered at once."""


class PseudoSequences(nn.Module):
    """Recalls items by a LightGCN that it trains itself, or at random; what it learnt is kept in buffers.

    Args:
        domain_of_item: (I,) the domain of each item.
        n_domains: K.
        kind: lightgcn, or random (the ablation: any items of the domain that the history has not).
        n_rounds: of the iterative recall, >= 1.
        epochs: of the LightGCN; the best of ten of them is kept.
        dim: its width.
        n_layers: its layers.
    """

    reach: Tensor
    items: Tensor
    known: Tensor
    ready: Tensor
    domain_of_item: Tensor

    def __init__(
        self, domain_of_item: Tensor, n_domains: int, *, kind: PseudoItems, n_rounds: int, epochs: int, dim: int = 64, n_layers: int = 3
    ) -> None:
        super().__init__()
        n_items = len(domain_of_item)
        self.n_domains, self.kind, self.n_rounds, self.epochs, self.dim, self.n_layers = n_domains, kind, n_rounds, epochs, dim, n_layers
        self.register_buffer("domain_of_item", domain_of_item, persistent=False)
        width = dim if kind == "lightgcn" else 0
        self.register_buffer("reach", torch.zeros(n_items, width))
        self.register_buffer("items", torch.zeros(n_items, width))
        self.register_buffer("known", torch.zeros(n_items, dtype=torch.bool))
        self.register_buffer("ready", torch.zeros((), dtype=torch.bool))

    def fit(self, examples: Queries, train: Interactions, *, seed: int, device: torch.device | str) -> None:
        """Train the LightGCN on the inputs of examples; nothing happens where this was done before (a resumed run has its buffers)."""
        if bool(self.ready):
            return
        self.known.copy_(torch.from_numpy(np.bincount(examples.history.values, minlength=train.n_items) > 0))
        self.ready.fill_(True)
        if self.kind == "random":
            return
        self._learn(inputs_of(examples, train), seed, device)

    @torch.enable_grad()
    def _learn(self, edges: Interactions, seed: int, device: torch.device | str) -> None:
        """LightGCN with BPR on four fifths of the edges; the epoch that recalls the others best is kept."""
        held_out = np.random.default_rng(seed).random(len(edges)) < HELD_OUT
        kept, judged = edges.select(~held_out), edges.select(held_out)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(epoch_seed(seed, 0, "pseudo"))
            tables = GraphTables(edges.n_users, edges.n_items, self.dim, n_layers=self.n_layers, init="normal").to(device)
        tables.connect(kept, device)
        optimizer = torch.optim.Adam(tables.parameters(), lr=1e-3)
        batches = PairBatches(kept, batch_size=2048, seed=seed, device=device)
        best, state = -1.0, {}
        for epoch in range(self.epochs):
            for batch in batches(epoch):
                both = torch.cat([batch.positives, batch.negatives])
                user, item = tables(batch.users, both)
                positive, negative = item.chunk(2)
                loss = bpr((user * positive).sum(-1), (user * negative).sum(-1))
                squares = tables.users(batch.users).square().sum() + tables.items(both).square().sum()
                optimizer.zero_grad()
                (loss + 1e-4 * squares / (2 * len(batch.users))).backward()
                optimizer.step()
            if (epoch + 1) % max(1, self.epochs // 10) == 0 or epoch + 1 == self.epochs:
                value = _recall(tables, kept, judged)
                if value > best:
                    best, state = value, {name: tensor.detach().clone() for name, tensor in tables.state_dict().items()}
        tables.load_state_dict(state)
        self._keep(tables, edges, device)

    @torch.no_grad()
    def _keep(self, tables: GraphTables, edges: Interactions, device: torch.device | str) -> None:
        """The item vectors, and what users receive of them, over the graph of all edges."""
        tables.connect(edges, device)
        assert tables.graph is not None
        users, items = tables.users.weight, tables.items.weight
        received = torch.zeros_like(items)
        total = items.clone()
        layer = tables.graph.layer
        for _ in range(self.n_layers):
            received += items
            users, items = layer.to_users @ items, layer.to_items @ users
            total += items
        degree = tables.graph.item_offsets.diff().clamp(min=1)
        self.items.copy_(total / (self.n_layers + 1))
        self.reach.copy_(received / degree.sqrt()[:, None])

    @torch.no_grad()
    def forward(self, items: Tensor, row_of_item: Tensor, n_rows: int, domain: Tensor, n: int) -> Tensor:
        """Recall for histories.

        Args:
            items: (nnz,) histories back to back.
            row_of_item: (nnz,) the row 0..n_rows-1 of each, rising.
            n_rows: B.
            domain: (B,) of which the items are wanted.
            n: N.

        Returns:
            (B, N) items, best first, the number of items where no more are left.
        """
        blocks = [
            self._recall(*_rows_between(items, row_of_item, start, min(start + BLOCK, n_rows)), domain[start : start + BLOCK], n)
            for start in range(0, n_rows, BLOCK)
        ]
        return torch.cat(blocks) if blocks else domain.new_zeros((0, n))

    def _recall(self, items: Tensor, row: Tensor, domain_B: Tensor, n: int) -> Tensor:
        n_rows, n_items = len(domain_B), len(self.domain_of_item)
        found_BN = torch.full((n_rows, n), n_items, dtype=torch.int64, device=items.device)
        added: list[list[Tensor]] = [[] for _ in range(self.n_domains)]
        more = items, row
        for _ in range(self.n_rounds - 1 if self.kind == "lightgcn" else 0):
            users_BD = self._users(*more, n_rows)
            best = [self._best(number, users_BD, *more, None, PER_ROUND) for number in range(self.n_domains)]
            for number, some in enumerate(best):
                added[number].append(some)
            at, place = (torch.cat(best, 1) < n_items).nonzero(as_tuple=True)
            more = torch.cat([more[0], torch.cat(best, 1)[at, place]]), torch.cat([more[1], at])
        users_BD = self._users(*more, n_rows)
        for number in range(self.n_domains):
            rows = (domain_B == number).nonzero().squeeze(1)
            if len(rows):
                place = torch.full((n_rows,), -1, dtype=torch.int64, device=items.device)
                place[rows] = torch.arange(len(rows), device=items.device)
                mine = place[row] >= 0
                first = torch.cat(added[number], 1)[rows] if added[number] else None
                found_BN[rows] = self._best(number, users_BD[rows], items[mine], place[row[mine]], first, n)
        return found_BN

    def _users(self, items: Tensor, row: Tensor, n_rows: int) -> Tensor:
        """(B, D) what user nodes with these edges receive; or, at random, a number of each history, (B, 1)."""
        if self.kind == "random":
            seed_B = torch.zeros(n_rows, dtype=torch.int64, device=items.device).index_add_(0, row, (items + 1) * 2654435761)
            return seed_B[:, None]
        users_BD = torch.zeros(n_rows, self.reach.shape[1], device=items.device).index_add_(0, row, self.reach[items])
        return users_BD * torch.bincount(row, minlength=n_rows).clamp(min=1).rsqrt()[:, None]

    def _scores(self, users_BD: Tensor, columns_C: Tensor) -> Tensor:
        """(B, C); at random: numbers without order that depend on the history alone, so that a query asked twice gets one answer."""
        if self.kind == "lightgcn":
            return users_BD @ self.items[columns_C].T
        mixed = (users_BD + columns_C * 40503) * 6364136223846793005
        return (((mixed ^ (mixed >> 29)) * 2862933555777941757) >> 40).float()

    def _best(self, number: int, users_BD: Tensor, items: Tensor, row: Tensor, first: Tensor | None, n: int) -> Tensor:
        """(B, n) the best known items of a domain that the rows' items have not; those of `first` before all others, in their order."""
        n_items = len(self.domain_of_item)
        columns_C = ((self.domain_of_item == number) & self.known).nonzero().squeeze(1)
        column = torch.full((n_items + 1,), len(columns_C), dtype=torch.int64, device=items.device)
        column[columns_C] = torch.arange(len(columns_C), device=items.device)
        scores_BC = self._scores(users_BD, columns_C)
        if first is not None and len(columns_C):
            at, place = (first < n_items).nonzero(as_tuple=True)
            above = scores_BC.amax(1).clamp(min=0) + first.shape[1]
            scores_BC[at, column[first[at, place]]] = above[at] - place.to(scores_BC.dtype) / 2
        here = column[items] < len(columns_C)
        scores_BC[row[here], column[items[here]]] = -torch.inf
        values, best = scores_BC.topk(min(n, len(columns_C)), dim=1)
        best = columns_C[best].masked_fill(values == -torch.inf, n_items)
        return nn.functional.pad(best, (0, n - best.shape[1]), value=n_items)


def inputs_of(examples: Queries, train: Interactions) -> Interactions:
    """The inputs of examples as a log: who is known to have taken what, without what is a target of the same user in any example."""
    known, targets = (
        examples.user[rows.row_of_value] * np.int64(train.n_items) + rows.values for rows in (examples.history, examples.truth)
    )
    pairs = np.unique(known[~np.isin(known, targets)])
    return Interactions.from_numbers(pairs // train.n_items, pairs % train.n_items, users=train.users, items=train.items)


def _rows_between(items: Tensor, row: Tensor, start: int, stop: int) -> tuple[Tensor, Tensor]:
    here = (row >= start) & (row < stop)
    return items[here], row[here] - start


@torch.no_grad()
def _recall(tables: GraphTables, kept: Interactions, judged: Interactions) -> float:
    """Share of held-out edges among the 20 best items of their users."""
    users_UD, items_ID = tables.propagated()
    users = torch.from_numpy(np.unique(judged.user)[:JUDGES])
    place = torch.full((kept.n_users,), -1, dtype=torch.int64)
    place[users] = torch.arange(len(users))

    def marked(log: Interactions) -> Tensor:
        row, item = place[torch.from_numpy(log.user)], torch.from_numpy(log.item)
        return torch.stack([row[row >= 0], item[row >= 0]])

    hits = 0
    known, wanted = marked(kept), marked(judged)
    for start in range(0, len(users), 256):
        scores = users_UD[users[start : start + 256].to(users_UD.device)] @ items_ID.T
        at = known[:, (known[0] >= start) & (known[0] < start + 256)]
        scores[at[0] - start, at[1]] = -torch.inf
        right = wanted[:, (wanted[0] >= start) & (wanted[0] < start + 256)]
        top = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, scores.topk(min(20, scores.shape[1]), dim=1).indices, True)
        hits += int(top[right[0] - start, right[1]].sum())
    return hits / max(1, wanted.shape[1])
