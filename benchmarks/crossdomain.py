"""Pseudo-sequences for all training examples, in parts: what i2VAE does before its first epoch."""

from __future__ import annotations

import time

import torch

import monge
from benchmarks.quiet import OtherWork
from monge.api import open_log
from monge.api.preparing import initialised
from monge.data import examples_of
from monge.models.crossdomain.i2vae import I2VAE, I2VAEConfig


def measure_pseudo(data: str, *, threads: int) -> dict[str, float]:
    """Seconds of learning the graph's vectors and of recalling items for every example, with the released files."""
    torch.set_num_threads(threads)
    split = monge.make_split(open_log(data), "released")
    train, config = split.train, I2VAEConfig()
    model = initialised(I2VAE, config, split, seed=0)
    examples = examples_of(train)
    assert examples.domain is not None
    domain = torch.from_numpy(examples.domain)
    items, rows = torch.from_numpy(examples.history.values), torch.from_numpy(examples.history.row_of_value)
    with OtherWork() as others:
        start = time.perf_counter()
        model.pseudo.fit(examples, train, seed=0, device="cpu")
        learnt = time.perf_counter()
        model.pseudo(items, rows, len(examples), domain, config.n_pseudo)
        recalled = time.perf_counter()
    return {
        "learning the graph's vectors, s": learnt - start,
        f"recall for all {len(examples):,} examples, s": recalled - learnt,
        "share of the processors that other programs had meanwhile": others.share or 0.0,
    }
