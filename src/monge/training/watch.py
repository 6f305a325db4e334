"""Watching a long run: nothing, bars in a terminal, TensorBoard or MLflow."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monge.errors import MissingExtraError, UnknownNameError, nearest
from monge.training.loop import Progress, TrainingConfig

if TYPE_CHECKING:
    from monge.training.study import Trial


class Watch:
    """What a caller may want to see of a long run; this one shows nothing. The command line draws bars with it."""

    def message(self, text: str) -> None:
        """A sentence for the person who waits."""

    def start(self, n_batches: int, training: TrainingConfig, progress: Progress) -> None:
        """Training begins (or goes on)."""

    def batch(self, n_done: int) -> None:
        """A batch is done."""

    def epoch(self, progress: Progress) -> None:
        """An epoch is done and validated."""

    def stop(self) -> None:
        """Training is over."""

    def evaluating(self, what: str, n_queries: int) -> Callable[[int], Any] | None:
        """An evaluation begins; returns what is called with the number of queries done."""
        return None

    def trial(self, number: int, n_trials: int, options: Mapping[str, Any]) -> None:
        """A trial of a search begins (1 for the first)."""

    def tried(self, trial: Trial, best: Trial | None) -> None:
        """A trial of a search is over; `best` is the best one so far."""


class Also(Watch):
    """Passes everything on to another watch."""

    def __init__(self, other: Watch) -> None:
        self.other = other

    def message(self, text: str) -> None:
        """Pass it on."""
        self.other.message(text)

    def start(self, n_batches: int, training: TrainingConfig, progress: Progress) -> None:
        """Pass it on."""
        self.other.start(n_batches, training, progress)

    def batch(self, n_done: int) -> None:
        """Pass it on."""
        self.other.batch(n_done)

    def epoch(self, progress: Progress) -> None:
        """Pass it on."""
        self.other.epoch(progress)

    def stop(self) -> None:
        """Pass it on."""
        self.other.stop()

    def evaluating(self, what: str, n_queries: int) -> Callable[[int], Any] | None:
        """Pass it on."""
        return self.other.evaluating(what, n_queries)

    def trial(self, number: int, n_trials: int, options: Mapping[str, Any]) -> None:
        """Pass it on."""
        self.other.trial(number, n_trials, options)

    def tried(self, trial: Trial, best: Trial | None) -> None:
        """Pass it on."""
        self.other.tried(trial, best)


def _scalars(progress: Progress) -> dict[str, float]:
    last = progress.records[-1]
    named = {f"loss/{name}": value for name, value in last.loss.items()}
    named |= {f"watched/{name.replace(' ', '_')}": value for name, value in last.watched.items()}
    return named | {f"validation/{name.replace('@', '_at_')}": value for name, value in (last.validation or {}).items()}


class TensorBoard(Also):
    """Each epoch's losses and validation metrics as TensorBoard scalars in RUN/tensorboard."""

    def __init__(self, other: Watch, out: Path) -> None:
        super().__init__(other)
        self.out, self.writer = out / "tensorboard", None
        _needed("tensorboard", "tensorboard")

    def epoch(self, progress: Progress) -> None:
        """Log the epoch."""
        if self.writer is None:
            self.writer = importlib.import_module("torch.utils.tensorboard").SummaryWriter(str(self.out))
        for name, value in _scalars(progress).items():
            self.writer.add_scalar(name, value, progress.epoch)
        super().epoch(progress)

    def stop(self) -> None:
        """Close the log."""
        if self.writer is not None:
            self.writer.close()
        super().stop()


class MLflow(Also):
    """Each epoch's losses and validation metrics in MLflow: where MLFLOW_TRACKING_URI says, else a file store in RUN/mlflow."""

    def __init__(self, other: Watch, out: Path) -> None:
        super().__init__(other)
        self.mlflow, self.out, self.started = _needed("mlflow", "mlflow-skinny"), out, False

    def epoch(self, progress: Progress) -> None:
        """Log the epoch."""
        if not self.started:
            import os

            if not os.environ.get("MLFLOW_TRACKING_URI"):
                os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
                self.mlflow.set_tracking_uri((self.out / "mlflow").resolve().as_uri())
            self.mlflow.set_experiment("monge")
            self.mlflow.start_run(run_name=self.out.name)
            self.started = True
        self.mlflow.log_metrics(_scalars(progress), step=progress.epoch)
        super().epoch(progress)

    def stop(self) -> None:
        """Close the log."""
        if self.started:
            self.mlflow.end_run()
        super().stop()


TRACKERS = {"tensorboard": TensorBoard, "mlflow": MLflow}


def tracked(watch: Watch, names: Sequence[str], out: Path) -> Watch:
    """A watch that also logs to the named trackers.

    Raises:
        UnknownNameError: no such tracker. MissingExtraError: its library is not installed.
    """
    for name in names:
        if name not in TRACKERS:
            raise UnknownNameError(f"no tracker {name!r}{nearest(name, TRACKERS)}")
        watch = TRACKERS[name](watch, out)
    return watch


def _needed(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(package, "track", f"--track {module}") from error
