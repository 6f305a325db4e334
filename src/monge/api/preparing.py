"""What training and tuning do before anything is learnt: options, data, the model, and refusals that would come too late."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from monge.api.splitting import PUBLISHED, make_split, published_split
from monge.data import Interactions, Split, load
from monge.errors import ConfigError, DataError, UnknownNameError, nearest
from monge.evaluation import parse_metric
from monge.evaluation.metrics import SAMPLED
from monge.models import Recommender, make_model
from monge.options import build_config, option_names
from monge.training.loop import TrainingConfig
from monge.training.watch import Watch


def configs_of(model: str, cls: type[Recommender], options: Mapping[str, Any]) -> tuple[Any, TrainingConfig]:
    """The model's config and training's from options given together.

    Raises:
        UnknownNameError: a name is no option of either. ConfigError: a value has the wrong type or is out of range.
    """
    training_names = set(option_names(TrainingConfig))
    model_options = {name: value for name, value in options.items() if name not in training_names}
    known = [*option_names(cls.Config), *training_names]
    for option in model_options:
        if option not in known:
            raise UnknownNameError(f"model {model} has no option {option!r}{nearest(option, known)}")
    training = build_config(TrainingConfig, {name: value for name, value in options.items() if name in training_names})
    return build_config(cls.Config, model_options), training


def check_learns(model: str, cls: type[Recommender]) -> None:
    """Refuse a class that cannot be trained.

    Raises:
        ConfigError: it has no way to learn.
    """
    if not hasattr(cls, "solve") and not (hasattr(cls, "batches") and hasattr(cls, "loss")):
        raise ConfigError(f"{model} has neither solve() nor batches() and loss(); see monge.models.contract")


def check_selects(option: str, metric: str) -> None:
    """Refuse a metric that cannot tell which epoch is better.

    Raises:
        UnknownNameError, ConfigError: no such metric, or coverage.
    """
    if parse_metric(metric)[0] == "coverage":
        raise ConfigError(f"{option} coverage would select the model that spreads widest, not the best; take ndcg@10, recall@10 or mrr")


def check_answerable(model: str, cls: type[Recommender], split: Split, learn_from: Interactions) -> None:
    """Refuse before training what would be an error after it.

    Raises:
        DataError: some queries are such that the model cannot answer them.
    """
    trained = learn_from.sequences.lengths > 0
    for name, queries in (("validation", split.validation), ("test", split.test)):
        if queries.eligible is not None and not getattr(cls, "answers_new_items", False):
            n_new = int((learn_from.item_counts[queries.eligible] == 0).sum())
            if n_new:
                raise DataError(
                    f"{model} cannot recommend items that training never saw, and {n_new:,} of the {len(queries.eligible):,} items to rank "
                    f"for {name} are such; use a model that reads item content (vbpr, lattice, mmssl)"
                )
        if not cls.answers_unknown_users:
            n, why = int((~trained[queries.user]).sum()), "their users have no training interaction"
        elif getattr(cls, "needs_history", False):
            n, why = int((queries.history.lengths == 0).sum()), "their histories are empty"
        else:
            continue
        if n:
            raise DataError(
                f"{model} cannot answer {n} of {len(queries)} {name} queries: {why}; leave them out, and have it noted, "
                "with --protocol-option known_users_only=true"
            )


def check_sampled(metrics: Sequence[str], split: Split) -> None:
    """Refuse metrics that rank among negatives where a part's queries have none.

    Raises:
        ConfigError: naming the metric.
    """
    for metric in metrics:
        if metric.startswith(SAMPLED) and (split.test.negatives is None or split.validation.negatives is None):
            raise ConfigError(f"{metric} ranks among a query's negatives, and this split has none; use {metric.removeprefix(SAMPLED)}")


def initialised(cls: type[Recommender], config: Any, split: Split, seed: int) -> nn.Module:
    """The model with its first weights."""
    torch.manual_seed(seed)
    train = split.train
    return make_model(
        cls, config, n_users=train.n_users, n_items=train.n_items, item_columns=train.item_columns, modalities=train.modalities
    )


def with_content_for(cls: type[Recommender], split: Split) -> Split:
    """The split without modalities where the model does not read them: they would only fill its run directory."""
    if getattr(cls, "uses_modalities", False) or not split.train.modalities:
        return split
    return replace(split, train=replace(split.train, modalities={}))


def learnt_from(cls: type[Recommender], split: Split) -> Interactions:
    """The training rows; for a model that knows its training users only, also the fold-in histories."""
    return split.train if split.fold_in is None or cls.answers_unknown_users else _joined(split.train, split.fold_in)


def _joined(first: Interactions, second: Interactions) -> Interactions:
    """The rows of two logs over the same vocabularies."""
    both = first.time is not None and second.time is not None
    return Interactions.from_numbers(
        np.concatenate([first.user, second.user]),
        np.concatenate([first.item, second.item]),
        users=first.users,
        items=first.items,
        time=np.concatenate([first.time, second.time]) if both else None,  # pyright: ignore[reportArgumentType, reportCallIssue]
        item_columns=first.item_columns,
        modalities=first.modalities,
        provenance=first.provenance,
    )


def log_and_split(data: Any, protocol: str, options: Mapping[str, Any] | None, watch: Watch) -> tuple[Interactions | None, Split, str]:
    """The log (where there is one), its split, and what to call it."""
    if isinstance(data, Split):
        return None, data, "split"
    if isinstance(data, str | Path) and str(data).endswith(".safetensors"):
        return None, Split.load(data), Path(data).name
    if protocol == PUBLISHED:
        return None, published_split(data, options, echo=watch.message), str(data)
    log = data if isinstance(data, Interactions) else load(data, echo=watch.message)
    if not len(log):
        raise DataError("the log has no interactions")
    name = str(data) if isinstance(data, str | Path) else " + ".join(data) if isinstance(data, Mapping) else type(data).__name__
    return log, make_split(log, protocol, options), name
