"""A split: what is trained on, what selects, what tests; and one file that carries it to another machine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from monge.data._packing import pack_ids, unpack_ids
from monge.data.files import write_atomically
from monge.data.interactions import Interactions, Vocabulary
from monge.data.modalities import Modality
from monge.data.queries import Queries
from monge.data.ragged import Ragged
from monge.errors import DataError

FORMAT = 2
"""Files of format 1 may lack the histories; in nothing else do they differ."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Split:
    """The outcome of a protocol. It shares one pair of vocabularies among its parts."""

    train: Interactions
    validation: Queries
    test: Queries
    protocol: str
    """Name of the protocol, e.g. `leave-one-out`."""
    histories: Ragged
    """(n_users rows) all that the log knows of each user, oldest first: where a live recommendation starts."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What the protocol was asked (ratios, seed, ...)."""
    notes: Sequence[str] = ()
    """What a reader of the result must know: users left out, items without training rows, ..."""
    fold_in: Interactions | None = None
    """Histories of held-out users: extra training rows for models that cannot answer unknown users."""

    def save(self, path: str | Path) -> None:
        """Write everything into one safetensors file (no log and no reading library is needed to load it)."""
        arrays: dict[str, npt.NDArray[Any]] = {}
        _pack_interactions(arrays, "train", self.train)
        if self.fold_in is not None:
            _pack_interactions(arrays, "fold_in", self.fold_in)
        for name, vocabulary in (("users", self.train.users), ("items", self.train.items)):
            pack_ids(arrays, name, vocabulary.ids)
        for name, column in self.train.item_columns.items():
            pack_ids(arrays, f"item_column.{name}", column)
        modalities = {name: modality.pack(arrays, f"modality.{name}") for name, modality in self.train.modalities.items()}
        _pack_rows(arrays, "histories", self.histories)
        asked = {"validation": self.validation, "test": self.test, "examples": self.train.examples}
        for name, queries in asked.items():
            if queries is not None:
                _pack_queries(arrays, name, queries)
        header = {
            "monge_split": FORMAT,
            "protocol": self.protocol,
            "options": dict(self.options),
            "notes": list(self.notes),
            "provenance": dict(self.train.provenance),
            "modalities": modalities,
        }
        write_atomically(Path(path), save(arrays, metadata={"monge": json.dumps(header)}))

    @classmethod
    def load(cls, path: str | Path) -> Split:
        """Read a split file; nothing in it is executed.

        Raises:
            DataError: the file is missing, damaged, of another kind, of a newer format, or of an older one without histories.
        """
        path = Path(path)
        if not path.is_file():
            raise DataError(f"{path}: no such split file")
        try:
            with safe_open(str(path), framework="numpy") as handle:
                header = json.loads((handle.metadata() or {})["monge"])
                arrays = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 (not a dict)
            if header["monge_split"] > FORMAT:
                raise DataError(f"{path}: split format {header['monge_split']} is newer than this Monge reads ({FORMAT}); upgrade Monge")
            if header["monge_split"] < 2 and "histories.values" not in arrays:
                raise DataError(f"{path}: was written by an older Monge and has no histories; make the split again (a run: train again)")
            users, items = (Vocabulary(unpack_ids(arrays, name)) for name in ("users", "items"))
            columns = {name: unpack_ids(arrays, f"item_column.{name}") for name in _names_under(arrays, "item_column.")}
            modalities = {name: Modality.unpack(arrays, f"modality.{name}", kept) for name, kept in header.get("modalities", {}).items()}
            shared = {
                "users": users,
                "items": items,
                "item_columns": columns,
                "modalities": modalities,
                "provenance": header["provenance"],
            }
            examples = _unpack_queries(arrays, "examples", len(items)) if "examples.user" in arrays else None
            return cls(
                train=replace(_unpack_interactions(arrays, "train", shared), examples=examples),
                validation=_unpack_queries(arrays, "validation", len(items)),
                test=_unpack_queries(arrays, "test", len(items)),
                protocol=header["protocol"],
                options=header["options"],
                notes=tuple(header["notes"]),
                histories=_unpack_rows(arrays, "histories"),
                fold_in=_unpack_interactions(arrays, "fold_in", shared) if "fold_in.user" in arrays else None,
            )
        except (SafetensorError, KeyError, ValueError, TypeError, IndexError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: not a Monge split file, or a damaged one ({type(error).__name__})") from error


def _pack_interactions(arrays: dict[str, npt.NDArray[Any]], name: str, log: Interactions) -> None:
    arrays[f"{name}.user"] = log.user.astype(np.int32)
    arrays[f"{name}.item"] = log.item.astype(np.int32)
    if log.time is not None:
        arrays[f"{name}.time"] = log.time
    if log.weight is not None:
        arrays[f"{name}.weight"] = log.weight


def _unpack_interactions(arrays: Mapping[str, npt.NDArray[Any]], name: str, shared: Mapping[str, Any]) -> Interactions:
    return Interactions(
        user=arrays[f"{name}.user"].astype(np.int64),
        item=arrays[f"{name}.item"].astype(np.int64),
        time=arrays.get(f"{name}.time"),
        weight=arrays.get(f"{name}.weight"),
        **shared,
    )


def _pack_queries(arrays: dict[str, npt.NDArray[Any]], name: str, queries: Queries) -> None:
    arrays[f"{name}.user"] = queries.user.astype(np.int32)
    for part in ("history", "truth", "candidates", "negatives"):
        rows: Ragged | None = getattr(queries, part)
        if rows is not None:
            _pack_rows(arrays, f"{name}.{part}", rows)
    if queries.eligible is not None:
        arrays[f"{name}.eligible"] = queries.eligible.astype(np.int32)
    for group, labels in queries.groups.items():
        pack_ids(arrays, f"{name}.group.{group}", labels)
    for part in ("domain", "domain_of_item"):
        column = getattr(queries, part)
        if column is not None:
            arrays[f"{name}.{part}"] = column.astype(np.int16)


def _unpack_queries(arrays: Mapping[str, npt.NDArray[Any]], name: str, n_items: int) -> Queries:
    groups = _names_under(arrays, f"{name}.group.")
    parts = {part: arrays[f"{name}.{part}"].astype(np.int64) for part in ("domain", "domain_of_item") if f"{name}.{part}" in arrays}
    return Queries(
        n_items=n_items,
        user=arrays[f"{name}.user"].astype(np.int64),
        history=_unpack_rows(arrays, f"{name}.history"),
        truth=_unpack_rows(arrays, f"{name}.truth"),
        candidates=_unpack_rows(arrays, f"{name}.candidates") if f"{name}.candidates.values" in arrays else None,
        eligible=arrays[f"{name}.eligible"].astype(np.int64) if f"{name}.eligible" in arrays else None,
        groups={group: unpack_ids(arrays, f"{name}.group.{group}") for group in groups},
        negatives=_unpack_rows(arrays, f"{name}.negatives") if f"{name}.negatives.values" in arrays else None,
        **parts,
    )


def _pack_rows(arrays: dict[str, npt.NDArray[Any]], name: str, rows: Ragged) -> None:
    arrays[f"{name}.values"] = rows.values.astype(np.int32)
    arrays[f"{name}.lengths"] = rows.lengths.astype(np.int32)


def _unpack_rows(arrays: Mapping[str, npt.NDArray[Any]], name: str) -> Ragged:
    return Ragged.from_lengths(arrays[f"{name}.values"].astype(np.int64), arrays[f"{name}.lengths"].astype(np.int64))


def _names_under(arrays: Mapping[str, npt.NDArray[Any]], prefix: str) -> list[str]:
    """Names packed under a prefix, in the order of the alphabet; a name may have dots in it."""
    return sorted({key.removeprefix(prefix).rpartition(".")[0] for key in arrays if key.startswith(prefix)})
