"""The run directory: everything that a training leaves behind, and nothing in it is ever executed.

| file                     | what                                                                              |
|--------------------------|-----------------------------------------------------------------------------------|
| run.json                 | format, state, model, options, data, protocol, environment, checksums of the next |
| split.safetensors        | the split that was trained on and tested                                          |
| users, items .parquet    | ids by number; items with their titles and other columns                          |
| histories.parquet        | all that is known of each user, for recommendations                               |
| weights.safetensors      | the model of the best epoch                                                       |
| checkpoint.safetensors   | the last epoch with the optimizer's state (until the run is finished)             |
| metrics.jsonl            | one line an epoch                                                                 |
| result.json, report.html | test metrics with intervals, groups, examples                                     |
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import shutil
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from torch import nn

from monge.data import Ragged, Split, Vocabulary
from monge.data.files import write_atomically
from monge.errors import DataError, RunError
from monge.training.checkpoint import load_model_tensors, model_tensors, read_tensors, save_tensors
from monge.training.loop import EpochRecord

FORMAT = 1
SAVED_ONCE = ("split.safetensors", "users.parquet", "items.parquet", "histories.parquet")
"""Files that never change after the directory was made; run.json holds their checksums."""
REQUIRED = {"model": ("name", "config"), "training": ("seed",), "data": ("name", "describe"), "protocol": ("name",), "environment": ()}
"""What run.json holds in any case."""
GO_ON = "free some and go on with --resume"


@contextmanager
def disk_errors(path: Path, remedy: str = "free some and try again"):
    """Turn a full disk or a folder that cannot be written into one clear sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise RunError(f"{path}: no space left to write it; {remedy}") from error
        raise RunError(f"{path}: cannot be written ({error.strerror or error})") from error


