"""Tables of reproduced experiments in the docs: `python -m benchmarks.reproduced` fills the markers of docs/findings/sinkhorncf.md.

A record is what `monge reproduce NAME` leaves as OUT/record.json, kept in benchmarks/results/reproduce/.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RECORDS = ROOT / "benchmarks" / "results" / "reproduce"
PAGES = (ROOT / "docs" / "findings" / "sinkhorncf.md",)


def rows_table(record: dict[str, Any]) -> str:
    """Mean over the seeds and each seed."""
    metrics = record["metrics"]
    lines = [f"| | {' | '.join(metrics)} |", f"| --- |{' ---: |' * len(metrics)}"]
    for label, row in record["rows"].items():
        cells = []
        for metric in metrics:
            each = [one[metric] for one in row["by_seed"]]
            spread = f" ({', '.join(f'{value:.4f}' for value in each)})" if len(each) > 1 and metric == metrics[-1] else ""
            cells.append(f"{row['mean'][metric]:.4f}{spread}")
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def against_table(record: dict[str, Any]) -> str:
    """The paired comparisons."""
    lines = [
        "| | metric | difference | 95 % interval | p (t-test) | gain | paper's gain |",
        "| --- | --- | ---: | --- | ---: | ---: | ---: |",
    ]
    for one in record["against"]:
        gain = "" if one["gain_percent"] is None else f"{one['gain_percent']:+.1f} %"
        paper = "" if one["paper_gain_percent"] is None else f"{one['paper_gain_percent']:+.1f} %"
        interval = f"{one['low']:+.4f} to {one['high']:+.4f}"
        lines.append(
            f"| {one['a']} - {one['b']} | {one['metric']} | {one['difference']:+.4f} | {interval} | {one['p_t']:.2g} | {gain} | {paper} |"
        )
    return "\n".join(lines)


def block(name: str) -> str:
    """Both tables of a record, and where they come from."""
    record = json.loads((RECORDS / f"{name}.json").read_text())
    environment = record["environment"]
    said = f"{record['data']}, {record['protocol']['name']}; mean over {record['seeds']} seeds, in brackets each of them."
    source = f"Command: `{record['command']}`; record: `benchmarks/results/reproduce/{name}.json` (commit {environment['commit']}, "
    source += f"{environment['processor']}, torch {environment['torch']}, {environment['date'][:10]})."
    return "\n\n".join([said, rows_table(record), against_table(record), source])


def main() -> None:
    """Fill every marker that has a record."""
    for page in PAGES:
        text = page.read_text()
        for name in re.findall(r"<!-- ([\w-]+):begin -->", text):
            if (RECORDS / f"{name}.json").exists():
                begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
                text = text[: text.index(begin) + len(begin)] + f"\n\n{block(name)}\n\n" + text[text.index(end) :]
        page.write_text(text)


if __name__ == "__main__":
    main()
