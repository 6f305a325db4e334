"""Run an experiment: every variant with every seed on one split, kept as run directories, summed up in one record."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from monge.api import Watch, load_run, train, tune
from monge.data import Queries, Split
from monge.data.files import write_atomically
from monge.errors import ConfigError, RunError, UnknownNameError, nearest
from monge.evaluation import Evaluation, bootstrap_interval, compare_paired, standard_groups
from monge.experiments.elsewhere import chosen_there, take_over
from monge.experiments.experiment import Experiment, Variant
from monge.experiments.papers import find_experiment
from monge.experiments.splits import experiments_split, split_of
from monge.models import find_model
from monge.options import build_config, option_names
from monge.reporting.run_files import read_run_files
from monge.training.environment import environment
from monge.training.loop import TrainingConfig
from monge.training.run import disk_errors

Values = dict[str, npt.NDArray[np.float64]]
"""Metric -> (Q,) one value a query."""


@dataclass(frozen=True, eq=False)
class SeedValues:
    """A row's values by seed, and whose they are."""

    by_seed: list[Values]
    users: list[dict[str, npt.NDArray[np.int64]]]
    """Metric -> (Q,) the user of each query."""
    same_queries: Mapping[str, bool]
    """Metric -> whether it is of the same queries in all seeds; else each has a split, or a group of the queries, of its own."""

    def over(self, metric: str, n_seeds: int | None = None) -> npt.NDArray[np.float64]:
        """(Q,) or (users,) what is independent, over the first seeds (None: all): a query's mean over them; where the queries differ, a
        user's mean over all that these seeds ask of the user."""
        some = [one[metric] for one in self.by_seed[:n_seeds]]
        if self.same_queries[metric]:
            return np.mean(some, axis=0)
        user = np.concatenate([one[metric] for one in self.users[:n_seeds]])
        unknown = np.flatnonzero(user < 0)
        user[unknown] = -1 - np.arange(len(unknown))  # nobody that is known twice
        _, place, asked = np.unique(user, return_inverse=True, return_counts=True)
        return np.bincount(place, weights=np.concatenate(some)) / asked