class RunDirectory:
    """Reading and writing the files of one run."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def checkpoint(self) -> Path:
        """The training state."""
        return self.path / "checkpoint.safetensors"

    def require_new(self) -> None:
        """Refuse a place where something is.

        Raises:
            RunError: there is a run already, or something else.
        """
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            what = "already holds a run" if (self.path / "run.json").exists() else "exists and is not empty"
            raise RunError(f"{self.path} {what}; choose another --out, go on with it by --resume, or remove it")

    def create(self, info: Mapping[str, Any], split: Split) -> dict[str, Any]:
        """Make the directory with all that is known before training; nothing stays where that fails.

        Returns:
            What run.json holds: `info`, the format, the state and checksums.

        Raises:
            RunError: there is a run already, or the disk refuses.
        """
        self.require_new()
        try:
            with disk_errors(self.path):
                self.path.mkdir(parents=True, exist_ok=True)
                split.save(self.path / "split.safetensors")
                self._write_ids("users", split.train.users, {})
                self._write_ids("items", split.train.items, split.train.item_columns)
                rows = [split.histories[user].tolist() for user in range(len(split.histories))]
                self._write_parquet("histories", pl.DataFrame({"items": pl.Series(rows, dtype=pl.List(pl.Int64))}))
                write_atomically(self.path / "metrics.jsonl", "")
                checksums = {name: _checksum((self.path / name).read_bytes()) for name in SAVED_ONCE}
            full = {"format": FORMAT, "state": "training", **info, "checksums": checksums}
            self.write_info(full)
        except BaseException:
            shutil.rmtree(self.path, ignore_errors=True)
            raise
        return full

    def write_info(self, info: Mapping[str, Any]) -> None:
        """Write run.json."""
        with disk_errors(self.path):
            write_atomically(self.path / "run.json", json.dumps(info, indent=2, default=str) + "\n")

    def info(self) -> dict[str, Any]:
        """Read run.json.

        Raises:
            RunError: there is none, or it is damaged or newer than this Monge.
        """
        path = self.path / "run.json"
        if not self.path.is_dir():
            raise RunError(f"{self.path}: no such run directory")
        if not path.is_file():
            raise RunError(f"{self.path}: not a run directory (it has no run.json)")
        try:
            info = json.loads(path.read_text())
            run_format = int(info["format"])
        except (ValueError, KeyError, TypeError, UnicodeDecodeError) as error:
            raise RunError(f"{path}: damaged ({type(error).__name__}); restore it from a copy or train again") from error
        if run_format > FORMAT:
            raise RunError(f"{self.path}: run format {run_format} is newer than this Monge reads ({FORMAT}); upgrade Monge")
        for part, names in REQUIRED.items():
            missing = [f"{part}.{name}" for name in names if name not in info[part]] if isinstance(info.get(part), dict) else [part]
            if missing:
                raise RunError(f"{path}: damaged (it has no {missing[0]}); restore it from a copy or train again")
        return info

    def append_record(self, record: EpochRecord) -> None:
        """Add one epoch to metrics.jsonl."""
        with disk_errors(self.path, GO_ON), (self.path / "metrics.jsonl").open("a") as handle:
            handle.write(json.dumps(asdict(record)) + "\n")

    def write_records(self, records: list[EpochRecord]) -> None:
        """Replace metrics.jsonl (a resumed run drops what came after its checkpoint)."""
        with disk_errors(self.path, GO_ON):
            write_atomically(self.path / "metrics.jsonl", "".join(json.dumps(asdict(record)) + "\n" for record in records))

    def save_weights(self, model: nn.Module) -> None:
        """Write the model's weights."""
        with disk_errors(self.path, GO_ON):
            save_tensors(self.path / "weights.safetensors", model_tensors(model))

    def load_weights(self, model: nn.Module) -> None:
        """Put the saved weights into a model.

        Raises:
            RunError: missing, damaged, or of another model.
        """
        tensors, _ = read_tensors(self.path / "weights.safetensors")
        load_model_tensors(model, tensors)

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write one JSON file."""
        with disk_errors(self.path, GO_ON):
            write_atomically(self.path / name, json.dumps(content, indent=2) + "\n")

    def read_json(self, name: str) -> dict[str, Any]:
        """Read one JSON file.

        Raises:
            RunError: missing or damaged.
        """
        try:
            return json.loads((self.path / name).read_text())
        except FileNotFoundError:
            raise RunError(f"{self.path}: {name} is missing; the run was not finished (go on with --resume)") from None
        except (ValueError, UnicodeDecodeError) as error:
            raise RunError(f"{self.path / name}: damaged ({type(error).__name__})") from error

    def split(self) -> Split:
        """The split of the run.

        Raises:
            RunError: missing or damaged.
        """
        path = self.path / "split.safetensors"
        try:
            split = Split.load(path)
            _compare(path, path.read_bytes(), self._expected(path.name))
            return split
        except DataError as error:
            raise RunError(str(error)) from error

    def vocabulary(self) -> tuple[Vocabulary, Vocabulary, dict[str, np.ndarray[Any, Any]]]:
        """Users, items, and the items' columns.

        Raises:
            RunError: missing or damaged.
        """
        users, items = self._read_parquet("users"), self._read_parquet("items")
        columns = {name.removeprefix("column:"): items[name].to_numpy() for name in items.columns if name.startswith("column:")}
        return (
            _vocabulary(users["id"]),
            _vocabulary(items["id"]),
            {name: np.asarray(column, dtype=object) for name, column in columns.items()},
        )

    def histories(self) -> Ragged:
        """What is known of each user, by number.

        Raises:
            RunError: missing or damaged.
        """
        frame = self._read_parquet("histories")
        exploded = frame["items"].explode(empty_as_null=False) if len(frame) else frame["items"]
        return Ragged.from_lengths(exploded.to_numpy().astype(np.int64), frame["items"].list.len().to_numpy().astype(np.int64))

    def write_frame(self, name: str, frame: pl.DataFrame) -> Path:
        """Write one Parquet file."""
        with disk_errors(self.path):
            return self._write_parquet(name, frame)

    def _write_ids(self, name: str, vocabulary: Vocabulary, columns: Mapping[str, Any]) -> None:
        ids = pl.Series("id", vocabulary.ids.tolist(), dtype=pl.String if vocabulary.is_text else pl.Int64)
        series = [pl.Series(f"column:{key}", column.tolist(), dtype=pl.String) for key, column in columns.items()]
        self._write_parquet(name, pl.DataFrame([ids, *series]))

    def _write_parquet(self, name: str, frame: pl.DataFrame) -> Path:
        buffer = io.BytesIO()
        frame.write_parquet(buffer)
        write_atomically(self.path / f"{name}.parquet", buffer.getvalue())
        return self.path / f"{name}.parquet"

    def _expected(self, name: str) -> str | None:
        checksums = self.info().get("checksums")
        return checksums.get(name) if isinstance(checksums, dict) else None

    def _read_parquet(self, name: str) -> pl.DataFrame:
        path = self.path / f"{name}.parquet"
        try:
            content = path.read_bytes()
            _compare(path, content, self._expected(path.name))  # first: Polars panics at some damaged files
            return pl.read_parquet(io.BytesIO(content))
        except FileNotFoundError:
            raise RunError(f"{path}: no such file; the run directory is incomplete") from None
        except (pl.exceptions.PolarsError, OSError) as error:
            raise RunError(f"{path}: damaged or truncated; restore it from a copy or train again") from error


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _compare(path: Path, content: bytes, expected: str | None) -> None:
    if expected is not None and _checksum(content) != expected:
        raise RunError(f"{path}: damaged (its checksum is not the one that was stored); restore it from a copy or train again")


def _vocabulary(ids: pl.Series) -> Vocabulary:
    return Vocabulary(ids.to_numpy().astype(np.int64) if ids.dtype == pl.Int64 else np.array([*ids.to_list(), None], dtype=object)[:-1])
