"""Tables of reproduced experiments. A record is what `monge reproduce NAME` leaves as OUT/record.json, kept in results/reproduce/."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from monge.reporting.values import group_means

RECORDS = Path(__file__).resolve().parent / "results" / "reproduce"


def names() -> list[str]:
    """The records that are there."""
    return sorted(path.stem for path in RECORDS.glob("*.json"))


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


def printed_table(record: dict[str, Any]) -> str:
    """What the paper prints for the same rows, on its own data; empty where it prints nothing."""
    printed = {label: row["paper"] for label, row in record["rows"].items() if row.get("paper")}
    metrics = [metric for metric in record["metrics"] if any(metric in values for values in printed.values())]
    if not printed:
        return ""
    lines = [f"| printed in the paper | {' | '.join(metrics)} |", f"| --- |{' ---: |' * len(metrics)}"]
    for label, values in printed.items():
        lines.append(f"| {label} | {' | '.join(_as_printed(values[metric]) if metric in values else '' for metric in metrics)} |")
    return "\n".join(lines)


def domain_tables(record: dict[str, Any]) -> str:
    """A table for each domain: groups with their queries, the paper's values below ours; folded, the intervals and each seed."""
    tables = [_domain_table(record, domain, columns) for domain, columns in by_domain(record["metrics"]).items()]
    return "\n\n".join([*tables, _folded("95 % intervals, and each seed", _intervals_table(record), _seeds_table(record))])


def by_domain(metrics: list[str]) -> dict[str, list[str]]:
    """The columns "domain group metric" of each domain; empty where the columns are plain metrics."""
    domains: dict[str, list[str]] = {}
    for column in metrics:
        domain, _, rest = column.partition(" ")
        if rest:
            domains.setdefault(domain, []).append(column)
    return domains


def _domain_table(record: dict[str, Any], domain: str, columns: list[str]) -> str:
    rows = record["rows"]
    counted = next(iter(rows.values()))["n_queries"]
    names = [f"{column.removeprefix(domain).strip()} ({counted[column]:,})" for column in columns]
    lines = [f"| {domain} (queries, first seed) | {' | '.join(names)} |", f"| --- |{' ---: |' * len(columns)}"]
    for label, row in rows.items():
        means = (f"{row['mean'][column]:.4f}" for column in columns)
        lines.append(f"| {label} | {' | '.join(means)} |")
        printed = [_as_printed(row["paper"][column]) if column in row["paper"] else "" for column in columns]
        if any(printed):
            lines.append(f"| *as printed* | {' | '.join(f'*{value}*' if value else '' for value in printed)} |")
    return "\n".join(lines)


def _intervals_table(record: dict[str, Any]) -> str:
    metrics = record["metrics"]
    lines = [f"| over queries, or users where seeds ask others | {' | '.join(metrics)} |", f"| --- |{' ---: |' * len(metrics)}"]
    for label, row in record["rows"].items():
        ends = (row["interval"][metric] for metric in metrics)
        lines.append(f"| {label} | {' | '.join(' to '.join(f'{end:.4f}' for end in pair) for pair in ends)} |")
    return "\n".join(lines)


def _seeds_table(record: dict[str, Any]) -> str:
    """Each seed's value of the first metric over all queries of a domain."""
    columns = [next(column for column in columns if " all " in column) for columns in by_domain(record["metrics"]).values()]
    lines = [f"| each seed | {' | '.join(columns)} |", f"| --- |{' --- |' * len(columns)}"]
    for label, row in record["rows"].items():
        each = (", ".join(f"{one[column]:.4f}" for one in row["by_seed"]) for column in columns)
        lines.append(f"| {label} | {' | '.join(each)} |")
    return "\n".join(lines)


def _folded(title: str, *tables: str) -> str:
    inside = "\n\n".join(tables)
    return f"<details markdown>\n<summary>{title}</summary>\n\n{inside}\n\n</details>"


def groups_tables(record: dict[str, Any]) -> str:
    """The table by groups of the queries; empty where the experiment has none."""
    tables = []
    for means in group_means(record):
        lines = [f"| {means.metric} by {means.group} (queries) | {' | '.join(means.labels)} |", f"| --- |{' ---: |' * len(means.labels)}"]
        lines += [f"| {label} | {' | '.join(f'{value:.4f}' for value in values)} |" for label, values in means.rows.items()]
        tables.append("\n".join(lines))
    return "\n\n".join(tables)


def _as_printed(value: float) -> str:
    """Three places, or four where the paper has four."""
    return f"{value:.3f}" if round(value, 3) == value else f"{value:.4f}"


def _fewer(row: dict[str, Any], trials: int) -> bool:
    return row.get("tuned") is not None and row["tuned"]["trials"] < trials


