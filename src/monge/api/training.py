"""Train a model on a log and keep the run."""

from __future__ import annotations

import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from monge.api.agreement import ANEW, check_protocol, check_resumed, is_split, note_on_domains
from monge.api.asking import Run, examples, load_run
from monge.api.preparing import (
    check_answerable,
    check_learns,
    check_sampled,
    check_selects,
    configs_of,
    initialised,
    learnt_from,
    log_and_split,
    with_content_for,
)
from monge.api.splitting import LEAVE_ONE_OUT
from monge.data import Interactions, Split, describe
from monge.errors import ConfigError, MissingExtraError, MongeError, RunError
from monge.evaluation import DEFAULT_METRICS, evaluate, parse_metric, standard_groups
from monge.models import Recommender, Solvable, Trainable, find_model
from monge.options import defaults_of
from monge.training.checkpoint import load_checkpoint, restore_optimizer, save_checkpoint
from monge.training.environment import environment, package_version
from monge.training.loop import Callbacks, Progress, TrainingConfig, fit, make_fabric
from monge.training.run import GO_ON, RunDirectory, disk_errors
from monge.training.watch import Watch, tracked

WATCHED = ("ndcg@10", "recall@10", "mrr")
"""Validation metrics of every epoch, beside the one that selects."""
SAMPLED_METRICS = ("sampled_hit@10", "sampled_ndcg@10")
"""What queries with negatives of their own are measured by too."""


def train(
    model: str,
    data: Any,
    *,
    protocol: str | None = None,
    protocol_options: Mapping[str, Any] | None = None,
    read_options: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    metrics: Sequence[str] | None = None,
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
        data: a known data set's name, a file, a data frame, `Interactions`, or a `Split` (or a split file). A run that is gone on with
            has its split already: then None, or the same data as before.
        protocol: how the log is split; None: leave-one-out, or as data is split already. Another than that of a split, or of the run that
            is gone on with, is an error.
        protocol_options: its options; the same goes for them.
        read_options: how the log was read and filtered; for the record, and to be the same where a run is gone on with.
        out: the run directory to make; None keeps nothing on disk.
        resume: go on with the run in `out`.
        metrics: what the validation and test parts are measured by; None: the usual ones, and where the split's queries have
            negatives of their own also `sampled_hit@10` and `sampled_ndcg@10`.
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
    check_learns(model, cls)
    config, training = configs_of(model, cls, options)
    unused: Mapping[str, str] = config.unused() if hasattr(config, "unused") else {}
    for option in sorted(options.keys() & unused.keys()):
        watch.message(f"--{option.replace('_', '-')} has no effect with {unused[option]}")
    for metric in metrics or ():
        parse_metric(metric)
    check_selects("--select", training.select)
    directory = RunDirectory(out) if out is not None else None
    if directory is not None and not resume:
        directory.require_new()
    fabric = make_fabric(training.precision, device)
    if resume and directory is None:
        raise ConfigError("--resume needs the run directory: --out DIR")

    if resume and directory is not None:
        info = directory.info()
        _same_options(info, model, asdict(config), asdict(training))
        check_resumed(directory, info, data, name, protocol, protocol_options, read_options)
        if info["state"] == "finished":
            watch.message(f"{directory.path} is finished already")
            return load_run(directory.path, trusted=[model])
        split = directory.split()
        name = info["data"]["name"]
    else:
        log, split, found_name = log_and_split(data, protocol or LEAVE_ONE_OUT, protocol_options, watch)
        if is_split(data):
            check_protocol(name or found_name, {"name": split.protocol, "options": split.options}, protocol, protocol_options, remedy=ANEW)
        split = with_content_for(cls, split)
        note = note_on_domains(model, cls, split)
        if note is not None:
            watch.message(note)
        if log is not None and split.test.domain is not None:
            for note in split.notes:  # what may be leaking is said before anything is learnt
                watch.message(note)
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
                "reading": dict(read_options or {}),
                "modalities": {key: {"width": one.width, **one.record} for key, one in split.train.modalities.items()},
            },
            "protocol": {
                "name": split.protocol,
                "options": dict(split.options),
                "asked": dict(protocol_options or {}),
                "notes": list(split.notes),
            },
            "environment": environment(),
        }
    metrics = metrics or (DEFAULT_METRICS if split.test.negatives is None else (*DEFAULT_METRICS, *SAMPLED_METRICS))
    check_sampled((training.select, *metrics), split)
    recommender = initialised(cls, config, split, training.seed)
    info["model"]["n_parameters"] = sum(parameter.numel() for parameter in recommender.parameters())
    learn_from = learnt_from(cls, split)
    if learn_from is not split.train:
        note = f"{model} knows its training users only: it also trained on the fold-in histories"
        info["protocol"]["notes"] = [*(kept for kept in info["protocol"]["notes"] if kept != note), note]
    check_answerable(model, cls, split, learn_from)
    if directory is not None and not resume:
        info = directory.create(info, split)

    start = time.perf_counter()
    progress = Progress()
    try:
        if isinstance(recommender, Solvable):
            watch.message(f"solving {model}")
            recommender.solve(learn_from)
            progress.seconds = time.perf_counter() - start
            if directory is not None:
                directory.save_weights(recommender)
        else:
            assert isinstance(recommender, Trainable)
            progress = _train(recommender, learn_from, split, training, directory, resume=resume, fabric=fabric, watch=watch)
    except RunError:  # interrupted, or the disk is full: --resume goes on with what there is
        raise
    except MongeError:
        if directory is not None and not resume and not directory.checkpoint.exists():
            shutil.rmtree(directory.path, ignore_errors=True)  # nothing was learnt: leave nothing behind
        raise

    recommender.eval()  # from here on it answers
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
    result["examples"] = examples(run, split.test)
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
    """A run goes on with the options it began with; only the length of training may change.

    An option that is younger than the run counts as its default: new options default to what was done before there was a choice.
    """
    if info["model"]["name"] != model:
        raise RunError(f"the run is of model {info['model']['name']}, not {model}")
    free = {"epochs", "patience", "max_minutes"}
    defaults = defaults_of(find_model(model).Config) | defaults_of(TrainingConfig)
    for kind, now, then in (("model", config, info["model"]["config"]), ("training", training, info["training"])):
        for name, value in now.items():
            began = then.get(name, defaults.get(name))
            if name not in free and began != value:
                raise RunError(f"the run began with {kind} option {name} = {began}, not {value}; resume with the same options")
