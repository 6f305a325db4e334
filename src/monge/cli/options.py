"""Command-line options made from config dataclasses, and the groups of options that several commands share."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin

import rich_click as click
from rich.markup import escape

from monge.options import Option, describe_options


def config_options(cls: type, panel: str) -> list[click.Option]:
    """One option a field; nothing given means "not set", so that files and defaults can fill it."""
    return [_option(option, panel) for option in describe_options(cls)]


def _option(option: Option, panel: str) -> click.Option:
    flag = f"--{option.name.replace('_', '-')}"
    text = escape(f"{option.help} [default: {option.default}]")  # else brackets are taken for markup, and swallowed
    if option.type is bool:
        return click.RichOption([f"{flag}/--no-{flag[2:]}"], default=None, help=text, panel=panel)
    return click.RichOption([flag], type=_click_type(option.type), default=None, help=text, panel=panel)


def _click_type(annotation: Any) -> Any:
    if get_origin(annotation) is Literal:
        return click.Choice([str(value) for value in get_args(annotation)])
    if get_origin(annotation) in (typing.Union, types.UnionType):
        return _click_type(next(part for part in get_args(annotation) if part is not type(None)))
    return annotation if annotation in (int, float, str) else str


DATA_OPTIONS = {
    "user_column": click.option("--user-column", metavar="NAME", help="Column of users, where it is not found by itself."),
    "item_column": click.option("--item-column", metavar="NAME", help="Column of items."),
    "time_column": click.option("--time-column", metavar="NAME", help="Column of times; 'none' leaves times out."),
    "weight_column": click.option("--weight-column", metavar="NAME", help="Column of ratings or counts; 'none' leaves it out."),
    "format": click.option(
        "--format", "format", metavar="NAME", help="csv, tsv, inter, parquet, sequences, ...; else found from the file."
    ),
    "rating_at_least": click.option("--rating-at-least", type=float, metavar="R", help="Keep interactions rated at least R."),
    "keep": click.option("--keep", type=click.Choice(["first", "last", "all"]), help="Of repeated (user, item) pairs keep these."),
    "k_core": click.option("--k-core", type=int, metavar="K", help="Keep users and items with at least K interactions, repeatedly."),
    "min_length": click.option("--min-length", type=int, metavar="N", help="Keep users with at least N interactions."),
}


def data_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that say how a log is read and filtered."""
    for option in reversed(DATA_OPTIONS.values()):
        command = option(command)
    return command


def taken(values: dict[str, Any], names: typing.Iterable[str]) -> dict[str, Any]:
    """Take the named options out of `values`; those not given are left out."""
    found = {name: values.pop(name, None) for name in list(names)}
    return {name: value for name, value in found.items() if value is not None}


def key_values(pairs: typing.Sequence[str], option: str) -> dict[str, Any]:
    """`("seed=3", "test=0.2")` -> {"seed": 3, "test": 0.2}."""
    import yaml

    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise click.UsageError(f"{option} takes NAME=VALUE; got {pair!r}")
        values[name.replace("-", "_")] = yaml.safe_load(value)
    return values
