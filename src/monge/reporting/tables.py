"""Tables for the terminal. Each function takes plain data and returns a Rich renderable; printing is the caller's.

Text from the data never reaches Rich as markup, and never with control characters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.style import StyleType
from rich.table import Table
from rich.text import Text

from monge.errors import UnknownNameError, nearest
from monge.reporting.values import (
    MISSING,
    QUERY_GROUPS,
    Estimate,
    GroupMeans,
    describe,
    duration,
    group_means,
    number,
    option,
    plain,
    setting,
    settings,
)

WIDEST = 10_000
TRAINING = "training"
"""Heading of the column with a row's training time."""


def metrics_table(
    results: Mapping[str, Mapping[str, Any]],
    *,
    metrics: Sequence[str] | None = None,
    title: str,
    best: StyleType = "bold",
) -> RenderableType:
    """One row a model, one column a metric; as wide as the terminal allows, in several blocks where it must be.

    Args:
        results: per model, per metric: `{"mean", "low", "high"}` or a plain number.
        metrics: the columns, in order; None: every metric that any model has.
        title: what was measured, on what.
        best: style of the highest mean of each column, where there are several rows.

    Raises:
        UnknownNameError: no model has one of `metrics`.
    """
    known = list(dict.fromkeys(metric for values in results.values() for metric in values))
    for metric in metrics or ():
        if metric not in known:
            raise UnknownNameError(f"no metric {metric!r} in these results{nearest(metric, known)}")
    return _MetricsTable(_estimates(results), list(metrics or known), title=title, best=best)


def _estimates(results: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Estimate]]:
    return {
        name: {metric: estimate for metric, value in values.items() if (estimate := Estimate.of(value)) is not None}
        for name, values in results.items()
    }


class _MetricsTable:
    """Finds its layout when the width is known: interval beside the mean, else below it, else several blocks of columns."""

    def __init__(self, estimates: Mapping[str, Mapping[str, Estimate]], metrics: Sequence[str], *, title: str, best: StyleType) -> None:
        self.estimates = estimates
        self.metrics = metrics
        self.title = title
        self.best = best

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(plain(self.title), style="bold")
        beside = self._table(self.metrics, " ")
        yield beside if _fits(beside, console, options) else _Blocks(lambda metrics: self._table(metrics, "\n"), self.metrics)
        yield _metrics_caption(self.estimates, best=self.best if len(self.estimates) > 1 else "")

    def _table(self, metrics: Sequence[str], between: str) -> Table:
        table = _table()
        table.add_column(Text("model"), overflow="fold", max_width=28)
        for metric in metrics:
            table.add_column(Text(plain(metric)), justify="right", no_wrap=True)
        highest = {metric: self._highest(metric) for metric in metrics}
        for name, values in self.estimates.items():
            cells = [(values.get(metric), highest[metric]) for metric in metrics]
            styled = [_cell(estimate, between, self.best if estimate and estimate.text == best else "") for estimate, best in cells]
            table.add_row(Text(plain(name)), *styled)
        return table

    def _highest(self, metric: str) -> str | None:
        """The best mean as it is printed, so that two models that look equal are marked alike."""
        values = [row[metric] for row in self.estimates.values() if metric in row]
        return max(values, key=lambda estimate: estimate.mean).text if len(self.estimates) > 1 and values else None


class _Blocks:
    """A table as wide as the terminal allows: where not all columns fit, one below another, each with the first column again."""

    def __init__(self, table: Callable[[Sequence[str]], Table], columns: Sequence[str]) -> None:
        self.table = table
        self.columns = columns

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        start = 0
        while start < len(self.columns):
            end = start + 1
            while end < len(self.columns) and _fits(self.table(self.columns[start : end + 1]), console, options):
                end += 1
            if start:
                yield Text()
            yield self.table(self.columns[start:end])
            start = end


def _fits(table: Table, console: Console, options: ConsoleOptions) -> bool:
    return Measurement.get(console, options.update(width=WIDEST), table).maximum <= options.max_width


def _cell(estimate: Estimate | None, between: str, style: StyleType = "") -> Text:
    if estimate is None:
        return Text(MISSING, style="dim")
    return Text.assemble((estimate.text, style), (between + estimate.half_width if estimate.half_width else "", "dim"))


def _metrics_caption(rows: Mapping[str, Mapping[str, Estimate]], *, best: StyleType = "") -> Text:
    drawn = any(estimate.low is not None for row in rows.values() for estimate in row.values())
    mean = "Mean over queries" + (" ± half the width of its 95 % bootstrap interval" if drawn else "")
    mark = f"; {best}: best of the column" if best else ""
    return Text(f"{mean}; no unit, higher is better{mark}.", style="dim")


