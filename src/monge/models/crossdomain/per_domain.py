"""Single-domain models in a cross-domain table: one of them for each domain, none of which sees another domain's items.

A domain's model learns from that domain's examples: the history there and the target behind it, a sequence each. A query with no history
in its domain gets as scores how often each item is a target there, which is all that such a model can say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from monge.data import Domains, Interactions, QueryBatch, Vocabulary, examples_of
from monge.data.examples import keep_values
from monge.models.contract import Batches, epochs_of
from monge.models.crossdomain.domain_scores import scores_by_domain
from monge.sampling import generator_for


class PerDomain(nn.Module):
    """One model a domain, over the domain's items numbered anew; queries without a history in their domain get the counts of its targets.

    Args:
        config: of all of them.
        make: the number of a domain's items -> its model.
        domains: of the items.
    """

    answers_unknown_users: ClassVar = True
    needs_domains: ClassVar = True

    counts: Tensor
    domain_of_item: Tensor
    local: Tensor

    def __init__(self, config: Any, make: Callable[[int], nn.Module], domains: Domains) -> None:
        super().__init__()
        self.config = config
        domain_of_item = torch.from_numpy(domains.of_item)
        local = torch.empty_like(domain_of_item)
        for number in range(len(domains)):
            here = domain_of_item == number
            local[here] = torch.arange(int(here.sum()))
        self.n_domains = len(domains)
        self.register_buffer("domain_of_item", domain_of_item, persistent=False)
        self.register_buffer("local", local, persistent=False)
        self.register_buffer("counts", torch.zeros(len(domain_of_item)))
        self.models = nn.ModuleList(make(int((domain_of_item == number).sum())) for number in range(len(domains)))

    def batches(self, train: Interactions, *, seed: int, device: torch.device) -> Batches:
        """(domain, batch) of all domains' models, in an order set by (seed, epoch)."""
        self.counts.copy_(torch.from_numpy(examples_of(train).truth.values).bincount(minlength=train.n_items))
        made: list[Any] = [
            model.batches(domain_log(train, number), seed=seed, device=device)  # pyright: ignore[reportCallIssue]
            for number, model in enumerate(self.models)
        ]
        numbers = torch.repeat_interleave(torch.tensor([len(one) for one in made]))

        def run(epoch: int) -> Iterator[tuple[int, Any]]:
            each = [one(epoch) for one in made]
            order = torch.randperm(len(numbers), generator=generator_for(seed, epoch, purpose="domains"))
            for number in numbers[order].tolist():
                yield number, next(each[number])

        return epochs_of(len(numbers), run)

    def loss(self, batch: tuple[int, Any]) -> dict[str, Tensor]:
        """What the domain's model says."""
        number, inner = batch
        return self.models[number].loss(inner)  # pyright: ignore[reportCallIssue]

    def scores(self, queries: QueryBatch) -> Tensor:
        """(B, n_items); -inf on items of other domains than the one that a query asks for."""
        unused_KBT = queries.items.new_zeros(self.n_domains, len(queries), 1)  # the models cut histories themselves
        return scores_by_domain(self, queries, unused_KBT)

    def domain_scores(self, number: int, queries: QueryBatch, sequences_KBT: Tensor) -> Tensor:
        """(B, items of the domain): the model's scores, and the targets' counts for queries without a history in the domain."""
        own = self.domain_of_item[queries.items] == number
        row = queries.row_of_item[own]
        lengths = torch.bincount(row, minlength=len(queries))
        some = (lengths > 0).nonzero().squeeze(1)
        columns = self.domain_of_item == number
        n_local = int(columns.sum())
        scores = self.counts[columns].expand(len(queries), -1).clone()
        if len(some):
            inner = QueryBatch(
                user=torch.full_like(some, -1),
                items=self.local[queries.items[own]],
                offsets=nn.functional.pad(lengths[some].cumsum(0), (1, 0)),
                longest=int(lengths.max()),
                n_items=n_local,
            )
            scores[some] = self.models[number].scores(inner).to(scores.dtype)  # pyright: ignore[reportCallIssue]
        return scores


def domain_log(train: Interactions, number: int) -> Interactions:
    """The examples of one domain as an ordinary log: each a user, with the domain's history and the target; items numbered anew."""
    domains = Domains.of(train.item_columns)
    examples = examples_of(train)
    assert examples.domain is not None
    examples = examples.take((examples.domain == number).nonzero()[0])
    own = keep_values(examples.history, domains.of_item[examples.history.values] == number)
    rows = torch.from_numpy(own.row_of_value), torch.arange(len(examples))
    items = torch.from_numpy(own.values), torch.from_numpy(examples.truth.values)
    user, item = torch.cat(rows), torch.cat(items)  # a target stands behind its history: the sort by user is stable
    mine = torch.from_numpy(domains.of_item == number)
    local = (mine.cumsum(0) - 1)[item]
    return Interactions.from_numbers(
        user.numpy(),
        local.numpy(),
        users=Vocabulary.of(range(len(examples))),  # pyright: ignore[reportArgumentType]
        items=Vocabulary.of(train.items.ids[mine.numpy()]),
    )
