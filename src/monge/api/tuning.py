"""Search for good options by validation alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from lightning_fabric import Fabric
from torch import nn

from monge.api.agreement import ANEW, check_protocol, is_split, note_on_domains
from monge.api.preparing import (
    check_answerable,
    check_learns,
    check_selects,
    configs_of,
    initialised,
    learnt_from,
    log_and_split,
    with_content_for,
)
from monge.api.splitting import LEAVE_ONE_OUT, PUBLISHED
from monge.api.training import WATCHED, InterruptedRunError, _train
from monge.data import Interactions, Split
from monge.errors import ConfigError, UnknownNameError, nearest
from monge.evaluation import evaluate
from monge.models import Recommender, Solvable, Trainable, find_model
from monge.options import defaults_of, option_names
from monge.training.environment import environment, package_version
from monge.training.loop import EpochRecord, Progress, TrainingConfig, make_fabric
from monge.training.space import Space, find_allowed, nearest_setting, parse_space
from monge.training.study import Study, StudyDirectory, fingerprint
from monge.training.tuning import Search, run_study
from monge.training.watch import Watch

SEARCHED = ("clip", "precision")
"""Options of training that `tune` may search; the others say how long a trial takes and what judges it."""


def tune(
    model: str,
    data: Any,
    *,
    space: Mapping[str, Any] | None = None,
    trials: int = 20,
    out: str | Path | None = None,
    sampler: str = "tpe",
    pruner: str = "median",
    seed: int = 0,
    metric: str = "ndcg@10",
    minutes: float | None = None,
    protocol: str | None = None,
    protocol_options: Mapping[str, Any] | None = None,
    read_options: Mapping[str, Any] | None = None,
    device: str = "auto",
    name: str | None = None,
    start: Mapping[str, Any] | None = None,
    command: str | None = None,
    watch: Watch | None = None,
    **options: Any,
) -> Study:
    """Search for good options by validation alone; the test part is not looked at.

    The same call goes on with a study that was stopped, until there are `trials` trials.

    Args:
        model: as in `train`.
        data: as in `train`. It is split once, and all trials share the split.
        space: option -> what to try, e.g. `{"learning_rate": "1e-4..1e-2:log", "n_layers": "1..3", "dim": [32, 64]}`
            (see `monge.training.space`). None: the space that the model's config declares, without the options given below.
        trials: how many there shall be, those of earlier calls counted.
        out: the study's folder to make or to go on with; None keeps nothing on disk.
        sampler: "tpe" learns from the trials before, "random" does not; the first trial of both takes the defaults. "grid" takes every
            setting once, in a random order.
        pruner: "median" ends trials early that do worse than half of the others; "none".
        seed: of the settings, and of each trial's training.
        metric: of validation; it judges a trial and selects its best epoch.
        minutes: no trial begins after so many.
        protocol: how the log is split; None: leave-one-out, or as data is split already. Another than that of a split is an error.
        protocol_options: its options; the same goes for them.
        read_options: how the log was read and filtered; only for the record and best.yaml.
        device: "auto", "cpu", "cuda", "mps".
        name: what to call the data in the record.
        start: options that the first trial takes in place of the defaults, where they are searched.
        command: how this was called, for the record.
        watch: sees progress.
        options: of the model and of training that are the same in all trials (`epochs=30`, `loss="full_ce"`).

    Raises:
        MongeError: any of its kinds; a space that the model does not allow, before anything is trained.
    """
    watch = watch or Watch()
    cls = find_model(model)
    check_learns(model, cls)
    check_selects("--metric", metric)
    for option in ("select", "seed"):
        if option in options:
            raise ConfigError(f"{option} is not an option of a single trial: the metric of the study selects, and its seed is theirs")
    if trials < 1:
        raise ConfigError(f"--trials must be at least 1; got {trials}")
    if seed < 0:
        raise ConfigError(f"--seed must be at least 0; got {seed}")
    if minutes is not None and not minutes > 0:
        raise ConfigError(f"--minutes must be above 0; got {minutes}")

    def build(tried: Mapping[str, Any]) -> tuple[Any, TrainingConfig]:
        return configs_of(model, cls, {**options, **tried, "select": metric, "seed": seed})

    searched = _space(model, cls, space, options)
    config, training = build(find_allowed(searched, build))
    make_fabric(training.precision, device)
    first = {option: value for option, value in _known(model, cls, start or {}).items() if option in searched}
    search = Search(searched, metric=metric, sampler=sampler, pruner=pruner, seed=seed, build=build, start=_start(searched, build, first))
    log, split, found_name = log_and_split(data, protocol or LEAVE_ONE_OUT, protocol_options, watch)
    if is_split(data):
        made = {"name": split.protocol, "options": split.options}
        check_protocol(name or found_name, made, protocol, protocol_options, remedy=ANEW)
    split = with_content_for(cls, split)
    note = note_on_domains(model, cls, split)
    if note is not None:
        watch.message(note)
    learn_from = learnt_from(cls, split)
    check_answerable(model, cls, split, learn_from)  # of the test part, only whether it could be asked in the end
    seen = replace(split, test=split.test.take(np.arange(0)))  # what is not there cannot be looked at

    def objective(tried: Mapping[str, Any], reporting: Watch) -> Progress:
        config, training = build(tried)
        recommender = initialised(cls, config, seen, training.seed)
        return _validated(recommender, learn_from, seen, training, make_fabric(training.precision, device), reporting)

    fixed = {option: value for option, value in (asdict(config) | asdict(training)).items() if option not in (*searched, "select", "seed")}
    identity = {
        "model": model,
        "data": (log or split.train).fingerprint,
        "protocol": {"name": split.protocol, **split.options},
        "split": fingerprint(split),
        "metric": metric,
        "sampler": sampler,
        "pruner": pruner,
        "seed": seed,
        "space": {option: str(values) for option, values in searched.items()},
        "option": fixed,
        **({"start": first} if first else {}),
    }
    was_read = log is not None or protocol == PUBLISHED
    reading: dict[str, Any] = {**(read_options or {}), "protocol": protocol or LEAVE_ONE_OUT} if was_read else {}
    if was_read and protocol_options:
        reading["protocol_options"] = dict(protocol_options)
    info = {"monge": package_version(), "command": command, "data": name or found_name, "reading": reading, "environment": environment()}
    directory = None if out is None else StudyDirectory(out)
    try:
        return run_study(
            search,
            objective,
            trials,
            directory,
            identity=identity,
            info=info,
            split=split,
            defaults=defaults_of(cls.Config) | defaults_of(TrainingConfig),
            minutes=minutes,
            watch=watch,
        )
    except InterruptedRunError:
        raise InterruptedRunError(
            "stopped" + ("" if out is None else f"; finished trials are kept in {out}, and the same command goes on")
        ) from None


def _space(model: str, cls: type[Recommender], given: Mapping[str, Any] | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """What is searched: as given, else what the model's config declares, without the options that are fixed.

    Raises:
        UnknownNameError, ConfigError: a name or a value is wrong, both searched and fixed, or nothing is left to search.
    """
    if given is None:
        declared = getattr(configs_of(model, cls, options)[0], "space", None)
        given = {} if declared is None else {option: text for option, text in declared().items() if option not in options}
        if not given:
            what = "declares no space to search" if declared is None else "has no option left to search"
            raise ConfigError(f"{model} {what}; say what to try, e.g. --space learning_rate=1e-4..1e-2:log")
    names = option_names(cls.Config)
    space = parse_space(given, (cls.Config, TrainingConfig), allowed=[*names, *SEARCHED])
    for option in space:
        if option in options:
            raise ConfigError(f"{option} is both searched and fixed; leave out --space {option} or --{option.replace('_', '-')}")
    return space


def _known(model: str, cls: type[Recommender], start: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same options, each of which the model or training has."""
    names = [*option_names(cls.Config), *option_names(TrainingConfig)]
    for option in start:
        if option not in names:
            raise UnknownNameError(f"start: {model} has no option {option!r}{nearest(option, names)}")
    return start


