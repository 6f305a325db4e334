"""Commands that ask a run: evaluate, recommend, similar, compare, show."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

RUN = click.argument("run", type=click.Path(path_type=Path))
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output, and nothing else there.")

TRUST = click.option("--trust", multiple=True, metavar="MODULE:CLASS", help="An outside model that may be imported to open the run.")


@click.command(cls=click.RichCommand)
@RUN
@click.option("--metrics", help="Comma-separated, e.g. ndcg@10,recall@20,mrr.")
@click.option("--part", type=click.Choice(["test", "validation"]), default="test", show_default=True)
@click.option("--per-query", type=click.Path(path_type=Path), metavar="FILE", help="Also write one row a query to this Parquet file.")
@TRUST
@JSON
def evaluate(run: Path, metrics: str | None, part: str, per_query: Path | None, trust: tuple[str, ...], as_json: bool) -> None:
    """Measure RUN again on the split that it was trained with.

    Example: [bold]monge evaluate runs/sasrec --metrics ndcg@10,recall@20,coverage@10[/bold]
    """
    from monge.api import load_run
    from monge.cli.show import Bars, print_json, stdout
    from monge.evaluation import DEFAULT_METRICS
    from monge.reporting import metrics_table

    loaded = load_run(run, trusted=trust)
    names = [name.strip() for name in metrics.split(",")] if metrics else list(DEFAULT_METRICS)
    found = loaded.evaluate(names, part=part, watch=Bars())
    if per_query is not None:
        loaded.write_per_query(found, per_query, part=part)
    if as_json:
        print_json({"run": str(run), "model": loaded.info["model"]["name"], "data": loaded.info["data"]["name"], part: found.to_dict()})
        return
    title = f"{loaded.info['data']['name']}, {loaded.info['protocol']['name']}, {part}"
    stdout.print(metrics_table({loaded.info["model"]["name"]: found.to_dict()}, title=title))


@click.command(cls=click.RichCommand)
@RUN
@click.option("--user", help="A user of the log.")
@click.option(
    "--history",
    multiple=True,
    metavar="A,B,C",
    help="Items, oldest first, of somebody whom the log need not know; or DOMAIN=A,B,C, repeatable, one for each domain.",
)
@click.option("--domain", metavar="NAME", help="Only items of this domain; else of all.")
@click.option("--k", "-k", type=int, help="How many items; 10 if not said.")
@click.option("--exclude", metavar="A,B,C", default="", help="Items to leave out.")
@click.option("--include-seen", is_flag=True, help="Also recommend what is in the history.")
@TRUST
@JSON
def recommend(
    run: Path,
    user: str | None,
    history: tuple[str, ...],
    domain: str | None,
    k: int | None,
    exclude: str,
    include_seen: bool,
    trust: tuple[str, ...],
    as_json: bool,
) -> None:
    """The best items for a user of the log, or for a history.

    Example: [bold]monge recommend runs/sasrec --user 196 --k 10[/bold]
    """
    from monge.api import load_run
    from monge.cli.show import print_json, stdout
    from monge.reporting import recommendations_table

    loaded = load_run(run, trusted=trust)
    items = _history(history)
    rows = loaded.recommend(user, history=items, domain=domain, k=k, exclude=_ids(exclude), include_seen=include_seen)
    if as_json:
        print_json(rows)
        return
    if not rows:
        stdout.print("Nothing is left to recommend: every item is in the history or excluded; --include-seen shows them.", soft_wrap=True)
        return
    whom = (
        f"user {user}"
        if user is not None
        else f"a history of {sum(map(len, items.values())) if isinstance(items, dict) else len(items or [])} items"
    )
    stdout.print(recommendations_table([{**row, "item": row["item_id"]} for row in rows], title=f"For {whom}"))


@click.command(cls=click.RichCommand)
@RUN
@click.option("--item", required=True, help="An item of the log.")
@click.option("--domain", metavar="NAME", help="Only items of this domain; else of all.")
@click.option("--k", "-k", type=int, help="How many items; 10 if not said.")
@TRUST
@JSON
def similar(run: Path, item: str, domain: str | None, k: int | None, trust: tuple[str, ...], as_json: bool) -> None:
    """The items most like one item.

    Example: [bold]monge similar runs/sasrec --item 50[/bold]
    """
    from monge.api import load_run
    from monge.cli.show import print_json, stdout
    from monge.reporting import recommendations_table

    rows = load_run(run, trusted=trust).similar(item, k=k, domain=domain)
    if as_json:
        print_json(rows)
        return
    stdout.print(recommendations_table([{**row, "item": row["item_id"]} for row in rows], title=f"Like item {item}"))


@click.command(cls=click.RichCommand)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--metrics", default="recall@10,ndcg@10,mrr", show_default=True, help="Comma-separated.")
@TRUST
@JSON
def compare(runs: tuple[Path, ...], metrics: str, trust: tuple[str, ...], as_json: bool) -> None:
    """RUNS side by side; each is tested against the first, query by query.

    Example: [bold]monge compare runs/mstein runs/sasrec --metrics ndcg@10,mrr[/bold]
    """
    from monge.api import compare_runs
    from monge.cli.show import print_json, stdout
    from monge.reporting import metrics_table

    results, tests = compare_runs(runs, [name.strip() for name in metrics.split(",")], trusted=trust)
    if as_json:
        print_json({"results": results, "against_first": tests})
        return
    stdout.print(metrics_table(results, title="test"))
    for row in tests:
        level = "no clear difference" if row["low"] <= 0 <= row["high"] else ("better" if row["difference"] > 0 else "worse")
        stdout.print(
            f"{row['run']} against {row['first']}, {row['metric']}: {row['difference']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}], "
            f"paired t-test p = {row['p_t']:.2g}, Wilcoxon p = {row['p_wilcoxon']:.2g}: {level}",
            markup=False,
            soft_wrap=True,
        )


@click.command(cls=click.RichCommand)
@RUN
@JSON
def show(run: Path, as_json: bool) -> None:
    """What RUN is (model, data, options, machine) and what it reached.

    Example: [bold]monge show runs/sasrec[/bold]
    """
    from monge.cli.show import print_json, stdout
    from monge.reporting import description_table, options_table, run_summary
    from monge.training.run import RunDirectory

    directory = RunDirectory(run)
    info = directory.info()
    result = directory.read_json("result.json") if (run / "result.json").exists() else {}
    if as_json:
        print_json({"run": str(run), "info": info, "result": result})
        return
    if result:
        stdout.print(run_summary(info, result))
    else:
        stdout.print(f"{run}: {info['model']['name']} on {info['data']['name']}, state: {info['state']}", markup=False)
    stdout.print(options_table(info["model"]["config"], title="model"))
    stdout.print(options_table(info["training"], title="training"))
    stdout.print(options_table(info["protocol"]["options"], title=f"protocol {info['protocol']['name']}"))
    for note in info["protocol"].get("notes", ()):
        stdout.print(note, markup=False)
    stdout.print("[bold]data[/bold]")
    stdout.print(description_table(info["data"]["describe"]))
    stdout.print(options_table(info["environment"], title="environment"))


def _history(given: tuple[str, ...]) -> list[str] | dict[str, list[str]] | None:
    """`A,B` -> [A, B]; `books=A,B` and `films=C` -> {books: [A, B], films: [C]}."""
    if len(given) == 0:
        return None
    if any("=" in text for text in given):
        parts = [text.partition("=") for text in given]
        for name, equals, _ in parts:
            if not equals:
                raise click.UsageError(f"--history takes items, or DOMAIN=items for every domain; got {name!r} beside the others")
        names = [name.strip() for name, _, _ in parts]
        for name in names:
            if names.count(name) > 1:
                raise click.UsageError(f"--history {name}=... is given twice; give the items of a domain in one list: {name}=A,B")
        return {name: _ids(ids) for name, (_, _, ids) in zip(names, parts, strict=True)}
    if len(given) > 1:
        raise click.UsageError("--history is given once; or once a domain, as DOMAIN=items")
    return _ids("".join(given))


def _ids(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