def description_table(described: Mapping[str, Any]) -> RenderableType:
    """Counts of a data set, how its interactions are spread, its domains where it has some, and warnings under them."""
    description = describe(described)
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim")
    facts.add_column(justify="right", overflow="fold")
    for name, value in description.facts:
        facts.add_row(Text(name), Text(value))
    parts: list[RenderableType] = [facts]
    if description.distributions:
        spread = _table()
        spread.add_column(Text("quantiles"), overflow="fold")
        for quantile in description.quantiles:
            spread.add_column(Text(quantile), justify="right", no_wrap=True)
        for name, values in description.distributions:
            spread.add_row(Text(name), *(Text(value) for value in values))
        parts += [Text(), spread]
    if description.domains:
        of_domains = _table()
        of_domains.add_column(Text("domain"), overflow="fold")
        for head in ("interactions", "users", "items"):
            of_domains.add_column(Text(head), justify="right", no_wrap=True)
        for name, values in description.domains:
            of_domains.add_row(Text(name), *(Text(value) for value in values))
        parts += [Text(), of_domains]
    if description.warnings:
        parts.append(Text())
    parts.extend(Text.assemble(("warning: ", "bold yellow"), warning) for warning in description.warnings)
    return Group(*parts)


def recommendations_table(recommendations: Iterable[Mapping[str, Any]], *, title: str | None = None) -> RenderableType:
    """Rank, item, title (where any item has one) and score of a ranked list."""
    entries = list(recommendations)
    titled = any(entry.get("title") is not None for entry in entries)
    table = _table()
    table.add_column(Text("rank"), justify="right", no_wrap=True)
    table.add_column(Text("item"), overflow="fold")
    if titled:
        table.add_column(Text("title"), overflow="fold")
    table.add_column(Text("score"), justify="right", no_wrap=True)
    for position, entry in enumerate(entries, start=1):
        cells = [str(entry.get("rank", position)), plain(entry["item"])]
        if titled:
            cells.append(plain(entry.get("title") or MISSING))
        cells.append(number(entry["score"], like=1))
        table.add_row(*map(Text, cells))
    return _titled(title, table)


def models_table(models: Iterable[Mapping[str, Any]], *, title: str | None = None) -> RenderableType:
    """The models that there are: name, family, description and paper of each; in a narrow terminal the paper stands below."""
    return _titled(title, _ModelsTable(list(models)))


class _ModelsTable:
    """Finds its layout when the width is known."""

    def __init__(self, models: Sequence[Mapping[str, Any]]) -> None:
        self.models = models

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        wide = options.max_width >= 120
        table = _table()
        table.add_column(Text("name"), no_wrap=True, style="bold")
        table.add_column(Text("family"), no_wrap=True)
        table.add_column(Text("description" if wide else "description, paper"), ratio=3, overflow="fold")
        if wide:
            table.add_column(Text("paper"), ratio=2, overflow="fold", style="dim")
        for model in self.models:
            name, family, description, paper = (plain(model.get(key) or MISSING) for key in ("name", "family", "description", "paper"))
            below = (f"\n{paper}", "dim") if model.get("paper") else ""
            cells = [Text(description), Text(paper)] if wide else [Text.assemble(description, below)]
            table.add_row(Text(name), Text(family), *cells)
        yield table


def experiments_table(experiments: Mapping[str, tuple[str, str, str]]) -> RenderableType:
    """Name -> (title, source, data) of the papers' tables."""
    table = _table()
    table.add_column(Text("name"), no_wrap=True, style="bold")
    table.add_column(Text("what"), ratio=2, overflow="fold")
    table.add_column(Text("source"), ratio=2, overflow="fold", style="dim")
    table.add_column(Text("data"), no_wrap=True)
    for name, (title, source, data) in experiments.items():
        table.add_row(*(Text(plain(cell)) for cell in (name, title, source, data)))
    return table


