"""A search for good options: Optuna proposes settings, each is trained and judged on validation, all of it can be gone on with.

A trial's settings are drawn from (seed, number of the trial, trials before it), so a study that was stopped and gone on with
tries the same settings as one that was not. A trial that was cut off is repeated under its number. No setting is tried twice where
the space can be listed: Optuna's samplers do not remember, and in a space of six settings ten trials were three. What a study keeps:
`monge.training.study`.

Source: Akiba et al., "Optuna", KDD 2019; the sampler `tpe` is Bergstra et al., NeurIPS 2011.
"""

from __future__ import annotations

import math
import random
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from monge.data import Split
from monge.errors import ConfigError, MissingExtraError, QueryError, RunError, UnknownNameError, nearest
from monge.sampling import epoch_seed
from monge.training.loop import DivergedError, EpochRecord, Progress, Stop
from monge.training.space import Choices, Range, Space, grid, nearest_setting
from monge.training.study import Study, StudyDirectory, Trial, best_of
from monge.training.watch import Also, Watch

SAMPLERS = ("tpe", "random", "grid")
PRUNERS = ("median", "none")
RECORD = "monge"
"""Under this name a trial's record stands in Optuna's file."""


class _Reporting(Also):
    """Keeps the curve of a trial, tells it to Optuna, and ends a trial that is not worth its time."""

    def __init__(self, other: Watch, asked: Any, metric: str, *, prunes: bool) -> None:
        super().__init__(other)
        self.asked, self.metric, self.prunes = asked, metric, prunes
        self.records: list[EpochRecord] = []
        self.pruned = False

    def epoch(self, progress: Progress) -> None:
        """Report, and ask whether to go on."""
        super().epoch(progress)
        self.records = progress.records
        validation = progress.records[-1].validation
        if not self.prunes or validation is None:
            return
        self.asked.report(validation[self.metric], progress.epoch)
        if not progress.finished and self.asked.should_prune():
            self.pruned = True
            raise Stop


