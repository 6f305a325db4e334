"""`monge data`: describe, split, convert, embed, list."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import rich_click as click

from monge.cli.options import DATA_OPTIONS, PROTOCOL_HELP, data_options, noise_options, split_options, taken


@click.group(cls=click.RichGroup)
def data() -> None:
    """Look at a log, split it, convert it; known data sets.

    Example: [bold]monge data describe ratings.csv[/bold]
    """


@data.command()
@click.argument("source", metavar="DATA")
@data_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output, and nothing else there.")
def describe(source: str, as_json: bool, **values: Any) -> None:
    """Counts, lengths, popularity, and warnings of what will bite.

    Example: [bold]monge data describe ratings.csv --rating-at-least 4[/bold]
    """
    from monge.api import open_log
    from monge.cli.show import print_json, stderr, stdout
    from monge.data import describe as describe_log
    from monge.reporting import description_table

    found = describe_log(open_log(source, echo=partial(stderr.print, markup=False), **taken(values, DATA_OPTIONS))).to_dict()
    if as_json:
        print_json(found)
        return
    stdout.print(description_table(found))


@data.command()
@click.argument("source", metavar="DATA")
@click.option("--protocol", default="leave-one-out", help=f"leave-one-out, ratio, temporal, cold-items, published, ... {PROTOCOL_HELP}")
@click.option("--protocol-option", multiple=True, metavar="NAME=VALUE", help="An option of the protocol, e.g. test=0.2; repeatable.")
@noise_options
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The split file to write (.safetensors).")
@data_options
def split(source: str, protocol: str, out: Path, **values: Any) -> None:
    """Split a log once and keep it in one file, to train elsewhere or to compare on the very same split.

    Example: [bold]monge data split ratings.csv --protocol ratio --protocol-option seed=3 --out split.safetensors[/bold]
    """
    from monge.api import make_split
    from monge.api.splitting import read_for
    from monge.cli.show import stderr, stdout
    from monge.data import Split
    from monge.errors import DataError
    from monge.training.run import disk_errors

    if out.suffix != ".safetensors":
        raise DataError(f"{out}: a split file ends in .safetensors")
    if out.exists():
        raise DataError(f"{out} exists already; choose another name or remove it")
    if not out.parent.is_dir():
        raise DataError(f"{out.parent}: no such folder")
    options, reading = split_options(values), taken(values, DATA_OPTIONS)
    log = read_for(protocol, source, options, echo=partial(stderr.print, markup=False), **reading)
    made = log if isinstance(log, Split) else make_split(log, protocol, options)
    with disk_errors(out):
        made.save(out)
    counts = f"{len(made.train):,} training interactions, {len(made.validation):,} validation and {len(made.test):,} test queries"
    stdout.print(f"{out}: {counts}", markup=False)
    for note in made.notes:
        stdout.print(f"note: {note}", markup=False)


@data.command()
@click.argument("source", metavar="DATA")
@click.argument("target", type=click.Path(path_type=Path), metavar="FILE")
@data_options
def convert(source: str, target: Path, **values: Any) -> None:
    """Write a log in another format, named by the suffix of FILE.

    Example: [bold]monge data convert ml-100k ml-100k.parquet[/bold]
    """
    from monge.api import open_log
    from monge.cli.show import stderr, stdout
    from monge.data import write
    from monge.data.convert import left_out
    from monge.errors import DataError

    if target.exists():
        raise DataError(f"{target} exists already; choose another name or remove it")
    log = open_log(source, echo=partial(stderr.print, markup=False), **taken(values, DATA_OPTIONS))
    write(log, target)
    stdout.print(f"{target}: {len(log):,} interactions of {log.n_users:,} users with {log.n_items:,} items", markup=False)
    if lacking := left_out(log, target):
        stdout.print(f"note: not written: {', '.join(lacking)}", markup=False)


@data.command()
@click.argument("source", metavar="ITEMS")
@click.option("--columns", required=True, metavar="NAME,NAME", help="The columns of text, joined in this order.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The file of features to write (.safetensors).")
@click.option(
    "--model", default="all-MiniLM-L6-v2", show_default=True, help="A sentence-transformers model on this machine: name or folder."
)
@click.option("--item-column", metavar="NAME", help="Column of items, where it is not found by itself.")
@click.option("--batch-size", default=64, show_default=True, help="Texts encoded at once.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or mps.")
def embed(source: str, columns: str, out: Path, model: str, item_column: str | None, batch_size: int, device: str) -> None:
    """Turn texts of ITEMS (a table, or a known data set) into features for --modality; nothing is downloaded.

    Called again with the same texts and model it does nothing.

    Example: [bold]monge data embed ml-100k --columns title,genres --out text.safetensors[/bold], then
    [bold]monge train vbpr ml-100k --modality text=text.safetensors[/bold]
    """
    from rich.progress import Progress

    from monge.cli.show import stderr, stdout
    from monge.data.embed import embed as embed_items
    from monge.errors import DataError
    from monge.training.run import disk_errors

    if not out.parent.is_dir():
        raise DataError(f"{out.parent}: no such folder")
    with Progress(console=stderr, transient=True, disable=not stderr.is_terminal) as bar, disk_errors(out):
        task = bar.add_task("texts", total=None)
        wanted = [name.strip() for name in columns.split(",") if name.strip()]
        made = embed_items(
            source,
            wanted,
            out,
            model=model,
            item_column=item_column,
            batch_size=batch_size,
            device=device,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    empty = f", {made['n_empty']:,} without text left out" if made["n_empty"] else ""
    state = "up to date" if made["cached"] else "written"
    stdout.print(f"{out}: {state}: {made['width']} numbers for each of {made['n_items'] - made['n_empty']:,} items{empty}", markup=False)


@data.command(name="list")
def list_datasets() -> None:
    """Data sets that are known by name.

    Example: [bold]monge data list[/bold]
    """
    from monge.cli.show import stdout
    from monge.data import known_datasets
    from monge.reporting import options_table

    stdout.print(options_table({dataset.name: dataset.description for dataset in known_datasets().values()}, title="known data sets"))