def experiment_table(record: Mapping[str, Any]) -> RenderableType:
    """A reproduced table: per row and metric the mean over seeds, their spread, what the paper prints; then the comparisons."""
    rows: Mapping[str, Mapping[str, Any]] = record["rows"]
    table = _Blocks(lambda columns: _experiment_rows(rows, columns), [*record["metrics"], TRAINING])
    parts: list[RenderableType] = [Text(plain(f"{record['title']}: {record['data']}, {record['protocol']['name']}"), style="bold"), table]
    printed = any(row["paper"] for row in rows.values())
    n = record["seeds"]
    others = ", ".join(f"{label} {len(row['by_seed'])}" for label, row in rows.items() if len(row["by_seed"]) > n)
    caption = f"Mean over queries and {n} {'seed' if n == 1 else 'seeds'}" + (f" ({others})" if others else "")
    caption += " ± half the range of the seeds" if n > 1 or others else ""
    caption += f"; below, in italics: what the paper prints ({record['source']})." if printed else "."
    if record.get("trials"):
        caption += f" Options: the best of {record['trials']} settings on validation, for every row that has a space to search."
    elif record.get("options_from"):
        caption += f" Options of every model: as they were chosen in {record['options_from']}."
    parts.append(Text(plain(caption), style="dim"))
    for means in group_means(record):
        parts += [Text(), _group_means_table(means)]
    if record["against"]:
        parts += [Text(), _against_table(record["against"])]
        parts.append(
            Text(
                "Paired over queries, a query's value being its mean over the seeds, or over users where each seed asks for others; "
                "95 % bootstrap interval, t-test.",
                style="dim",
            )
        )
    parts.extend(Text(plain(f"note: {note}"), style="dim") for note in record["notes"])
    return Group(*parts)


def _experiment_rows(rows: Mapping[str, Mapping[str, Any]], columns: Sequence[str]) -> Table:
    table = _table()
    table.add_column(Text("row"), overflow="fold", max_width=40)
    for column in columns:
        table.add_column(Text(plain(column).replace(" ", "\n")), justify="right", no_wrap=True)
    for label, row in rows.items():
        table.add_row(Text(plain(label)), *(_experiment_cell(row, column) for column in columns))
    return table


def _experiment_cell(row: Mapping[str, Any], column: str) -> Text:
    if column == TRAINING:
        return Text(duration(sum(row["seconds"]) / len(row["seconds"])))
    values = [one[column] for one in row["by_seed"]]
    spread = f" ±{number((max(values) - min(values)) / 2, like=values[0])}" if len(values) > 1 else ""
    printed = row["paper"].get(column)
    below = "" if printed is None else f"\n{number(printed)}"
    return Text.assemble(number(row["mean"][column]), (spread, "dim"), (below, "dim italic"))


def _group_means_table(means: GroupMeans) -> RenderableType:
    title = f"{means.metric} by {means.group} (queries)"
    return _titled(title, _Blocks(lambda labels: _group_means_rows(means, labels), means.labels))


def _group_means_rows(means: GroupMeans, labels: Sequence[str]) -> Table:
    table = _table()
    table.add_column(Text("row"), overflow="fold", max_width=40)
    for label in labels:
        table.add_column(Text(plain(label)), justify="right", no_wrap=True)
    for row, values in means.rows.items():
        by_label = dict(zip(means.labels, values, strict=True))
        table.add_row(Text(plain(row)), *(Text(number(by_label[label])) for label in labels))
    return table


def _against_table(comparisons: Sequence[Mapping[str, Any]]) -> Table:
    """A line with the pair, below it a row for each metric."""
    printed = any(one["paper_gain_percent"] is not None for one in comparisons)
    table = _table()
    table.collapse_padding = True
    table.add_column(Text("compared"), overflow="fold")
    for name in ("difference", "interval", "p", "gain", *(["paper's\ngain"] if printed else [])):
        table.add_column(Text(name), justify="right", no_wrap=True)
    before = ""
    for one in comparisons:
        pair = f"{one['a']} - {one['b']}"
        if pair != before:
            table.add_row(Text(plain(pair), style="bold"))
        gains = [MISSING if one[key] is None else f"{one[key]:+.1f} %" for key in ("gain_percent", "paper_gain_percent")]
        interval = f"{one['low']:+.4f} to {one['high']:+.4f}"
        clear = "bold" if one["low"] > 0 or one["high"] < 0 else ""
        cells = (f"{one['difference']:+.4f}", interval, f"{one['p_t']:.2g}", *gains[: 1 + printed])
        table.add_row(Text(plain(one["metric"])), *(Text(cell, style=clear) for cell in cells))
        before = pair
    return table


def options_table(options: Mapping[str, Any], *, title: str | None = None) -> RenderableType:
    """Name and value of each option."""
    table = _table()
    table.add_column(Text("option"), no_wrap=True)
    table.add_column(Text("value"), overflow="fold")
    for name, value in options.items():
        table.add_row(Text(plain(name)), Text(option(value)))
    return _titled(title, table)


