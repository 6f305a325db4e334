"""Train the tables on Amazon Beauty, one run after another: `python -m benchmarks.beauty [NAME ...]`.

Each run is what `monge train` does with the options below; its record (command, options, machine, versions, commit, seed,
date, curve, validation and test metrics) goes to benchmarks/results/beauty/NAME.json when it ends. A run with a record is
skipped. Needs MONGE_DATA.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import monge

RESULTS = Path(__file__).parent / "results" / "beauty"
RUNS = Path("runs") / "beauty"
LIMITS = {"patience": 30, "select": "mrr"}
METRICS = ("recall@1", "recall@5", "recall@10", "ndcg@5", "ndcg@10", "mrr", "mrr@40", "coverage@10")

# Issue of the loss: what the anchors call a throw-away trial, done properly. One block, selected on validation NDCG@10.
SOFTMAX: dict[str, Any] = {
    "loss": "sampled_softmax", "n_negatives": 1024, "normalise": True, "n_layers": 1, "n_heads": 1, "max_length": 50,
    "dropout": 0.2, "batch_size": 256, "learning_rate": 2e-3, "select": "ndcg@10", "patience": 10,
}  # fmt: skip
SAS = {**SOFTMAX, "attention_dropout": 0.2}
CONTRAST = {**SOFTMAX, "cl_readout": "last", "cl_weight": 0.1, "cl_temperature": 0.5}

TABLE: dict[str, tuple[str, dict[str, Any]]] = {
    "popular": ("popular", {}),
    "last-popular": ("last-popular", {}),
    "itemknn": ("itemknn", {}),
    "bprmf": ("bprmf", {"dim": 128, **LIMITS}),
    # the loss study: four settings each, chosen by validation, then three seeds of the best
    "sasrec-softmax-t05": ("sasrec", {**SAS, "temperature": 0.05}),
    "sasrec-softmax-t10": ("sasrec", {**SAS, "temperature": 0.1}),
    "sasrec-softmax-t10-drop4": ("sasrec", {**SAS, "temperature": 0.1, "dropout": 0.4, "attention_dropout": 0.4}),
    "sasrec-softmax-t07-drop4": ("sasrec", {**SAS, "temperature": 0.07, "dropout": 0.4, "attention_dropout": 0.4}),
    "stosa-softmax-t10": ("stosa", {**SOFTMAX, "temperature": 0.1}),
    "stosa-softmax-t20": ("stosa", {**SOFTMAX, "temperature": 0.2}),
    "stosa-softmax-t20-drop4": ("stosa", {**SOFTMAX, "temperature": 0.2, "dropout": 0.4}),
    "stosa-softmax-t14-drop4": ("stosa", {**SOFTMAX, "temperature": 0.14, "dropout": 0.4}),
    "mstein-softmax-t20": ("mstein", {**CONTRAST, "temperature": 0.2}),
    "mstein-softmax-t14": ("mstein", {**CONTRAST, "temperature": 0.14}),
    "mstein-softmax-t20-drop4": ("mstein", {**CONTRAST, "temperature": 0.2, "dropout": 0.4}),
    "mstein-softmax-t14-cl01": ("mstein", {**CONTRAST, "temperature": 0.14, "cl_weight": 0.01}),
    # published settings
    "sasrec-bce": ("sasrec", {**LIMITS}),
    "sasrec-ce": ("sasrec", {"loss": "full_ce", **LIMITS}),
    "stosa": ("stosa", {**LIMITS}),
    "stosa-passthrough": ("stosa", {"mean_stream": "passthrough", **LIMITS}),
    "mstein": ("mstein", {**LIMITS}),
    "mstein-passthrough-inv": (
        "mstein",
        {"mean_stream": "passthrough", "cl_sim": "inv_w2", "cl_temperature": 1e-6, **LIMITS},
    ),
    "mstein-inv": ("mstein", {"cl_sim": "inv_w2", "cl_temperature": 1e-6, **LIMITS}),
    "mstein-passthrough": ("mstein", {"mean_stream": "passthrough", **LIMITS}),
    "coserec": ("coserec", {**LIMITS}),
}


class Log(monge.Watch):
    """One line an epoch."""

    def epoch(self, progress: Any) -> None:
        last = progress.records[-1]
        print(last.epoch, round(last.seconds, 2), last.loss, last.validation, "best", progress.best_epoch, flush=True)


def run(name: str, model: str, options: dict[str, Any]) -> dict[str, Any]:
    """Train one entry and store its record."""
    path = RESULTS / f"{name}.json"
    if path.exists():
        return json.loads(path.read_text())
    flags = " ".join(
        f"--{key.replace('_', '-')} {value}" if value is not True else f"--{key.replace('_', '-')}" for key, value in options.items()
    )
    out = RUNS / name
    resume = (out / "checkpoint.safetensors").exists()
    print(f"== {name}: monge train {model} amazon-beauty {flags}", flush=True)
    trained = monge.train(model, "amazon-beauty", out=out, resume=resume, metrics=METRICS, watch=Log(), **options)
    curve = out / "metrics.jsonl"
    record = {
        "command": f"monge train {model} amazon-beauty {flags} --out {out}".replace("  ", " "),
        **{key: trained.info[key] for key in ("model", "training", "environment")},
        **{key: trained.result[key] for key in ("best_epoch", "epochs", "seconds", "validation", "test", "groups")},
        "curve": [json.loads(line) for line in curve.read_text().splitlines()] if curve.exists() else [],
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n")
    print({key: round(value["mean"], 4) for key, value in record["test"].items()}, flush=True)
    return record


def main(names: list[str]) -> None:
    """Run the named entries, or all."""
    for name in names or list(TABLE):
        base, _, seed = name.partition("@seed")
        model, options = TABLE[base]
        run(name, model, {**options, "seed": int(seed)} if seed else options)


if __name__ == "__main__":
    main(sys.argv[1:])
