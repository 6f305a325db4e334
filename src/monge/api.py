"""The public API: train a model on a log, keep the run, ask it for recommendations."""

from __future__ import annotations

import inspect
import io
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from monge.data import PROTOCOLS, Interactions, Queries, Ragged, Split, Vocabulary, describe, filters, load
from monge.data.files import write_atomically
from monge.data.interactions import ObjectArray
from monge.errors import ConfigError, DataError, MissingExtraError, QueryError, RunError, UnknownNameError, nearest
from monge.evaluation import DEFAULT_METRICS, Evaluation, compare_paired, evaluate, parse_metric, standard_groups, top_items
from monge.evaluation.ranking import TieOrder, score_blocks
from monge.models import MODELS, ItemVectors, Recommender, Solvable, Trainable, find_model
from monge.options import build_config, option_names
from monge.training.checkpoint import load_checkpoint, restore_optimizer, save_checkpoint
from monge.training.environment import environment, package_version
from monge.training.loop import Callbacks, EpochRecord, Progress, TrainingConfig, fit, make_fabric
from monge.training.run import GO_ON, RunDirectory, disk_errors
from monge.training.space import find_allowed, parse_space
from monge.training.tuning import Search, Study, StudyDirectory, fingerprint, run_study
from monge.training.watch import Watch, tracked

NOTHING = Ragged.from_lists([[]])
"""The truth of one live query."""
WATCHED = ("ndcg@10", "recall@10", "mrr")
"""Validation metrics of every epoch, beside the one that selects."""


