"""What a person sees while waiting and at the end: messages and bars on standard error, tables or JSON on standard output."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from monge.reporting.values import duration, settings
from monge.training.loop import Progress as TrainingProgress
from monge.training.loop import TrainingConfig
from monge.training.watch import Watch

if TYPE_CHECKING:
    from monge.training.study import Trial

stderr = Console(stderr=True, highlight=False)
stdout = Console(highlight=False)


def print_json(content: Any) -> None:
    """One JSON object and nothing else on standard output."""
    json.dump(content, sys.stdout)
    sys.stdout.write("\n")


class _Terminal(Watch):
    """Messages as dim lines; bars where standard error is a terminal. The bars' columns for times are the caller's choice."""

    def __init__(self, *times: ProgressColumn) -> None:
        what = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn())
        note = TextColumn("{task.fields[note]}")
        self.bars = Progress(*what, *times, note, console=stderr, transient=True, disable=not stderr.is_terminal)

    def message(self, text: str) -> None:
        """A dim line."""
        stderr.print(text, style="dim", markup=False)


class Bars(_Terminal):
    """Bars in a terminal; where standard error is a file, one line an epoch."""

    def __init__(self) -> None:
        super().__init__(TimeElapsedColumn(), TimeRemainingColumn())
        self.task: Any = None
        self.inner: Any = None

    def start(self, n_batches: int, training: TrainingConfig, progress: TrainingProgress) -> None:
        """Show the epochs and the batches of one."""
        self.training = training
        self.bars.start()
        self.task = self.bars.add_task("epochs", total=training.epochs, completed=progress.epoch, note="")
        self.inner = self.bars.add_task("batches", total=n_batches, note="")

    def batch(self, n_done: int) -> None:
        """Move the batch bar."""
        self.bars.update(self.inner, completed=n_done)

    def epoch(self, progress: TrainingProgress) -> None:
        """Move the epoch bar; say losses, the metric that selects, and since when it has not risen."""
        last = progress.records[-1]
        losses = " ".join(f"{name} {value:.4f}" for name, value in (last.loss | last.watched).items())
        select = self.training.select
        value = (last.validation or {}).get(select)
        metric = "" if value is None else f"{select} {value:.4f}, best {progress.best_value:.4f} in epoch {progress.best_epoch}"
        left = self.training.patience - (progress.epoch - progress.best_epoch)
        note = f"{losses} | {metric} | stops in {left} without gain"
        self.bars.update(self.task, completed=progress.epoch, note=note)
        if not stderr.is_terminal:
            stderr.print(f"epoch {progress.epoch}: {losses} | {metric} | {last.seconds:.1f} s", markup=False, soft_wrap=True)

    def stop(self) -> None:
        """Take the bars away."""
        self.bars.stop()
        for task in (self.task, self.inner):
            if task is not None:
                self.bars.remove_task(task)
        self.task = self.inner = None

    def evaluating(self, what: str, n_queries: int) -> Callable[[int], Any] | None:
        """A bar over the queries."""
        if not stderr.is_terminal:
            return None
        self.bars.start()
        task = self.bars.add_task(f"ranking {what}", total=n_queries, note="")

        def done(n: int) -> None:
            self.bars.advance(task, n)
            if self.bars.tasks and self.bars.finished:
                self.bars.stop()

        return done


class StudyBars(_Terminal):
    """One line a trial; in a terminal also a bar over the trials and one over the epochs of the trial."""

    def __init__(self) -> None:
        super().__init__(TimeElapsedColumn())
        self.trials: Any = None
        self.epochs: Any = None
        self.n_trials = 0
        self.best = ""

    def __enter__(self) -> StudyBars:
        return self

    def __exit__(self, *error: object) -> None:
        self.bars.stop()

    def trial(self, number: int, n_trials: int, options: Mapping[str, Any]) -> None:
        """Show where the search stands and what is tried now."""
        self.n_trials = n_trials
        if self.trials is None:
            self.bars.start()
            self.trials = self.bars.add_task("trials", note="")
            self.epochs = self.bars.add_task("epochs", note="")
        self.bars.update(self.trials, total=n_trials, completed=number - 1, note=self.best)
        self.bars.reset(self.epochs, total=None, note=settings(options))

    def start(self, n_batches: int, training: TrainingConfig, progress: TrainingProgress) -> None:
        """Show how many epochs there are at most."""
        self.select = training.select
        self.bars.update(self.epochs, total=training.epochs)

    def epoch(self, progress: TrainingProgress) -> None:
        """Move the epoch bar."""
        value = (progress.records[-1].validation or {}).get(self.select)
        self.bars.update(self.epochs, completed=progress.epoch, note="" if value is None else f"{self.select} {value:.4f}")

    def tried(self, trial: Trial, best: Trial | None) -> None:
        """Say what came of a trial."""
        self.best = "" if best is None else f"best {best.value:.4f} in trial {best.number}"
        self.bars.update(self.trials, completed=trial.number, note=self.best)
        found = trial.note or f"{trial.state}, {trial.value:.4f}" + (f" in epoch {trial.best_epoch}" if trial.best_epoch else "")
        line = f"trial {trial.number} of {self.n_trials}: {settings(trial.options)} | {found} | {duration(trial.seconds)}"
        stderr.print(f"{line} | {self.best}" if self.best else line, markup=False, soft_wrap=True)
