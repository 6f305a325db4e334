"""RecBole 1.2.1 on a split written by `benchmarks.exchange`: seconds of an epoch, of a full ranking, peak memory, metrics.

Runs inside RecBole's own environment and imports nothing of Monge. RecBole's defaults hold (training batches of 2048 rows,
width 64, Adam at 1e-3, seed 2020), except what `--set` changes. Two ways to the data:

- general models train on `train.tsv` and are tested on `test.tsv` as they are (RecBole's `benchmark_filename`);
- sequential models cannot take a split that is not augmented already, so RecBole joins the files again and splits them by
  its own leave-one-out, which gives the same rows for a split by leave-one-out. It then does NOT hide seen items.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import ModelType, get_model, get_trainer, init_seed

NAME = "exchange"
FILES = {"train": "train", "validation": "valid", "test": "test"}  # our names -> RecBole's
HEADING = "user_id:token\titem_id:token\ttimestamp:float\n"


def write_atomic_files(split: Path, folder: Path, *, joined: bool) -> int:
    """Write RecBole's atomic files; gives the number of training rows."""
    folder.mkdir(parents=True, exist_ok=True)
    bodies = {name: (split / f"{name}.tsv").read_text().split("\n", 1)[1] for name in FILES}
    if joined:
        (folder / f"{NAME}.inter").write_text(HEADING + "".join(bodies.values()))
    else:
        for name, recbole_name in FILES.items():
            (folder / f"{NAME}.{recbole_name}.inter").write_text(HEADING + bodies[name])
    return bodies["train"].count("\n")


def settings_of(arguments: argparse.Namespace, model_type: ModelType) -> dict[str, Any]:
    """What differs from RecBole's defaults."""
    settings: dict[str, Any] = {
        "data_path": str(Path.cwd()),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "epochs": arguments.epochs,
        "seed": arguments.seed,
        "gpu_id": "",
        "show_progress": False,
        "state": "WARNING",
        "metrics": ["Recall", "NDCG", "Hit", "MRR"],
        "topk": [10],
    }
    if model_type == ModelType.SEQUENTIAL:
        settings["eval_args"] = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"}
        settings["train_neg_sample_args"] = None  # needed by the default loss, cross entropy over all items
    else:
        settings["benchmark_filename"] = list(FILES.values())
    return settings | {key: yaml.safe_load(value) for key, _, value in (text.partition("=") for text in arguments.set)}


def peak_memory() -> int:
    """Bytes of memory that this process has had at most."""
    status = Path("/proc/self/status").read_text()  # ru_maxrss would include the process that started this one
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


def main() -> None:
    """Measure and write one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train.tsv, validation.tsv, test.tsv")
    parser.add_argument("--model", default="BPR", help="RecBole's name of a model (default: BPR)")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rankings", type=int, default=5, help="how often all test queries are ranked (default: 5)")
    parser.add_argument("--seed", type=int, default=2020)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="another RecBole setting, e.g. eval_batch_size=1000000"
    )
    parser.add_argument("--metrics", action="store_true", help="keep the test metrics after the last epoch")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    imported_memory = peak_memory()

    # RecBole's Config adds the options of the command line to its own; these are ours
    sys.argv = sys.argv[:1]
    model_type = get_model(arguments.model).type
    sequential = model_type == ModelType.SEQUENTIAL
    n_train = write_atomic_files(arguments.data, Path.cwd() / NAME, joined=sequential)
    if sequential:
        protocol = json.loads((arguments.data / "split.json").read_text())["protocol"]
        if "leave" not in protocol:
            sys.exit(f"sequential models of RecBole can only be given leave-one-out; this split is {protocol!r}")

    started = time.perf_counter()
    config = Config(model=arguments.model, dataset=NAME, config_dict=settings_of(arguments, model_type))
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    train_data, _, test_data = data_preparation(config, dataset)
    init_seed(config["seed"] + config["local_rank"], config["reproducibility"])
    model = get_model(config["model"])(config, train_data.dataset).to(config["device"])
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    preparation_seconds = time.perf_counter() - started

    epoch_seconds: list[float] = []
    train_epoch = trainer._train_epoch

    def timed_epoch(*positional: Any, **named: Any) -> Any:
        begun = time.perf_counter()
        losses = train_epoch(*positional, **named)
        epoch_seconds.append(time.perf_counter() - begun)
        return losses

    trainer._train_epoch = timed_epoch
    trainer.fit(train_data, valid_data=None, saved=False, verbose=False, show_progress=False)
    training_memory = peak_memory()

    ranking_seconds: list[float] = []
    for _ in range(arguments.rankings):
        begun = time.perf_counter()
        metrics = trainer.evaluate(test_data, load_best_model=False, show_progress=False)
        ranking_seconds.append(time.perf_counter() - begun)

    figures = {
        "library": "recbole",
        "model": arguments.model,
        "protocol": "its own leave-one-out, seen items not hidden" if sequential else "the given split, seen items hidden",
        "n_train": n_train,
        "n_training_samples": len(train_data.dataset),
        "n_queries": test_data.sample_size,
        "n_items": dataset.item_num - 1,  # without RecBole's padding item
        "n_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "preparation_seconds": preparation_seconds,
        "epoch_seconds": epoch_seconds,
        "ranking_seconds": ranking_seconds,
        "imported_memory_bytes": imported_memory,
        "training_memory_bytes": training_memory,
        "peak_memory_bytes": peak_memory(),
        "metrics": {name: float(value) for name, value in metrics.items()} if arguments.metrics else None,
        "settings": {
            key: config[key] for key in ("train_batch_size", "eval_batch_size", "embedding_size", "hidden_size", "learning_rate", "seed")
        },
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in ("recbole", "torch", "numpy", "pandas", "scipy")}
        | {"python": platform.python_version()},
    }
    arguments.out.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
