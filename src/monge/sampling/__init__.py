"""Batches on the device: index arithmetic on a log that lives there, no per-sample work on the host."""

from monge.sampling.bags import BagBatch, BagBatches
from monge.sampling.examples import ExampleBatch, ExampleBatches, by_domain
from monge.sampling.negatives import SeenPairs
from monge.sampling.pairs import PairBatch, PairBatches
from monge.sampling.seeds import epoch_seed, generator_for
from monge.sampling.sequences import NextItemBatch, NextItemBatches
from monge.sampling.users import UserBatches

__all__ = [
    "BagBatch",
    "BagBatches",
    "ExampleBatch",
    "ExampleBatches",
    "NextItemBatch",
    "NextItemBatches",
    "PairBatch",
    "PairBatches",
    "SeenPairs",
    "UserBatches",
    "by_domain",
    "epoch_seed",
    "generator_for",
]
