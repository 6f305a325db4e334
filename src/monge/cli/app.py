"""The commands. Each imports what it needs when it is called."""

from __future__ import annotations

from typing import Any, ClassVar

import rich_click as click

click.rich_click.SHOW_ARGUMENTS = True
click.rich_click.TEXT_MARKUP = "rich"
SETTINGS = {"help_option_names": ["-h", "--help"]}


class Lazy(click.RichGroup):
    """A group whose commands live in modules that are imported when one of them is called; its help needs none of them."""

    TABLE: ClassVar = {
        "train": ("monge.cli.train:train", "Train a model on a log; keeps a run directory with the test result and a report."),
        "tune": ("monge.cli.tune:tune", "Search for good options of a model, by validation alone; goes on where it was stopped."),
        "evaluate": ("monge.cli.ask:evaluate", "Measure a run again, by any metrics, also one value a query."),
        "recommend": ("monge.cli.ask:recommend", "The best items for a user, or for a history of items."),
        "similar": ("monge.cli.ask:similar", "The items most like one item."),
        "compare": ("monge.cli.ask:compare", "Runs side by side, with a paired test on the same queries."),
        "reproduce": ("monge.cli.reproduce:reproduce", "A paper's table on the data at hand: seeds, paired tests, what the paper prints."),
        "show": ("monge.cli.ask:show", "What a run is and what it reached."),
        "models": ("monge.cli.models:models", "The models that there are; with a name: its options."),
        "data": ("monge.cli.data:data", "Look at a log, split it, convert it; known data sets."),
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names, in the order of use."""
        return list(self.TABLE)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; for the help page a stub with its one line does."""
        if cmd_name not in self.TABLE:
            from monge.errors import UnknownNameError, nearest

            raise UnknownNameError(f"no command {cmd_name!r}{nearest(cmd_name, self.TABLE)}")
        where, text = self.TABLE[cmd_name]
        if ctx.params.get("help_page"):
            return click.RichCommand(name=cmd_name, help=text)
        import importlib

        module, _, attribute = where.partition(":")
        command: Any = getattr(importlib.import_module(module), attribute)
        return command

    def format_help(self, ctx: click.RichContext, formatter: click.RichHelpFormatter) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Write the help page from the table alone."""
        ctx.params["help_page"] = True
        super().format_help(ctx, formatter)


@click.group(cls=Lazy, context_settings=SETTINGS)
@click.version_option(package_name="monge", prog_name="monge")
def app() -> None:
    """Train, compare and query recommenders built on optimal transport and self-supervision.

    Example: [bold]monge train mstein ratings.csv --out runs/first[/bold], then
    [bold]monge recommend runs/first --user 42[/bold].
    Add [bold]--debug[/bold] to any command for the traceback of an error.
    """
