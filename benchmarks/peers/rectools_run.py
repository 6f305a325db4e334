"""RecTools 0.19 on a split written by `benchmarks.exchange`: seconds of an epoch, of a full ranking, peak memory, metrics.

Runs inside RecTools' own environment and imports nothing of Monge. SASRec trains on `train.tsv`; it is asked for the
ten best items of each user of `test.tsv`, knowing the rows of `train.tsv` and `validation.tsv`, which are hidden.
Metrics are computed here: recall@10 = hits / held-out items; ndcg@10 has binary gains and log2 discounts, the ideal
ranking in the denominator; both are means over all test users, and a user without recommendations counts 0.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Callback, LightningModule, Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

K = 10


class EpochSeconds(Callback):
    """Seconds of each training epoch, batches and their preparation included."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._begun = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._begun = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self.seconds.append(time.perf_counter() - self._begun)


def read_part(folder: Path, name: str) -> pd.DataFrame:
    """One file of the split with RecTools' columns."""
    rows = pd.read_csv(folder / f"{name}.tsv", sep="\t")
    place = pd.to_datetime(rows["time"], unit="s")  # only the order matters
    return pd.DataFrame({Columns.User: rows["user"], Columns.Item: rows["item"], Columns.Weight: 1.0, Columns.Datetime: place})


def metrics_at_k(recommended: pd.DataFrame, truth: pd.DataFrame) -> dict[str, float]:
    """recall@10, ndcg@10 and hit@10, each a mean over the users of `truth`."""
    hits = recommended.merge(truth[[Columns.User, Columns.Item]], on=[Columns.User, Columns.Item])
    n_truth = truth.groupby(Columns.User)[Columns.Item].nunique()
    n_hits = hits.groupby(Columns.User).size().reindex(n_truth.index, fill_value=0)
    gain = (1 / np.log2(hits[Columns.Rank] + 1)).groupby(hits[Columns.User]).sum().reindex(n_truth.index, fill_value=0.0)
    ideal = np.cumsum(1 / np.log2(np.arange(K) + 2))[np.minimum(n_truth, K) - 1]
    return {
        f"recall@{K}": float((n_hits / n_truth).mean()),
        f"ndcg@{K}": float((gain / ideal).mean()),
        f"hit@{K}": float((n_hits > 0).mean()),
    }


def peak_memory() -> int:
    """Bytes of memory that this process has had at most."""
    status = Path("/proc/self/status").read_text()  # ru_maxrss would include the process that started this one
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


def main() -> None:
    """Measure and write one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train.tsv, validation.tsv, test.tsv")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument(
        "--loss", default="softmax", choices=("softmax", "sampled_softmax", "BCE", "gBCE"), help="default: softmax over all items"
    )
    parser.add_argument("--negatives", type=int, default=1, help="for the losses that sample (default: 1)")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--max-length", type=int, default=50)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--recommend-batch-size", type=int, default=256)
    parser.add_argument("--rankings", type=int, default=5, help="how often all test queries are ranked (default: 5)")
    parser.add_argument("--seed", type=int, default=2020)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--metrics", action="store_true", help="keep the test metrics after the last epoch")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    seed_everything(arguments.seed)
    imported_memory = peak_memory()

    train, validation, test = (read_part(arguments.data, name) for name in ("train", "validation", "test"))

    def trainer() -> Trainer:
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
        return Trainer(
            max_epochs=arguments.epochs, min_epochs=arguments.epochs, devices=1, accelerator="cpu", callbacks=[EpochSeconds()], **quiet
        )

    settings = {
        "loss": arguments.loss,
        "n_negatives": arguments.negatives,
        "n_factors": arguments.width,
        "n_blocks": arguments.blocks,
        "n_heads": arguments.heads,
        "session_max_len": arguments.max_length,
        "batch_size": arguments.batch_size,
        "recommend_batch_size": arguments.recommend_batch_size,
    }
    model = SASRecModel(**settings, recommend_torch_device="cpu", get_trainer_func=trainer)
    begun = time.perf_counter()
    model.fit(Dataset.construct(train))
    fit_seconds = time.perf_counter() - begun
    clock = next(callback for callback in model.fit_trainer.callbacks if isinstance(callback, EpochSeconds))  # the model copies its trainer
    training_memory = peak_memory()

    known = Dataset.construct(pd.concat([train, validation], ignore_index=True))
    users = test[Columns.User].unique()
    ranking_seconds: list[float] = []
    for _ in range(arguments.rankings):
        begun = time.perf_counter()
        recommended = model.recommend(users=users, dataset=known, k=K, filter_viewed=True, on_unsupported_targets="ignore")
        ranking_seconds.append(time.perf_counter() - begun)

    figures = {
        "library": "rectools",
        "model": "SASRec",
        "protocol": "the given split, seen items hidden",
        "n_train": len(train),
        "n_training_samples": int((train.groupby(Columns.User).size() >= 2).sum()),  # one sequence for each user
        "n_queries": len(users),
        "n_items": int(train[Columns.Item].nunique()),
        "n_parameters": sum(parameter.numel() for parameter in model.torch_model.parameters()),
        "preparation_seconds": fit_seconds - sum(clock.seconds),
        "epoch_seconds": clock.seconds,
        "ranking_seconds": ranking_seconds,
        "imported_memory_bytes": imported_memory,
        "training_memory_bytes": training_memory,
        "peak_memory_bytes": peak_memory(),
        "metrics": metrics_at_k(recommended, test) if arguments.metrics else None,
        "settings": settings | {"seed": arguments.seed},
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in ("rectools", "torch", "pytorch-lightning", "numpy", "pandas", "scipy")}
        | {"python": platform.python_version()},
    }
    arguments.out.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