def _start(
    space: Space, build: Callable[[Mapping[str, Any]], tuple[Any, TrainingConfig]], first: Mapping[str, Any]
) -> dict[str, Any] | None:
    """The defaults and what is asked for first, moved into the space where they lie outside; None where they go with nothing else."""
    try:
        config, training = build(first)
        start = nearest_setting(space, asdict(config) | asdict(training))
        build(start)
    except ConfigError:
        return None
    return start


def _validated(
    model: nn.Module, learn_from: Interactions, split: Split, training: TrainingConfig, fabric: Fabric, watch: Watch
) -> Progress:
    """Learn, and measure on validation alone: a solved model once, another after its epochs."""
    if not isinstance(model, Solvable):
        assert isinstance(model, Trainable)
        return _train(model, learn_from, split, training, None, resume=False, fabric=fabric, watch=watch)
    start = time.perf_counter()
    model.solve(learn_from)
    found = evaluate(model, split.validation, tuple(dict.fromkeys((training.select, *WATCHED))), intervals=False, seed=training.seed)
    seconds = time.perf_counter() - start
    metrics = {name: estimate.mean for name, estimate in found.metrics.items()}
    return Progress(best_value=metrics[training.select], seconds=seconds, records=[EpochRecord(0, seconds, {}, metrics)])
