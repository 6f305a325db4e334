"""The tables of Amazon Beauty, from the records that `python -m benchmarks.beauty` leaves in results/beauty/."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.beauty import RESULTS, TABLE

METRICS = ("recall@1", "recall@5", "ndcg@5", "recall@10", "ndcg@10", "mrr", "mrr@40")
FEW = ("recall@10", "ndcg@10", "mrr@40")
# Table 1 of MStein's paper on Beauty. Its "MRR" follows the authors' code (top 40 only), so it stands under mrr@40.
PAPER: dict[str, dict[str, float]] = {
    model: dict(zip(("recall@1", "recall@5", "ndcg@5", "recall@10", "ndcg@10", "mrr@40"), values, strict=True))
    for model, values in {
        "BPRMF": (0.0082, 0.0300, 0.0189, 0.0471, 0.0245, 0.0216),
        "SASRec": (0.0129, 0.0416, 0.0274, 0.0633, 0.0343, 0.0291),
        "STOSA": (0.0193, 0.0504, 0.0351, 0.0707, 0.0416, 0.0360),
        "CoSeRec": (0.0188, 0.0508, 0.0351, 0.0738, 0.0425, 0.0365),
        "MStein": (0.0220, 0.0551, 0.0392, 0.0774, 0.0463, 0.0398),
    }.items()
}
TRIVIAL = {"popular": "Popular", "last-popular": "LastPopular", "itemknn": "ItemKNN, TF-IDF"}
PUBLISHED = {
    "bprmf": "BPRMF", "sasrec-bce": "SASRec, one negative", "coserec": "CoSeRec",
    "stosa": "STOSA", "stosa-passthrough": "STOSA, mean passed through", "mstein": "MStein",
    "mstein-inv": "MStein, 1/(1+W2)", "mstein-passthrough": "MStein, mean passed through",
    "mstein-passthrough-inv": "MStein as its code: both",
}  # fmt: skip
SOFTMAX = {"sasrec-ce": "SASRec, softmax over all items"}
FAMILIES = {"sasrec": "SASRec, cosine", "stosa": "STOSA, normalised", "mstein": "MStein, normalised"}


def records() -> dict[str, dict[str, Any]]:
    """By name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}


def chosen(found: dict[str, Any]) -> float:
    """Validation NDCG@10, what a setting is chosen by."""
    return float(found["validation"]["ndcg@10"]["mean"])


def best_of(family: str, found: dict[str, dict[str, Any]]) -> str:
    """The setting of the loss study with the best validation NDCG@10, seed 0."""
    return max((name for name in found if name in TABLE and name.startswith(f"{family}-softmax-")), key=lambda name: chosen(found[name]))


def overview() -> str:
    """Of each model its published setting, and the best setting of the loss study."""
    found = records()
    studied = {name: f"{text}, sampled softmax (`{name}`)" for family, text in FAMILIES.items() for name in [best_of(family, found)]}
    rows = [
        line(name, text, found[name], METRICS) for name, text in {**TRIVIAL, **PUBLISHED, **SOFTMAX, **studied}.items() if name in found
    ]
    return "\n".join([*head(METRICS), *rows, *paper_rows(PAPER, METRICS), "", SOURCE])


def published() -> str:
    """The models as their papers set them, beside what the papers print."""
    found = records()
    rows = [line(name, text, found[name], METRICS) for name, text in {**PUBLISHED, **SOFTMAX}.items() if name in found]
    return "\n".join([*head(METRICS), *rows, *paper_rows(PAPER, METRICS), "", SOURCE])


def loss_settings() -> str:
    """Every setting and seed of the loss study."""
    found = records()
    bases = [name for family in FAMILIES for name in TABLE if name.startswith(f"{family}-softmax-")]
    names = [name for base in bases for name in sorted(found) if name.partition("@")[0] == base]
    return "\n".join([*head(FEW), *(line(name, f"`{name}`", found[name], FEW) for name in names), "", SOURCE])


SOURCE = "Command: `python -m benchmarks.beauty NAME`; records: `benchmarks/results/beauty/`."


def head(metrics: Sequence[str]) -> list[str]:
    """The first two lines."""
    return [f"| model | {' | '.join(metrics)} | validation ndcg@10 | best epoch |", f"|---|{'---:|' * (len(metrics) + 2)}"]


def line(name: str, text: str, found: dict[str, Any], metrics: Sequence[str]) -> str:
    """A record."""
    cells = [f"{found['test'][metric]['mean']:.4f}" for metric in metrics]
    epochs = f"{found['best_epoch']} of {found['epochs']}" if found["best_epoch"] else "-"
    if found["best_epoch"] and found["epochs"] - found["best_epoch"] < found["training"]["patience"]:
        epochs += " (not run to its end)"
    return f"| {text} | {' | '.join(cells)} | {chosen(found):.4f} | {epochs} |"


def paper_rows(paper: dict[str, dict[str, float]], metrics: Sequence[str]) -> Iterable[str]:
    """What is printed; a metric that is not printed stays empty."""
    for model, values in paper.items():
        cells = [f"{values[metric]:.4f}" if metric in values else "" for metric in metrics]
        yield f"| *{model}, as printed in the paper* | {' | '.join(cells)} | | |"
