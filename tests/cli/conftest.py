"""Calling commands, and small runs that they can be asked about."""

from __future__ import annotations

from pathlib import Path

import pytest

import monge
from tests.cli.command import Call, Done, monge_cli
from tests.conftest import cycle_sequences, log_of


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Call a command that must succeed."""

    def run(*arguments: str | Path) -> Done:
        done = monge_cli(capsys, *arguments)
        assert done.code == 0, done.err
        return done

    return run


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs `popular`, `sasrec` (one split), `bprmf` and `other` (another split)."""
    folder = tmp_path_factory.mktemp("runs")
    log = log_of(cycle_sequences())
    small = {"epochs": 2, "dim": 8, "device": "cpu"}
    monge.train("popular", log, out=folder / "popular")
    monge.train("sasrec", log, out=folder / "sasrec", max_length=6, n_layers=1, **small)
    monge.train("bprmf", log, out=folder / "bprmf", **small)
    monge.train("popular", log, out=folder / "other", protocol="ratio")
    return folder


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands write below the working directory: let that be a new one."""
    monkeypatch.chdir(tmp_path)
