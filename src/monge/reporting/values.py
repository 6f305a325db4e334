"""Numbers, names and descriptions as text: what the terminal tables and the HTML report share."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

MISSING = "\N{EN DASH}"
_DIRECTION_CONTROLS = re.compile("[\u202a-\u202e\u2066-\u2069]")
_SHARES = ("density", "tied_times", "repeats", "top_1_percent")
_MOMENTS = ("first_time", "last_time")
_NAMES = {
    "sequence_length": "interactions per user",
    "item_popularity": "interactions per item",
    "top_1_percent": "share of the most popular 1 % of items",
    "tied_times": "share with a tied time",
    "repeats": "share of repeats",
    "gini": "Gini coefficient of item popularity",
    "one_row_users": "users with a single interaction",
    "one_row_items": "items with a single interaction",
    "short_users": "users with fewer than 3",
    "n_users_of_several_domains": "users with items of two domains or more",
    "50%": "median",
}
_SECONDS = range(10**8, 2**32)  # 1973 to 2106: other times are hardly seconds since 1970


class Estimate(NamedTuple):
    """A metric: its mean over queries, and the 95 % bootstrap interval where one was drawn."""

    mean: float
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, value: Any) -> Estimate | None:
        """From `{"mean", "low", "high"}` or a plain number; None where there is no number.

        Bounds that are equal say nothing of the queries (coverage has one value for all of them): no interval is shown.
        """
        parts = value if isinstance(value, Mapping) else {"mean": value}
        mean, low, high = (_finite(parts.get(name)) for name in ("mean", "low", "high"))
        if mean is None:
            return None
        return cls(mean) if low is None or high is None or low == high else cls(mean, low, high)

    @property
    def text(self) -> str:
        """`0.0312`, the mean."""
        return number(self.mean)

    @property
    def half_width(self) -> str:
        """`±0.0012`, half of the interval's width, or nothing."""
        return "" if self.low is None or self.high is None else f"±{number((self.high - self.low) / 2, like=self.mean)}"

    @property
    def interval(self) -> str:
        """`0.0301 to 0.0325`, or nothing."""
        return "" if self.low is None or self.high is None else f"{number(self.low, like=self.mean)} to {number(self.high, like=self.mean)}"


