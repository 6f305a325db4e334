"""Is the Wasserstein model better under a better loss? `python -m benchmarks.loss_study` answers with stored records and a paired test.

Each family (SASRec, STOSA, MStein) gets the same loss (sampled softmax, 1,024 negatives, normalised scores) and four settings. The best
on validation NDCG@10 is trained with three seeds. A user's metric is the mean over the seeds; families are compared user by user.
Needs MONGE_DATA; trains what has no record and run yet.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict
from typing import Any

import numpy as np

import monge
from benchmarks.beauty import RESULTS, RUNS, TABLE, run
from benchmarks.record import RESULTS as RECORDS
from benchmarks.record import record
from monge.evaluation import compare_paired

FAMILIES = ("sasrec", "stosa", "mstein")
SEEDS = (0, 1, 2)
METRICS = ("recall@10", "ndcg@10")


def settings(family: str) -> list[str]:
    """The four settings of a family."""
    return [name for name in TABLE if name.startswith(f"{family}-softmax-")]


def seeded(name: str, seed: int) -> str:
    """The name of a setting's run with a seed."""
    return f"{name}@seed{seed}" if seed else name


def trained(name: str) -> dict[str, Any]:
    """The record of a run, trained now if there is none."""
    base, _, seed = name.partition("@seed")
    model, options = TABLE[base]
    return run(name, model, {**options, "seed": int(seed)} if seed else options)


def study() -> dict[str, Any]:
    """Choose, train the seeds, compare."""
    tuning = {name: trained(name)["validation"]["ndcg@10"]["mean"] for family in FAMILIES for name in settings(family)}
    best = {family: max(settings(family), key=tuning.__getitem__) for family in FAMILIES}
    values: dict[str, dict[str, np.ndarray[Any, Any]]] = {}
    seeds: dict[str, dict[str, list[float]]] = {}
    for family, name in best.items():
        for seed in SEEDS:
            trained(seeded(name, seed))
        found = [monge.load_run(RUNS / seeded(name, seed)).evaluate(METRICS) for seed in SEEDS]
        values[family] = {metric: np.mean([one.values[metric] for one in found], axis=0) for metric in METRICS}
        seeds[family] = {metric: [float(one.metrics[metric].mean) for one in found] for metric in METRICS}
    tests = [
        {"a": family, "b": "sasrec", "metric": metric, **asdict(compare_paired(values[family][metric], values["sasrec"][metric]))}
        for family in FAMILIES[1:]
        for metric in METRICS
    ]
    return {"validation_ndcg@10": tuning, "best": best, "test_by_seed": seeds, "paired": tests}


def table(figures: dict[str, Any]) -> str:
    """The record in Markdown."""
    lines = ["| setting | validation ndcg@10 | best epoch | seconds of training |", "| --- | ---: | --- | ---: |"]
    for name, value in figures["validation_ndcg@10"].items():
        stored = json.loads((RESULTS / f"{name}.json").read_text())
        shown = f"**`{name}`**" if name in figures["best"].values() else f"`{name}`"
        lines.append(f"| {shown} | {value:.4f} | {stored['best_epoch']} of {stored['epochs']} | {stored['seconds']['training']:.0f} |")
    lines += ["", "| best setting, test, three seeds | recall@10: mean (each) | ndcg@10: mean (each) |", "| --- | --- | --- |"]
    for family, by_metric in figures["test_by_seed"].items():
        cells = [f"{statistics.mean(by_metric[m]):.4f} ({', '.join(f'{value:.4f}' for value in by_metric[m])})" for m in METRICS]
        lines.append(f"| `{figures['best'][family]}` | {' | '.join(cells)} |")
    lines += ["", "| compared user by user, mean of three seeds | difference | 95 % interval | p (t-test) |", "| --- | ---: | --- | ---: |"]
    for test in figures["paired"]:
        difference = f"{test['difference']:+.4f} | {test['low']:+.4f} to {test['high']:+.4f} | {test['p_t']:.2g}"
        lines.append(f"| {test['a']} - {test['b']}, {test['metric']} | {difference} |")
    return "\n".join(lines)


def block() -> str:
    """The table of the stored record."""
    path = RECORDS / "loss-study.json"
    return table(json.loads(path.read_text())["figures"]) if path.exists() else "Not run to its end yet."


if __name__ == "__main__":
    record("loss-study", study(), command="python -m benchmarks.loss_study", threads=1, notes=["Amazon Beauty, leave-one-out"])
