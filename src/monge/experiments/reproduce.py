"""Run an experiment: every variant with every seed on one split, kept as run directories, summed up in one record."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from monge.api import Watch, load_run, make_split, train, tune
from monge.api.preparing import configs_of, with_content_for
from monge.api.splitting import PUBLISHED, read_for
from monge.data import Queries, Split, add_noise, has_published_split
from monge.data.files import write_atomically
from monge.errors import ConfigError, RunError, UnknownNameError, nearest
from monge.evaluation import Evaluation, bootstrap_interval, compare_paired, standard_groups
from monge.experiments.experiment import Experiment, Variant
from monge.experiments.papers import find_experiment
from monge.models import find_model
from monge.options import build_config, defaults_of, option_names
from monge.training.environment import environment
from monge.training.loop import TrainingConfig
from monge.training.run import RunDirectory, disk_errors

Values = dict[str, npt.NDArray[np.float64]]
"""Metric -> (Q,) one value a query, mean over the seeds."""


def reproduce(
    name: str,
    *,
    data: str | None = None,
    out: str | Path | None = None,
    seeds: int = 3,
    trials: int = 0,
    options_from: str | Path | None = None,
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
        trials: settings that each variant tries first, on validation alone, over the space that its model declares; its seeds then
            train with the best. 0: as the experiment says. A model without a space stays as it is.
        options_from: the folder of an experiment on the same split that was called with `trials`: every row takes the options of the row
            like it there (`Variant.like`), but for those that are what the row is about. A run that is finished there with the same
            options and seed is copied, not trained again.
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
    if seeds < 1:
        raise ConfigError(f"--seeds must be at least 1; got {seeds}")
    if trials < 0:
        raise ConfigError(f"--trials must be at least 0; got {trials}")
    if trials and options_from is not None:
        raise ConfigError("--trials chooses the options of every row itself; leave out --options-from, or --trials")
    labels = [variant.label for variant in experiment.variants]
    for label in only:
        if label not in labels:
            raise UnknownNameError(f"{name} has no variant {label!r}{nearest(label, labels)}")
    data = data or experiment.data
    folder = Path(out) if out is not None else Path("runs") / "reproduce" / f"{name.replace('/', '-')}-{Path(data).name.split('.')[0]}"
    source = None if options_from is None else Path(options_from)
    fingerprint, before = (None, {}) if source is None else _chosen(source, experiment)
    asked = {"experiment": name, "data": data, "data_options": dict(data_options or {})}
    asked |= ({"trials": trials} if trials else {}) | ({"options_from": before} if source else {})

    def check(split: Split) -> None:
        if fingerprint not in (None, split.train.fingerprint):
            raise RunError(f"{source}: its options were chosen on another training part than this experiment's; name another folder")

    split = _split(experiment, folder, asked, check, watch)
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
    values: dict[str, Values] = {}
    for variant in experiment.variants:
        if only and variant.label not in only:
            continue
        watch.message(f"== {variant.label}")
        trained_on = _noisy(_split_of(experiment, variant, data, folder, data_options or {}, watch), variant.noise_ratio)
        try:
            chosen = before.get(variant.label, {})
            row = _variant(experiment, variant, folder, trained_on, seeds, trials, chosen, options or {}, source, watch)
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


def _chosen(folder: Path, experiment: Experiment) -> tuple[str, dict[str, dict[str, Any]]]:
    """The fingerprint of the training part that another experiment was tuned on, and label of this one -> the options of the row like it.

    Raises:
        RunError: there is no record, nothing was tuned, or a row that one here is said to be like is missing.
    """
    try:
        record = json.loads((folder / "record.json").read_text())
        found = {
            label: {"model": row["model"], "options": {**row.get("fixed", {}), **row["tuned"]["options"]}}
            for label, row in record["rows"].items()
            if row["tuned"]
        }
        fingerprint = str(record["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{folder}: no record of an experiment; --options-from needs a folder that monge reproduce filled") from error
    if not found:
        raise RunError(f"{folder}: no row was tuned; call its monge reproduce with --trials")
    for variant in experiment.variants:
        if variant.like and variant.like not in found and hasattr(find_model(variant.model).Config, "space"):
            raise RunError(
                f"{folder} has no tuned row {variant.like!r}, which {variant.label!r} takes its options from; finish that table first"
            )
    return fingerprint, {variant.label: _like(variant, found) for variant in experiment.variants}


def _like(variant: Variant, found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The options of the row of another table that is like a variant; empty where there is none."""
    for label in (variant.like, variant.label):
        if label in found and found[label]["model"] == variant.model:
            return dict(found[label]["options"])
    return next((dict(row["options"]) for row in found.values() if row["model"] == variant.model), {})