@dataclass(frozen=True, eq=False)
class Run:
    """A trained model with what it needs to answer."""

    directory: RunDirectory | None
    model: Recommender
    users: Vocabulary
    items: Vocabulary
    item_columns: Mapping[str, ObjectArray]
    histories: Ragged
    info: Mapping[str, Any]
    result: Mapping[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path | None:
        """Where the run lives, if it was kept."""
        return self.directory.path if self.directory else None

    def recommend(
        self,
        user: int | str | None = None,
        *,
        history: Sequence[int | str] | None = None,
        k: int = 10,
        exclude: Sequence[int | str] = (),
        include_seen: bool = False,
    ) -> list[dict[str, Any]]:
        """The best k items for one user, or for somebody with the given history (oldest first).

        Returns:
            Rows of user_id, item_id, score, rank (and title where items have one), best first. What was seen is left out.

        Raises:
            QueryError: an unknown user or item, or neither a user nor a history. ConfigError: k is out of range.
        """
        if (user is None) == (history is None):
            raise QueryError("give either a user or a history")
        if not 1 <= k <= len(self.items):
            raise ConfigError(f"--k must be between 1 and the number of items, {len(self.items)}; got {k}")
        number = -1
        if user is not None:
            number = self.users.number(user)
            if number < 0:
                raise QueryError(f"user {user!r} is unknown to this run; give --history with items instead")
            known = self.histories[number]
        else:
            known = self._item_numbers(history or ())
        left_out = np.concatenate([self._item_numbers(exclude), known if not include_seen else known[:0]])
        query = Queries(n_items=len(self.items), user=np.array([number]), history=Ragged.from_lists([known.tolist()]), truth=NOTHING)
        assert isinstance(self.model, nn.Module)
        self.model.eval()
        with torch.inference_mode():
            batch = query.batch(next(iter([*self.model.parameters(), *self.model.buffers()])).device)
            scores = self.model.scores(batch).float().clone()
            scores[0, torch.from_numpy(left_out)] = -torch.inf
            best = top_items(scores, np.array([0]), k, TieOrder(len(self.items), 0, scores.device))[0].tolist()
        titles = self.item_columns.get("title")
        rows: list[dict[str, Any]] = []
        for rank, item in enumerate((item for item in best if item >= 0), start=1):
            row = {
                "user_id": None if number < 0 else self.users.ids.tolist()[number],
                "item_id": self.items.decode([item]).tolist()[0],
                "score": float(scores[0, item]),
                "rank": rank,
            }
            rows.append(row if titles is None else {**row, "title": titles[item]})
        return rows

    def similar(self, item: int | str, *, k: int = 10) -> list[dict[str, Any]]:
        """The k items most like one item: by the model's item vectors (cosine), else by how it scores them after that item alone."""
        number = int(self._item_numbers([item])[0])
        if not 1 <= k < len(self.items):
            raise ConfigError(f"--k must be between 1 and the number of other items, {len(self.items) - 1}; got {k}")
        with torch.inference_mode():
            if isinstance(self.model, ItemVectors):
                vectors = torch.nn.functional.normalize(self.model.item_vectors()[0], dim=-1)
                scores = (vectors[number] @ vectors.T)[None].clone()
            else:
                one = Queries(n_items=len(self.items), user=np.array([-1]), history=Ragged.from_lists([[number]]), truth=NOTHING)
                scores = self.model.scores(one.batch()).float().clone()
            scores[0, number] = -torch.inf
            best = top_items(scores, np.array([0]), k, TieOrder(len(self.items), 0, scores.device))[0].tolist()
        titles = self.item_columns.get("title")
        rows: list[dict[str, Any]] = []
        for rank, other in enumerate(best, start=1):
            row = {"item_id": self.items.decode([other]).tolist()[0], "score": float(scores[0, other]), "rank": rank}
            rows.append(row if titles is None else {**row, "title": titles[other]})
        return rows

    def evaluate(self, metrics: Sequence[str] = DEFAULT_METRICS, *, part: str = "test", watch: Watch | None = None) -> Evaluation:
        """Measure the model again on a part of the run's own split."""
        if self.directory is None:
            raise RunError("this run was not kept on disk, so it has no split to evaluate on; train with out=...")
        for metric in metrics:
            parse_metric(metric)
        queries = getattr(self.directory.split(), part)
        seed = int(self.info["training"]["seed"])
        progress = watch.evaluating(part, len(queries)) if watch else None
        return evaluate(self.model, queries, metrics, seed=seed, progress=progress)

    def write_per_query(self, evaluation: Evaluation, path: str | Path, *, part: str = "test") -> None:
        """Write one row a query to a Parquet file: user_id and one column a metric.

        Raises:
            RunError: the file cannot be written.
        """
        import polars as pl

        if self.directory is None:
            raise RunError("this run was not kept on disk, so it has no split")
        queries = getattr(self.directory.split(), part)
        users = self.users.decode(np.maximum(queries.user, 0)).tolist()
        frame = pl.DataFrame({"user_id": users, **evaluation.values})
        path = Path(path)
        if not path.parent.is_dir():
            raise RunError(f"{path.parent}: no such folder")
        with disk_errors(path):
            buffer = io.BytesIO()
            frame.write_parquet(buffer)
            write_atomically(path, buffer.getvalue())

    def _item_numbers(self, ids: Sequence[int | str]) -> np.ndarray[Any, Any]:
        numbers = self.items.encode(list(ids))
        if (numbers < 0).any():
            unknown = [str(identifier) for identifier, number in zip(ids, numbers, strict=True) if number < 0]
            raise QueryError(f"unknown to this run: item{'s' if len(unknown) > 1 else ''} {', '.join(unknown[:5])}")
        return numbers


def load_run(path: str | Path, *, trusted: Collection[str] = ()) -> Run:
    """Open a run directory. Nothing in it is executed, and no module that it names is imported unless you say so.

    Args:
        path: the run directory.
        trusted: outside models ('package.module:Class') that may be imported if the run is of one of them.

    Raises:
        RunError: missing, damaged, newer than this Monge, without weights yet, or of an outside model that is not trusted.
    """
    directory = RunDirectory(path)
    info = directory.info()
    if not (directory.path / "weights.safetensors").exists():
        raise RunError(f"{path}: the run has no weights yet (state: {info.get('state')}); go on with --resume")
    users, items, columns = directory.vocabulary()
    histories = directory.histories()
    try:
        name = info["model"]["name"]
        if name not in MODELS and name not in trusted:
            raise RunError(
                f"{path} is of the outside model {name!r}, and opening it would import that module; "
                f"if you trust it: --trust {name} (in Python: load_run(..., trusted=[{name!r}]))"
            )
        cls = find_model(name)
        config = build_config(cls.Config, info["model"]["config"])
        int(info["training"]["seed"])
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path}: run.json is damaged ({type(error).__name__}: {error}); restore it from a copy or train again") from error
    if len(histories) != len(users):
        raise RunError(f"{path}: damaged: {len(histories)} histories for {len(users)} users")
    model = cls(config, n_users=len(users), n_items=len(items))  # pyright: ignore[reportCallIssue] (the contract's constructor)
    assert isinstance(model, nn.Module)
    directory.load_weights(model)
    model.eval()
    result = directory.read_json("result.json") if (directory.path / "result.json").exists() else {}
    return Run(directory, model, users, items, columns, histories, info, result)


