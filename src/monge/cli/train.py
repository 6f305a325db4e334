"""`monge train MODEL DATA`: one sub-command a model, with the model's options as options."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import rich_click as click
from rich.markup import escape

from monge.cli.options import (
    DATA_OPTIONS,
    NOISE_OPTIONS,
    Folded,
    Models,
    config_options,
    data_options,
    example,
    noise_options,
    options_from_file,
    out_folder,
    protocol_options,
    refuse_reading,
    split_options,
    taken,
)

RUN_OPTIONS = ("protocol", "protocol_option", *NOISE_OPTIONS, "out", "resume", "config", "as_json", "metrics", "device", "report", "track")
"""Options of the command that are no hyper-parameters."""


def _command(name: str) -> click.Command:
    from monge.models import find_model
    from monge.training.loop import TrainingConfig

    cls = find_model(name)

    @data_options
    @click.argument("data")
    @protocol_options
    @noise_options
    @click.option("--out", type=click.Path(path_type=Path), help=r"Run directory. \[default: runs/MODEL-DATA]")
    @click.option("--resume", is_flag=True, help="Go on with the interrupted run in --out.")
    @click.option("--config", type=click.Path(path_type=Path), help="YAML file of options; the command line goes before it.")
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output, and nothing else there.")
    @click.option("--metrics", help="Comma-separated, e.g. ndcg@10,recall@20,mrr.")
    @click.option("--device", default=None, help=r"auto, cpu, cuda or mps. \[default: auto]")
    @click.option("--report/--no-report", cls=Folded, default=None, help=r"Write report.html. \[default: where plotly is installed]")
    @click.option("--track", multiple=True, metavar="NAME", help="Log epochs to tensorboard or mlflow too; repeatable.")
    def run(**values: Any) -> None:
        _train(name, values)

    command = click.command(cls=click.RichCommand, name=name, help=_help(cls, name))(run)
    from_configs = config_options(cls.Config, f"{cls.__name__} options") + config_options(TrainingConfig, "Training options")
    command.params.extend(from_configs)
    return command


@click.group(cls=Models, make=_command, subcommand_metavar="MODEL DATA [OPTIONS]")
def train() -> None:
    """Train MODEL on DATA, select the best epoch on validation, test once, keep the run.

    DATA is a file (CSV, TSV, Parquet, Arrow, JSON lines, .inter, sequence text; also .gz), a known data set
    (see [bold]monge data list[/bold]), or a split file.

    Example: [bold]monge train sasrec ml-100k --dim 64 --epochs 30 --out runs/sasrec[/bold]
    """


def _help(cls: type, name: str) -> str:
    first = (sys.modules[cls.__module__].__doc__ or cls.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")
    select = " --select sampled_ndcg@10" if getattr(cls, "needs_domains", False) else ""
    return f"{escape(first)}\n\nExample: [bold]monge train {example(name, cls)}{select} --out runs/{name.replace(':', '-')}[/bold]"


def _train(model: str, values: dict[str, Any]) -> None:
    from monge.api import train as train_model
    from monge.api.agreement import is_split
    from monge.api.splitting import read_for
    from monge.cli.show import Bars, print_json, stdout
    from monge.reporting import run_summary

    data = values.pop("data")
    not_given = (None, (), False)  # a flag of the run that is off was not given; of a model it may be --no-something
    given: dict[str, Any] = {
        name: value
        for name, value in values.items()
        if value is not None and (name not in RUN_OPTIONS or name in ("report", *NOISE_OPTIONS) or value not in not_given)
    }
    options: dict[str, Any] = options_from_file(given.pop("config", None), model, RUN_OPTIONS) | given
    read_options = taken(options, DATA_OPTIONS)
    asked = split_options(options)
    metrics: str | None = options.pop("metrics", None)
    out = Path(options.pop("out", None) or out_folder(model, data))
    as_json = options.pop("as_json", False)
    run_options: dict[str, Any] = {name: options.pop(name) for name in ("resume", "device", "protocol", "track") if name in options}
    report = options.pop("report", None)  # --no-report arrives as False and must stay
    if report is None:
        report = _has_plotly()
    watch = Bars()
    source: Any = data
    if is_split(data):
        refuse_reading(data, read_options)
    elif not run_options.get("resume"):  # a run that is gone on with has its split
        source = read_for(run_options.get("protocol", ""), data, asked, echo=watch.message, **read_options)
    run = train_model(
        model,
        source,
        protocol_options=asked,
        read_options=read_options,
        out=out,
        report=report,
        name=data,
        command="monge " + shlex.join(sys.argv[1:]),
        watch=watch,
        metrics=[metric.strip() for metric in metrics.split(",")] if metrics else None,
        **run_options,
        **options,
    )
    if as_json:
        print_json({key: run.result.get(key) for key in ("run", "model", "data", "validation", "test")})
        return
    stdout.print(run_summary(run.info, run.result))
    if report:
        stdout.print(f"report: {out / 'report.html'}", style="dim")


def _has_plotly() -> bool:
    from importlib.util import find_spec

    return find_spec("plotly") is not None and find_spec("jinja2") is not None