def _split(experiment: Experiment, folder: Path, asked: Mapping[str, Any], check: Callable[[Split], None], watch: Watch) -> Split:
    """The experiment's split: made once, checked, kept in the folder with what was asked for."""
    path, about = folder / "split.safetensors", folder / "experiment.json"
    if path.exists():
        try:
            found = json.loads(about.read_text())
        except (OSError, ValueError) as error:
            raise RunError(f"{about}: missing or damaged; choose another --out") from error
        if found != asked:
            holds = f"{found.get('experiment')} on {found.get('data')}"
            raise RunError(f"{folder} holds {holds}, or other data options, trials or --options-from; choose another --out")
        split = Split.load(path)
        check(split)
        return split
    if folder.exists() and any(folder.iterdir()):
        raise RunError(f"{folder} exists and is not empty; choose another --out")
    split = _made(experiment, {}, asked["data"], asked["data_options"], watch)
    check(split)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(about, json.dumps(asked) + "\n")
        split.save(path)
    return split


def _made(experiment: Experiment, options: Mapping[str, Any], data: str, data_options: Mapping[str, Any], watch: Watch) -> Split:
    """A split by the experiment's protocol, with options on top of the experiment's."""
    options = {**experiment.protocol_options, **options}
    protocol = experiment.protocol
    if (
        protocol == PUBLISHED
        and experiment.protocol_otherwise
        and not has_published_split(data, split_column=data_options.get("split_column"))
    ):
        protocol = experiment.protocol_otherwise
    log = read_for(protocol, data, options, echo=watch.message, **data_options)
    return log if isinstance(log, Split) else make_split(log, protocol, options)


def _split_of(experiment: Experiment, variant: Variant, data: str, folder: Path, data_options: Mapping[str, Any], watch: Watch) -> Path:
    """The experiment's split file, or the one that a variant has for itself."""
    if not variant.split:
        return folder / "split.safetensors"
    path = folder / f"split-{_file_name(variant.split)}.safetensors"
    if not path.exists():
        split = _made(experiment, variant.split, data, data_options, watch)
        with disk_errors(folder):
            split.save(path)
    return path


def _file_name(options: Mapping[str, Any]) -> str:
    return re.sub(r"[^\w.-]+", "-", "-".join(f"{name}-{value}" for name, value in options.items()))


def _noisy(split: Path, ratio: float) -> Path:
    """The file of the split, or of the one with noise in its training part: made once, kept beside it."""
    if not ratio:
        return split
    path = split.with_name(split.name.replace("split", f"noise-{ratio:g}", 1))
    if not path.exists():
        with disk_errors(split.parent):
            add_noise(Split.load(split), ratio=ratio).save(path)
    return path


def _column(found: Evaluation, queries: Queries, column: str) -> npt.NDArray[np.float64]:
    """(queries of the group,) the values of a column; see `Experiment.metrics`."""
    label, _, rest = column.partition(" ")
    if not rest:
        return found.values[column]
    group, _, metric = rest.rpartition(" ")
    return found.values[metric][queries.groups[group] == label]


