"""Ids and texts as plain arrays, for files that hold nothing but arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt


def pack_ids(arrays: dict[str, npt.NDArray[Any]], name: str, ids: npt.NDArray[Any]) -> None:
    """Whole numbers as they are; text as UTF-8 bytes back to back with lengths; a missing text has length -1."""
    if ids.dtype == np.int64:
        arrays[f"{name}.whole"] = ids
        return
    encoded = [None if text is None else str(text).encode() for text in ids.tolist()]
    arrays[f"{name}.bytes"] = np.frombuffer(b"".join(text or b"" for text in encoded), dtype=np.uint8)
    arrays[f"{name}.lengths"] = np.array([-1 if text is None else len(text) for text in encoded], dtype=np.int32)


def unpack_ids(arrays: Mapping[str, npt.NDArray[Any]], name: str) -> npt.NDArray[Any]:
    """What `pack_ids` put there.

    Raises:
        KeyError: nothing of that name.
    """
    if f"{name}.whole" in arrays:
        return arrays[f"{name}.whole"]
    raw, lengths = arrays[f"{name}.bytes"].tobytes(), arrays[f"{name}.lengths"]
    ends = np.cumsum(np.maximum(lengths, 0))
    texts = [None if length < 0 else raw[end - length : end].decode() for length, end in zip(lengths, ends, strict=True)]
    return np.array([*texts, None], dtype=object)[:-1]  # the extra None keeps NumPy from guessing a shape
