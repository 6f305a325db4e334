"""The loop by itself: who stops it, what selects, what a gradient may be, what is kept."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import monge
from monge.data import Interactions, leave_one_out
from monge.errors import ConfigError, QueryError
from monge.models.collaborative.bprmf import BPRMF, BPRMFConfig
from monge.models.sequential.sasrec import SASRec, SASRecConfig
from monge.options import build_config
from monge.training.loop import Callbacks, DivergedError, Progress, Stop, TrainingConfig, fit, make_fabric

SEQUENCE: dict[str, Any] = {"dim": 8, "max_length": 6, "batch_size": 16, "n_layers": 1}


def sasrec(seed: int = 0, **options: Any) -> SASRec:
    torch.manual_seed(seed)
    return SASRec(SASRecConfig(**(SEQUENCE | options)), n_users=50, n_items=10)


def weights(model: Any) -> dict[str, Any]:
    return {name: tensor.tolist() for name, tensor in model.state_dict().items()}


def run_fit(model: Any, log: Interactions, **options: Any) -> Progress:
    values = options.pop("values", None)
    callbacks = options.pop("callbacks", None)
    config = TrainingConfig(**options)
    rest = iter(values or [])
    validate = None if values is None else (lambda module: {"mrr": next(rest)})
    return fit(model, log, config, validate=validate, fabric=make_fabric("32-true", "cpu"), callbacks=callbacks)


def test_patience_ends_it_and_the_best_epoch_is_remembered(cycle: Interactions) -> None:
    progress = run_fit(sasrec(), cycle, epochs=50, patience=3, values=[0.1, 0.5, 0.4, 0.5, 0.2, 0.9])
    assert (progress.epoch, progress.best_epoch, progress.best_value, progress.finished) == (5, 2, 0.5, True)  # level is no gain
    assert [record.epoch for record in progress.records] == [1, 2, 3, 4, 5]
    assert [record.validation for record in progress.records] == [{"mrr": value} for value in (0.1, 0.5, 0.4, 0.5, 0.2)]
    for record in progress.records:
        assert record.loss["total"] == pytest.approx(record.loss["bce"])
        assert record.seconds > 0


def test_a_gain_starts_the_patience_anew(cycle: Interactions) -> None:
    progress = run_fit(sasrec(), cycle, epochs=7, patience=2, values=[0.1, 0.0, 0.2, 0.1, 0.3, 0.2, 0.1])
    assert (progress.epoch, progress.best_epoch, progress.finished) == (7, 5, True)


def test_validation_may_be_rare_but_the_last_epoch_has_one(cycle: Interactions) -> None:
    progress = run_fit(sasrec(), cycle, epochs=5, validate_every=2, values=[0.1, 0.2, 0.3])
    assert [record.epoch for record in progress.records if record.validation] == [2, 4, 5]
    assert progress.best_epoch == 5


def test_without_validation_the_last_epoch_is_the_best(cycle: Interactions) -> None:
    progress = run_fit(sasrec(), cycle, epochs=3)
    assert (progress.best_epoch, progress.finished) == (3, True)
    assert progress.records[0].validation is None


def test_time_runs_out_after_an_epoch(cycle: Interactions) -> None:
    progress = run_fit(sasrec(), cycle, epochs=50, max_minutes=1e-9)
    assert (progress.epoch, progress.finished) == (1, True)


def test_an_epoch_that_time_makes_the_last_is_validated(cycle: Interactions, tmp_path: Path) -> None:
    run = monge.train("bprmf", cycle, dim=4, epochs=50, validate_every=10, max_minutes=1e-9)
    assert (run.result["epochs"], run.result["best_epoch"]) == (1, 1)


def test_a_callback_may_stop_it(cycle: Interactions) -> None:
    def on_epoch(progress: Progress, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        if progress.epoch == 2:
            raise Stop

    started: list[int] = []
    done: list[int] = []
    calls = Callbacks(on_start=started.append, on_batch=done.append, on_epoch=on_epoch)
    progress = run_fit(sasrec(), cycle, epochs=50, callbacks=calls)
    assert progress.epoch == 2
    assert started == [4]
    assert done == [1, 2, 3, 4] * 2


@pytest.mark.parametrize("clip", [0.0, 1e-3])
def test_clip_bounds_the_norm_of_every_gradient(clip: float, cycle: Interactions) -> None:
    model, norms = sasrec(), []

    def on_batch(n_done: int) -> None:
        norms.append(math.sqrt(sum(float(p.grad.square().sum()) for p in model.parameters() if p.grad is not None)))

    run_fit(model, cycle, epochs=1, clip=clip, callbacks=Callbacks(on_batch=on_batch))
    assert len(norms) == 4
    assert max(norms) <= 1e-3 * 1.01 if clip else min(norms) > 1e-2


@pytest.mark.parametrize("matmul", ["default", "highest", "medium"])
def test_matrix_products_are_as_exact_as_asked_in_training_alone(matmul: str, cycle: Interactions) -> None:
    seen: list[str] = []

    class Seeing(SASRec):
        breaks: bool = False

        def loss(self, batch: Any) -> dict[str, torch.Tensor]:
            seen.append(torch.get_float32_matmul_precision())
            if self.breaks:
                raise ZeroDivisionError
            return super().loss(batch)

    model = Seeing(sasrec(learning_rate=1e-2, dropout=0.0).config, n_users=cycle.n_users, n_items=cycle.n_items)

    def validate(_: torch.nn.Module) -> dict[str, float]:
        seen.append(f"validated at {torch.get_float32_matmul_precision()}")
        return {"mrr": 0.0}

    progress = fit(model, cycle, build_config(TrainingConfig, {"epochs": 1, "matmul": matmul}), validate=validate)
    assert set(seen) == {"highest" if matmul == "default" else matmul, "validated at highest"}
    assert math.isfinite(progress.records[-1].loss["total"])
    model.breaks = True
    with pytest.raises(ZeroDivisionError):
        fit(model, cycle, TrainingConfig(epochs=1, matmul="medium"))
    assert torch.get_float32_matmul_precision() == "highest"


def test_a_process_that_sets_the_precision_by_backend_is_left_alone(cycle: Interactions, monkeypatch: pytest.MonkeyPatch) -> None:
    def mixed() -> str:
        raise RuntimeError("PyTorch is checking whether allow_tf32_new is enabled")  # what PyTorch does then

    monkeypatch.setattr(torch, "get_float32_matmul_precision", mixed)
    assert fit(sasrec(), cycle, TrainingConfig(epochs=1)).epoch == 1
    with pytest.raises(ConfigError, match="--matmul medium: this process sets the precision by backend"):
        fit(sasrec(), cycle, TrainingConfig(epochs=1, matmul="medium"))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_either_precision_learns(precision: str, cycle: Interactions) -> None:
    model = sasrec(learning_rate=1e-2, dropout=0.0, attention_dropout=0.0)
    progress = fit(model, cycle, TrainingConfig(epochs=8), fabric=make_fabric(precision, "cpu"))
    assert progress.records[-1].loss["total"] < 0.8 * progress.records[0].loss["total"]
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


@pytest.mark.parametrize(("name", "options"), [("bprmf", {"dim": 4}), ("sasrec", SEQUENCE)])
def test_an_absurd_learning_rate_is_told_as_divergence(name: str, options: dict[str, Any], cycle: Interactions, tmp_path: Path) -> None:
    kind = DivergedError if name == "sasrec" else (DivergedError, QueryError)  # whoever sees the NaN first says the same
    with pytest.raises(kind, match=r"diverged; try a smaller --learning-rate"):
        monge.train(name, cycle, out=tmp_path / "run", epochs=5, learning_rate=1e30, device="cpu", **options)
    with pytest.raises(monge.MongeError):
        monge.load_run(tmp_path / "run").recommend("u1")


def overfitting(out: Path | None, epochs: int) -> monge.Run:
    """Random histories cannot be foretold: validation is best in some early epoch."""
    generator = torch.Generator().manual_seed(0)
    sequences = [torch.randperm(12, generator=generator)[:7].tolist() for _ in range(40)]
    user = [f"u{number}" for number, row in enumerate(sequences) for _ in row]
    log = Interactions.from_columns(user, [f"i{item}" for row in sequences for item in row])
    options = {"dim": 8, "batch_size": 32, "learning_rate": 0.02}
    return monge.train("bprmf", log, out=out, epochs=epochs, select="ndcg@5", device="cpu", **options)


@pytest.mark.parametrize("kept", [True, False])
def test_the_run_holds_the_best_epochs_weights(kept: bool, tmp_path: Path) -> None:
    run = overfitting(tmp_path / "long" if kept else None, 15)
    best = run.result["best_epoch"]
    assert 1 <= best < 15
    assert run.result["epochs"] == 15
    short = overfitting(None, best)  # the same training, ended there
    assert short.result["best_epoch"] == best
    assert weights(run.model) == weights(short.model)
    assert (
        weights(run.model) != weights(overfitting(None, best + 1).model) or best + 1 == overfitting(None, best + 1).result["best_epoch"] + 1
    )
    if kept:
        assert weights(monge.load_run(tmp_path / "long").model) == weights(short.model)
        records = [json.loads(line) for line in (tmp_path / "long" / "metrics.jsonl").read_text().splitlines()]
        assert [record["epoch"] for record in records] == list(range(1, 16))
        values = [record["validation"]["ndcg@5"] for record in records]
        assert values.index(max(values)) + 1 == best
        assert not (tmp_path / "long" / "checkpoint.safetensors").exists()


def test_test_data_select_nothing(cycle: Interactions) -> None:
    """Another truth in the test part changes neither the weights nor the epoch."""
    split = leave_one_out(cycle)
    import dataclasses

    other = dataclasses.replace(split, test=split.validation)
    first, second = (monge.train("sasrec", one, epochs=4, device="cpu", **SEQUENCE) for one in (split, other))
    assert weights(first.model) == weights(second.model)
    assert first.result["best_epoch"] == second.result["best_epoch"]


def test_coverage_selects_nothing(cycle: Interactions) -> None:
    with pytest.raises(ConfigError, match="--select coverage"):
        monge.train("sasrec", cycle, select="coverage@10", **SEQUENCE)


def test_weight_decay_and_learning_rate_reach_the_optimizer(cycle: Interactions) -> None:
    torch.manual_seed(0)
    model = BPRMF(BPRMFConfig(dim=4, learning_rate=0.03, weight_decay=0.2), n_users=50, n_items=10)
    seen: dict[str, Any] = {}
    calls = Callbacks(on_epoch=lambda progress, module, optimizer: seen.update(optimizer.param_groups[0]))
    run_fit(model, cycle, epochs=1, callbacks=calls)
    assert (seen["lr"], seen["weight_decay"], seen["betas"]) == (0.03, 0.2, (0.9, 0.999))


class Halving(BPRMF):
    """Half the rate in each further epoch."""

    def rate_factor(self, epoch: int) -> float:
        return 0.5**epoch


def test_a_schedule_is_of_the_epoch_alone_so_that_resuming_keeps_it(cycle: Interactions) -> None:
    rates: list[float] = []

    def remember(progress: Progress, module: Any, optimizer: torch.optim.Optimizer) -> None:
        rates.append(optimizer.param_groups[0]["lr"])
        if len(rates) == 2:
            raise Stop

    model = Halving(BPRMFConfig(dim=4, learning_rate=0.03), n_users=50, n_items=10)
    progress = run_fit(model, cycle, epochs=4, callbacks=Callbacks(on_epoch=remember))
    config = TrainingConfig(epochs=4)
    fit(model, cycle, config, fabric=make_fabric("32-true", "cpu"), progress=progress, callbacks=Callbacks(on_epoch=remember))
    assert rates == pytest.approx([0.03, 0.015, 0.0075, 0.00375])
