"""A study: the trials of a search, what they found, and the directory that keeps them.

| file of a study   | what                                                                                         |
|-------------------|----------------------------------------------------------------------------------------------|
| study.json        | format, what is searched and how, model, data, protocol, versions; never changed once written |
| study.sqlite      | Optuna's trials: numbers and JSON, nothing that could be executed                            |
| split.safetensors | the split that every trial used                                                              |
| trials.jsonl      | one line a trial: options, validation by epoch, seconds                                      |
| best.yaml         | the best options, for `monge train --config`                                                 |
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import polars as pl
import yaml

from monge.data import Split
from monge.data.files import write_atomically
from monge.errors import RunError
from monge.training.run import disk_errors

FORMAT = 1
GO_ON = "free some and give the same command again"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What came of one setting; one line of trials.jsonl."""

    number: int
    """1 for the first."""
    state: Literal["finished", "pruned", "failed"]
    options: Mapping[str, Any]
    """What was searched; the fixed options stand in study.json."""
    value: float | None = None
    """The validation metric of the best epoch."""
    best_epoch: int | None = None
    """None where the model has no epochs, or none was validated."""
    seconds: float = 0.0
    """Training and validation together."""
    validation: Sequence[Mapping[str, float]] = ()
    """One entry a validated epoch: its number and the metrics."""
    note: str | None = None
    """Why it failed."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """A search and what it found. All of it is measured on validation queries."""

    path: Path | None
    """Where it is kept."""
    model: str
    data: str
    metric: str
    space: Mapping[str, str]
    """Option -> what was tried, as text."""
    trials: Sequence[Trial]
    best: Trial
    """The finished trial with the highest value; of equals the first."""
    best_options: Mapping[str, Any]
    """Every option of the model and of training that the best trial ran with."""
    importance: Mapping[str, float] = field(default_factory=dict)
    """Option -> share of the differences between the better half of trials and the rest (PED-ANOVA); empty for few trials."""

    def table(self) -> pl.DataFrame:
        """One row a trial, the best first: rank, trial, state, the metric, best_epoch, seconds, one column an option."""
        rows = [
            {
                "rank": rank,
                "trial": trial.number,
                "state": trial.state,
                self.metric: trial.value,
                "best_epoch": trial.best_epoch,
                "seconds": trial.seconds,
                **trial.options,
            }
            for rank, trial in ranked(self.trials)
        ]
        return pl.DataFrame(rows, infer_schema_length=None)


def ranked(trials: Sequence[Trial]) -> list[tuple[int | None, Trial]]:
    """Finished trials by value with their ranks, then pruned ones, then failed ones, which have none."""
    order = {"finished": 0, "pruned": 1, "failed": 2}
    by_value = sorted(
        trials, key=lambda trial: (order[trial.state], -(trial.value if trial.value is not None else -math.inf), trial.number)
    )
    return [(rank if trial.state == "finished" else None, trial) for rank, trial in enumerate(by_value, start=1)]


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The finished trial with the highest value."""
    return next((trial for rank, trial in ranked(trials) if rank == 1), None)


