"""Command-line options made from config dataclasses, and the groups of options that several commands share."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import rich_click as click
from rich.markup import escape
from rich.text import Text

from monge.options import Option, describe_options


class Models(click.RichGroup):
    """The models as sub-commands, each made when it is asked for."""

    def __init__(self, *arguments: Any, make: Callable[[str], click.Command], **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.make = make

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Built-in models."""
        from monge.models import MODELS

        return list(MODELS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command for a built-in model or an import path; an unknown name is an error with the nearest one."""
        return self.make(cmd_name)


NARROW = 110
"""Columns below which an option's kind stands under its name: beside it there would be no room for the text."""
FOLD = {True: 24, False: 40}
"""Columns of a list of choices where the terminal is narrow, and elsewhere."""


class Folded(click.RichOption):
    """An option whose names and choices are never broken within a word: `--no-...` and further choices begin a line."""

    def get_rich_table_row(self, ctx: Any, formatter: Any, panel: Any = None) -> Any:
        """The cells of the help page: names, kind and text among them."""
        row, narrow = list(super().get_rich_table_row(ctx, formatter, panel)), formatter.console.width < NARROW
        kinds = list(panel.column_types or formatter.config.options_table_column_types)
        names, kind = (row[kinds.index(column)] for column in ("opt_long", "metavar"))
        if isinstance(names, Text) and self.secondary_opts:
            names = Text("\n").join(names.split("/"))
        if isinstance(kind, Text):
            kind = Text("\n").join(Text(line, style=kind.style) for line in _lines(kind.plain, FOLD[narrow]))
        if narrow and panel.name != "Options":
            names, kind = Text("\n").join(part for part in (names, kind) if isinstance(part, Text) and part.plain), None
        row[kinds.index("opt_long")], row[kinds.index("metavar")] = names, kind
        return row


def _lines(choices: str, longest: int) -> list[str]:
    """`[a|b|c]` in lines that are broken behind a bar."""
    lines = [""]
    for part in choices.replace("|", "|\n").split("\n"):
        if lines[-1] and len(lines[-1]) + len(part) > longest:
            lines.append("")
        lines[-1] += part
    return lines


def config_options(cls: type, panel: str) -> list[click.Option]:
    """One option a field; nothing given means "not set", so that files and defaults can fill it."""
    return [_option(option, panel) for option in describe_options(cls)]


def _option(option: Option, panel: str) -> click.Option:
    flag = f"--{option.name.replace('_', '-')}"
    text = escape(f"{option.help} [default: {option.default}]")  # else brackets are taken for markup, and swallowed
    if option.type is bool:
        return Folded([f"{flag}/--no-{flag[2:]}"], default=None, help=text, panel=panel)
    return Folded([flag], type=_click_type(option.type), default=None, help=text, panel=panel)


class OneOf(click.Choice[str]):
    """A choice whose error names the nearest one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """One of the choices.

        Raises:
            BadParameter: it is none.
        """
        from difflib import get_close_matches

        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            close = get_close_matches(str(value), self.choices, n=1)
            raise click.BadParameter(f"{error.message} Did you mean {close[0]!r}?" if close else error.message, ctx, param) from None


def protocol_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that say how a log is split, but for noise."""
    from monge.api.splitting import PUBLISHED
    from monge.data import PROTOCOLS

    several = click.option("--protocol-option", multiple=True, metavar="NAME=VALUE", help="Of the protocol, e.g. test=0.2; repeatable.")
    named = click.option("--protocol", cls=Folded, type=OneOf([*PROTOCOLS, PUBLISHED]), default=None, help=PROTOCOL_HELP)
    return named(several(command))


def _click_type(annotation: Any) -> Any:
    if get_origin(annotation) is Literal:
        return OneOf([str(value) for value in get_args(annotation)])
    if get_origin(annotation) in (typing.Union, types.UnionType):
        return _click_type(next(part for part in get_args(annotation) if part is not type(None)))
    return annotation if annotation in (int, float, str) else str


PROTOCOL_HELP = r"How the log is split; published: as the data set came, or as --split-column says. \[default: leave-one-out]"
DATA_OPTIONS = {
    "user_column": click.option("--user-column", metavar="NAME", help="Column of users, where it is not found by itself."),
    "item_column": click.option("--item-column", metavar="NAME", help="Column of items."),
    "time_column": click.option("--time-column", metavar="NAME", help="Column of times; 'none' leaves times out."),
    "weight_column": click.option("--weight-column", metavar="NAME", help="Column of ratings or counts; 'none' leaves it out."),
    "split_column": click.option(
        "--split-column", metavar="NAME", help="Column that marks the part of each row, for --protocol published."
    ),
    "domain_column": click.option("--domain-column", metavar="NAME", help="Column that says which domain an item belongs to."),
    "format": click.option(
        "--format", "format", metavar="NAME", help="csv, tsv, inter, parquet, sequences, ...; else found from the file."
    ),
    "rating_at_least": click.option("--rating-at-least", type=float, metavar="R", help="Keep interactions rated at least R."),
    "keep": click.option("--keep", type=click.Choice(["first", "last", "all"]), help="Of repeated (user, item) pairs keep these."),
    "k_core": click.option("--k-core", type=int, metavar="K", help="Keep users and items with at least K interactions, repeatedly."),
    "modality": click.option(
        "--modality",
        multiple=True,
        metavar="NAME=FILE[:ID_COLUMN]",
        help=r"Item content: a matrix (.npy, .safetensors), a table with column NAME, or a column of the items; repeatable.",
    ),
    "min_length": click.option("--min-length", type=int, metavar="N", help="Keep users with at least N interactions."),
}


def data_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that say how a log is read and filtered."""
    for option in reversed(DATA_OPTIONS.values()):
        command = option(command)
    return command


NOISE_OPTIONS = {
    "noise_ratio": click.option(
        "--noise-ratio",
        type=float,
        metavar="R",
        help="Add R times as many pairs that nobody observed to the training part, for robustness.",
    ),
    "noise_seed": click.option("--noise-seed", type=int, metavar="N", help=r"Of drawing those pairs. \[default: 0]"),
}
"""Options of every protocol that are typed by their names; the others go by --protocol-option."""


def noise_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that add noise to the training part of a split."""
    for option in reversed(NOISE_OPTIONS.values()):
        command = option(command)
    return command


def split_options(options: dict[str, Any]) -> dict[str, Any]:
    """Take everything out of `options` (of a command that has --protocol-option and `noise_options`) that says how a log is split, but for
    the protocol's name.
    """
    noise = taken(options, NOISE_OPTIONS)
    return options.pop("protocol_options", {}) | key_values(options.pop("protocol_option", ()), "--protocol-option") | noise


def refuse_reading(data: str, reading: Mapping[str, Any]) -> None:
    """Refuse options that say how a log is read where data is a split file.

    Raises:
        ConfigError: naming the first of them.
    """
    from monge.errors import ConfigError

    if reading:
        raise ConfigError(f"--{next(iter(reading)).replace('_', '-')} says how a log is read, but {data} is split already; leave it out")


def taken(values: dict[str, Any], names: typing.Iterable[str]) -> dict[str, Any]:
    """Take the named options out of `values`; those not given are left out."""
    found = {name: values.pop(name, None) for name in list(names)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items() if value not in (None, ())}


def example(name: str, cls: type) -> str:
    """MODEL, DATA and what a model of several domains needs, for a line that runs as it stands."""
    return f"{name} i2vae-cloth-sport --protocol released" if getattr(cls, "needs_domains", False) else f"{name} ml-100k"


def out_folder(model: str, data: str, prefix: str = "") -> Path:
    """Where a run or a study goes that was given no --out.

    Of `own.module:Model` and `logs/toy.csv` it is `runs/own.module-Model-toy`, of `i2vae` and `books=a.csv,films=b.csv` it is
    `runs/i2vae-books-films`.
    """
    from monge.data.sources import files_of_domains

    domains = files_of_domains(data)
    return Path("runs") / f"{prefix}{model.replace(':', '-')}-{'-'.join(domains) or Path(data).name.split('.')[0]}"


def key_values(pairs: Sequence[str], option: str) -> dict[str, Any]:
    """`("seed=3", "test=0.2")` -> {"seed": 3, "test": 0.2}."""
    import yaml

    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise click.UsageError(f"{option} takes NAME=VALUE; got {pair!r}")
        values[name.replace("-", "_")] = yaml.safe_load(value)
    return values


def options_from_file(path: Path | None, model: str, of_command: Sequence[str], mappings: Sequence[str] = ()) -> dict[str, Any]:
    """Options of a YAML file; those of the command itself as if they had been typed, the model's and training's as they are.

    Args:
        path: None: no options.
        model: whose options may stand there, beside those of training and of the command.
        of_command: options of the command that are no hyper-parameters.
        mappings: of these, which hold lines `name: value`, as `protocol_options` always does.

    Raises:
        ConfigError: missing, unreadable, not a mapping of names to values, an unknown name or a wrong value.
    """
    import yaml

    from monge.errors import ConfigError, UnknownNameError, nearest
    from monge.models import find_model
    from monge.options import option_names
    from monge.training.loop import TrainingConfig

    if path is None:
        return {}
    try:
        content = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: not a YAML file of options ({str(error).splitlines()[0]})") from error
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise ConfigError(f"{path}: a file of options holds lines `name: value`")
    hyper = [*option_names(find_model(model).Config), *option_names(TrainingConfig)]
    context = click.get_current_context()
    assert context is not None
    typed = {param.name: param for param in context.command.params if param.name in (*of_command, *DATA_OPTIONS) and param.name != "config"}
    options: dict[str, Any] = {}
    for name, value in ((name.replace("-", "_"), value) for name, value in content.items()):
        several = [str(part) for part in (value if isinstance(value, list) else [value])]
        if name in hyper:
            options[name] = value
        elif name in ("protocol_options", *mappings):
            if not isinstance(value, dict):
                raise ConfigError(f"{path}: {name} holds lines `name: value`; got {value!r}")
            options[name] = {str(key): part for key, part in value.items()}
        elif name not in typed:
            raise UnknownNameError(f"{path}: no option {name!r}{nearest(name, [*hyper, *map(str, typed), 'protocol_options'])}")
        elif name == "metrics":
            options[name] = ",".join(several)
        elif isinstance(value, dict) or (isinstance(value, list) and not typed[name].multiple):
            raise ConfigError(f"{path}: {name} takes one value; got {value!r}")
        elif value is not None:
            options[name] = typed[name].type_cast_value(context, tuple(several) if typed[name].multiple else several[0])
    return options
