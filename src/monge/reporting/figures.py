"""The charts of the report, as plain Plotly specifications (`{"data", "layout"}`): no Plotly import, nothing drawn here.

The page's style sheet gives text and lines the colours of the reader's theme; the colours of the data below have a
contrast of at least 3:1 on white and on the dark background. Plotly reads HTML in every text, so names from the data
are escaped here.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

from monge.reporting.values import Estimate, plain

Figure = dict[str, Any]

TOTAL = "total"
"""What the trainer calls the sum of the parts of the loss."""
COLOURS = ("#2b7bd6", "#c76a12", "#2a8f5b", "#9a62cf", "#d1495b", "#76808c")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")


def loss_figure(epochs: Sequence[Mapping[str, Any]], best_epoch: int | None) -> Figure | None:
    """Each part of the training loss by epoch, and the total where there are several; None where there is no loss."""
    names = list(dict.fromkeys(name for epoch in epochs for name in epoch.get("loss") or {}))
    if len(names) == 2:  # the total of a single part is that part
        names = [name for name in names if name != TOTAL]
    if not names:
        return None
    numbers = [epoch["epoch"] for epoch in epochs]
    names.sort(key=lambda name: name != TOTAL)
    series = {name: [_finite((epoch.get("loss") or {}).get(name)) for epoch in epochs] for name in names}
    data = [_line(numbers, values, name, place) for place, (name, values) in enumerate(series.items())]
    shown = [value for values in series.values() for value in values if value is not None]
    logarithmic = bool(shown) and min(shown) > 0 and max(shown) > 50 * min(shown)
    axis: dict[str, Any] = {"title": {"text": "weighted loss"}}
    if logarithmic:
        axis = {"title": {"text": "weighted loss (log scale)"}, "type": "log", "dtick": 1}  # a tick at each power of ten
    return {"data": data, "layout": _layout(xaxis=_epoch_axis(numbers), yaxis=axis) | _best_epoch_line(best_epoch)}


def validation_figure(epochs: Sequence[Mapping[str, Any]], best_epoch: int | None, metric: str) -> Figure | None:
    """The selecting metric on the validation queries by epoch, the best epoch marked; None where it was never measured."""
    measured = [
        (epoch["epoch"], estimate) for epoch in epochs if (estimate := Estimate.of((epoch.get("validation") or {}).get(metric))) is not None
    ]
    if not measured:
        return None
    numbers, estimates = zip(*measured, strict=True)
    data = [_line(list(numbers), [estimate.mean for estimate in estimates], metric, 0)]
    if best_epoch in numbers:
        best = estimates[numbers.index(best_epoch)].mean
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [best_epoch],
                "y": [best],
                "name": "best epoch",
                "marker": {"symbol": "star", "size": 14, "color": COLOURS[1]},
                "hovertemplate": "best epoch %{x}: %{y:.4f}<extra></extra>",
            }
        )
    layout = _layout(
        xaxis=_epoch_axis(numbers), yaxis={"title": {"text": f"{_safe(metric)}, validation", "standoff": 12}, "rangemode": "tozero"}
    )
    return {"data": data, "layout": layout | _best_epoch_line(best_epoch)}


def group_figure(groups: Sequence[Mapping[str, Any]], metric: str) -> Figure | None:
    """One bar a group, its interval and its number of queries; None where no group has the metric."""
    bars = [(group, estimate) for group in groups if (estimate := Estimate.of(group.get("metrics", {}).get(metric))) is not None]
    if not bars:
        return None
    bar = {
        "type": "bar",
        "orientation": "h",
        "y": [f"{_safe(group['label'])}<br>n = {group['n_queries']:,}" for group, _ in bars],
        "x": [estimate.mean for _, estimate in bars],
        "customdata": [[_safe(group["label"]), f"{group['n_queries']:,}", estimate.interval or "not drawn"] for group, estimate in bars],
        "hovertemplate": "%{customdata[0]}: %{x:.4f}<br>95 % interval: %{customdata[2]}<br>queries: %{customdata[1]}<extra></extra>",
        "marker": {"color": COLOURS[0]},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [0 if estimate.high is None else estimate.high - estimate.mean for _, estimate in bars],
            "arrayminus": [0 if estimate.low is None else estimate.mean - estimate.low for _, estimate in bars],
            "thickness": 1.5,
            "width": 5,
        },
    }
    axes = _layout(
        xaxis={"title": {"text": f"{_safe(metric)}, test"}, "rangemode": "tozero"},
        yaxis={
            "type": "category",
            "autorange": "reversed",
            "ticks": "outside",
            "ticklen": 6,
            "tickcolor": "rgba(0,0,0,0)",
        },  # the heading says by what: a title would not fit beside two bars
    )
    return {"data": [bar], "layout": axes | {"showlegend": False, "bargap": 0.35, "height": 90 + 48 * len(bars)}}


def _line(x: list[int], y: list[float | None], name: str, place: int) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers" if len(x) <= 30 else "lines",
        "x": x,
        "y": y,
        "name": _safe(name),
        "line": {"color": COLOURS[place % len(COLOURS)], "dash": DASHES[place % len(DASHES)], "width": 2},
        "marker": {"size": 5},
        "hovertemplate": "epoch %{x}: %{y:.4f}<extra>%{fullData.name}</extra>",
    }


def _epoch_axis(numbers: Sequence[int]) -> dict[str, Any]:
    axis: dict[str, Any] = {"title": {"text": "epoch"}, "tickformat": "d"}
    return axis | ({"dtick": 1} if len(numbers) <= 10 else {"nticks": 10})


def _best_epoch_line(best_epoch: int | None) -> dict[str, Any]:
    if best_epoch is None:
        return {}
    line = {"type": "line", "xref": "x", "yref": "paper", "x0": best_epoch, "x1": best_epoch, "y0": 0, "y1": 1}
    label = {"text": f"best: epoch {best_epoch}", "xref": "x", "yref": "paper", "x": best_epoch, "y": 1, "yanchor": "bottom"}
    return {"shapes": [line | {"line": {"dash": "dot", "width": 1.5, "color": COLOURS[5]}}], "annotations": [label | {"showarrow": False}]}


def _layout(*, xaxis: dict[str, Any], yaxis: dict[str, Any]) -> dict[str, Any]:
    return {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 13},
        "margin": {"l": 60, "r": 12, "t": 28, "b": 50},
        "height": 320,
        "hoverlabel": {"align": "left"},
        "legend": {"orientation": "h", "yref": "container", "yanchor": "bottom", "y": 0, "x": 0},
        "xaxis": {"automargin": True, "zeroline": False} | xaxis,
        "yaxis": {"automargin": True, "zeroline": False} | yaxis,
    }


def _safe(text: Any) -> str:
    return html.escape(plain(text))


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
