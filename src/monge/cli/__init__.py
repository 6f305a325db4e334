"""The command line: parses, calls the public API, prints. `monge --help` loads nothing heavy."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; every foreseen error is one sentence and exit code 2."""
    import rich_click as click

    from monge.cli.app import app
    from monge.errors import MongeError

    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    try:
        sys.exit(app.main(args=arguments, prog_name="monge", standalone_mode=False) or 0)
    except MongeError as error:
        if debug:
            raise
        click.echo(f"error: {error}", err=True)
        sys.exit(130 if type(error).__name__ == "InterruptedRunError" else 2)
    except click.ClickException as error:
        click.echo(f"error: {error.format_message()}", err=True)
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("stopped", err=True)
        sys.exit(130)
    except BrokenPipeError:  # e.g. `monge ... | head`
        sys.stderr.close()
        sys.exit(0)
