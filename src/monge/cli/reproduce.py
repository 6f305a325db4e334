"""`monge reproduce`: a paper's table on the data at hand."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import rich_click as click

from monge.cli.options import DATA_OPTIONS, data_options, key_values, taken


@click.command(cls=click.RichCommand)
@click.argument("name", required=False)
@click.option("--data", help="A data set or a file, in place of the experiment's own.")
@click.option("--out", type=click.Path(path_type=Path), help=r"Where everything goes. \[default: runs/reproduce/NAME-DATA]")
@click.option("--seeds", default=3, show_default=True, help="How many seeds.")
@click.option("--seeds-of", multiple=True, metavar="LABEL=N", help="How many seeds this row has instead; repeatable.")
@click.option("--trials", default=0, show_default=True, help="Settings that each row tries first, on validation alone; 0: none.")
@click.option(
    "--options-from",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Take each model's options from an experiment on the same split that was called with --trials: its folder or record.json.",
)
@click.option(
    "--runs-from",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Copy finished runs of another experiment where they are the very runs that would be trained; repeatable.",
)
@click.option("--only", multiple=True, metavar="LABEL", help="Only this row; repeatable.")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="Of models and training, e.g. epochs=5; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print the record on standard output, and nothing else there.")
@data_options
def reproduce(name: str | None, **values: Any) -> None:
    """The table NAME of a paper: every row with several seeds on one split, beside what the paper prints.

    Without NAME: the tables that there are. Called again with the same --out it goes on where it stopped; the record is OUT/record.json.

    Example: [bold]monge reproduce sinkhorncf/loss-replacement --data ml-100k --rating-at-least 4 --seeds 3[/bold]
    """
    from monge.cli.show import Bars, print_json, stdout
    from monge.experiments import EXPERIMENTS
    from monge.experiments import reproduce as reproduce_experiment
    from monge.reporting import experiment_table, experiments_table

    as_json = values.pop("as_json")
    if name is None:
        if as_json:
            print_json({key: {"title": one.title, "source": one.source, "data": one.data} for key, one in EXPERIMENTS.items()})
            return
        stdout.print(experiments_table({key: (one.title, one.source, one.data) for key, one in EXPERIMENTS.items()}))
        return
    record = reproduce_experiment(
        name,
        data=values["data"],
        out=values["out"],
        seeds=values["seeds"],
        trials=values["trials"],
        seeds_of=_seeds_of(values["seeds_of"]),
        options_from=values["options_from"],
        runs_from=values["runs_from"],
        only=values["only"],
        data_options=taken(values, DATA_OPTIONS),
        options=key_values(values["options"], "--option"),
        command="monge " + shlex.join(sys.argv[1:]),
        watch=Bars(),
    )
    if as_json:
        print_json(record)
        return
    stdout.print(experiment_table(record))


def _seeds_of(pairs: tuple[str, ...]) -> dict[str, int]:
    """`("SA-VAE=5",)` -> {"SA-VAE": 5}."""
    found: dict[str, int] = {}
    for pair in pairs:
        label, equals, number = pair.rpartition("=")
        if not equals or not number.isdigit():
            raise click.UsageError(f"--seeds-of takes LABEL=N with a whole number; got {pair!r}")
        found[label] = int(number)
    return found
