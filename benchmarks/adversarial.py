"""Where a training step of MMSSL spends its time: the critic's step, its backward pass with the double one, the model's own, the graphs."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.measure import split_of
from benchmarks.quiet import OtherWork
from monge.models.multimodal.mmssl import MMSSL, MMSSLConfig
from monge.training.loop import make_optimizer

NEIGHBOURS = "neighbours of all users, once an epoch"


def measure_step(data: str, *, steps: int = 8) -> dict[str, Any]:
    """`parts`, median seconds of each part of a step after the first and of one choice of neighbours, and what an epoch is by them."""
    train = split_of(data, "published").train
    torch.manual_seed(0)
    model = MMSSL(MMSSLConfig(), n_users=train.n_users, n_items=train.n_items, modalities=train.modalities)
    batches, optimizer = model.batches(train, seed=0, device=torch.device("cpu")), make_optimizer(model)
    seconds: dict[str, list[float]] = defaultdict(list)

    def timed(what: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        found = work()
        seconds[what].append(time.perf_counter() - start)
        return found

    def learn(what: str, loss: Callable[[Any], dict[str, Tensor]], batch: Any) -> None:
        parts = timed(f"{what}: losses", lambda: loss(batch))
        optimizer.zero_grad()
        timed(f"{what}: gradients", torch.stack(list(parts.values())).sum().backward)
        timed(f"{what}: update", optimizer.step)

    with OtherWork() as others:
        timed(NEIGHBOURS, model.refresh)
        for _, batch in zip(range(steps), batches(0), strict=False):
            with torch.no_grad():
                timed("all vectors of a pass, part of either side's losses", lambda: model.vectors(model.config.dropout))
            learn("critic", model.critic_loss, batch)
            learn("model", model.loss, batch)
    parts = {what: statistics.median(values[1:] or values) for what, values in seconds.items()}
    a_step = sum(value for what, value in parts.items() if what.startswith(("critic:", "model:")))
    return {
        "parts": parts,
        "steps_in_an_epoch": len(batches),
        "epoch_by_steps_seconds": parts[NEIGHBOURS] + len(batches) * a_step,
        "others_share": others.share or 0.0,
    }