def compare_runs(
    paths: Sequence[str | Path], metrics: Sequence[str], *, trusted: Collection[str] = ()
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Evaluate runs on their common test queries, and test each against the first.

    Returns:
        Run -> metrics, and one row per (run, metric) with the paired difference, its interval and p-values.

    Raises:
        RunError: the runs were not tested on the same queries.
    """
    results: dict[str, Any] = {}
    tests: list[dict[str, Any]] = []
    first: tuple[str, Queries, Evaluation] | None = None
    for path in map(str, paths):
        run = load_run(path, trusted=trusted)
        assert run.directory is not None
        queries = run.directory.split().test
        found = run.evaluate(metrics)
        results[path] = found.to_dict()
        if first is None:
            first = (path, queries, found)
            continue
        same = len(queries) == len(first[1]) and all(
            np.array_equal(a, b)
            for a, b in (
                (queries.user, first[1].user),
                (queries.truth.values, first[1].truth.values),
                (queries.history.values, first[1].history.values),
            )
        )
        if not same:
            raise RunError(f"{path} was not tested on the same queries as {first[0]}; train both on one split (monge data split)")
        for metric, values in found.values.items():
            compared = compare_paired(values, first[2].values[metric])
            tests.append({"run": path, "first": first[0], "metric": metric, **asdict(compared)})
    return results, tests


def open_log(
    data: Any,
    *,
    rating_at_least: float | None = None,
    k_core: int | None = None,
    keep: str | None = None,
    min_length: int | None = None,
    echo: Callable[[str], Any] | None = None,
    **read_options: Any,
) -> Interactions:
    """Read a log and filter it, in this order: ratings, duplicates, k-core, sequence length.

    Args:
        data: a known data set's name, a file, an address, or a data frame.
        rating_at_least: keep interactions with at least this rating.
        keep: of repeated (user, item) pairs keep the "first" or the "last" ("all": keep them all).
        k_core: keep users and items with at least so many interactions, repeatedly.
        min_length: keep users with at least so many interactions.
        echo: gets a line that says which columns were taken.
        read_options: column names and format, see `monge.data.read`.
    """
    log = load(data, echo=echo, **read_options)
    if rating_at_least is not None:
        log = filters.at_least(log, rating_at_least)
    if keep is not None:
        log = filters.deduplicate(log, keep)  # pyright: ignore[reportArgumentType] (checked there)
    if k_core is not None:
        log = filters.k_core(log, k_core, k_core)
    return log if min_length is None else filters.min_length(log, min_length)


def make_split(log: Interactions, protocol: str, options: Mapping[str, Any] | None = None) -> Split:
    """Apply a protocol by its name.

    Raises:
        UnknownNameError: no such protocol or option. ConfigError: a value is wrong. DataError: a part would be empty.
    """
    if protocol not in PROTOCOLS:
        raise UnknownNameError(f"no protocol {protocol!r}{nearest(protocol, PROTOCOLS)}")
    options = dict(options or {})
    known = [*list(inspect.signature(PROTOCOLS[protocol]).parameters)[1:], "known_users_only"]  # the first is the log
    for name in options:
        if name not in known:
            raise UnknownNameError(f"protocol {protocol} has no option {name!r}{nearest(name, known)}")
    only_known = bool(options.pop("known_users_only", False))
    try:
        split = PROTOCOLS[protocol](log, **options)
    except TypeError as error:
        given = ", ".join(f"{name} = {value!r}" for name, value in options.items())
        raise ConfigError(f"protocol {protocol}: an option has a value of the wrong kind ({given})") from error
    return _known_users_only(split) if only_known else split


def _known_users_only(split: Split) -> Split:
    """The split without queries of users who have no training interaction (or fold-in history), counted in its notes."""
    known = split.train.sequences.lengths > 0
    if split.fold_in is not None:
        known = known | (split.fold_in.sequences.lengths > 0)
    parts: dict[str, Queries] = {}
    notes = list(split.notes)
    for name, queries in (("validation", split.validation), ("test", split.test)):
        rows = np.flatnonzero(known[queries.user] & (queries.history.lengths > 0))
        if not len(rows):
            raise DataError(f"known_users_only leaves no {name} query: none of its users has a training interaction")
        notes.append(f"{name}: {len(queries) - len(rows)} queries of users without training interactions left out (known_users_only)")
        parts[name] = queries.take(rows)
    return replace(split, **parts, options={**split.options, "known_users_only": True}, notes=notes)


def _check_answerable(model: str, cls: type[Recommender], split: Split, learn_from: Interactions) -> None:
    """Refuse before training what would be an error after it.

    Raises:
        DataError: some queries are such that the model cannot answer them.
    """
    trained = learn_from.sequences.lengths > 0
    for name, queries in (("validation", split.validation), ("test", split.test)):
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


def _configs(model: str, cls: type[Recommender], options: Mapping[str, Any]) -> tuple[Any, TrainingConfig]:
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


def _check_learns(model: str, cls: type[Recommender]) -> None:
    """Refuse a class that cannot be trained.

    Raises:
        ConfigError: it has no way to learn.
    """
    if not hasattr(cls, "solve") and not (hasattr(cls, "batches") and hasattr(cls, "loss")):
        raise ConfigError(f"{model} has neither solve() nor batches() and loss(); see monge.models.contract")


def _check_selects(option: str, metric: str) -> None:
    """Refuse a metric that cannot tell which epoch is better.

    Raises:
        UnknownNameError, ConfigError: no such metric, or coverage.
    """
    if parse_metric(metric)[0] == "coverage":
        raise ConfigError(f"{option} coverage would select the model that spreads widest, not the best; take ndcg@10, recall@10 or mrr")


def train(
    model: str,
    data: Any,
    *,
    protocol: str = "leave-one-out",
    protocol_options: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    metrics: Sequence[str] = DEFAULT_METRICS,
    device: str = "auto",
    report: bool = False,
    track: Sequence[str] = (),
    name: str | None = None,
    command: str | None = None,
    watch: Watch | None = None,
    **options: Any,
) -> Run:
    """Train, select on validation, test once, and keep the run.

    Args:
        model: a name from `monge models`, or 'package.module:Class'.
        data: a known data set's name, a file, a data frame, `Interactions`, or a `Split` (or a split file).
        protocol: how the log is split; ignored where data is a split.
        protocol_options: its options.
        out: the run directory to make; None keeps nothing on disk.
        resume: go on with the run in `out`.
        metrics: what the validation and test parts are measured by.
        device: "auto", "cpu", "cuda", "mps".
        report: write report.html (needs the extra `report`).
        track: "tensorboard", "mlflow": log each epoch there too, into the run directory (needs the extra `track`).
        name: what to call the data in the record; by default the name or path given.
        command: how this was called, for the record.
        watch: sees progress.
        options: of the model (`dim=64`) and of training (`epochs=20`), together.

    Raises:
        MongeError: any of its kinds; before training starts where that is possible, with nothing left on disk.
    """
    watch = watch or Watch()
    if report and out is None:
        raise ConfigError("report=True writes into the run directory: give out=DIR")
    if report and not (find_spec("plotly") and find_spec("jinja2")):
        raise MissingExtraError("Plotly or Jinja2", "report", "the HTML report")
    if track:
        if out is None:
            raise ConfigError("--track writes into the run directory: give --out DIR")
        watch = tracked(watch, track, Path(out))
    cls = find_model(model)
    _check_learns(model, cls)
    config, training = _configs(model, cls, options)
    unused: Mapping[str, str] = config.unused() if hasattr(config, "unused") else {}
    for option in sorted(options.keys() & unused.keys()):
        watch.message(f"--{option.replace('_', '-')} has no effect with {unused[option]}")
    for metric in metrics:
        parse_metric(metric)
    _check_selects("--select", training.select)
    directory = RunDirectory(out) if out is not None else None
    if directory is not None and not resume:
        directory.require_new()
    fabric = make_fabric(training.precision, device)
    if resume and directory is None:
        raise ConfigError("--resume needs the run directory: --out DIR")

    if resume and directory is not None:
        info = directory.info()
        if info["state"] == "finished":
            watch.message(f"{directory.path} is finished already")
            return load_run(directory.path, trusted=[model])
        _same_options(info, model, asdict(config), asdict(training))
        split = directory.split()
        name = info["data"]["name"]
    else:
        log, split, found_name = _data(data, protocol, protocol_options, watch)
        name = name or found_name
        info = {
            "monge": package_version(),
            "command": command,
            "model": {"name": model, "config": asdict(config)},
            "training": asdict(training),
            "data": {
                "name": name,
                "fingerprint": (log or split.train).fingerprint,
                "provenance": dict(split.train.provenance),
                "describe": describe(log if log is not None else split.train).to_dict(),
            },
            "protocol": {"name": split.protocol, "options": dict(split.options), "notes": list(split.notes)},
            "environment": environment(),
        }
    recommender = _build(cls, config, split, training.seed)
    info["model"]["n_parameters"] = sum(parameter.numel() for parameter in recommender.parameters())
    learn_from = _learn_from(cls, split)
    if learn_from is not split.train:
        note = f"{model} knows its training users only: it also trained on the fold-in histories"
        info["protocol"]["notes"] = [*(kept for kept in info["protocol"]["notes"] if kept != note), note]
    _check_answerable(model, cls, split, learn_from)
    if directory is not None and not resume:
        info = directory.create(info, split)

    start = time.perf_counter()
    progress = Progress()
    if isinstance(recommender, Solvable):
        watch.message(f"solving {model}")
        recommender.solve(learn_from)
        progress.seconds = time.perf_counter() - start
        if directory is not None:
            directory.save_weights(recommender)
    else:
        assert isinstance(recommender, Trainable)
        progress = _train(recommender, learn_from, split, training, directory, resume=resume, fabric=fabric, watch=watch)

    watch.message("evaluating")
    validation = evaluate(
        recommender, split.validation, metrics, seed=training.seed, progress=watch.evaluating("validation", len(split.validation))
    )
    between = time.perf_counter()
    test = evaluate(recommender, split.test, metrics, seed=training.seed, progress=watch.evaluating("test", len(split.test)))
    seconds = {"training": progress.seconds, "evaluation": time.perf_counter() - between}
    result: dict[str, Any] = {
        "run": None if directory is None else str(directory.path),
        "model": model,
        "data": name,
        "best_epoch": progress.best_epoch or None,
        "epochs": progress.epoch,
        "seconds": seconds,
        "validation": validation.to_dict(),
        "test": test.to_dict(),
        "groups": standard_groups(test, split.test, split.train),
    }
    run = Run(directory, recommender, split.train.users, split.train.items, split.train.item_columns, split.histories, info, result)
    result["examples"] = _examples(run, split.test)
    if directory is not None:
        directory.write_json("result.json", result)
        info = {**info, "state": "finished"}
        directory.write_info(info)
        directory.checkpoint.unlink(missing_ok=True)
        if report:
            from monge.reporting import write_report

            with disk_errors(directory.path / "report.html", "the run itself is complete"):
                write_report(directory.path)
    return replace(run, info=info)


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
    protocol: str = "leave-one-out",
    protocol_options: Mapping[str, Any] | None = None,
    read_options: Mapping[str, Any] | None = None,
    device: str = "auto",
    name: str | None = None,
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
        sampler: "tpe" learns from the trials before, "random" does not, "grid" takes every setting once, in a random order.
        pruner: "median" ends trials early that do worse than half of the others; "none".
        seed: of the settings, and of each trial's training.
        metric: of validation; it judges a trial and selects its best epoch.
        minutes: no trial begins after so many.
        protocol: how the log is split; ignored where data is a split.
        protocol_options: its options.
        read_options: how the log was read and filtered; only for the record and best.yaml.
        device: "auto", "cpu", "cuda", "mps".
        name: what to call the data in the record.
        command: how this was called, for the record.
        watch: sees progress.
        options: of the model and of training that are the same in all trials (`epochs=30`, `loss="full_ce"`).

    Raises:
        MongeError: any of its kinds; a space that the model does not allow, before anything is trained.
    """
    watch = watch or Watch()
    cls = find_model(model)
    _check_learns(model, cls)
    _check_selects("--metric", metric)
    for option in ("select", "seed"):
        if option in options:
            raise ConfigError(f"{option} is not an option of a single trial: the metric of the study selects, and its seed is theirs")
    if trials < 1 or seed < 0 or (minutes is not None and not minutes > 0):
        raise ConfigError(f"--trials must be at least 1, --seed at least 0, --minutes above 0; got {trials}, {seed}, {minutes}")

    def build(tried: Mapping[str, Any]) -> tuple[Any, TrainingConfig]:
        return _configs(model, cls, {**options, **tried, "select": metric, "seed": seed})

    searched = _space(model, cls, space, options)
    config, training = build(find_allowed(searched, build))
    make_fabric(training.precision, device)
    search = Search(searched, metric=metric, sampler=sampler, pruner=pruner, seed=seed, build=build)
    log, split, found_name = _data(data, protocol, protocol_options, watch)
    learn_from = _learn_from(cls, split)
    _check_answerable(model, cls, split, learn_from)  # of the test part, only whether it could be asked in the end
    seen = replace(split, test=split.test.take(np.arange(0)))  # what is not there cannot be looked at

    def objective(tried: Mapping[str, Any], reporting: Watch) -> Progress:
        config, training = build(tried)
        recommender = _build(cls, config, seen, training.seed)
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
    }
    reading: dict[str, Any] = {} if log is None else {**(read_options or {}), "protocol": protocol}
    if log is not None and protocol_options:
        reading["protocol_options"] = dict(protocol_options)
    info = {"monge": package_version(), "command": command, "data": name or found_name, "reading": reading, "environment": environment()}
    directory = None if out is None else StudyDirectory(out)
    try:
        return run_study(search, objective, trials, directory, identity=identity, info=info, split=split, minutes=minutes, watch=watch)
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
        declared = getattr(_configs(model, cls, options)[0], "space", None)
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