def cut_short(record: dict[str, Any]) -> str:
    """The rows with a run that was still within its patience when its epochs were over; empty where there is none."""
    rows = []
    for label, row in record["rows"].items():
        patience = row["options"].get("patience", 0)
        runs = [one for one in row.get("epochs", []) if one["trained"] and one["trained"] - (one["best"] or 0) < patience]
        if runs:
            best, trained = (", ".join(str(one[name]) for one in runs) for name in ("best", "trained"))
            rows.append(f"{label} (best epoch {best} of {trained})")
    return f"Not trained to the end, stopped by the number of epochs: {'; '.join(rows)}." if rows else ""


def _short(value: Any) -> str:
    """Three digits of a small fraction, all that stands before the point of a large number."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def chosen_table(record: dict[str, Any]) -> str:
    """What was searched and what was chosen on validation; empty where nothing was tuned."""
    rows = {label: row["tuned"] for label, row in record["rows"].items() if row.get("tuned")}
    if not rows:
        return ""
    lines = ["| chosen on validation | options |", "| --- | --- |"]
    for label, tuned in rows.items():
        options = (f"{name} {_short(value)}" for name, value in tuned["options"].items())
        lines.append(f"| {label} | {', '.join(options)} |")
    return "\n".join(lines)


MANY = 24
"""Comparisons that a page shows without folding them."""


def comparisons(record: dict[str, Any]) -> str:
    """The paired comparisons, if any; where there are many, those by the metric of selection, and all of them folded below."""
    found = record["against"]
    if not found:
        return ""
    if len(found) <= MANY:
        return against_table(found)
    select = next(iter(record["rows"].values()))["options"].get("select")
    few = [one for one in found if one["metric"] == select or one["metric"].endswith(f" all {select}")]
    folded = _folded(f"All {len(found)} comparisons", against_table(found))
    return f"{against_table(few)}\n\n{folded}" if few else folded


def against_table(found: list[dict[str, Any]]) -> str:
    """A line a comparison."""
    lines = [
        "| | metric | difference | 95 % interval | p (t-test) | gain | paper's gain |",
        "| --- | --- | ---: | --- | ---: | ---: | ---: |",
    ]
    for one in found:
        gain = "" if one["gain_percent"] is None else f"{one['gain_percent']:+.1f} %"
        paper = "" if one["paper_gain_percent"] is None else f"{one['paper_gain_percent']:+.1f} %"
        interval = f"{one['low']:+.4f} to {one['high']:+.4f}"
        lines.append(
            f"| {one['a']} - {one['b']} | {one['metric']} | {one['difference']:+.4f} | {interval} | {one['p_t']:.2g} | {gain} | {paper} |"
        )
    return "\n".join(lines)


def other_seeds(record: dict[str, Any]) -> list[str]:
    """The rows with another number of seeds than the table, with that number; what has no random part and has one is none of them."""
    numbers = {label: len(row["by_seed"]) for label, row in record["rows"].items()}
    trained = {label for label, row in record["rows"].items() if any(one["trained"] for one in row.get("epochs", []))}
    return [f"{label} {n}" for label, n in numbers.items() if n > record["seeds"] or (n < record["seeds"] and label in trained)]


def block(name: str) -> str:
    """Both tables of a record, and where they come from."""
    record = json.loads((RECORDS / f"{name}.json").read_text())
    environment = record["environment"]
    domains = by_domain(record["metrics"])
    brackets = "" if domains else ", in brackets each of them"
    seeds = "one seed" if record["seeds"] == 1 else f"mean over {record['seeds']} seeds{brackets}"
    others = other_seeds(record)
    seeds += f" (other numbers of seeds: {', '.join(others)}{brackets.replace(',', ';')})" if others else ""
    said = f"{record['data']}, {record['protocol']['name']}; {seeds}."
    if record.get("trials"):
        said += f" Options: for every model with a space to search the best of {record['trials']} settings on validation."
        fewer = [f"{label} {row['tuned']['trials']}" for label, row in record["rows"].items() if _fewer(row, record["trials"])]
        said += f" Spaces with fewer settings, all of them tried: {', '.join(fewer)}." if fewer else ""
    elif record.get("options_from"):
        said += f" Options of every model: as they were chosen on validation in `{record['options_from']}`."
    source = f"Command: `{record['command']}`; record: `benchmarks/results/reproduce/{name}.json` (commit {environment['commit']}, "
    source += f"{environment['processor']}, torch {environment['torch']}, {environment['date'][:10]})."
    parts = (
        said,
        domain_tables(record) if domains else rows_table(record),
        groups_tables(record),
        cut_short(record),
        chosen_table(record),
        "" if domains else printed_table(record),
        comparisons(record),
        source,
    )
    return "\n\n".join(part for part in parts if part)
