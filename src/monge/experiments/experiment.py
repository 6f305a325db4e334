"""What an experiment is: variants of models on one split, what the paper printed for each, and which of them are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


def paper_row(metrics: Sequence[str], values: str) -> dict[str, float]:
    """What a paper prints in a row: metric -> value, for values in the metrics' order with spaces between.

    >>> paper_row(("recall@20", "ndcg@20"), ".361 .307")
    {'recall@20': 0.361, 'ndcg@20': 0.307}
    """
    return dict(zip(metrics, map(float, values.split()), strict=True))


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One row of a table: a model with its options."""

    label: str
    """The row's name; unique in its experiment."""
    model: str
    """As in `monge models`."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the model and of training, on top of the experiment's."""
    untuned: Mapping[str, Any] = field(default_factory=dict)
    """Options that a search begins with, in place of keeping them: what authors chose for their data is no option for other data."""
    searched_with: Mapping[str, Any] = field(default_factory=dict)
    """Options that hold in its search alone, where a part that makes a trial long is left out of it; the table's notes must say so."""
    like: str = ""
    """Label of the row of another table whose options it takes, where options come from another table; it must be there. By default
    its own label, or else the first row of its model."""
    paper: Mapping[str, float] = field(default_factory=dict)
    """Metric -> what the paper prints (on the paper's data, which may be another)."""
    split: Mapping[str, Any] = field(default_factory=dict)
    """Options of the protocol for this row alone, on top of the experiment's: it then has a split of its own, with the same truths."""
    seeded: bool = True
    """False: every seed gives the same model, so one run is enough."""
    noise_ratio: float = 0.0
    """It trains on so many times as many pairs that nobody observed beside the true ones: the same for all rows of that ratio."""
    may_not_fit: bool = False
    """Where the model refuses data of this size, the row is left out and the notes say why."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One table or figure of a paper."""

    title: str
    source: str
    """Paper and table."""
    data: str
    """A known data set that it runs on unless another is given."""
    variants: Sequence[Variant]
    metrics: Sequence[str]
    """Columns: a metric, or one of a group of the queries, as `LABEL GROUP METRIC` (`cloth cold-start sampled_hit@10`)."""
    protocol: str
    """A protocol's name, or "published": the split that came with the data."""
    protocol_otherwise: str = ""
    """The protocol for data with which no split was published, where the experiment asks for such a one."""
    protocol_options: Mapping[str, Any] = field(default_factory=dict)
    split_by_seed: bool = False
    """Each seed has a split of its own, the protocol's option `seed` being the same number; then rows that are not seeded vary too."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of training and of models, for every variant that has them."""
    against: Sequence[tuple[str, str]] = ()
    """(label, label of what it is compared with): relative gains and paired tests."""
    user_bounds: Sequence[int] = ()
    """Upper ends of groups of users by training interactions, where the table has them; the record then has metrics by group."""
    item_bounds: Sequence[int] = ()
    """The same of items."""
    group_metrics: Sequence[str] = ()
    """What is shown by group; none named: all metrics."""
    notes: Sequence[str] = ()
    """What a reader of the table must know."""

    def __post_init__(self) -> None:
        labels = [variant.label for variant in self.variants]
        if len(set(labels)) < len(labels):
            raise ValueError(f"labels must be unique; got {labels}")
        unknown = {label for pair in self.against for label in pair} - set(labels)
        if unknown:
            raise ValueError(f"compared but no variant: {sorted(unknown)}")
