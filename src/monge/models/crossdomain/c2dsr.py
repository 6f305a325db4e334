"""C2DSR: one sequence encoder a domain and one for all domains together, held together by what they can tell of each other.

    state of X  = SASRec blocks over the items of X;  merged state = blocks over the items of all domains, as they came
    logits of X = W_X (state of X + merged state)
    loss = (1 - w) [ CE(next item of the domain) + CE(next items of the merged sequence) ] + w infomax
    infomax: a bilinear form tells the mean of X's states with the merged states of the OTHER domains' items from the same with those
    items replaced at random

Item vectors are the mean of a table and of what one layer of a graph makes of it: D^-1 A E, where A counts which items stood side by side,
for the domains' table within the sequences of one domain, for the merged one in the merged sequences. Each log loss is among the items of
the domain that the next item belongs to.

Source: Cao et al., "Contrastive Cross-Domain Sequential Recommendation", CIKM 2022, and its code (cjx96/C2DSR): w = .3, 2 blocks, 1 head,
dropout .2. Ours: one target an example for the domain's loss (every position for the merged one); the graphs are read in both directions
and count repeats; vectors are not scaled by sqrt(D); pads are left out of attention and are no class; more than two domains.

Axes: K domains, B examples, T positions, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from monge.data import Domains, Interactions, QueryBatch, examples_of
from monge.errors import ConfigError
from monge.losses import full_cross_entropy
from monge.models.contract import Batches, check_positive, check_ranges
from monge.models.crossdomain.domain_scores import scores_by_domain
from monge.nn.interests import InterestEncoder, pooled, states_by_length
from monge.sampling import ExampleBatch, ExampleBatches, by_domain


@dataclass(frozen=True, kw_only=True)
class C2DSRConfig:
    """C2DSR's options; width, length and batch as in i2VAE's comparison."""

    dim: int = 128
    """Width of items and states."""
    max_length: int = 20
    """How many of the newest items are read, of each domain and of all together."""
    n_blocks: int = 2
    """Self-attention blocks."""
    n_heads: int = 1
    """Attention heads; must divide the width."""
    dropout: float = 0.2
    """In the blocks."""
    infomax: float = 0.3
    """Share of the infomax loss."""
    replaced: float = 1.0
    """Share of the other domains' items that is replaced to make a negative."""
    graph: bool = True
    """Mix item vectors over the graph of neighbouring items."""
    batch_size: int = 512
    """Examples in a training batch."""
    learning_rate: float = 8e-4
    """Adam's step size."""
    weight_decay: float = 0.0
    """Coupled L2 penalty (the authors' code: 5e-4)."""

    def __post_init__(self) -> None:
        infinity = float("inf")
        check_ranges(self, dim=(1, infinity), max_length=(1, infinity), n_blocks=(0, infinity), n_heads=(1, infinity), dropout=(0, 0.99))
        check_ranges(self, infomax=(0, 1), replaced=(0, 1), batch_size=(1, infinity), weight_decay=(0, infinity))
        check_positive(self, "learning_rate")
        if self.dim % self.n_heads:
            raise ConfigError(f"--n-heads must divide --dim; got {self.n_heads} heads for width {self.dim}")

    def space(self) -> dict[str, str]:
        """What `monge tune` searches by itself."""
        return {"learning_rate": "3e-4..8e-4:log", "infomax": "0,0.1,0.3,0.5", "weight_decay": "0,1e-5,5e-4", "dropout": "0.2,0.5"}


