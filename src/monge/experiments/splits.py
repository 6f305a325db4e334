"""The splits of an experiment: made once, kept in its folder."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from monge.api import Watch, make_split
from monge.api.splitting import PUBLISHED, read_for
from monge.data import Split, add_noise, has_published_split
from monge.data.files import write_atomically
from monge.errors import RunError
from monge.experiments.experiment import Experiment, Variant
from monge.training.run import disk_errors


def experiments_split(
    experiment: Experiment, folder: Path, asked: Mapping[str, Any], check: Callable[[Split], None], watch: Watch
) -> Split:
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


def split_of(
    experiment: Experiment, variant: Variant, seed: int, data: str, folder: Path, data_options: Mapping[str, Any], watch: Watch
) -> Path:
    """The file of what a variant trains on with a seed: the experiment's split, or one of its own, and with the noise that it asks for."""
    options = {**variant.split, **({"seed": seed} if experiment.split_by_seed and seed else {})}
    path = folder / (f"split-{_file_name(options)}.safetensors" if options else "split.safetensors")
    if not path.exists():
        split = _made(experiment, options, data, data_options, watch)
        with disk_errors(folder):
            split.save(path)
    return _noisy(path, variant.noise_ratio)


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
