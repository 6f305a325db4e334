"""What was interrupted and resumed ends bit by bit where an uninterrupted training ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import monge
from monge.api import InterruptedRunError
from monge.data import Interactions
from monge.errors import ConfigError, RunError
from monge.models import find_model, make_model
from monge.training.checkpoint import load_checkpoint, restore_optimizer, save_checkpoint
from monge.training.loop import Callbacks, Progress, TrainingConfig, fit, make_fabric, make_optimizer
from monge.training.watch import Watch
from tests.conftest import cycle_sequences, log_of, with_content
from tests.training.stalling import BATCH, FOLDER

SEQUENCE: dict[str, Any] = {"dim": 8, "max_length": 6, "batch_size": 16, "n_layers": 1, "n_heads": 2}
MODELS: dict[str, dict[str, Any]] = {
    "sasrec": SEQUENCE,
    "mstein": {**SEQUENCE, "similarity_warmup": 2},
    "bprmf": {"dim": 8, "batch_size": 64},
    "lightgcn": {"dim": 8, "batch_size": 64},
    "sclrec": {"dim": 8, "batch_size": 64, "momentum": 0.7},
    "buir": {"dim": 8, "batch_size": 64, "encoder": "lightgcn", "edge_dropout": 0.3},
    "mmssl": {"dim": 8, "batch_size": 64, "k": 2, "critic_shrink": 2},
    "slmrec": {"dim": 8, "batch_size": 48, "asl": True, "task": "fd_fm", "critic_shrink": 2},
    "sinkhorncf": {
        "dim": 4,
        "hidden": 8,
        "batch_size": 16,
        "k": 5,
        "amsgrad": True,
        "kl_steps": 10,
        "l1_every": 3,
        "l1_start_epoch": 1,
        "flow": "iaf2",
    },
}
PATHS = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
"""Where a process of its own finds this package of tests."""


@pytest.fixture
def cycle() -> Interactions:
    """The deterministic next-item rule, with item content for the models that read it."""
    return with_content(log_of(cycle_sequences()))


def tensors(model: Any) -> dict[str, Any]:
    return {name: tensor.tolist() for name, tensor in model.state_dict().items()}


def build(name: str) -> Any:
    torch.manual_seed(0)
    cls: Any = find_model(name)
    modalities = with_content(log_of(cycle_sequences())).modalities
    return make_model(cls, cls.Config(**MODELS[name]), n_users=50, n_items=10, item_columns={}, modalities=modalities)


@pytest.mark.parametrize("name", MODELS)
def test_a_checkpoint_comes_back_as_it_was(name: str, cycle: Interactions, tmp_path: Path) -> None:
    model, kept = build(name), {}

    def on_epoch(progress: Progress, module: Any, optimizer: torch.optim.Optimizer) -> None:
        save_checkpoint(tmp_path / "c", progress, module, optimizer)
        kept.update(progress=progress, state=optimizer.state_dict()["state"])

    fit(
        model,
        cycle,
        TrainingConfig(epochs=2),
        validate=lambda module: {"mrr": 0.25},
        fabric=make_fabric("32-true", "cpu"),
        callbacks=Callbacks(on_epoch=on_epoch),
    )
    torch.manual_seed(77)
    other: Any = make_model(type(model), model.config, n_users=50, n_items=10, item_columns={}, modalities=cycle.modalities)
    assert tensors(other) != tensors(model)
    progress, state = load_checkpoint(tmp_path / "c", other)
    assert tensors(other) == tensors(model)
    assert progress == kept["progress"]
    optimizer = make_optimizer(other)
    restore_optimizer(optimizer, state)
    restored = optimizer.state_dict()["state"]
    assert set(restored) == set(kept["state"])
    for index, values in kept["state"].items():
        assert {"step", "exp_avg", "exp_avg_sq"} <= set(values)
        assert all(torch.equal(restored[index][key], value) for key, value in values.items())


def test_a_checkpoint_of_another_model_is_refused(cycle: Interactions, tmp_path: Path) -> None:
    model = build("sasrec")
    save_checkpoint(tmp_path / "c", Progress(), model, make_optimizer(model))
    with pytest.raises(RunError, match="do not fit the model"):
        load_checkpoint(tmp_path / "c", build("bprmf"))


class CtrlC(Watch):
    """Sends Ctrl-C after a batch of an epoch (both from 1)."""

    def __init__(self, epoch: int, batch: int) -> None:
        self.at, self.now, self.messages = (epoch, batch), 1, list[str]()

    def message(self, text: str) -> None:
        self.messages.append(text)

    def batch(self, n_done: int) -> None:
        if (self.now, n_done) == self.at:
            signal.raise_signal(signal.SIGINT)

    def epoch(self, progress: Progress) -> None:
        self.now = progress.epoch + 1


@pytest.mark.parametrize("at", [(1, 1), (3, 2), (4, 1), (5, 4)])
@pytest.mark.parametrize("name", MODELS)
def test_interrupted_and_resumed_is_as_uninterrupted(name: str, at: tuple[int, int], cycle: Interactions, tmp_path: Path) -> None:
    options = {"epochs": 5, "seed": 3, "device": "cpu", **MODELS[name]}
    whole = monge.train(name, cycle, out=tmp_path / "whole", **options)
    out = tmp_path / "cut"
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(InterruptedRunError, match="before the first epoch" if at[0] == 1 else f"stopped after epoch {at[0] - 1}.*--resume"):
        monge.train(name, cycle, out=out, watch=CtrlC(*at), **options)
    assert signal.getsignal(signal.SIGINT) is before
    assert (out / "checkpoint.safetensors").exists() == (at[0] > 1)
    watch = CtrlC(0, 0)
    resumed = monge.train(name, None, out=out, resume=True, watch=watch, **options)
    assert (f"going on after epoch {at[0] - 1}" in watch.messages) == (at[0] > 1)
    assert tensors(resumed.model) == tensors(whole.model)
    assert (out / "weights.safetensors").read_bytes() == (tmp_path / "whole" / "weights.safetensors").read_bytes()
    for key in ("validation", "test", "best_epoch", "epochs"):
        assert resumed.result[key] == whole.result[key]
    assert records(out) == records(tmp_path / "whole")


def records(out: Path) -> list[dict[str, Any]]:
    """Lines of metrics.jsonl without their times."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def test_interrupted_three_times(cycle: Interactions, tmp_path: Path) -> None:
    options: dict[str, Any] = {"epochs": 5, "device": "cpu", **SEQUENCE}
    whole = monge.train("sasrec", cycle, **options)
    for number, at in enumerate([(1, 3), (2, 1), (4, 4)]):
        watch = CtrlC(*at)
        watch.now = [1, 1, 2][number]  # where it goes on
        with pytest.raises(InterruptedRunError):
            monge.train("sasrec", cycle, out=tmp_path / "run", resume=number > 0, watch=watch, **options)
    assert tensors(monge.train("sasrec", None, out=tmp_path / "run", resume=True, **options).model) == tensors(whole.model)