def reproduce(
    name: str,
    *,
    data: str | None = None,
    out: str | Path | None = None,
    seeds: int = 3,
    trials: int = 0,
    seeds_of: Mapping[str, int] | None = None,
    options_from: str | Path | None = None,
    runs_from: Sequence[str | Path] = (),
    only: Sequence[str] = (),
    data_options: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    command: str | None = None,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Train what has no finished run yet, evaluate on test, compare.

    Args:
        name: a name from `monge reproduce`.
        data: a data set's name or file; by default the experiment's.
        out: where runs, split and record go; by default runs/reproduce/NAME-DATA. Called again it goes on where it stopped.
        seeds: how many (0, 1, ...).
        seeds_of: label of a variant -> how many it has instead.
        trials: settings that each variant tries first, on validation alone, over the space that its model declares; its seeds then
            train with the best. 0: as the experiment says. A model without a space stays as it is.
        options_from: the folder of an experiment on the same split that was called with `trials`, or its record (a file): every row takes
            the options of the row like it there (`Variant.like`), but for those that are what the row is about.
        runs_from: folders of experiments whose finished runs are copied where they are the very runs that would be trained (the same
            split, model, options and seed); `options_from` is one of them.
        only: labels of variants; by default all.
        data_options: how the log is read and filtered (`rating_at_least`, columns).
        options: of training and models, over the experiment's own (`{"epochs": 5}`).
        command: how this was called, for the record.
        watch: sees progress.

    Returns:
        The record, as it stands in OUT/record.json after each variant.

    Raises:
        UnknownNameError: no such experiment or variant. RunError: `out` belongs to another experiment or data set; nothing was chosen in
            `options_from`, or on other data. ConfigError: seeds or trials out of range, or both trials and `options_from`.
    """
    experiment = find_experiment(name)
    watch = watch or Watch()
    each = dict(seeds_of or {})
    for number in (seeds, *each.values()):
        if number < 1:
            raise ConfigError(f"--seeds must be at least 1; got {number}")
    if trials < 0:
        raise ConfigError(f"--trials must be at least 0; got {trials}")
    if trials and options_from is not None:
        raise ConfigError("--trials chooses the options of every row itself; leave out --options-from, or --trials")
    labels = [variant.label for variant in experiment.variants]
    for label in (*only, *each):
        if label not in labels:
            raise UnknownNameError(f"{name} has no variant {label!r}{nearest(label, labels)}")
    data = data or experiment.data
    folder = Path(out) if out is not None else Path("runs") / "reproduce" / f"{name.replace('/', '-')}-{Path(data).name.split('.')[0]}"
    source = None if options_from is None else Path(options_from)
    sources = [*([] if source is None or source.is_file() else [source]), *map(Path, runs_from)]
    for other in sources:
        if not other.is_dir():
            raise RunError(
                f"{other}: not there; --options-from needs a folder that monge reproduce filled or its record.json, --runs-from a folder"
            )
    fingerprint, before = (None, {}) if source is None else chosen_there(source, experiment)
    asked = {"experiment": name, "data": data, "data_options": dict(data_options or {})}
    asked |= ({"trials": trials} if trials else {}) | ({"options_from": before} if source else {})

    def check(split: Split) -> None:
        if fingerprint not in (None, split.train.fingerprint):
            raise RunError(f"{source}: its options were chosen on another training part than this experiment's; name another folder")

    split = experiments_split(experiment, folder, asked, check, watch)
    record: dict[str, Any] = {
        "experiment": name,
        "title": experiment.title,
        "source": experiment.source,
        "command": command,
        "data": data,
        "protocol": {"name": split.protocol, "options": dict(split.options), "notes": list(split.notes)},
        "fingerprint": split.train.fingerprint,
        "environment": environment(),
        "notes": list(experiment.notes),
        "seeds": seeds,
        "trials": trials,
        "options_from": None if options_from is None else str(options_from),
        "metrics": list(experiment.metrics),
        "group_metrics": list(experiment.group_metrics),
        "rows": {},
        "against": [],
    }
    values: dict[str, SeedValues] = {}
    for variant in experiment.variants:
        if only and variant.label not in only:
            continue
        watch.message(f"== {variant.label}")
        varies = variant.seeded or experiment.split_by_seed
        splits = [
            split_of(experiment, variant, seed, data, folder, data_options or {}, watch)
            for seed in range(each.get(variant.label, seeds) if varies else 1)
        ]
        try:
            chosen = before.get(variant.label, {})
            row = _variant(experiment, variant, folder, splits, trials, chosen, options or {}, sources, watch)
        except ConfigError as error:
            if not variant.may_not_fit or isinstance(error, UnknownNameError):
                raise
            record["notes"].append(f"{variant.label} is left out: {error}")
            watch.message(record["notes"][-1])
            continue
        record["rows"][variant.label], values[variant.label] = row
        record["against"] = [
            _compared(a, b, metric, values, experiment)
            for a, b in experiment.against
            if a in values and b in values
            for metric in experiment.metrics
        ]
        with disk_errors(folder):
            write_atomically(folder / "record.json", json.dumps(record, indent=2, default=str) + "\n")
    return record


def _column(found: Evaluation, queries: Queries, column: str) -> npt.NDArray[np.float64]:
    """(queries of the group,) the values of a column."""
    return found.values[column.rpartition(" ")[2]][_of_column(queries, column)]


def _variant(
    experiment: Experiment,
    variant: Variant,
    folder: Path,
    splits: Sequence[Path],
    trials: int,
    before: Mapping[str, Any],
    options: Mapping[str, Any],
    sources: Sequence[Path],
    watch: Watch,
) -> tuple[dict[str, Any], SeedValues]:
    """One row: all its seeds, one for each split, trained (or found, in other folders too), their metrics, and a value a query."""
    known = {*option_names(find_model(variant.model).Config), *option_names(TrainingConfig)}
    searches = trials > 0 and hasattr(find_model(variant.model).Config, "space")
    chosen = {**experiment.options, **variant.untuned, **before, **variant.options, **options}
    own = {*variant.untuned, *variant.options}
    chosen = {option: value for option, value in chosen.items() if option in known or option in own}
    metrics = list(dict.fromkeys(column.rpartition(" ")[2] for column in experiment.metrics))
    place = folder / re.sub(r"[^\w.-]+", "-", variant.label).strip("-")
    select = str(chosen.get("select", "ndcg@10"))
    tuned: dict[str, Any] | None = None
    if searches:
        fixed = {**experiment.options, **variant.options, **options, **variant.searched_with}
        open_to_search = [option for option in variant.untuned if option not in fixed and option in _space_of(variant.model, fixed)]
        given = {option: value for option, value in chosen.items() if option != "select" and option not in open_to_search}
        given |= variant.searched_with
        study = tune(
            variant.model, str(splits[0]), trials=trials, metric=select, out=place / "study", start=variant.untuned, watch=watch, **given
        )
        tuned = {
            "trials": len(study.trials),
            "with": dict(variant.searched_with),
            "space": dict(study.space),
            "options": dict(study.best.options),
            "validation": study.best.value,
        }
        chosen |= study.best.options
    by_seed: list[dict[str, float]] = []
    validation: list[float] = []
    per_query: list[Values] = []
    seconds: list[float] = []
    epochs: list[dict[str, int | None]] = []
    losses: list[dict[str, float]] = []
    groups: list[list[dict[str, Any]]] = []
    tests: list[Queries] = []
    for seed, split in enumerate(splits):
        path, used = place / f"seed{seed}", Split.load(split)
        tests.append(used.test)
        if sources and not path.exists():
            take_over(sources, path, variant.model, {**chosen, "seed": seed}, used, watch)
        run = train(
            variant.model,
            str(split),
            out=path,
            resume=(path / "run.json").exists(),
            metrics=list(dict.fromkeys([*metrics, select])),
            watch=watch,
            seed=seed,
            **chosen,
        )
        found = load_run(path).evaluate(metrics)
        if experiment.user_bounds or experiment.item_bounds:
            bounds = {"user_bounds": experiment.user_bounds, "item_bounds": experiment.item_bounds}
            groups.append(standard_groups(found, used.test, used.train, **{name: some for name, some in bounds.items() if some}))
        columns = {column: _column(found, used.test, column) for column in experiment.metrics}
        per_query.append(columns)
        by_seed.append({column: float(values.mean()) for column, values in columns.items()})
        validation.append(run.result["validation"][select]["mean"])
        seconds.append(run.result["seconds"]["training"])
        epochs.append({"best": run.result["best_epoch"], "trained": run.result["epochs"]})
        losses.append(next((one["loss"] for one in read_run_files(path).epochs if one["epoch"] == run.result["best_epoch"]), {}))
    same = {column: all(_same_queries(tests[0], test, column) for test in tests) for column in experiment.metrics}
    users = [{column: test.user[_of_column(test, column)] for column in experiment.metrics} for test in tests]
    values = SeedValues(per_query, users, same)
    row = {
        "model": variant.model,
        "options": chosen,
        "fixed": dict(variant.options),
        "tuned": tuned,
        "noise_ratio": variant.noise_ratio,
        "paper": dict(variant.paper),
        "mean": {metric: float(np.mean([one[metric] for one in by_seed])) for metric in experiment.metrics},
        "by_seed": by_seed,
        "validation": {select: validation},
        "seconds": seconds,
        "epochs": epochs,
        "losses": losses,
        "n_queries": {column: len(values) for column, values in per_query[0].items()},
        "interval": {column: _interval(values.over(column)) for column in experiment.metrics},
    }
    if groups:
        row["groups"] = groups
    return row, values


def _same_queries(a: Queries, b: Queries, column: str) -> bool:
    """Whether a column is of the same users and truths, in the same order; what is known of them and their negatives may differ."""
    in_a, in_b = _of_column(a, column), _of_column(b, column)
    return np.array_equal(a.user[in_a], b.user[in_b]) and np.array_equal(a.truth.take(in_a).values, b.truth.take(in_b).values)


def _of_column(queries: Queries, column: str) -> npt.NDArray[np.int64]:
    """The queries that a column is of; see `Experiment.metrics`."""
    label, _, rest = column.partition(" ")
    return np.flatnonzero(queries.groups[rest.rpartition(" ")[0]] == label) if rest else np.arange(len(queries))


def _space_of(model: str, options: Mapping[str, Any]) -> Mapping[str, str]:
    """What a search of the model tries where the options are fixed."""
    cls = find_model(model).Config
    return build_config(cls, {option: value for option, value in options.items() if option in option_names(cls)}).space()


def _interval(values: npt.NDArray[np.float64]) -> list[float]:
    """95 % bootstrap interval over what is independent, see `SeedValues.over`."""
    return list(bootstrap_interval(values)) if len(values) else []


def _compared(a: str, b: str, metric: str, values: Mapping[str, SeedValues], experiment: Experiment) -> dict[str, Any]:
    """A against B on the test queries, each query's value being the mean over the seeds; the paper's gain beside ours.

    Where each seed has a split of its own, both are taken on the seeds that both have, and where its queries are others too, user by user.
    """
    common = min(len(values[a].by_seed), len(values[b].by_seed)) if experiment.split_by_seed else None
    of_a, of_b = (values[label].over(metric, common) for label in (a, b))
    ours = compare_paired(of_a, of_b)
    base = float(of_b.mean())
    paper = {variant.label: variant.paper.get(metric) for variant in experiment.variants}
    printed_a, printed_b = paper[a], paper[b]
    return {
        "a": a,
        "b": b,
        "metric": metric,
        **asdict(ours),
        "gain_percent": 100 * ours.difference / base if base else None,
        "paper_gain_percent": 100 * (printed_a - printed_b) / printed_b if printed_a and printed_b else None,
    }