class C2DSR(nn.Module):
    """Encoders of each domain and of all; anybody gets an answer (without any history: the output layer's biases)."""

    Config: ClassVar = C2DSRConfig
    answers_unknown_users: ClassVar = True
    needs_domains: ClassVar = True

    domain_of_item: Tensor
    final: Tensor

    def __init__(self, config: C2DSRConfig, *, n_users: int, n_items: int, domains: Domains) -> None:
        super().__init__()
        domains.require_several("c2dsr")
        self.config, self.n_domains, self.n_items = config, len(domains), n_items
        self.register_buffer("domain_of_item", torch.from_numpy(domains.of_item), persistent=False)
        self.register_buffer("final", torch.zeros(2, n_items, config.dim))
        self.tables = nn.Parameter(torch.randn(2, n_items, config.dim) * config.dim**-0.5)  # of the domains, and merged
        self.encoders = nn.ModuleList(
            InterestEncoder(
                config.dim, n_blocks=config.n_blocks, n_heads=config.n_heads, dropout=config.dropout, max_length=config.max_length
            )
            for _ in range(self.n_domains + 1)
        )
        self.out = nn.Linear(config.dim, n_items)
        self.agree = nn.ModuleList(nn.Bilinear(config.dim, config.dim, 1) for _ in range(self.n_domains))
        self.graphs: tuple[Tensor, Tensor] | None = None
        self.merged_of_example = torch.empty(0)
        self.register_state_dict_pre_hook(_keep_vectors)

    def batches(self, train: Interactions, *, seed: int, device: torch.device) -> Batches:
        """Every example once an epoch."""
        examples = examples_of(train)
        self.merged_of_example = examples.batch(device).padded(self.config.max_length)
        batches = ExampleBatches(
            train, batch_size=self.config.batch_size, max_length=self.config.max_length, n_negatives=1, seed=seed, device=device
        )
        if self.config.graph:
            within = _neighbours(batches.sequences.flatten(0, 1), self.n_items)
            self.graphs = within, _neighbours(self.merged_of_example, self.n_items)
        return batches

    def vectors(self) -> Tensor:
        """(2, n_items + 1, D): item vectors of the domains and merged, over the graph where it is there; then the pad's zeros."""
        tables = self.tables
        if self.graphs is not None:
            mixed = [torch.sparse.mm(graph, table) for graph, table in zip(self.graphs, tables.unbind(), strict=True)]
            tables = (tables + torch.stack(mixed)) / 2
        elif self.config.graph:
            tables = self.final
        return F.pad(tables, (0, 0, 0, 1))

    def states(self, number: int, vectors: Tensor, sequences_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Of a domain, or of all (`number` = K): (B, T) items -> states (B, T, D), for those places that are real, and which these are."""
        real_BT = sequences_BT != self.n_items
        table = vectors[1 if number == self.n_domains else 0]
        return states_by_length(self.encoders[number], sequences_BT, real_BT, lambda items: F.embedding(items, table)), real_BT

    def loss(self, batch: ExampleBatch) -> dict[str, Tensor]:
        """Log losses of the next items and the infomax loss, in nats an example."""
        vectors = self.vectors()
        merged_BT = self.merged_of_example[batch.rows]
        merged, real_BT = self.states(self.n_domains, vectors, merged_BT)
        keep, w = 1 - self.config.infomax, self.config.infomax
        following_BT = torch.cat([merged_BT[:, 1:], batch.targets[:, None]], 1)
        merged_N, following_N = merged[real_BT], following_BT[real_BT]
        single = loss_merged = contrast = merged.new_zeros(())
        for number in range(self.n_domains):
            columns = (self.domain_of_item == number).nonzero().squeeze(1)
            here = (self.domain_of_item[following_N] == number).nonzero().squeeze(1)
            if len(here):
                next_item = torch.searchsorted(columns, following_N[here])
                log_loss = full_cross_entropy(merged_N[here], self.out.weight[columns], self.out.bias[columns], next_item)
                loss_merged = loss_merged + len(here) / len(following_N) * log_loss
            rows = (batch.domain == number).nonzero().squeeze(1)
            if not len(rows):
                continue
            states, real = self.states(number, vectors, batch.sequences[number, rows])
            user = self._last(states, real) + self._last(merged[rows], real_BT[rows])
            target = torch.searchsorted(columns, batch.targets[rows])
            share = len(rows) / len(batch.rows)
            single = single + share * full_cross_entropy(user, self.out.weight[columns], self.out.bias[columns], target)
            if w:
                contrast = contrast + share * self._infomax(number, vectors, states, real, merged[rows], merged_BT[rows])
        return {"single": keep * single, "merged": keep * loss_merged, "infomax": w * contrast}

    def _last(self, states: Tensor, real: Tensor) -> Tensor:
        """(B, D): the newest state, zero for an empty sequence."""
        return torch.where(real.any(1)[:, None], states[:, -1], torch.zeros_like(states[:, -1]))

    def _infomax(self, number: int, vectors: Tensor, states: Tensor, real: Tensor, merged: Tensor, merged_BT: Tensor) -> Tensor:
        """Mean log loss of "these other-domain states belong to this user", over users with both."""
        others = (merged_BT != self.n_items) & (F.pad(self.domain_of_item, (0, 1))[merged_BT] != number)
        both = others.any(1) & real.any(1)
        if not bool(both.any()):
            return merged.new_zeros(())
        drawn_BT = self._same_domain(merged_BT)
        change = others & (torch.rand(merged_BT.shape, device=merged_BT.device) < self.config.replaced)
        broken, _ = self.states(self.n_domains, vectors, torch.where(change, drawn_BT, merged_BT)[both])
        own = pooled(states[both], real[both])
        right = self.agree[number](own, pooled(merged[both], others[both]))
        wrong = self.agree[number](own, pooled(broken, others[both]))
        return (F.softplus(-right) + F.softplus(wrong)).mean()

    def _same_domain(self, items_BT: Tensor) -> Tensor:
        """For each item another one of its domain, drawn uniformly."""
        drawn_BT = items_BT
        for number in range(self.n_domains):
            columns = (self.domain_of_item == number).nonzero().squeeze(1)
            here = F.pad(self.domain_of_item, (0, 1), value=-1)[items_BT] == number
            drawn_BT = torch.where(here, columns[torch.randint(len(columns), items_BT.shape, device=items_BT.device)], drawn_BT)
        return drawn_BT

    def domain_scores(self, number: int, queries: QueryBatch, sequences_KBT: Tensor) -> Tensor:
        """(B, items of the domain) logits."""
        vectors = self.vectors()
        columns = (self.domain_of_item == number).nonzero().squeeze(1)
        own = self._last(*self.states(number, vectors, sequences_KBT[number]))
        merged = self._last(*self.states(self.n_domains, vectors, queries.padded(self.config.max_length)))
        return F.linear(own + merged, self.out.weight[columns], self.out.bias[columns])

    def scores(self, queries: QueryBatch) -> Tensor:
        """(B, n_items) logits; -inf on items of other domains than the one that a query asks for."""
        cut = self.domain_of_item, self.n_domains, self.config.max_length
        return scores_by_domain(self, queries, by_domain(queries.items, queries.row_of_item, len(queries), *cut))


def _keep_vectors(model: nn.Module, *_: object) -> None:
    """Before a state is saved: item vectors that belong to the tables, for those who load it without the graph."""
    assert isinstance(model, C2DSR)
    if model.graphs is not None:
        with torch.no_grad():
            model.final.copy_(model.vectors()[:, :-1])


def _neighbours(sequences_BT: Tensor, n_items: int) -> Tensor:
    """(n_items, n_items) sparse, rows of mean 1: how often two items stood side by side, of all that an item stood beside."""
    first, second = sequences_BT[:, :-1].flatten(), sequences_BT[:, 1:].flatten()
    real = (first != n_items) & (second != n_items)
    pairs = torch.stack([torch.cat([first[real], second[real]]), torch.cat([second[real], first[real]])])
    counted = torch.sparse_coo_tensor(
        pairs, torch.ones(pairs.shape[1], device=pairs.device), (n_items, n_items), check_invariants=False
    ).coalesce()
    row, weight = counted.indices()[0], counted.values()
    total = torch.zeros(n_items, device=pairs.device).index_add_(0, row, weight)
    return torch.sparse_coo_tensor(counted.indices(), weight / total[row], (n_items, n_items), check_invariants=False).coalesce()