class Search:
    """Trials of one space, one after the other; to be used within `opened`.

    Args:
        space: what is searched.
        metric: of validation, higher is better.
        sampler: "tpe" learns from the trials before; "random" does not; "grid" takes every setting once, in a random order.
        pruner: "median" ends a trial whose best epoch so far is below the median of the finished trials at the same epoch (not before
            five trials have finished, never in a trial's first five epochs); "none" lets all go to their end.
        seed: of the settings.
        build: makes the configs of a setting; the grid, and what is taken in place of a setting that was tried, leave out what they
            refuse with a `ConfigError`.
        start: what the first trial takes, where the sampler is not "grid"; None leaves it to the sampler.

    Raises:
        MissingExtraError: Optuna is not installed. UnknownNameError: no such sampler or pruner.
        ConfigError: the space has no grid.
    """

    def __init__(
        self,
        space: Space,
        *,
        metric: str,
        sampler: str,
        pruner: str,
        seed: int,
        build: Callable[[Mapping[str, Any]], Any],
        start: Mapping[str, Any] | None = None,
    ) -> None:
        for what, name, known in (("sampler", sampler, SAMPLERS), ("pruner", pruner, PRUNERS)):
            if name not in known:
                raise UnknownNameError(f"no {what} {name!r}{nearest(name, known)}")
        self.optuna = _optuna()
        self.space, self.metric, self.sampler, self.seed, self.prunes = space, metric, sampler, seed, pruner == "median"
        self.build = build
        self.grid = self._listed() if sampler == "grid" else None
        self.start = start
        self.distributions = {name: _distribution(self.optuna, option) for name, option in space.items()}
        self.database: Path | None = None
        self.study: Any = None

    @contextmanager
    def opened(self, database: Path | None) -> Iterator[None]:
        """With Optuna's file, or in memory where it is None; trials whose process died are ended.

        Raises:
            RunError: the database is damaged, or of another version of Optuna.
        """
        self.database = database
        pruners, logging = self.optuna.pruners, self.optuna.logging
        pruner = pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=6, n_min_trials=3) if self.prunes else pruners.NopPruner()
        verbosity = logging.get_verbosity()
        logging.set_verbosity(logging.ERROR)
        storage: Any = None
        try:
            with self._database_errors():
                storage = self._storage(database)
                self.study = self.optuna.create_study(
                    storage=storage, study_name="monge", direction="maximize", pruner=pruner, load_if_exists=True
                )
                self._end_cut_off()
            yield
        finally:
            logging.set_verbosity(verbosity)
            if database is not None and storage is not None:
                storage.remove_session()
                storage.engine.dispose()

    def trials(self) -> list[Trial]:
        """All that are over, by number.

        Raises:
            RunError: the database is damaged.
        """
        with self._database_errors():
            try:
                kept = self.study.get_trials(deepcopy=False)
                found = [Trial(**trial.user_attrs[RECORD]) for trial in kept if trial.state.is_finished() and RECORD in trial.user_attrs]
            except (TypeError, ValueError) as error:
                raise RunError(f"{self.database}: damaged ({error}); restore it from a copy, or choose another --out") from error
        return sorted(found, key=lambda trial: trial.number)

    def run(
        self, objective: Callable[[Mapping[str, Any], Watch], Progress], n_trials: int, *, minutes: float | None = None, watch: Watch
    ) -> Iterator[Trial]:
        """Make trials until there are `n_trials`, those of earlier calls counted, and give each as it ends.

        Args:
            objective: trains with the given options, tells the watch of each epoch, and returns what happened.
            n_trials: see above.
            minutes: no trial begins after so many.
            watch: sees progress.

        Raises:
            Whatever the objective raises. But `DivergedError`, `QueryError`, `ConfigError` and lack of memory on the device fail one
            trial only.
        """
        begun = time.monotonic()
        number = len(self.trials())
        if self.grid is not None:
            tried = f", of which {n_trials} are tried, in a random order" if n_trials < len(self.grid) else ""
            watch.message(f"the grid has {len(self.grid)} settings{tried}")
            n_trials = min(n_trials, len(self.grid))
        if number >= n_trials:
            watch.message(f"all {number} trials are made" + ("" if self.grid is not None else "; a larger --trials adds more"))
        while number < n_trials:
            if minutes is not None and time.monotonic() - begun >= 60 * minutes:
                watch.message(f"the {minutes:g} minutes are over after {number} of {n_trials} trials")
                return
            number += 1
            with self._database_errors():
                trial = self._try(objective, number, n_trials, watch)
            if trial is None:
                watch.message(f"all {number - 1} settings of the space are tried")
                return
            yield trial

    def importance(self) -> dict[str, float]:
        """Share of each option in what sets good trials apart, largest first; empty where there are too few trials."""
        complete = self.study.get_trials(deepcopy=False, states=(self.optuna.trial.TrialState.COMPLETE,))
        if len({trial.value for trial in complete}) < 4 or len(self.space) < 2:
            return {}
        evaluator = self.optuna.importance.PedAnovaImportanceEvaluator()
        found = self.optuna.importance.get_param_importances(self.study, evaluator=evaluator)
        return {name: float(share) for name, share in found.items()}

    def _try(self, objective: Callable[[Mapping[str, Any], Watch], Progress], number: int, n_trials: int, watch: Watch) -> Trial | None:
        """Make a trial; None where every setting is tried."""
        asked = self._ask(number)
        if asked is None:
            return None
        options = {name: asked.params[name] for name in self.space}
        watch.trial(number, n_trials, options)
        reporting = _Reporting(watch, asked, self.metric, prunes=self.prunes)
        start, note = time.perf_counter(), None
        progress = Progress()
        try:
            progress = objective(options, reporting)
        except (DivergedError, QueryError, ConfigError) as error:  # a query error: the scores are no numbers
            note = str(error)
        except torch.OutOfMemoryError as error:
            note = f"out of memory on the device ({str(error).splitlines()[0]})"
        except BaseException:
            self.study.tell(asked, state=self.optuna.trial.TrialState.FAIL)
            raise
        validated = [record for record in progress.records or reporting.records if record.validation is not None]
        value = progress.best_value if math.isfinite(progress.best_value) else None
        if value is None and note is None:
            note = "no epoch was validated before the training ended"
        state = "failed" if note else "pruned" if reporting.pruned else "finished"
        trial = Trial(
            number=number,
            state=state,
            options=options,
            value=value,
            best_epoch=progress.best_epoch or None,
            seconds=round(time.perf_counter() - start, 3),
            validation=[{"epoch": record.epoch, **(record.validation or {})} for record in validated],
            note=note,
        )
        asked.set_user_attr(RECORD, asdict(trial))
        self._tell(asked.number, trial)
        return trial

    def _ask(self, number: int) -> Any:
        """Optuna's next trial, with a setting that no trial had if the space can be listed; None where there is no such setting."""
        self.study.sampler = self._sampler(number)
        asked = self.study.ask(self.distributions)
        tried = [
            nearest_setting(self.space, trial.options) for trial in self.trials()
        ]  # 0.3 and 0.1 + 0.2 are one value of a range in steps
        if nearest_setting(self.space, asked.params) not in tried:
            return asked
        try:
            left = [setting for setting in self._listed() if nearest_setting(self.space, setting) not in tried]
        except ConfigError:  # too many to list: a second time does no harm
            return asked
        self.study.tell(asked, state=self.optuna.trial.TrialState.FAIL)
        if not left:
            return None
        self.study.sampler = _one_setting(self.optuna, left[0])
        return self.study.ask(self.distributions)

    def _listed(self) -> list[dict[str, Any]]:
        """Every setting that the configs allow, in a random order.

        Raises:
            ConfigError: the space cannot be listed.
        """
        settings = [setting for setting in grid(self.space) if _allowed(setting, self.build)]
        random.Random(self.seed).shuffle(settings)
        return settings

    def _tell(self, optuna_number: int, trial: Trial) -> None:
        state = self.optuna.trial.TrialState
        if trial.state == "finished":
            self.study.tell(optuna_number, trial.value)
        else:
            self.study.tell(optuna_number, state=state.PRUNED if trial.state == "pruned" else state.FAIL)

    def _end_cut_off(self) -> None:
        """Trials whose process died: over if their record was written, else failed and to be repeated."""
        states = self.optuna.trial.TrialState
        for left in self.study.get_trials(deepcopy=False, states=(states.RUNNING,)):
            if RECORD in left.user_attrs:
                self._tell(left.number, Trial(**left.user_attrs[RECORD]))
            else:
                self.study.tell(left.number, state=states.FAIL)

    def _storage(self, database: Path | None) -> Any:
        storages = self.optuna.storages
        if database is None:
            return storages.InMemoryStorage()

        def connect() -> sqlite3.Connection:
            connection = sqlite3.connect(database, timeout=60)  # by the path itself: an address would stumble over ? and %
            connection.execute("PRAGMA journal_mode = WAL")  # a report of an epoch need not wait for the disk
            connection.execute("PRAGMA synchronous = NORMAL")
            return connection

        try:
            return storages.RDBStorage("sqlite:///study.sqlite", engine_kwargs={"creator": connect})
        except RuntimeError as error:
            raise RunError(f"{database}: of another version of Optuna ({str(error).splitlines()[0]})") from error

    def _sampler(self, number: int) -> Any:
        if self.grid is not None:
            return _one_setting(self.optuna, self.grid[number - 1])
        if number == 1 and self.start is not None:
            return _one_setting(self.optuna, self.start)
        seed = epoch_seed(self.seed, number, "trial") % 2**32
        return self.optuna.samplers.TPESampler(seed=seed) if self.sampler == "tpe" else self.optuna.samplers.RandomSampler(seed=seed)

    @contextmanager
    def _database_errors(self) -> Iterator[None]:
        """Turn a damaged database and a full disk into one clear sentence."""
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (SQLAlchemyError, self.optuna.exceptions.StorageInternalError) as error:
            cause = getattr(error.__cause__, "orig", None) or getattr(error, "orig", None) or error
            said = str(cause).splitlines()[0]
            raise RunError(f"{self.database}: damaged or cannot be written ({said}); trials.jsonl has what was found") from error


