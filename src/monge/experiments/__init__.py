"""The papers' tables as data, and what reproduces them: `monge reproduce NAME`."""

from monge.experiments.experiment import Experiment, Variant
from monge.experiments.papers import EXPERIMENTS, find_experiment
from monge.experiments.reproduce import reproduce

__all__ = ["EXPERIMENTS", "Experiment", "Variant", "find_experiment", "reproduce"]
