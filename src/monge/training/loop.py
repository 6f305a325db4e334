"""The training loop: Lightning Fabric, seeded by epoch, selected on validation, resumable.

Everything random in an epoch (order, negatives, augmentation, dropout) is seeded by (seed, epoch), so a run that was
interrupted after epoch e and resumed ends with the same weights as one that was not (on the CPU, bit by bit).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from monge.data import Interactions
from monge.errors import ConfigError, MongeError, UnknownNameError, nearest
from monge.models.contract import Adversarial, FollowsSteps, Scheduled, Trainable, Watched
from monge.sampling import epoch_seed

DEVICES = ("auto", "cpu", "cuda", "mps")


class DivergedError(MongeError):
    """The loss is not a number."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How long to train, what selects, and what is safe."""

    epochs: int = 500
    """At most so many passes over the training users or interactions."""
    patience: int = 50
    """Stop after so many epochs without a better validation metric."""
    select: str = "mrr"
    """The validation metric that selects the epoch, e.g. mrr, ndcg@10."""
    validate_every: int = 1
    """Validate after every so many epochs."""
    clip: float = 0.0
    """Clip the norm of the gradient; 0: not at all."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    """Arithmetic of the forward pass; distances and softmaxes over all items stay in float32 where half precision cancels."""
    matmul: Literal["default", "highest", "high", "medium"] = "default"
    """How exact products of float32 matrices are in training; default: as PyTorch is set, which is highest unless you changed it. High
    rounds to TF32 and medium to bfloat16, each where the device can. A CPU without units for either stays with float32, under medium by
    oneDNN's routines, which on some processors are faster."""
    seed: int = 0
    """Fixes initial weights, order, negatives, augmentation, dropout and ties."""
    max_minutes: float = 0.0
    """Stop after the epoch in which so many minutes are over; 0: no limit."""

    def __post_init__(self) -> None:
        for name in ("epochs", "patience", "validate_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name.replace('_', '-')} must be at least 1; got {getattr(self, name)}")
        for name in ("clip", "max_minutes", "seed"):
            if getattr(self, name) < 0:
                raise ConfigError(f"--{name.replace('_', '-')} must be at least 0; got {getattr(self, name)}")


@dataclass(frozen=True)
class EpochRecord:
    """What is known after an epoch; one line of a run's metrics file."""

    epoch: int
    """1 for the first."""
    seconds: float
    loss: dict[str, float]
    """Mean over batches of each part, and their sum as `total`."""
    validation: dict[str, float] | None = None
    watched: dict[str, float] = field(default_factory=dict)
    """What the model measured and was not trained on, as it stood at the epoch's end."""


@dataclass
class Progress:
    """Where a training stands: kept in checkpoints beside the weights."""

    epoch: int = 0
    """Epochs done."""
    best_epoch: int = 0
    best_value: float = -math.inf
    seconds: float = 0.0
    finished: bool = False
    records: list[EpochRecord] = field(default_factory=list)

    @property
    def improved(self) -> bool:
        """Whether the last epoch is the best one."""
        return self.best_epoch == self.epoch


class Stop(Exception):  # noqa: N818 (it is a request, not an error)
    """Raised by a callback to end training after the current epoch."""


@dataclass(frozen=True)
class Callbacks:
    """What happens around the loop; each is the caller's business."""

    on_start: Callable[[int], Any] = lambda n_batches: None
    on_batch: Callable[[int], Any] = lambda n_done: None
    """After a batch; gets how many of the epoch are done. Cheap: it must not read the device."""
    on_epoch: Callable[[Progress, nn.Module, torch.optim.Optimizer], Any] = lambda progress, model, optimizer: None
    interrupted: Callable[[], bool] = lambda: False
    """Asked after every batch; True ends training at once, and the epoch in progress is dropped."""


def make_fabric(precision: str = "32-true", device: str = "auto") -> Fabric:
    """A launched Fabric on one device.

    Raises:
        ConfigError: no such device, or not on this machine.
    """
    if device not in DEVICES:
        raise UnknownNameError(f"no device {device!r}{nearest(device, DEVICES)}")
    try:
        fabric = Fabric(accelerator=device, devices=1, precision=precision)  # pyright: ignore[reportArgumentType]
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"--device {device} with --precision {precision} is not to be had on this machine; try --device auto") from error
    fabric.launch()
    return fabric


@contextmanager
def matmul_precision(how: str) -> Iterator[None]:
    """Within it float32 matrices are multiplied so exactly (`TrainingConfig.matmul`); it is PyTorch's setting for the whole process.

    Raises:
        ConfigError: the process has set it by other switches of PyTorch, which cannot be mixed with this one.
    """
    if how == "default":
        yield
        return
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError as error:
        raise ConfigError(f"--matmul {how}: this process sets the precision by backend (fp32_precision); leave one of them out") from error
    torch.set_float32_matmul_precision(how)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def make_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    """Adam with the model's learning rate and coupled L2 penalty; its AMSGrad variant where the model's config asks for it.

    A model may give `parameter_groups()` (a critic beside it that learns at its own rate), and have its decay decoupled (AdamW) by the
    class attribute `decoupled_decay`.
    """
    config: Any = model.config
    groups: Any = model.parameter_groups() if hasattr(model, "parameter_groups") else model.parameters()  # pyright: ignore[reportCallIssue]
    kind = torch.optim.AdamW if getattr(model, "decoupled_decay", False) else torch.optim.Adam
    amsgrad = getattr(config, "amsgrad", False)
    return kind(groups, lr=config.learning_rate, weight_decay=config.weight_decay, amsgrad=amsgrad, fused=True)