def _variant(
    experiment: Experiment,
    variant: Variant,
    folder: Path,
    split: Path,
    seeds: int,
    trials: int,
    before: Mapping[str, Any],
    options: Mapping[str, Any],
    source: Path | None,
    watch: Watch,
) -> tuple[dict[str, Any], Values]:
    """One row: all its seeds trained (or found, in SOURCE too), their metrics, and per query the mean over them."""
    known = {*option_names(find_model(variant.model).Config), *option_names(TrainingConfig)}
    searches = trials > 0 and hasattr(find_model(variant.model).Config, "space")
    chosen = {**experiment.options, **variant.untuned, **before, **variant.options, **options}
    own = {*variant.untuned, *variant.options}
    chosen = {option: value for option, value in chosen.items() if option in known or option in own}
    used = Split.load(split)
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
            variant.model, str(split), trials=trials, metric=select, out=place / "study", start=variant.untuned, watch=watch, **given
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
    groups: list[list[dict[str, Any]]] = []
    for seed in range(seeds if variant.seeded else 1):
        path = place / f"seed{seed}"
        if source is not None and not path.exists():
            _take_over(source, path, variant.model, {**chosen, "seed": seed}, used, watch)
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
        "n_queries": {column: len(values) for column, values in per_query[0].items()},
        "interval": {column: _interval(np.mean([one[column] for one in per_query], axis=0)) for column in experiment.metrics},
    }
    if groups:
        row["groups"] = groups
    return row, {metric: np.mean([one[metric] for one in per_query], axis=0) for metric in experiment.metrics}


def _take_over(source: Path, path: Path, model: str, options: Mapping[str, Any], split: Split, watch: Watch) -> None:
    """Copy another experiment's finished run to `path` where it is the very run that would be trained; else nothing.

    The same model, options, training part, queries and item content; it may be of another commit, which its run.json names.
    """
    cls = find_model(model)
    config, training = configs_of(model, cls, options)
    wanted = _plain({"model": model, "config": asdict(config), "training": asdict(training)})
    for about in sorted(source.glob(f"*/seed{training.seed}/run.json")):
        directory = RunDirectory(about.parent)
        try:
            info = directory.info()
        except RunError:
            continue
        if info["state"] != "finished" or info["data"].get("fingerprint") != split.train.fingerprint:
            continue
        found = {  # a run that is older than an option had its default
            "model": info["model"]["name"],
            "config": defaults_of(cls.Config) | info["model"]["config"],
            "training": defaults_of(TrainingConfig) | info["training"],
        }
        if _plain(found) != wanted or not _same_split(directory.split(), with_content_for(cls, split)):
            continue
        half = path.with_name(f".{path.name}")
        with disk_errors(path.parent):
            shutil.rmtree(half, ignore_errors=True)
            shutil.copytree(about.parent, half)
            copied = RunDirectory(half)
            copied.write_json("result.json", {**copied.read_json("result.json"), "run": str(path)})
            half.rename(path)
        commit = info["environment"].get("commit")
        watch.message(f"{path}: taken from {about.parent}, which was trained with the same options (commit {commit})")
        return


def _same_split(a: Split, b: Split) -> bool:
    """The same rows to learn from, content of the items, and queries."""
    return _contents(a) == _contents(b)


def _contents(split: Split) -> dict[str, Any]:
    arrays: dict[str, npt.NDArray[Any]] = {}
    headers = {name: one.pack(arrays, f"modality.{name}") for name, one in split.train.modalities.items()}
    for part, queries in (("validation", split.validation), ("test", split.test)):
        arrays[f"{part}.user"] = queries.user
        for name in ("history", "truth", "candidates", "negatives"):
            rows = getattr(queries, name)
            if rows is not None:
                arrays[f"{part}.{name}.values"], arrays[f"{part}.{name}.offsets"] = rows.values, rows.offsets
    widths = {name: header["width"] for name, header in headers.items()}
    return {"train": split.train.fingerprint, "widths": widths} | {name: (array.shape, array.tobytes()) for name, array in arrays.items()}


def _plain(values: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(values, default=str))


def _space_of(model: str, options: Mapping[str, Any]) -> Mapping[str, str]:
    """What a search of the model tries where the options are fixed."""
    cls = find_model(model).Config
    return build_config(cls, {option: value for option, value in options.items() if option in option_names(cls)}).space()


def _interval(values: npt.NDArray[np.float64]) -> list[float]:
    """95 % bootstrap interval over the queries, a query's value being its mean over the seeds."""
    return list(bootstrap_interval(values)) if len(values) else []


def _compared(a: str, b: str, metric: str, values: Mapping[str, Values], experiment: Experiment) -> dict[str, Any]:
    """A against B on the test queries, each query's value being the mean over the seeds; the paper's gain beside ours."""
    ours = compare_paired(values[a][metric], values[b][metric])
    base = float(values[b][metric].mean())
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