def _finite(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


def number(value: float, *, like: float | None = None) -> str:
    """Four decimals, more for tiny and fewer for large numbers; `like` fixes the decimals by another number.

    >>> number(0.03124), number(0.00031), number(1234.5), number(0.0012, like=80.0)
    ('0.0312', '0.000310', '1,234.5', '0.00')
    """
    size = abs(value if like is None else like)
    decimals = 6 if 0 < size < 0.001 else 4 if size < 10 else 2 if size < 1000 else 1
    return f"{value:,.{decimals}f}"


def duration(seconds: float) -> str:
    """
    >>> duration(1.23), duration(135), duration(7260)
    ('1.2 s', '2 min 15 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def plain(value: Any) -> str:
    """The text of a value from the data, on one line, without what could steer a terminal or turn the reading direction.

    >>> plain("Kolya\\x1b[2J (1996)\\n")
    'Kolya\ufffd[2J (1996)'
    """
    text = _DIRECTION_CONTROLS.sub("", " ".join(str(value).split()))
    return "".join("\ufffd" if unicodedata.category(letter) == "Cc" else letter for letter in text)


def option(value: Any) -> str:
    """The value of an option as one would write it in a configuration file.

    >>> option(True), option(None), option([10, 20]), option("cosine")
    ('true', 'none', '10, 20', 'cosine')
    """
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return plain(json.dumps(value, ensure_ascii=False, default=str))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(option(part) for part in value) or "(empty)"
    return plain(value)


def settings(options: Mapping[str, Any]) -> str:
    """Options of a trial on one line; drawn numbers with four digits.

    >>> settings({"learning_rate": 0.00123456, "dim": 64, "bucketed": True})
    'learning_rate 0.001235, dim 64, bucketed true'
    """
    return ", ".join(f"{plain(name)} {setting(value)}" for name, value in options.items())


def setting(value: Any) -> str:
    """One of them."""
    return f"{value:.4g}" if isinstance(value, float) else option(value)


class DescriptionText(NamedTuple):
    """A data set's description, ready to be laid out."""

    facts: list[tuple[str, str]]
    quantiles: list[str]
    """Column heads of `distributions`."""
    distributions: list[tuple[str, list[str]]]
    """What is distributed, and its value at each quantile."""
    warnings: list[str]
    domains: list[tuple[str, list[str]]]
    """Each domain, and its interactions, users and items."""


def describe(described: Mapping[str, Any]) -> DescriptionText:
    """Sort the dictionary form of `monge.data.describe.Description` into facts, distributions and warnings.

    Single values are facts and mappings of numbers are distributions, so that a new entry needs no change here; domains have their own.
    """
    facts: list[tuple[str, str]] = []
    distributions: dict[str, dict[str, Any]] = {}
    for name, value in described.items():
        if name in ("warnings", "domains") or value is None:
            continue
        if isinstance(value, Mapping):
            distributions[_name(name)] = {_name(key): entry for key, entry in value.items()}
        else:
            facts.append((_name(name), _fact(name, value)))
    quantiles = list(dict.fromkeys(key for row in distributions.values() for key in row))
    rows = [(name, [_fact("", row[key]) if key in row else MISSING for key in quantiles]) for name, row in distributions.items()]
    domains = [
        (plain(name) or repr(name), [_fact("", counts[key]) for key in ("n_interactions", "n_users", "n_items")])
        for name, counts in (described.get("domains") or {}).items()
    ]
    return DescriptionText(facts, quantiles, rows, [plain(warning) for warning in described.get("warnings", ())], domains)


def _name(name: Any) -> str:
    return _NAMES.get(name, plain(name).removeprefix("n_").replace("_", " "))


def _fact(name: str, value: Any) -> str:
    """
    >>> _fact("n_users", 22363), _fact("density", 0.000733527), _fact("last_time", 1700000000), _fact("gini", 0.5123)
    ('22,363', '0.07335 %', '2023-11-14 (1700000000)', '0.5123')
    """
    if _finite(value) is None:
        return option(value)
    if name in _SHARES:
        return f"{100 * value:.4g} %"
    if name in _MOMENTS:
        return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d} ({value})" if value in _SECONDS else str(value)
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.1f}"


QUERY_GROUPS = ("all", "long-tailed", "cold-start", "no history", "truth in training", "truth in history", "leak-free")
"""Groups that a protocol gave its queries, in the order in which they are shown; their labels are domains."""


def grouping(group: Any) -> str:
    """What the rows of a grouping are: domains, of the queries of such a group, or what the grouping's name says.

    >>> grouping("long-tailed"), grouping("training interactions of the user")
    ('domain (long-tailed queries)', 'training interactions of the user')
    """
    return f"domain ({group} queries)" if group in QUERY_GROUPS else str(group)


class GroupMeans(NamedTuple):
    """One metric of a reproduced table's rows, by groups of the queries."""

    group: str
    """What the queries are grouped by."""
    metric: str
    labels: list[str]
    """The groups, with their numbers of queries."""
    rows: dict[str, list[float]]
    """Label of a row -> mean over the seeds in each group."""


def group_means(record: Mapping[str, Any]) -> list[GroupMeans]:
    """A reproduced table by groups: one entry for each grouping and each of the metrics that the table names for it; often none."""
    rows = {label: row["groups"] for label, row in record["rows"].items() if row.get("groups")}
    if not rows:
        return []
    first = next(iter(rows.values()))[0]
    metrics = [metric for metric in record.get("group_metrics") or record["metrics"] if metric in first[0]["metrics"]]
    found: list[GroupMeans] = []
    for group in dict.fromkeys(one["group"] for one in first):
        places = [place for place, one in enumerate(first) if one["group"] == group]
        labels = [f"{first[place]['label']} ({first[place]['n_queries']:,})" for place in places]
        for metric in metrics:
            means = {
                label: [sum(seed[place]["metrics"][metric]["mean"] for seed in seeds) / len(seeds) for place in places]
                for label, seeds in rows.items()
            }
            found.append(GroupMeans(group, metric, labels, means))
    return found
