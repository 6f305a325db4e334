"""The Amazon Beauty table from the stored records: `python -m benchmarks.beauty_table` writes it between the markers of README.md
and docs/findings/mstein.md; `--check` says whether they are up to date.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.beauty import RESULTS

ROOT = Path(__file__).resolve().parents[1]
METRICS = ("recall@1", "recall@5", "ndcg@5", "recall@10", "ndcg@10", "mrr", "mrr@40")
# Table 1 of MStein's paper on Beauty. Its "MRR" follows the authors' code (top 40 only), so it stands under mrr@40.
PAPER: dict[str, tuple[float, ...]] = {
    "BPRMF": (0.0082, 0.0300, 0.0189, 0.0471, 0.0245, 0.0216),
    "SASRec": (0.0129, 0.0416, 0.0274, 0.0633, 0.0343, 0.0291),
    "STOSA": (0.0193, 0.0504, 0.0351, 0.0707, 0.0416, 0.0360),
    "CoSeRec": (0.0188, 0.0508, 0.0351, 0.0738, 0.0425, 0.0365),
    "MStein": (0.0220, 0.0551, 0.0392, 0.0774, 0.0463, 0.0398),
}
SETTINGS = {
    "t05": "T .05", "t07-drop4": "T .07, dropout .4", "t10": "T .1", "t10-drop4": "T .1, dropout .4", "t14": "T .14",
    "t14-drop4": "T .14, dropout .4", "t14-cl01": "T .14, contrast .01", "t20": "T .2", "t20-drop4": "T .2, dropout .4",
}  # fmt: skip
LABELS = {
    "popular": "Popular", "last-popular": "LastPopular", "itemknn": "ItemKNN, TF-IDF", "bprmf": "BPRMF",
    "sasrec-bce": "SASRec, one negative", "sasrec-ce": "SASRec, softmax over all items", "coserec": "CoSeRec",
    "stosa": "STOSA", "stosa-passthrough": "STOSA, mean passed through", "mstein": "MStein",
    "mstein-inv": "MStein, 1/(1+W2)", "mstein-passthrough": "MStein, mean passed through",
    "mstein-passthrough-inv": "MStein as its code: both",
    **{f"sasrec-softmax-{key}": f"SASRec, cosine, sampled softmax, {text}" for key, text in SETTINGS.items()},
    **{f"stosa-softmax-{key}": f"STOSA, normalised, sampled softmax, {text}" for key, text in SETTINGS.items()},
    **{f"mstein-softmax-{key}": f"MStein, normalised, sampled softmax, {text}" for key, text in SETTINGS.items()},
}  # fmt: skip


def records() -> dict[str, dict[str, Any]]:
    """By name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}


def label(name: str) -> str:
    """What a row is called."""
    base, _, seed = name.partition("@seed")
    return LABELS.get(base, base) + (f", seed {seed}" if seed else "")


def row(name: str, found: dict[str, Any]) -> str:
    """One line of the table."""
    cells = [f"{found['test'][metric]['mean']:.4f}" for metric in METRICS]
    chosen = f"{found['validation']['ndcg@10']['mean']:.4f}"
    epochs = f"{found['best_epoch']} of {found['epochs']}" if found["best_epoch"] else "-"
    stopped = ""
    if found["best_epoch"] and found["epochs"] - found["best_epoch"] < found["training"]["patience"]:
        stopped = " (time limit)"
    return f"| {label(name)} | {' | '.join(cells)} | {chosen} | {epochs}{stopped} |"


def table() -> str:
    """The whole table in Markdown."""
    found = records()
    head = f"| model | {' | '.join(METRICS)} | validation ndcg@10 | best epoch |\n|---|{'---:|' * (len(METRICS) + 2)}"
    order = [name for base in LABELS for name in sorted(found) if name.partition("@seed")[0] == base]
    lines = [row(name, found[name]) for name in order]
    for model, values in PAPER.items():
        cells = [f"{value:.4f}" for value in values[:-1]] + ["", f"{values[-1]:.4f}"]
        lines.append(f"| *{model}, as printed in the paper* | {' | '.join(cells)} | | |")
    return "\n".join([head, *lines])


def main(check: bool) -> int:
    """Write the table, or compare."""
    content = f"\n{table()}\n\nCommand: `python -m benchmarks.beauty`; records: `benchmarks/results/beauty/`.\n"
    stale = []
    for path in (ROOT / "README.md", ROOT / "docs" / "findings" / "mstein.md"):
        text = path.read_text()
        begin, end = "<!-- results:begin -->", "<!-- results:end -->"
        if begin not in text:
            continue
        new = text[: text.index(begin) + len(begin)] + content + text[text.index(end) :]
        if new != text:
            stale.append(path.name)
            if not check:
                path.write_text(new)
    if check and stale:
        print(f"not up to date: {', '.join(stale)}; run python -m benchmarks.beauty_table", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
