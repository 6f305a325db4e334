"""What a recommender is: the few methods that training, evaluation and serving ask for. There is no base class.

A model is a `torch.nn.Module` built as `Model(config, n_users=..., n_items=...)`, with its frozen config dataclass named
in the class attribute `Config`. Whatever it needs to answer queries lives in parameters and persistent buffers, because
those are what a run directory keeps. A model of several domains says `needs_domains = True` and gets `domains=Domains` beside the
counts: whose items are whose.

A model that reads item content says so by the class attribute `uses_modalities = True` and is built with `modalities=...` too (name ->
`monge.data.Modality`); they come from the run's split file, so they need not stand in its weights. `answers_new_items = True`: it scores
items that training never saw by their content.

Axes: B queries, V width of a vector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from monge.data import Interactions, QueryBatch
from monge.errors import ConfigError, QueryError

INFINITY = float("inf")
"""No upper end, for `check_ranges`."""


class Batches(Protocol):
    """The batches of one epoch: seeded by (seed, epoch), so that a resumed run sees the same."""

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        ...

    def __call__(self, epoch: int) -> Iterator[Any]:
        """The batches of an epoch, 0 for the first."""
        ...


@runtime_checkable
class Recommender(Protocol):
    """Answers queries."""

    Config: ClassVar[type]
    answers_unknown_users: ClassVar[bool]
    """Whether it scores from the history alone, so that users whom training never saw are welcome."""

    def scores(self, queries: QueryBatch) -> Tensor:
        """(B, n_items), higher is better; a query that it cannot answer is a `QueryError`, never a silent zero."""
        ...


@runtime_checkable
class Trainable(Recommender, Protocol):
    """Learns by gradient steps."""

    def batches(self, train: Interactions, *, seed: int, device: torch.device) -> Batches:
        """What it trains on: normally one line, naming a sampler."""
        ...

    def loss(self, batch: Any) -> dict[str, Tensor]:
        """Named, weighted parts, each (); the trainer adds them up."""
        ...


@runtime_checkable
class FollowsSteps(Protocol):
    """Has state that moves with each step of the optimizer, e.g. a teacher: an average of the weights so far."""

    def after_step(self) -> None:
        """Called after every step of the optimizer, before the next batch; such state belongs into parameters or persistent buffers."""
        ...


@runtime_checkable
class Watched(Trainable, Protocol):
    """Measures something while it trains that a person should see and nothing is trained on, e.g. where a loss puts its mass."""

    watched: dict[str, Tensor]
    """Name -> (), renewed by `loss` at least once an epoch."""


@runtime_checkable
class Adversarial(Trainable, Protocol):
    """Trains against a critic: before each step of its own the critic takes one, on the same batch and in the same optimizer."""

    def critic_loss(self, batch: Any) -> dict[str, Tensor]:
        """As `loss`, of the critic: its gradients reach the critic's parameters only, and those of `loss` none of them."""
        ...


@runtime_checkable
class Scheduled(Trainable, Protocol):
    """Learns at another rate in later epochs."""

    def rate_factor(self, epoch: int) -> float:
        """What multiplies every learning rate in an epoch (0, 1, ...), > 0; it depends on nothing else, so that resuming is exact."""
        ...


@runtime_checkable
class Solvable(Recommender, Protocol):
    """Is computed from the data in one go."""

    def solve(self, train: Interactions) -> None:
        """Set the model's buffers."""
        ...


@runtime_checkable
class ItemVectors(Recommender, Protocol):
    """Has a vector an item, whose cosines say how alike items are."""

    def item_vectors(self) -> tuple[Tensor, Tensor | None]:
        """(n_items, V) and an optional bias (n_items,)."""
        ...


@runtime_checkable
class InnerProduct(ItemVectors, Protocol):
    """Scores are `query_vectors @ item_vectors.T + bias`: ranking, indexes and exports use this form."""

    def query_vectors(self, queries: QueryBatch) -> Tensor:
        """(B, V)."""
        ...


def inner_product_scores(model: InnerProduct, queries: QueryBatch) -> Tensor:
    """The scores of any model that has vectors: (B, n_items)."""
    vectors, bias = model.item_vectors()
    scores = model.query_vectors(queries) @ vectors.T
    return scores if bias is None else scores + bias


def require_history(queries: QueryBatch, model: str) -> None:
    """For models that know a user by the history alone.

    Raises:
        QueryError: a query's history is empty.
    """
    if len(queries) and int(queries.lengths.min()) == 0:
        raise QueryError(f"{model} knows a user by the history alone, and a history is empty; give at least one known item")


def require_trained_users(users: Tensor, trained: Tensor, model: str) -> Tensor:
    """User numbers, all of whom training saw.

    Raises:
        QueryError: a user is unknown or had no training row.
    """
    known = (users >= 0) & trained[users.clamp(min=0)]
    if not bool(known.all()):
        raise QueryError(
            f"{model} has a vector for each training user only, and {int((~known).sum())} of {len(users)} queries are from users "
            "whom training never saw; use a model that reads histories (sasrec, multvae, itemknn)"
        )
    return users


def check_ranges(config: object, **ranges: tuple[float, float]) -> None:
    """Numbers of a config must lie in closed ranges; called by `__post_init__`.

    Raises:
        ConfigError: naming the option, its value and what is allowed.
    """
    for name, (low, high) in ranges.items():
        value = getattr(config, name)
        if not low <= value <= high:
            wanted = f"at least {low:g}" if high == INFINITY else f"between {low:g} and {high:g}"
            raise ConfigError(f"--{name.replace('_', '-')} must be {wanted}; got {value}")


def check_positive(config: object, *names: str) -> None:
    """Options that must be greater than zero.

    Raises:
        ConfigError: naming the option and its value.
    """
    for name in names:
        if not getattr(config, name) > 0:
            raise ConfigError(f"--{name.replace('_', '-')} must be greater than 0; got {getattr(config, name)}")


def epochs_of(length: int, run: Callable[[int], Iterable[Any]]) -> Batches:
    """A function of the epoch and the number of batches, as the `Batches` that a trainer takes."""

    class _Batches:
        def __len__(self) -> int:
            return length

        def __call__(self, epoch: int) -> Iterator[Any]:
            return iter(run(epoch))

    return _Batches()