def test_stopped_between_training_and_the_result(cycle: Interactions, tmp_path: Path) -> None:
    class Full(Watch):
        def evaluating(self, what: str, n_queries: int) -> None:
            raise KeyboardInterrupt

    options: dict[str, Any] = {"epochs": 3, "device": "cpu", **SEQUENCE}
    with pytest.raises(KeyboardInterrupt):
        monge.train("sasrec", cycle, out=tmp_path / "run", watch=Full(), **options)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["state"] == "training"
    run = monge.train("sasrec", None, out=tmp_path / "run", resume=True, **options)
    assert run.result["epochs"] == 3
    assert tensors(run.model) == tensors(monge.train("sasrec", cycle, **options).model)


def test_a_resumed_run_keeps_its_options_but_may_be_longer(cycle: Interactions, tmp_path: Path) -> None:
    options: dict[str, Any] = {"epochs": 4, "device": "cpu", **SEQUENCE}
    with pytest.raises(InterruptedRunError):
        monge.train("sasrec", cycle, out=tmp_path / "run", watch=CtrlC(2, 1), **options)
    with pytest.raises(RunError, match="model option dim = 8, not 16"):
        monge.train("sasrec", None, out=tmp_path / "run", resume=True, **(options | {"dim": 16}))
    with pytest.raises(RunError, match="training option seed = 0, not 1"):
        monge.train("sasrec", None, out=tmp_path / "run", resume=True, seed=1, **options)
    with pytest.raises(RunError, match="of model sasrec, not bprmf"):
        monge.train("bprmf", None, out=tmp_path / "run", resume=True)
    about = tmp_path / "run" / "run.json"
    info = json.loads(about.read_text())
    del info["model"]["config"]["bucketed"], info["training"]["clip"]  # as if the run were older than these options
    about.write_text(json.dumps(info))
    with pytest.raises(RunError, match="model option bucketed = True, not False"):
        monge.train("sasrec", None, out=tmp_path / "run", resume=True, **(options | {"bucketed": False}))
    longer = monge.train("sasrec", None, out=tmp_path / "run", resume=True, **(options | {"epochs": 6}))
    assert longer.result["epochs"] == 6
    assert tensors(longer.model) == tensors(monge.train("sasrec", cycle, **(options | {"epochs": 6})).model)
    again = monge.train("sasrec", None, out=tmp_path / "run", resume=True, **(options | {"epochs": 9}))
    assert again.result == longer.result  # finished already


