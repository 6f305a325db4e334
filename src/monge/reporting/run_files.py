"""The text files of a run directory that a report is made from: `run.json`, `metrics.jsonl`, `result.json`.

A model solved in closed form has no epochs (`"epochs": 0` in its result) and need not have a `metrics.jsonl`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monge.errors import RunError

NEWEST_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class RunFiles:
    """A finished run, as it was written."""

    path: Path
    run: dict[str, Any]
    """Model, training options, data, protocol, environment and command."""
    epochs: list[dict[str, Any]]
    """One entry an epoch; empty for models that are solved in closed form."""
    result: dict[str, Any]
    """Metrics on validation and test queries, by group, and example recommendations."""

    @property
    def main_metric(self) -> str:
        """The metric that selected the best epoch, else the first one of the test."""
        select = self.run.get("training", {}).get("select")
        return select if select in self.result["test"] else next(iter(self.result["test"]))


def read_run_files(run_dir: Path) -> RunFiles:
    """Read a finished run.

    Raises:
        RunError: the directory or one of its files is missing or damaged, the run is not finished, or its format is newer.
    """
    if not run_dir.is_dir():
        raise RunError(f"{run_dir}: there is no such run directory; give the folder that 'monge train' wrote")
    run = _read_object(run_dir / "run.json", needed=("format", "state", "model.name", "data.name", "protocol.name"))
    if not isinstance(run["format"], int) or run["format"] > NEWEST_FORMAT:
        raise RunError(
            f"{run_dir / 'run.json'}: its format is {run['format']!r}, and this version reads up to {NEWEST_FORMAT}; please upgrade monge"
        )
    if run["state"] != "finished":
        raise RunError(f"{run_dir}: the run is not finished (its state is {run['state']!r}); resume it or train again, then report")
    result = _read_object(run_dir / "result.json", needed=("test",))
    if not isinstance(result["test"], dict) or not result["test"]:
        raise RunError(f"{run_dir / 'result.json'}: 'test' holds no metric; run 'monge evaluate' on this run again")
    lines = run_dir / "metrics.jsonl"
    solved = result.get("epochs") == 0 and not lines.exists()
    return RunFiles(path=run_dir, run=run, epochs=[] if solved else _read_lines(lines), result=result)


def _read_object(path: Path, *, needed: tuple[str, ...]) -> dict[str, Any]:
    value = _parse(_read_text(path), place=str(path))
    for key in needed:
        inner: Any = value
        for part in key.split("."):
            if not isinstance(inner, dict) or part not in inner:
                raise RunError(f"{path}: there is no {key!r} in it; the file is damaged, or another program wrote it")
            inner = inner[part]
    return value


def _read_lines(path: Path) -> list[dict[str, Any]]:
    lines = enumerate(_read_text(path).splitlines(), start=1)
    epochs = [_parse(line, place=f"{path}, line {number}") for number, line in lines if line.strip()]
    for number, epoch in enumerate(epochs, start=1):
        if not isinstance(epoch.get("epoch"), int):
            raise RunError(f"{path}: entry {number} has no epoch number; the file is damaged")
    return epochs


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RunError(f"{path}: the file is missing; the run is unfinished or was copied in part") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: the file cannot be read ({error})") from error


def _parse(text: str, *, place: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise RunError(f"{place}: this is not JSON ({error}); the file is damaged") from error
    if not isinstance(value, dict):
        raise RunError(f"{place}: a JSON object was expected, not {type(value).__name__}; the file is damaged")
    return value
