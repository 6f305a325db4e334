"""The tables of speed and memory in `benchmarks/README.md`, from the records in `benchmarks/results/`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.record import RESULTS, Comparison

PEER_NAMES = {"recbole": "RecBole", "rectools": "RecTools"}

NO_SPEED = ("loss-study", "last-popular-i2vae", "mmssl-views")
"""Records of accuracy: other pages show them."""


def read_records(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """All records of speed and memory, by name; the loss study has a page of its own."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json")) if path.stem not in NO_SPEED]


def render(records: Iterable[Mapping[str, Any]]) -> str:
    """Markdown: for each record a heading, its table, and what it was measured on."""
    sections = [_section(record) for record in records]
    return "\n\n".join(sections) if sections else "No records yet: run `make bench`."


def block() -> str:
    """All records as Markdown."""
    return render(read_records())


def listed(name: str, folder: Path = RESULTS) -> str:
    """The single numbers of one record, a line each, and what they were measured on."""
    record = json.loads((folder / f"{name}.json").read_text())
    numbers = {what: value for what, value in record["figures"].items() if isinstance(value, int | float)}
    lines = "\n".join(f"- {what}: {_number(value)}" for what, value in numbers.items())
    return f"{lines}\n\n{_provenance(record)}"


def _section(record: Mapping[str, Any]) -> str:
    rows = [Comparison(**row) for row in record["figures"]["comparisons"]]
    numbers = {key: value for key, value in record["figures"].items() if isinstance(value, int | float) and not isinstance(value, bool)}
    parts = [f"### {record['name']}", _comparison_table(rows, record["versions"]) if rows else ""]
    parts.append("\n".join(f"- {key.replace('_', ' ')}: {_number(value)}" for key, value in numbers.items()))
    parts.append("\n".join(f"- Note: {note}" for note in record["notes"]))
    parts.append(_provenance(record))
    return "\n\n".join(part for part in parts if part)


def _comparison_table(rows: Sequence[Comparison], versions: Mapping[str, str]) -> str:
    peers = sorted({peer for row in rows for peer in row.peers})
    names = {peer: PEER_NAMES.get(peer, peer) for peer in peers}
    heading = ["measured", "unit", "Monge"]
    for peer in peers:
        heading += [f"{names[peer]} {versions.get(peer, '')}".strip(), f"times better than {names[peer]}"]
    lines = [heading, ["---", "---", *["---:"] * (len(heading) - 2)]]
    for row in rows:
        line = [row.what, row.unit, _number(row.monge)]
        for peer in peers:
            line += [_number(row.peers[peer]), f"{row.ratio(peer):.2f}"] if peer in row.peers else ["", ""]
        lines.append(line)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _provenance(record: Mapping[str, Any]) -> str:
    machine, commit = record["machine"], record["commit"]
    state = {True: ", with changes not committed", False: "", None: ""}[commit["dirty"]]
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}; {record['threads']} threads; "
        f"{versions}; commit {(commit['hash'] or 'none')[:10]}{state}; {record['date'][:10]}. `{record['command']}`"
    )


def _number(value: float) -> str:
    """Three significant digits, whole numbers in full.

    >>> _number(0.12345), _number(1234.5), _number(7)
    ('0.123', '1,234', '7')
    """
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
