"""`monge tune MODEL DATA`: one sub-command a model; the model's options fix what is not searched."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from rich.markup import escape

from monge.cli.options import (
    DATA_OPTIONS,
    NOISE_OPTIONS,
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

if TYPE_CHECKING:
    from monge.training.study import Study

STUDY_OPTIONS = (
    "protocol",
    "protocol_option",
    *NOISE_OPTIONS,
    "out",
    "config",
    "as_json",
    "device",
    "space",
    "trials",
    "sampler",
    "pruner",
    "metric",
    "minutes",
)
"""Options of the command that are no hyper-parameters."""


def _command(name: str) -> click.Command:
    from monge.models import find_model
    from monge.training.loop import TrainingConfig
    from monge.training.tuning import PRUNERS, SAMPLERS

    cls = find_model(name)
    range_help = "What to try: NAME=LOW..HIGH, NAME=LOW..HIGH:log, NAME=LOW..HIGH:STEP or NAME=A,B,C; repeatable."

    @data_options
    @click.argument("data")
    @click.option("--space", multiple=True, metavar="NAME=VALUES", help=rf"{range_help} \[default: see above]")
    @click.option("--trials", type=int, help=r"How many there shall be, those of earlier calls counted. \[default: 20]")
    @click.option(
        "--out", type=click.Path(path_type=Path), help=r"Folder of the study, to make or to go on with. \[default: runs/tune-MODEL-DATA]"
    )
    @click.option("--metric", help=r"Of validation: judges a trial and selects its best epoch. \[default: ndcg@10]")
    @click.option("--select", hidden=True, expose_value=False, callback=_no_select)
    @click.option(
        "--sampler", type=click.Choice(list(SAMPLERS)), help=r"tpe learns from earlier trials; random; grid: each once. \[default: tpe]"
    )
    @click.option(
        "--pruner", type=click.Choice(list(PRUNERS)), help=r"median ends trials early that are below the others. \[default: median]"
    )
    @click.option("--minutes", type=float, help=r"No trial begins after so many. \[default: no limit]")
    @protocol_options
    @noise_options
    @click.option("--config", type=click.Path(path_type=Path), help="YAML file of options; the command line goes before it.")
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output, and nothing else there.")
    @click.option("--device", default=None, help=r"auto, cpu, cuda or mps. \[default: auto]")
    def run(**values: Any) -> None:
        _tune(name, values)

    command = click.command(cls=click.RichCommand, name=name, help=_help(cls, name))(run)
    training = [option for option in config_options(TrainingConfig, "Fix options of training") if option.name != "select"]
    command.params.extend(config_options(cls.Config, f"Fix options of {cls.__name__}") + training)
    return command


@click.group(cls=Models, make=_command, subcommand_metavar="MODEL DATA [OPTIONS]")
def tune() -> None:
    """Search for good options of MODEL on DATA, by validation alone; the same command goes on with a study that was stopped.

    DATA is as in [bold]monge train[/bold]. The best options are written as a file for [bold]monge train --config[/bold].

    Example: [bold]monge tune sasrec ml-100k --space learning_rate=1e-4..1e-2:log --space dim=32,64 --trials 30 --epochs 40[/bold]
    """


def _no_select(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None:
        raise click.UsageError(f"--select: a study judges its trials and selects their epochs by one metric; say --metric {value}")


def _help(cls: Any, name: str) -> str:
    space = cls.Config().space() if hasattr(cls.Config, "space") else {}
    metric = " --metric sampled_ndcg@10" if getattr(cls, "needs_domains", False) else ""
    searched = escape(", ".join(f"{option}={text}" for option, text in space.items()) or "nothing")
    return (
        f"Search for good options of {escape(name)} by validation alone.\n\n"
        f"Without --space it searches, but for what is fixed: {searched}.\n\n"
        f"Example: [bold]monge tune {example(name, cls)}{metric} --trials 30 --epochs 40[/bold]"
    )


def _tune(model: str, values: dict[str, Any]) -> None:
    from monge.api import tune as tune_model
    from monge.api.agreement import is_split
    from monge.api.splitting import read_for
    from monge.cli.show import StudyBars, print_json, stdout
    from monge.reporting import trials_table

    data = values.pop("data")
    given = {
        name: value
        for name, value in values.items()
        if value is not None and not (name in STUDY_OPTIONS and (value is False or value == ()))
    }
    options: dict[str, Any] = options_from_file(given.pop("config", None), model, STUDY_OPTIONS, mappings=("space",))
    space = options.pop("space", {}) | _space(given.pop("space", ()))
    options |= given
    read_options = taken(options, DATA_OPTIONS)
    asked = split_options(options)
    out = Path(options.pop("out", None) or out_folder(model, data, "tune-"))
    as_json = options.pop("as_json", False)
    watch = StudyBars()
    source: Any = data
    if is_split(data):
        refuse_reading(data, read_options)
    else:
        source = read_for(options.get("protocol", ""), data, asked, echo=watch.message, **read_options)
    with watch:
        study = tune_model(
            model,
            source,
            space=space or None,
            out=out,
            protocol_options=asked,
            read_options=read_options,
            name=data,
            command="monge " + shlex.join(sys.argv[1:]),
            watch=watch,
            **options,
        )
    if as_json:
        print_json(_as_json(study))
        return
    stdout.print(trials_table([asdict(trial) for trial in study.trials], metric=study.metric, importance=study.importance))
    stdout.print(
        f"train it: monge train {shlex.join([model, data])} --config {shlex.quote(str(out / 'best.yaml'))}", markup=False, soft_wrap=True
    )


def _space(pairs: Sequence[str]) -> dict[str, str]:
    space: dict[str, str] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not text:
            raise click.UsageError(f"--space takes NAME=LOW..HIGH or NAME=A,B,C; got {pair!r}")
        if name in space:
            raise click.UsageError(f"--space {name} is given twice")
        space[name] = text.strip()
    return space


def _as_json(study: Study) -> dict[str, Any]:
    best = asdict(study.best)
    return {
        "study": str(study.path),
        "model": study.model,
        "data": study.data,
        "metric": study.metric,
        "best": {name: best[name] for name in ("number", "value", "best_epoch", "options")},
        "importance": dict(study.importance),
        "trials": [asdict(trial) for trial in study.trials],
    }