def _build(cls: type[Recommender], config: Any, split: Split, seed: int) -> nn.Module:
    """The model with its first weights."""
    torch.manual_seed(seed)
    model = cls(config, n_users=split.train.n_users, n_items=split.train.n_items)  # pyright: ignore[reportCallIssue] (the contract's constructor)
    assert isinstance(model, nn.Module)
    return model


def _learn_from(cls: type[Recommender], split: Split) -> Interactions:
    """The training rows; for a model that knows its training users only, also the fold-in histories."""
    return split.train if split.fold_in is None or cls.answers_unknown_users else _joined(split.train, split.fold_in)


def _data(data: Any, protocol: str, options: Mapping[str, Any] | None, watch: Watch) -> tuple[Interactions | None, Split, str]:
    """The log (where there is one), its split, and what to call it."""
    if isinstance(data, Split):
        return None, data, "split"
    if isinstance(data, str | Path) and str(data).endswith(".safetensors"):
        return None, Split.load(data), Path(data).name
    log = data if isinstance(data, Interactions) else load(data, echo=watch.message)
    if not len(log):
        raise DataError("the log has no interactions")
    name = str(data) if isinstance(data, str | Path) else type(data).__name__
    return log, make_split(log, protocol, options), name


def _train(
    model: Trainable,
    learn_from: Interactions,
    split: Split,
    training: TrainingConfig,
    directory: RunDirectory | None,
    *,
    resume: bool,
    fabric: Fabric,
    watch: Watch,
) -> Progress:
    """Fit with validation, checkpoints and Ctrl-C; leaves the best epoch's weights in the model."""
    assert isinstance(model, nn.Module)
    progress = Progress()
    optimizer_state: Callable[[torch.optim.Optimizer], Any] | None = None
    if resume and directory is not None and directory.checkpoint.exists():
        progress, state = load_checkpoint(directory.checkpoint, model)
        directory.write_records(progress.records)
        watch.message(f"going on after epoch {progress.epoch}")
        optimizer_state = partial(restore_optimizer, state=state)

    watched = tuple(dict.fromkeys((training.select, *WATCHED)))
    best: dict[str, torch.Tensor] = {}

    def validate(module: nn.Module) -> dict[str, float]:
        assert isinstance(module, Recommender)
        found = evaluate(module, split.validation, watched, intervals=False, seed=training.seed)
        return {name: estimate.mean for name, estimate in found.metrics.items()}

    def on_epoch(now: Progress, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        if now.improved:
            if directory is not None:
                directory.save_weights(module)
            else:
                best.update({name: tensor.detach().clone() for name, tensor in module.state_dict().items()})
        if directory is not None:
            with disk_errors(directory.path, GO_ON):
                save_checkpoint(directory.checkpoint, now, module, optimizer)
            directory.append_record(now.records[-1])
        watch.epoch(now)

    with _interrupt() as interrupted:
        callbacks = Callbacks(
            on_start=lambda n_batches: watch.start(n_batches, training, progress),
            on_batch=watch.batch,
            on_epoch=on_epoch,
            interrupted=interrupted.is_set,
        )
        try:
            progress = fit(
                model,
                learn_from,
                training,
                validate=validate,
                fabric=fabric,
                progress=progress,
                optimizer_state=optimizer_state,
                callbacks=callbacks,
            )
        finally:
            watch.stop()
        if interrupted.is_set():
            kept = f"after epoch {progress.epoch}" if progress.epoch else "before the first epoch ended"
            where = f"; go on with --resume --out {directory.path}" if directory is not None else ""
            raise InterruptedRunError(f"stopped {kept}{where}")
    if directory is not None:
        directory.load_weights(model)
    else:
        model.load_state_dict(best)
    return progress


class InterruptedRunError(RunError):
    """Ctrl-C ended a training; what was learnt up to the last epoch is kept."""


@contextmanager
def _interrupt() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into a request to stop after the batch; a second one acts at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def handle(number: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def _same_options(info: Mapping[str, Any], model: str, config: Mapping[str, Any], training: Mapping[str, Any]) -> None:
    """A run goes on with the options it began with; only the length of training may change."""
    if info["model"]["name"] != model:
        raise RunError(f"the run is of model {info['model']['name']}, not {model}")
    free = {"epochs", "patience", "max_minutes"}
    for kind, now, then in (("model", config, info["model"]["config"]), ("training", training, info["training"])):
        for name, value in now.items():
            if name not in free and then.get(name) != value:
                raise RunError(f"the run began with {kind} option {name} = {then.get(name)}, not {value}; resume with the same options")


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
        provenance=first.provenance,
    )


def _examples(run: Run, test: Queries, n: int = 3, k: int = 10) -> list[dict[str, Any]]:
    """Recommendations for a few test queries, beside what was held out."""
    titles = run.item_columns.get("title")

    def shown(item: int) -> dict[str, Any]:
        return {"item": str(run.items.decode([item])[0]), "title": None if titles is None else titles[item]}

    rows: list[dict[str, Any]] = []
    chosen = np.unique(np.linspace(0, len(test) - 1, min(n, len(test))).astype(np.int64))
    queries = test.take(chosen)
    for numbers, scores in score_blocks(run.model, queries):
        top = top_items(scores, numbers, k, TieOrder(queries.n_items, 0, scores.device))
        for row, number in enumerate(numbers.tolist()):
            best = [item for item in top[row].tolist() if item >= 0]
            rows.append(
                {
                    "user": str(run.users.decode(queries.user[[number]])[0]),
                    "history": [shown(item) for item in queries.history[number][-10:].tolist()],
                    "recommendations": [
                        {**shown(item), "score": float(scores[row, item]), "rank": rank} for rank, item in enumerate(best, start=1)
                    ],
                    "truth": [shown(item) for item in queries.truth[number].tolist()],
                }
            )
    return rows
