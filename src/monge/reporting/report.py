"""One HTML page a run, in one file that needs no network: what was trained on what, how well it did, and for whom."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from monge.data.files import write_atomically
from monge.errors import MissingExtraError
from monge.reporting.definitions import CONVENTIONS, definition
from monge.reporting.figures import Figure, group_figure, loss_figure, validation_figure
from monge.reporting.run_files import RunFiles, read_run_files
from monge.reporting.values import MISSING, QUERY_GROUPS, Estimate, describe, duration, grouping, number, option, plain

LONGEST_HISTORY = 12


def write_report(run_dir: Path) -> Path:
    """Write `report.html` into a finished run's directory, whole or not at all, and return its path.

    Raises:
        RunError: a file of the run is missing or damaged, or the run is not finished.
        MissingExtraError: Plotly or Jinja2 is not installed.
    """
    files = read_run_files(run_dir)
    page = render(files)
    path = run_dir / "report.html"
    write_atomically(path, page)
    return path


def render(files: RunFiles) -> str:
    """The page as text. Everything that comes from the run is escaped: by Jinja2 in the page, by `_script_json` in the charts."""
    try:
        from jinja2 import Environment, StrictUndefined
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise MissingExtraError("Jinja2" if error.name == "jinja2" else "Plotly", "report", "the HTML report") from error
    from markupsafe import Markup  # comes with Jinja2

    package = importlib.resources.files("monge.reporting")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["plain"] = plain
    template = environment.from_string(package.joinpath("report_template.html").read_text(encoding="utf-8"))
    scripts = [get_plotlyjs(), package.joinpath("report_charts.js").read_text(encoding="utf-8")]
    charts = _charts(files)
    return template.render(
        **_contents(files),
        charts={name: Markup(_script_json(figure)) for name, figure in charts.items() if figure is not None},
        scripts=[Markup(script) for script in scripts],
        script_hashes=[_hash(script) for script in scripts],
    )


def _contents(files: RunFiles) -> dict[str, Any]:
    """All that the template lays out, as text."""
    run, result, main = files.run, files.result, files.main_metric
    best_epoch = result.get("best_epoch")
    metrics = list(dict.fromkeys([main, *result["test"], *result.get("validation", {})]))
    description = describe(run["data"].get("describe", {}))
    return {
        "model": run["model"]["name"],
        "data": run["data"]["name"],
        "protocol": run["protocol"]["name"],
        "main": main,
        "main_selected": best_epoch is not None and main == run.get("training", {}).get("select"),
        "headline": Estimate.of(result["test"][main]),
        "facts": _facts(files),
        "description": description,
        "fingerprint": run["data"].get("fingerprint"),
        "provenance": _options(run["data"].get("provenance") or {}),
        "protocol_options": _options(run["protocol"].get("options", {})),
        "protocol_notes": run["protocol"].get("notes", []),
        "model_options": _options(run["model"].get("config", {})),
        "training_options": _options(run.get("training", {})),
        "best_epoch": best_epoch,
        "n_epochs": len(files.epochs),
        "epochs": _epoch_rows(files.epochs, main),
        "metrics": [_metric_row(metric, result) for metric in metrics],
        "groups": _group_tables(result.get("groups", []), metrics),
        "examples": [_example(example) for example in result.get("examples", [])],
        "definitions": _definitions(metrics),
        "conventions": CONVENTIONS,
        "environment": _options(run.get("environment", {})),
        "command": run.get("command") or "none: it was trained from Python",
        "version": run.get("monge", MISSING),
    }


def _facts(files: RunFiles) -> list[tuple[str, str]]:
    """The few lines beside the headline, which names model and data; what is unknown is left out."""
    run, result = files.run, files.result
    machine = run.get("environment", {})
    seconds = result.get("seconds", {})
    best = result.get("best_epoch")
    n_parameters = run["model"].get("n_parameters")
    facts = [
        ("Protocol", run["protocol"]["name"]),
        ("Parameters", None if n_parameters is None else f"{n_parameters:,}"),
        ("Best epoch", None if best is None else f"{best} of {len(files.epochs)}"),
        ("Solved", None if files.epochs else "in closed form, without epochs"),
        ("Training", duration(seconds["training"]) if "training" in seconds else None),
        ("Evaluation", duration(seconds["evaluation"]) if "evaluation" in seconds else None),
        ("When", _moment(machine.get("date"))),
        ("Machine", ", ".join(option(machine[name]) for name in ("processor", "device") if machine.get(name)) or None),
        ("Run", result.get("run")),
    ]
    return [(name, plain(value)) for name, value in facts if value is not None]


def _moment(date: Any) -> str | None:
    """`2026-11-21 04:10 UTC` from an ISO date; another text stays as it is."""
    try:
        moment = datetime.fromisoformat(date)
    except (TypeError, ValueError):
        return date
    return f"{moment:%Y-%m-%d %H:%M %Z}".strip()


def _options(options: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(plain(name), option(value)) for name, value in options.items()]


def _metric_row(metric: str, result: Mapping[str, Any]) -> tuple[str, Estimate | None, Estimate | None]:
    return metric, Estimate.of(result["test"].get(metric)), Estimate.of(result.get("validation", {}).get(metric))


def _epoch_rows(epochs: Sequence[Mapping[str, Any]], metric: str) -> dict[str, Any]:
    """The learning curves as a table, for those who cannot see them."""
    parts = list(dict.fromkeys(name for epoch in epochs for name in epoch.get("loss") or {}))
    rows = []
    for epoch in epochs:
        losses = [Estimate.of((epoch.get("loss") or {}).get(part)) for part in parts]
        estimates = [*losses, Estimate.of((epoch.get("validation") or {}).get(metric))]
        rows.append((epoch["epoch"], [MISSING if estimate is None else estimate.text for estimate in estimates]))
    return {"heads": [*(f"loss: {plain(part)}" for part in parts), f"validation: {plain(metric)}"], "rows": rows}


def _group_tables(groups: Iterable[Mapping[str, Any]], metrics: Sequence[str]) -> list[dict[str, Any]]:
    tables = []
    for place, (name, rows) in enumerate(_by_group(groups).items()):
        used = [metric for metric in metrics if any(metric in row.get("metrics", {}) for row in rows)]
        cells = [
            (row["label"], f"{row['n_queries']:,}", [Estimate.of(row.get("metrics", {}).get(metric)) for metric in used]) for row in rows
        ]
        tables.append({"name": grouping(name), "chart": f"group-{place}", "metrics": used, "rows": cells})
    return tables


def _by_group(groups: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Rows by the name of their grouping, in the order of their first row; a grouping that puts all queries together says nothing."""
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for row in groups:
        by_name.setdefault(str(row["group"]), []).append(row)
    return {name: rows for name, rows in by_name.items() if len(rows) > 1 or name in QUERY_GROUPS}