def run_study(
    search: Search,
    objective: Callable[[Mapping[str, Any], Watch], Progress],
    n_trials: int,
    directory: StudyDirectory | None,
    *,
    identity: Mapping[str, Any],
    info: Mapping[str, Any],
    split: Split,
    defaults: Mapping[str, Any],
    minutes: float | None,
    watch: Watch,
) -> Study:
    """Make or open the study, make its trials, and keep what they say after each of them.

    Args:
        search: draws the settings.
        objective: see `Search.run`.
        n_trials: how many there shall be.
        directory: None keeps nothing.
        identity: what must be the same when the study is gone on with; holds `model`, `metric`, `option`, `space` and `seed`.
        info: what else is worth a record; holds `data` and `reading`, the options by which `train` gets the same split.
        split: saved with the study.
        defaults: see `StudyDirectory.begin`.
        minutes: no trial begins after so many.
        watch: sees progress.

    Raises:
        RunError: see `StudyDirectory.begin` and `Search.opened`; or no trial came to a result.
    """
    with ExitStack() as stack:
        if directory is not None:
            directory.begin(identity, info, split, defaults)
            stack.enter_context(directory.locked())
        stack.enter_context(search.opened(directory.database if directory else None))
        trials = search.trials()
        if trials:
            watch.message(f"going on after trial {trials[-1].number}")
        if directory is not None:
            directory.write_trials(trials)
        for trial in search.run(objective, n_trials, minutes=minutes, watch=watch):
            trials.append(trial)
            best = best_of(trials)
            if directory is not None:
                directory.append_trial(trial)
                if best is not None and best.number == trial.number:
                    directory.write_best(best, identity, info)
            watch.tried(trial, best)
        best = best_of(trials)
        if best is None:
            why = trials[-1].note if trials else "the time was over before the first one"
            raise RunError(f"none of {len(trials)} trials came to a result; the last one: {why}")
        return Study(
            path=None if directory is None else directory.path,
            model=identity["model"],
            data=info["data"],
            metric=search.metric,
            space=identity["space"],
            trials=tuple(trials),
            best=best,
            best_options={**best.options, **identity["option"], "select": search.metric, "seed": search.seed},
            importance=search.importance(),
        )


def _allowed(setting: Mapping[str, Any], build: Callable[[Mapping[str, Any]], Any]) -> bool:
    try:
        build(setting)
    except ConfigError:
        return False
    return True


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise MissingExtraError("Optuna", "tune", "monge tune") from error
    return optuna


def _distribution(optuna: Any, option: Range | Choices) -> Any:
    """How Optuna draws a value."""
    distributions = optuna.distributions
    if isinstance(option, Choices):
        return distributions.CategoricalDistribution(option.values)
    if option.whole:
        return distributions.IntDistribution(option.low, option.high, log=option.log, step=option.step or 1)
    return distributions.FloatDistribution(option.low, option.high, log=option.log, step=option.step)


def _one_setting(optuna: Any, setting: Mapping[str, Any]) -> Any:
    """A sampler that proposes the given setting."""

    class OneSetting(optuna.samplers.BaseSampler):
        def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
            return {}

        def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
            return {}

        def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
            return setting[param_name]

    return OneSetting()
