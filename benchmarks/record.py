"""A measurement with everything needed to judge or repeat it, as one JSON file in `benchmarks/results/`."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from monge.data.files import write_atomically

FOLDER = Path(__file__).resolve().parent
RESULTS = FOLDER / "results"
PACKAGES = ("torch", "numpy", "polars")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One row of the table: a quantity measured of Monge and of its peers in the same session."""

    what: str
    """What was measured, e.g. `SASRec, ml-100k: one epoch`."""
    unit: str
    """E.g. `s`, `MiB`, `queries/s`."""
    monge: float
    peers: Mapping[str, float] = field(default_factory=dict)
    """By peer, e.g. `{"recbole": 0.19}`; a peer that cannot do it is left out."""
    smaller_is_better: bool = True

    def ratio(self, peer: str) -> float:
        """How many times better Monge is: above 1, Monge is ahead."""
        theirs = self.peers[peer]
        return theirs / self.monge if self.smaller_is_better else self.monge / theirs


def record(
    name: str,
    figures: Mapping[str, Any],
    *,
    command: str | Sequence[str],
    threads: int,
    peer_versions: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> Path:
    """Write `benchmarks/results/<name>.json`; a former record of that name is replaced.

    Args:
        name: letters, digits, `-` and `_`; the file's name and the heading in the README.
        figures: what was measured, as JSON. `figures["comparisons"]`, a list of `Comparison`, becomes the table of this
            record in the README; single numbers are listed below it; anything else (e.g. a peer's whole output) is only kept.
        command: what makes it again; folders of absolute paths in it are left out of the record.
        threads: that every library was allowed.
        peer_versions: e.g. `{"recbole": "1.2.1"}`.
        notes: what a reader must know beside the figures (a protocol that differs, a run cut short).

    Raises:
        ValueError: a name that is no file name, or figures that are no JSON (NaN and infinities are none).
    """
    if not re.fullmatch(r"[\w-]+", name):
        raise ValueError(f"a record's name has letters, digits, - and _ only; got {name!r}")
    comparisons = [asdict(row) if isinstance(row, Comparison) else dict(row) for row in figures.get("comparisons", ())]
    entry = {
        "name": name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": without_folders(command if isinstance(command, str) else shlex.join(command)),
        "commit": git_commit(),
        "machine": machine(),
        "threads": threads,
        "versions": versions() | dict(peer_versions or {}),
        "notes": list(notes),
        "figures": {**figures, "comparisons": comparisons},
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    write_atomically(path, json.dumps(entry, indent=2, allow_nan=False) + "\n")
    return path


def machine() -> dict[str, Any]:
    """The processor's name, the cores that this process may use, and the memory in GiB."""
    return {"processor": _processor(), "cores": _cores(), "memory_gib": round(_memory_bytes() / 2**30, 1), "system": platform.system()}


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the speed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def git_commit() -> dict[str, Any]:
    """The commit measured, and whether files other than results and the table differ from it."""
    commit = _git("rev-parse", "HEAD")
    if not commit:
        return {"hash": None, "dirty": None}
    changes = _git("status", "--porcelain", "--", ".", ":(exclude)benchmarks/results", ":(exclude)benchmarks/README.md")
    return {"hash": commit, "dirty": bool(changes)}


def without_folders(command: str) -> str:
    """A command whose absolute paths are cut to their last part.

    >>> without_folders("python -m benchmarks --data=/mnt/ann/ml-100k.inter --out benchmarks/x.json")
    'python -m benchmarks --data=ml-100k.inter --out benchmarks/x.json'
    """
    return re.sub(r"(?<![^\s='\"])/(?:[^\s/'\"]+/)+", "", command)


def _git(*arguments: str) -> str:
    try:
        answer = subprocess.run(["git", *arguments], cwd=FOLDER.parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):  # an sdist, or a repository without a commit
        return ""
    return answer.stdout.strip()


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.is_file() else ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, flags=re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
