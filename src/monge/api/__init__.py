"""The public API: train a model on a log, keep the run, ask it for recommendations."""

from monge.api.asking import Run, compare_runs, load_run
from monge.api.splitting import make_split, open_log, published_split
from monge.api.training import InterruptedRunError, train
from monge.api.tuning import tune
from monge.training.study import Study
from monge.training.watch import Watch

__all__ = [
    "InterruptedRunError",
    "Run",
    "Study",
    "Watch",
    "compare_runs",
    "load_run",
    "make_split",
    "open_log",
    "published_split",
    "train",
    "tune",
]