class StudyDirectory:
    """Reading and writing the files of one study."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def database(self) -> Path:
        """Optuna's file."""
        return self.path / "study.sqlite"

    def begin(self, identity: Mapping[str, Any], info: Mapping[str, Any], split: Split, defaults: Mapping[str, Any]) -> None:
        """Make the directory, or make sure that the study in it is this one.

        Args:
            identity: what must be the same when a study is gone on with.
            info: what else is worth a record.
            split: saved beside it.
            defaults: of all options; one that is younger than the study counts as its default.

        Raises:
            RunError: there is something else, another study, a damaged or a newer one, or the disk refuses.
        """
        if not self.path.exists() or (self.path.is_dir() and not any(self.path.iterdir())):
            self._create(identity, info, split)
            return
        path = self.path / "study.json"
        if not path.is_file():
            raise RunError(f"{self.path} exists and holds no study; choose another --out, or remove it")
        try:
            content = json.loads(path.read_text())
            found_format, then = int(content["format"]), dict(content["identity"])
            known = {*then["option"], *then["space"]}
            younger = {name: value for name, value in defaults.items() if name in identity["option"] and name not in known}
            then["option"] = {**then["option"], **json.loads(json.dumps(younger))}
        except (ValueError, KeyError, TypeError, UnicodeDecodeError) as error:
            raise RunError(f"{path}: damaged ({type(error).__name__}); restore it from a copy, or choose another --out") from error
        if found_format > FORMAT:
            raise RunError(f"{self.path}: study format {found_format} is newer than this Monge reads ({FORMAT}); upgrade Monge")
        now = json.loads(json.dumps(identity))
        for name in (*now, *(name for name in then if name not in now)):
            if now.get(name) != then.get(name):
                what, before, after = _difference(name, then.get(name), now.get(name))
                raise RunError(f"{self.path} holds a study with {what} {before}, not {after}; give it another --out, or the same options")
        trials = self.path / "trials.jsonl"
        if not self.database.exists() and trials.exists() and trials.stat().st_size:
            raise RunError(f"{self.database}: no such file, though trials were made; restore it from a copy, or choose another --out")

    def _create(self, identity: Mapping[str, Any], info: Mapping[str, Any], split: Split) -> None:
        try:
            with disk_errors(self.path):
                self.path.mkdir(parents=True, exist_ok=True)
                split.save(self.path / "split.safetensors")
                content = {"format": FORMAT, **info, "identity": identity}
                write_atomically(self.path / "study.json", json.dumps(content, indent=2, default=str) + "\n")
        except BaseException:
            shutil.rmtree(self.path, ignore_errors=True)
            raise

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out; the lock goes with the process, however it ends.

        Raises:
            RunError: another process works on the study.
        """
        import fcntl

        with (self.path / "study.json").open() as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise RunError(f"{self.path}: another process works on this study; wait for it, or choose another --out") from None
            yield

    def write_trials(self, trials: Sequence[Trial]) -> None:
        """Write trials.jsonl anew."""
        with disk_errors(self.path, GO_ON):
            write_atomically(self.path / "trials.jsonl", "".join(_line(trial) for trial in trials))

    def append_trial(self, trial: Trial) -> None:
        """Add one line to trials.jsonl."""
        with disk_errors(self.path, GO_ON), (self.path / "trials.jsonl").open("a") as handle:
            handle.write(_line(trial))

    def write_best(self, best: Trial, identity: Mapping[str, Any], info: Mapping[str, Any]) -> None:
        """Write best.yaml; see `monge.training.tuning.run_study` for the arguments."""
        parts = {
            "searched": best.options,
            "the same in all trials": {**identity["option"], "select": identity["metric"], "seed": identity["seed"]},
            "how the log was read and split": info["reading"],
        }
        said = f"# {identity['model']}, trial {best.number}: validation {identity['metric']} {best.value:.4f}\n"
        text = said + "".join(
            f"\n# {heading}\n{yaml.safe_dump(dict(options), sort_keys=False)}" for heading, options in parts.items() if options
        )
        with disk_errors(self.path, GO_ON):
            write_atomically(self.path / "best.yaml", text)


def _line(trial: Trial) -> str:
    return json.dumps(asdict(trial)) + "\n"


def _difference(name: str, then: Any, now: Any) -> tuple[str, str, str]:
    """The first part in which two values differ."""
    if isinstance(then, dict) and isinstance(now, dict):
        part = next(part for part in (*now, *then) if now.get(part) != then.get(part))
        return _difference(f"{name} {part}", then.get(part), now.get(part))
    return f"{name} =", _shown(then), _shown(now)


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    return f"{value[:12]}..." if isinstance(value, str) and len(value) == 64 else str(value)


def fingerprint(split: Split) -> str:
    """SHA-256 over what a search sees of a split: the training part, the fold-in histories and the validation queries."""
    digest = hashlib.sha256(split.train.fingerprint.encode())
    if split.fold_in is not None:
        digest.update(split.fold_in.fingerprint.encode())
    digest.update(split.validation.user.tobytes())
    for rows in (split.validation.history, split.validation.truth, split.validation.candidates):
        if rows is not None:
            digest.update(rows.values.tobytes())
            digest.update(rows.offsets.tobytes())
    return digest.hexdigest()