def trials_table(
    trials: Sequence[Mapping[str, Any]], *, metric: str, importance: Mapping[str, float] | None = None, most: int = 10
) -> RenderableType:
    """The best trials of a search: rank, validation metric and options; what else there was under the table.

    Args:
        trials: the lines of a study's trials.jsonl.
        metric: the one that judged.
        importance: option -> share in what sets good trials apart.
        most: rows shown.
    """
    finished = sorted((trial for trial in trials if trial["state"] == "finished"), key=lambda trial: (-trial["value"], trial["number"]))
    states = [f"{n} {state}" for state in ("finished", "pruned", "failed") if (n := sum(trial["state"] == state for trial in trials))]
    more = f"; the best {most} are shown" if len(finished) > most else ""
    lines = [f"{len(trials)} trials: {', '.join(states)}{more}. Measured on validation queries; the test part was not looked at."]
    if importance:
        shares = ", ".join(f"{plain(name)} {share:.0%}" for name, share in importance.items())
        lines.append(f"What sets good trials apart: {shares}.")
    return Group(_TrialsTable(finished[:most], metric), *(Text(line, style="dim") for line in lines))


class _TrialsTable:
    """One column an option where the terminal is wide enough, else all options in one column."""

    def __init__(self, trials: Sequence[Mapping[str, Any]], metric: str) -> None:
        self.trials, self.metric = trials, metric

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        wide = self._table(apart=True)
        fits = Measurement.get(console, options.update(width=WIDEST), wide).maximum <= options.max_width
        yield wide if fits else self._table(apart=False)

    def _table(self, *, apart: bool) -> Table:
        names = list(self.trials[0]["options"]) if self.trials else []
        table = _table()
        for head in ("rank", "trial", self.metric, "best epoch", "time"):
            table.add_column(Text(plain(head)), justify="right", no_wrap=True)
        for name in names if apart else ("options",):
            table.add_column(Text(plain(name)), justify="right" if apart else "left", no_wrap=apart, overflow="fold")
        for rank, trial in enumerate(self.trials, start=1):
            best_epoch = MISSING if trial["best_epoch"] is None else str(trial["best_epoch"])
            cells = [str(rank), str(trial["number"]), number(trial["value"]), best_epoch, duration(trial["seconds"])]
            cells += [setting(trial["options"][name]) for name in names] if apart else [settings(trial["options"])]
            table.add_row(*map(Text, cells), style="bold" if rank == 1 else None)
        return table


def run_summary(run: Mapping[str, Any], result: Mapping[str, Any]) -> RenderableType:
    """What one run did and reached, in a few lines; `run` and `result` are the contents of its `run.json` and `result.json`."""
    model = run["model"]
    headline = Text.assemble(
        (plain(model["name"]), "bold"), " on ", (plain(run["data"]["name"]), "bold"), f", {plain(run['protocol']['name'])}"
    )
    facts: list[str] = []
    if model.get("n_parameters") is not None:
        facts.append(f"{model['n_parameters']:,} parameters")
    if result.get("best_epoch") is not None:
        facts.append(f"best epoch {result['best_epoch']}")
    seconds = result.get("seconds", {})
    facts.extend(f"{name} {duration(seconds[name])}" for name in ("training", "evaluation") if name in seconds)
    parts = _estimates({name: result[name] for name in ("test", "validation") if result.get(name)})
    table = _table()
    table.add_column(Text("metric"), overflow="fold")
    for name in parts:
        table.add_column(Text(name), justify="right", no_wrap=True)
    for metric in dict.fromkeys(metric for values in parts.values() for metric in values):
        table.add_row(Text(plain(metric)), *(_cell(values.get(metric), " ") for values in parts.values()))
    groups = groups_table(result.get("groups", ()))
    return Group(
        headline,
        Text(", ".join(facts), style="dim"),
        Text(),
        table,
        _metrics_caption(parts),
        *([] if groups is None else [Text(), groups]),
        Text.assemble(("run: ", "dim"), plain(result.get("run", MISSING))),
    )


GROUP_METRICS = ("sampled_hit@10", "sampled_ndcg@10", "ndcg@10")


def groups_table(groups: Iterable[Mapping[str, Any]]) -> Table | None:
    """Group, domain, number of queries and metrics with their intervals, of a cross-domain split's groups; None where there are none."""
    rows = [row for name in QUERY_GROUPS for row in groups if row["group"] == name]
    metrics = [metric for metric in GROUP_METRICS if rows and metric in rows[0]["metrics"]]
    if not metrics:
        return None
    table = _table()
    table.add_column(Text("group"), no_wrap=True)
    table.add_column(Text("domain"), overflow="fold")
    for head in ("queries", *metrics):
        table.add_column(Text(head), justify="right", no_wrap=True)
    for row in rows:
        estimates = [_cell(Estimate.of(row["metrics"][metric]), "\n") for metric in metrics]
        table.add_row(Text(plain(row["group"])), Text(plain(row["label"])), Text(f"{row['n_queries']:,}"), *estimates)
    return table


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")


def _titled(title: str | None, table: RenderableType) -> RenderableType:
    """A title of its own line: a Rich table's title would wrap at the table's width."""
    return table if title is None else Group(Text(plain(title), style="bold"), table)