def fit(
    model: Trainable,
    train: Interactions,
    config: TrainingConfig,
    *,
    validate: Callable[[nn.Module], dict[str, float]] | None = None,
    fabric: Fabric | None = None,
    progress: Progress | None = None,
    optimizer_state: Callable[[torch.optim.Optimizer], Any] | None = None,
    callbacks: Callbacks | None = None,
) -> Progress:
    """Train until the epochs are over, patience is lost, or a callback stops it.

    Args:
        model: on the CPU; it is moved to the device and trained in place. Its weights at the end are the last epoch's.
        train: what to learn from.
        config: see there.
        validate: model -> metrics; must hold `config.select`. None: no selection, the last epoch counts as the best.
        fabric: where to run; by default one device, found by itself.
        progress: of an earlier part of the same training, to go on from it.
        optimizer_state: called with the new optimizer to restore that part's state.
        callbacks: progress bars, checkpoints, loggers.

    Returns:
        What happened, one record an epoch.

    Raises:
        DivergedError: the loss is NaN or infinite.
    """
    fabric = fabric or make_fabric(config.precision)
    calls = callbacks or Callbacks()
    progress = progress or Progress()
    assert isinstance(model, nn.Module)
    model.to(fabric.device)
    batches = model.batches(train, seed=config.seed, device=fabric.device)
    optimizer = make_optimizer(model)
    rates = [group["lr"] for group in optimizer.param_groups]
    wrapped, wrapped_optimizer = fabric.setup(model, optimizer)
    wrapped.mark_forward_method("loss")
    steps = [wrapped.loss]
    if isinstance(model, Adversarial):
        wrapped.mark_forward_method("critic_loss")
        steps.insert(0, wrapped.critic_loss)
    if optimizer_state is not None:
        optimizer_state(optimizer)
    calls.on_start(len(batches))
    while not progress.finished and progress.epoch < config.epochs:
        start = time.perf_counter()
        torch.manual_seed(epoch_seed(config.seed, progress.epoch, "dropout"))
        if isinstance(model, Scheduled):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * model.rate_factor(progress.epoch)
        model.train()
        totals: dict[str, Tensor] = {}
        n_done = 0
        with matmul_precision(config.matmul):
            for batch in batches(progress.epoch):
                for step in steps:
                    with fabric.autocast():
                        parts: dict[str, Tensor] = step(batch)
                        if not parts:
                            continue
                        loss = torch.stack(list(parts.values())).sum()
                    optimizer.zero_grad()  # sets gradients to None: the optimizer leaves out what this step does not reach
                    fabric.backward(loss)
                    if config.clip:
                        fabric.clip_gradients(wrapped, optimizer, max_norm=config.clip, error_if_nonfinite=False)
                    wrapped_optimizer.step()
                    for name, value in parts.items():
                        totals[name] = totals.get(name, 0.0) + value.detach()
                if isinstance(model, FollowsSteps):
                    model.after_step()
                n_done += 1
                calls.on_batch(n_done)
                if calls.interrupted():
                    return progress
        losses = {name: float(total) / n_done for name, total in totals.items()}
        losses["total"] = sum(losses.values())
        if not math.isfinite(losses["total"]):
            raise DivergedError(
                f"the loss is {losses['total']} in epoch {progress.epoch + 1}: it diverged; try a smaller --learning-rate, or --clip 1"
            )
        progress.epoch += 1
        seconds = time.perf_counter() - start
        progress.seconds += seconds
        last = progress.epoch == config.epochs or _out_of_time(progress, config)
        metrics = validate(model) if validate and (progress.epoch % config.validate_every == 0 or last) else None
        watched = {name: float(value) for name, value in model.watched.items()} if isinstance(model, Watched) else {}
        progress.records.append(EpochRecord(progress.epoch, seconds, losses, metrics, watched))
        _select(progress, config, metrics, selected=validate is not None)
        try:
            calls.on_epoch(progress, model, optimizer)
        except Stop:
            break
    return progress


def _select(progress: Progress, config: TrainingConfig, metrics: dict[str, float] | None, *, selected: bool) -> None:
    if not selected:
        progress.best_epoch = progress.epoch
    elif metrics is not None:
        if metrics[config.select] > progress.best_value:
            progress.best_value, progress.best_epoch = metrics[config.select], progress.epoch
        elif progress.epoch - progress.best_epoch >= config.patience:
            progress.finished = True
    progress.finished = progress.finished or progress.epoch >= config.epochs or _out_of_time(progress, config)


def _out_of_time(progress: Progress, config: TrainingConfig) -> bool:
    return config.max_minutes > 0 and progress.seconds >= 60 * config.max_minutes
