"""`monge models`: what can be trained."""

from __future__ import annotations

import re
import sys

import rich_click as click


@click.command(cls=click.RichCommand)
@click.argument("model", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output, and nothing else there.")
def models(model: str | None, as_json: bool) -> None:
    """The models that there are; with MODEL: what it is and its options.

    Example: [bold]monge models mstein[/bold]
    """
    from monge.cli.show import print_json, stdout
    from monge.models import MODELS, find_model
    from monge.options import describe_options
    from monge.reporting import models_table, options_table

    if model is not None:
        cls = find_model(model)
        options = describe_options(cls.Config)
        if as_json:
            print_json({option.name: {"default": option.default, "help": option.help} for option in options})
            return
        for line, is_prose in paragraphs((sys.modules[cls.__module__].__doc__ or "").strip()):
            stdout.print(line, markup=False, soft_wrap=not is_prose)  # a formula is neither wrapped nor cropped
        stdout.print()
        stdout.print(options_table({option.name: f"{option.default}    {option.help}" for option in options}, title="options and defaults"))
        return
    rows = []
    for name, path in MODELS.items():
        text = (sys.modules[find_model(name).__module__].__doc__ or "").strip()
        source = re.search(r"Source: (.+?)\.(?: [A-Z]|$)", " ".join(text.split()))  # to the end of its sentence
        description = text.splitlines()[0].partition(": ")[2]
        rows.append({"name": name, "family": path.split(".")[2], "description": description, "paper": source[1] if source else ""})
    if as_json:
        print_json(rows)
        return
    stdout.print(models_table(rows))


def paragraphs(text: str) -> list[tuple[str, bool]]:
    """A module's text for a terminal of any width: (paragraph, True), each one line to be wrapped; (line, False), to be left as it is.

    Indented lines (formulas), rows of tables and empty lines are left.
    """
    found: list[tuple[str, bool]] = []
    for line in text.splitlines():
        is_prose = line[:1] not in ("", " ", "|")
        if is_prose and found and found[-1][1]:
            found[-1] = (f"{found[-1][0]} {line}", True)
        else:
            found.append((line, is_prose))
    return found
