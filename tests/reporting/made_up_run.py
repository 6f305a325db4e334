"""A made-up run directory, as training and evaluation write it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

METRICS = ("recall@5", "recall@10", "recall@20", "ndcg@5", "ndcg@10", "ndcg@20", "mrr")
ATTACK = "<script>alert('title')</script>"


def metrics(scale: float) -> dict[str, dict[str, float]]:
    """Seven metrics, each with an interval that is not symmetric."""
    means = {metric: scale * (0.05 + 0.0123 * place) for place, metric in enumerate(METRICS)}
    return {metric: {"mean": mean, "low": 0.96 * mean, "high": 1.05 * mean} for metric, mean in means.items()}


def run_content() -> dict[str, Any]:
    return {
        "format": 1,
        "monge": "0.1.0",
        "state": "finished",
        "command": "monge train mstein ratings<1>.csv --set dim=64 --seed 7",
        "model": {
            "name": "mstein",
            "config": {"dim": 64, "n_layers": 1, "n_heads": 4, "dropout": 0.3, "bidirectional": False, "pretrained": None},
            "n_parameters": 1_603_456,
        },
        "training": {"epochs": 200, "patience": 10, "select": "ndcg@10", "learning_rate": 0.001, "batch_size": 512, "seed": 7},
        "data": {
            "name": "amazon-beauty",
            "fingerprint": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "provenance": {"source": "amazon-beauty", "licence": "research use", "columns": {"user": "user"}},
            "describe": {
                "n_users": 22363,
                "n_items": 12101,
                "n_interactions": 198502,
                "density": 0.000733527,
                "sequence_length": {"min": 5.0, "25%": 5.0, "50%": 6.0, "75%": 9.0, "95%": 20.0, "max": 204.0, "mean": 8.8763},
                "item_popularity": {"min": 5.0, "25%": 6.0, "50%": 9.0, "75%": 17.0, "95%": 52.0, "max": 431.0, "mean": 16.4037},
                "gini": 0.5213,
                "top_1_percent": 0.0911,
                "tied_times": 0.14,
                "repeats": 0.0,
                "one_row_users": 0,
                "one_row_items": 0,
                "short_users": 0,
                "first_time": 1023840000,
                "last_time": 1406073600,
                "warnings": ["14 % of interactions share their time with another one of the same user; their order is the file's"],
            },
        },
        "protocol": {
            "name": "leave-one-out",
            "options": {"min_length": 3},
            "notes": ["The last item of each user is the test, the one before it the validation."],
        },
        "environment": {
            "python": "3.11.9",
            "torch": "2.6.0",
            "numpy": "2.2.0",
            "platform": "Linux-6.1-x86_64",
            "processor": "EPYC 7763",
            "threads": 2,
            "device": "cpu",
            "commit": "1f2e3d4",
            "date": "2026-11-21T04:10:00+00:00",
        },
    }


def epochs_content(n_epochs: int = 22) -> list[dict[str, Any]]:
    """Losses that fall, and a validation every second epoch with its peak at epoch 12."""
    epochs: list[dict[str, Any]] = []
    for epoch in range(1, n_epochs + 1):
        rec, cl = 5 / epoch + 1, 0.3 + 0.2 / epoch
        entry: dict[str, Any] = {"epoch": epoch, "seconds": 2.1, "loss": {"rec": rec, "cl": cl, "total": rec + cl}}
        if epoch % 2 == 0:
            value = 0.1 - 0.0005 * (epoch - 12) ** 2
            entry["validation"] = {"ndcg@10": value, "recall@10": 2 * value}
        epochs.append(entry)
    return epochs


def result_content() -> dict[str, Any]:
    lengths = [("4-7", 10078, 0.9), ("8-15", 8311, 1.05), ("16-31", 3004, 1.2), ("32 or more", 970, 1.4)]
    popularity = [
        ("rarest fifth", 812, 0.1),
        ("2nd", 1907, 0.3),
        ("3rd", 3105, 0.7),
        ("4th", 5210, 1.0),
        ("most popular fifth", 11329, 1.6),
    ]
    groups = [("history length", *row) for row in lengths] + [("training interactions of the held-out item", *row) for row in popularity]
    titles = ["Kolya (1996)", ATTACK, "Heat (1995)", None, "L.A. Confidential (1997)"]
    examples = [
        {
            "user": user,
            "history": [{"item": str(place), "title": f"Film {place} (19{80 + place})"} for place in range(1, 16)],
            "recommendations": [
                {"item": str(240 + place), "title": title, "score": 7.5 - 0.61 * place, "rank": place + 1}
                for place, title in enumerate(titles)
            ],
            "truth": [{"item": truth, "title": None}],
        }
        for user, truth in [("196", "242"), ("186", "9999")]
    ]
    return {
        "run": "runs/mstein",
        "model": "mstein",
        "data": "amazon-beauty",
        "best_epoch": 12,
        "epochs": 22,
        "seconds": {"training": 135.0, "validation": 0.9, "test": 1.2, "evaluation": 1.2},
        "validation": metrics(1.1),
        "test": metrics(1.0),
        "groups": [{"group": group, "label": label, "n_queries": n, "metrics": metrics(scale)} for group, label, n, scale in groups],
        "examples": examples,
    }


def write_run(
    folder: Path, *, run: dict[str, Any] | None = None, epochs: list[dict[str, Any]] | None = None, result: dict[str, Any] | None = None
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps(run or run_content()), encoding="utf-8")
    lines = [json.dumps(epoch) for epoch in (epochs_content() if epochs is None else epochs)]
    (folder / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    (folder / "result.json").write_text(json.dumps(result or result_content()), encoding="utf-8")
    return folder