def _charts(files: RunFiles) -> dict[str, Figure | None]:
    best = files.result.get("best_epoch")
    figures = {
        "loss": loss_figure(files.epochs, best),
        "validation": validation_figure(files.epochs, best, files.main_metric),
    }
    for place, rows in enumerate(_by_group(files.result.get("groups", [])).values()):
        figures[f"group-{place}"] = group_figure(rows, files.main_metric)
    return figures


def _example(example: Mapping[str, Any]) -> dict[str, Any]:
    """One user: the newest part of the history, the list with its hits, and the truth with what was found of it."""
    history = example.get("history", [])
    truth = {str(entry["item"]) for entry in example.get("truth", [])}
    recommended = [
        {
            "rank": entry.get("rank", position),
            "item": entry["item"],
            "title": entry.get("title"),
            "score": number(entry["score"], like=1),
            "hit": str(entry["item"]) in truth,
        }
        for position, entry in enumerate(example.get("recommendations", []), start=1)
    ]
    ranks = {str(entry["item"]): entry["rank"] for entry in recommended}
    return {
        "user": example["user"],
        "domain": example.get("domain"),
        "history": history[-LONGEST_HISTORY:],
        "n_earlier": max(0, len(history) - LONGEST_HISTORY),
        "recommendations": recommended,
        "truth": [{**entry, "rank": ranks.get(str(entry["item"]))} for entry in example.get("truth", [])],
        "n_hits": sum(entry["hit"] for entry in recommended),
    }


def _definitions(metrics: Iterable[str]) -> list[tuple[str, str]]:
    names = dict.fromkeys(metric.partition("@")[0] for metric in metrics)
    return [(name, definition(name) or "Not one of Monge's own metrics: see where it was defined.") for name in names]


def _script_json(figure: Figure) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(figure, allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _hash(script: str) -> str:
    """How the page's content security policy names a script that may run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
