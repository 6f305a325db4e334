"""Trackers really store what each epoch gave; an absent library or a wrong name is told before training."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import monge
from monge.data import Interactions
from monge.errors import ConfigError, MissingExtraError, UnknownNameError

OPTIONS: dict[str, Any] = {"epochs": 3, "dim": 8, "max_length": 6, "n_layers": 1, "device": "cpu"}


def expected(out: Path) -> dict[str, list[float]]:
    """Scalars by name, one an epoch, from the run's own record."""
    table: dict[str, list[float]] = {}
    for line in (out / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        for name, value in record["loss"].items():
            table.setdefault(f"loss/{name}", []).append(value)
        for name, value in record["validation"].items():
            table.setdefault(f"validation/{name.replace('@', '_at_')}", []).append(value)
    return table


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_tensorboard_gets_every_epoch(cycle: Interactions, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monge.train("sasrec", cycle, out=tmp_path / "run", track=["tensorboard"], **OPTIONS)
    files = list((tmp_path / "run" / "tensorboard").glob("events.out.tfevents.*"))
    assert len(files) == 1
    log = EventAccumulator(str(files[0]))
    log.Reload()
    wanted = expected(tmp_path / "run")
    assert set(log.Tags()["scalars"]) == set(wanted)
    for name, values in wanted.items():
        events = log.Scalars(name)
        assert [event.step for event in events] == [1, 2, 3]
        assert [event.value for event in events] == pytest.approx(values, rel=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_mlflow_gets_every_epoch(cycle: Interactions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    before = mlflow.get_tracking_uri()
    try:
        monge.train("sasrec", cycle, out=tmp_path / "run", track=["mlflow"], **OPTIONS)
        store = (tmp_path / "run" / "mlflow").resolve().as_uri()
        client = mlflow.MlflowClient(tracking_uri=store)
        experiment = client.get_experiment_by_name("monge")
        assert experiment is not None
        (run,) = client.search_runs([experiment.experiment_id])
        assert run.info.status == "FINISHED"
        assert run.info.run_name == "run"
        for name, values in expected(tmp_path / "run").items():
            history = sorted(client.get_metric_history(run.info.run_id, name), key=lambda metric: metric.step)
            assert [metric.step for metric in history] == [1, 2, 3]
            assert [metric.value for metric in history] == pytest.approx(values)
        assert mlflow.active_run() is None
    finally:
        mlflow.set_tracking_uri(before)


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_an_absent_library_names_the_extra(name: str, cycle: Interactions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'monge\[track\]'"):
        monge.train("sasrec", cycle, out=tmp_path / "run", track=[name], **OPTIONS)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_tracker_gets_the_nearest_name(cycle: Interactions, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="no tracker 'mlfow'; did you mean 'mlflow'"):
        monge.train("sasrec", cycle, out=tmp_path / "run", track=["mlfow"], **OPTIONS)
    with pytest.raises(ConfigError, match="--track writes into the run directory"):
        monge.train("sasrec", cycle, track=["mlflow"], **OPTIONS)
    assert list(tmp_path.iterdir()) == []


def test_an_absent_report_library_is_told_before_training(cycle: Interactions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monge.api.training.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'monge\[report\]'"):
        monge.train("sasrec", cycle, out=tmp_path / "run", report=True, **OPTIONS)
    assert list(tmp_path.iterdir()) == []
