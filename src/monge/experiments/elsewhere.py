"""What another experiment's folder has for this one: the options that it chose, and runs that need not be trained again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy.typing as npt

from monge.api import Watch
from monge.api.preparing import configs_of, with_content_for
from monge.data import Split
from monge.errors import RunError
from monge.experiments.experiment import Experiment, Variant
from monge.models import find_model
from monge.options import defaults_of
from monge.training.loop import TrainingConfig
from monge.training.run import RunDirectory, disk_errors


def chosen_there(place: Path, experiment: Experiment) -> tuple[str, dict[str, dict[str, Any]]]:
    """The fingerprint of the training part that another experiment was tuned on, and label of this one -> the options of the row like it.

    Args:
        place: the other experiment's folder, or a record file.
        experiment: this one.

    Raises:
        RunError: there is no record, nothing was tuned, or a row that one here is said to be like is missing.
    """
    try:
        record = json.loads((place if place.is_file() else place / "record.json").read_text())
        found = {
            label: {"model": row["model"], "options": {**row.get("fixed", {}), **row["tuned"]["options"]}}
            for label, row in record["rows"].items()
            if row["tuned"]
        }
        fingerprint = str(record["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{place}: no record of an experiment; --options-from needs a folder that monge reproduce filled, or its record.json"
        ) from error
    if not found:
        raise RunError(f"{place}: no row was tuned; call its monge reproduce with --trials")
    for variant in experiment.variants:
        if variant.like and variant.like not in found and hasattr(find_model(variant.model).Config, "space"):
            raise RunError(
                f"{place} has no tuned row {variant.like!r}, which {variant.label!r} takes its options from; finish that table first"
            )
    return fingerprint, {variant.label: _like(variant, found) for variant in experiment.variants}


def _like(variant: Variant, found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The options of the row of another table that is like a variant; empty where there is none."""
    for label in (variant.like, variant.label):
        if label in found and found[label]["model"] == variant.model:
            return dict(found[label]["options"])
    return next((dict(row["options"]) for row in found.values() if row["model"] == variant.model), {})


def take_over(sources: Sequence[Path], path: Path, model: str, options: Mapping[str, Any], split: Split, watch: Watch) -> None:
    """Copy another experiment's finished run to `path` where it is the very run that would be trained; else nothing.

    The same model, options, training part, queries and item content; it may be of another commit, which its run.json names.
    """
    cls = find_model(model)
    config, training = configs_of(model, cls, options)
    wanted = _plain({"model": model, "config": asdict(config), "training": asdict(training)})
    for about in (about for source in sources for about in sorted(source.glob(f"*/seed{training.seed}/run.json"))):
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
