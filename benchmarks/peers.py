"""Peer libraries in environments of their own, and their scripts run as subprocesses.

A peer cannot share Monge's environment (RecBole 1.2.1 needs NumPy 1), so each gets a virtual environment under
`benchmarks/.peers/`, built once from pinned lists. Each list names every package that the peer needs, so that it is
installed with `--no-deps`: the same versions whenever the benchmark runs.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.quiet import TOLERATED_SHARE, OtherWork

FOLDER = Path(__file__).resolve().parent
REQUIREMENTS = FOLDER / "peers"
ENVIRONMENTS = FOLDER / ".peers"
PYTHON_VERSION = "3.11"
"""The Python that the pinned lists were tried with."""
PEERS = ("recbole", "rectools")


class PeerError(RuntimeError):
    """A peer's environment could not be built, or its script failed. The sentence says which, and why."""


def environment(name: str) -> Path:
    """The Python of a peer's environment, which is built first where it is missing, unfinished or of other pins.

    Args:
        name: a peer with a list `benchmarks/peers/<name>.txt`.

    Raises:
        PeerError: no such peer, no Python of the pinned version, or pip failed.
    """
    if name not in PEERS:
        raise PeerError(f"no peer {name!r}; there are: {', '.join(PEERS)}")
    lists = [REQUIREMENTS / "torch.txt", REQUIREMENTS / f"{name}.txt"]
    folder = ENVIRONMENTS / name
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    finished, pins = folder / "finished", hashlib.sha256(b"".join(path.read_bytes() for path in lists)).hexdigest()
    if finished.is_file() and finished.read_text() == pins:
        return python
    if folder.exists():
        _say(name, "its environment is unfinished or of other pins: building it anew")
        shutil.rmtree(folder)
    ENVIRONMENTS.mkdir(exist_ok=True)
    log = ENVIRONMENTS / f"{name}.pip.log"
    log.write_text("")
    _say(name, f"making an environment in {_short(folder)} (once; some minutes)")
    _build(name, [_base_python(), "-m", "venv", str(folder)], log, "make a virtual environment")
    pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    _say(name, "installing torch")
    _build(name, [*pip, "-r", str(lists[0])], log, f"install {_short(lists[0])}")
    _say(name, f"installing {_short(lists[1])}")
    _build(name, [*pip, "--no-deps", "-r", str(lists[1])], log, f"install {_short(lists[1])}")
    finished.write_text(pins)
    _say(name, "ready")
    return python


def run_peer(name: str, script: str | Path, arguments: Sequence[str | int | float | Path], *, threads: int = 2) -> dict[str, Any]:
    """Run a script in a peer's environment and give the JSON object that it writes, with `others_share` added.

    `others_share` is the share of the processors that other processes had meanwhile (see `benchmarks.quiet`).

    The script is called with `arguments`, `--threads` and `--out FILE`, in an empty folder that is deleted afterwards
    (RecBole writes logs and checkpoints beside itself); what it prints is kept in `benchmarks/.peers/<name>.run.log`.

    Args:
        name: a peer.
        script: a file of `benchmarks/peers/`, e.g. "recbole_run.py", or a path.
        arguments: its options; a `Path` is made absolute.
        threads: how many threads every numerical library of it may use.

    Raises:
        PeerError: the environment cannot be built, the script fails or it writes no JSON object.
    """
    python = environment(name)
    path = REQUIREMENTS / script
    if not path.is_file():
        raise PeerError(f"{name}: no script {script} in {_short(REQUIREMENTS)}")
    words = [str(argument.resolve()) if isinstance(argument, Path) else str(argument) for argument in arguments]
    limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"), str(threads))
    log = ENVIRONMENTS / f"{name}.run.log"
    with tempfile.TemporaryDirectory(prefix=f"monge-{name}-") as folder, log.open("w") as output:
        out = Path(folder) / "out.json"
        command = [str(python), "-I", str(path.resolve()), *words, "--threads", str(threads), "--out", str(out)]
        _say(name, f"running {path.name}")
        with OtherWork() as others:
            run = subprocess.run(command, cwd=folder, env=os.environ | limits, stdout=output, stderr=subprocess.STDOUT, check=False)
        if run.returncode != 0:
            where = f"all it said is in {_short(log)}, last:\n{_last_lines(log)}"
            raise PeerError(f"{name}: {path.name} failed with exit status {run.returncode}; {where}")
        try:
            figures = json.loads(out.read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise PeerError(f"{name}: {path.name} ended well but wrote no JSON to --out ({error}); see {_short(log)}") from error
    if not isinstance(figures, dict):
        raise PeerError(f"{name}: {path.name} wrote {type(figures).__name__} to --out, not one JSON object")
    if others.share is not None and others.share > TOLERATED_SHARE:
        _say(name, f"warning: other processes had {others.share:.0%} of the processors meanwhile; these times are not to be used")
    return figures | {"others_share": others.share}


def _base_python() -> str:
    """A Python of the pinned version: this one if it is, else the one on the path."""
    for candidate in (sys.executable, f"python{PYTHON_VERSION}"):
        found = shutil.which(candidate)
        if found is None:
            continue
        ask = "import sys; print('%d.%d' % sys.version_info[:2])"
        answer = subprocess.run([found, "-c", ask], capture_output=True, text=True, check=False)
        if answer.stdout.strip() == PYTHON_VERSION:
            return found
    raise PeerError(f"the peers' pins are for Python {PYTHON_VERSION}: not this Python, and no python{PYTHON_VERSION} on the path")


def _build(name: str, command: Sequence[str], log: Path, purpose: str) -> None:
    with log.open("a") as output:
        code = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False).returncode
    if code != 0:
        raise PeerError(f"{name}: could not {purpose} (exit status {code}); all of it is in {_short(log)}, last:\n{_last_lines(log)}")


def _last_lines(log: Path, count: int = 8) -> str:
    return "\n".join(f"    {line}" for line in log.read_text(errors="replace").splitlines()[-count:])


def _short(path: Path) -> str:
    return str(path.relative_to(FOLDER.parent)) if path.is_relative_to(FOLDER.parent) else path.name


def _say(name: str, message: str) -> None:
    print(f"{name}: {message}", file=sys.stderr, flush=True)