def test_resume_needs_a_run(cycle: Interactions, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--resume needs the run directory"):
        monge.train("sasrec", cycle, resume=True)
    with pytest.raises(RunError, match="no such run directory"):
        monge.train("sasrec", cycle, out=tmp_path / "nothing", resume=True)


def test_a_damaged_checkpoint_is_one_sentence(cycle: Interactions, tmp_path: Path) -> None:
    options: dict[str, Any] = {"epochs": 4, "device": "cpu", **SEQUENCE}
    with pytest.raises(InterruptedRunError):
        monge.train("sasrec", cycle, out=tmp_path / "run", watch=CtrlC(2, 1), **options)
    path = tmp_path / "run" / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(RunError, match=r"checkpoint.safetensors: damaged or truncated"):
        monge.train("sasrec", None, out=tmp_path / "run", resume=True, **options)


MODEL = "tests.training.stalling:Stalling"
CLI = ["--epochs", "5", "--seed", "3", "--dim", "8", "--max-length", "6", "--batch-size", "16", "--n-layers", "1", "--device", "cpu"]


def start(data: Path, out: Path, *, stall: tuple[Path, int] | None = None, resume: bool = False) -> subprocess.Popen[str]:
    """`monge train` in a process of its own; `stall` is where it says that it waits, and in which batch."""
    extra = {} if stall is None else {FOLDER: str(stall[0]), BATCH: str(stall[1])}
    command = [sys.executable, "-m", "monge", "train", MODEL, str(data), "--out", str(out), "--no-report", *CLI]
    environment = {**os.environ, **extra, "PYTHONPATH": PATHS, "COLUMNS": "200"}
    return subprocess.Popen(
        [*command, "--resume"] if resume else command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.02)


def uninterrupted(data: Path, out: Path) -> monge.Run:
    return monge.train(
        MODEL, str(data), out=out, epochs=5, seed=3, dim=8, max_length=6, batch_size=16, n_layers=1, device="cpu"
    )  # in this process


@pytest.mark.parametrize("batch", [2, 11])
def test_killed_in_the_middle_of_an_epoch(batch: int, write_cycle: Callable[..., Path], tmp_path: Path) -> None:
    """SIGKILL in the first epoch (nothing was kept yet) and in the third (of four batches each)."""
    data, out = write_cycle(), tmp_path / "run"
    process = start(data, out, stall=(tmp_path, batch))
    wait_for(tmp_path / "reached", process)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert (out / "checkpoint.safetensors").exists() == (batch > 4)
    assert json.loads((out / "run.json").read_text())["state"] == "training"
    if batch < 4:
        with pytest.raises(RunError, match=r"no weights yet.*--resume"):
            monge.load_run(out)
    else:
        assert monge.load_run(out, trusted=[MODEL]).recommend("u3", k=2)  # the best epoch so far can be asked already

    resumed = start(data, out, resume=True)
    printed, progress = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, progress
    assert ("going on after epoch 2" in progress) == (batch > 4)
    assert "recall@10" in printed
    whole = uninterrupted(data, tmp_path / "whole")
    assert (out / "weights.safetensors").read_bytes() == (tmp_path / "whole" / "weights.safetensors").read_bytes()
    assert monge.load_run(out, trusted=[MODEL]).result["test"] == whole.result["test"]
    assert records(out) == records(tmp_path / "whole")
    assert not [path.name for path in out.iterdir() if path.name.startswith(".")]


def test_ctrl_c_keeps_what_was_learnt_and_exits_130(write_cycle: Callable[..., Path], tmp_path: Path) -> None:
    data, out = write_cycle(), tmp_path / "run"
    process = start(data, out, stall=(tmp_path, 11))
    wait_for(tmp_path / "reached", process)
    process.send_signal(signal.SIGINT)
    (tmp_path / "go").touch()
    printed, progress = process.communicate(timeout=120)
    assert process.returncode == 130
    assert printed == ""
    last = progress.splitlines()[-1]
    assert last.startswith("error: stopped after epoch 2")
    assert "--resume" in last
    assert "Traceback" not in progress
    assert (out / "checkpoint.safetensors").exists()
    resumed = start(data, out, resume=True)
    _, progress = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, progress
    uninterrupted(data, tmp_path / "whole")
    assert (out / "weights.safetensors").read_bytes() == (tmp_path / "whole" / "weights.safetensors").read_bytes()


def test_a_second_ctrl_c_acts_at_once(write_cycle: Callable[..., Path], tmp_path: Path) -> None:
    process = start(write_cycle(), tmp_path / "run", stall=(tmp_path, 6))  # it waits for a `go` that never comes
    wait_for(tmp_path / "reached", process)
    for patience in (0.5, 20, 20, 20):  # two that come close together may count as one
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            break
    _, progress = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "Traceback" not in progress
    assert (tmp_path / "run" / "checkpoint.safetensors").exists()
