"""The app `mta` and its entry point; a mistake is told in a line, never with a traceback."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from mta.cli import (
    doctor,
    legacy,
    load,
    logs,
    queues,
    serve,
    settings,
    spool,
    status,
    workers,
)
from mta.cli.grouped import Grouped
from mta.errors import ConfigError, MailraceError

app = typer.Typer(
    name="mta",
    cls=Grouped,
    help="Mailrace: a mail transfer agent for email service providers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        from importlib.metadata import version

        typer.echo(f"mailrace {version('mailrace')}")
        raise typer.Exit


@app.callback()
def start(
    version: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Show the version")
    ] = False,
) -> None:
    """Mailrace: a mail transfer agent for email service providers."""


for module in (serve, load, status, queues, logs, spool, settings, doctor, legacy, workers):
    module.register(app)


def main() -> None:
    """Run the command line: 0 done, 1 nothing found or failed, 2 wrong use."""
    if sys.argv[1:2] == ["sendmail"] and "--help" not in sys.argv:
        from mta.cli import sendmail  # its words are its own: `--` among them

        sys.exit(sendmail.run(sys.argv[2:]))
    try:
        app(prog_name="mta")
    except MailraceError as error:
        for line in (str(error), *getattr(error, "__notes__", ())):
            typer.echo(f"mta: {line}", err=True)
        sys.exit(2 if _wrong_use(error) else 1)
    except BrokenPipeError:  # the reader of a pipe has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as error:  # noqa: BLE001 - users get a line, and a file to report
        typer.echo(f"mta: {_unexpected(error)}", err=True)
        sys.exit(1)


def _wrong_use(error: MailraceError) -> bool:
    """Whether the command line itself is at fault, as by a bad value of -o or --rate."""
    from mta.config.load import COMMAND_LINE

    return isinstance(error, ConfigError) and error.where == COMMAND_LINE


def _unexpected(error: Exception) -> str:
    """An error that nobody foresaw, in a line; the traceback goes to a file of its own."""
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="mta-", suffix=".err", delete=False) as file:
        traceback.print_exception(error, file=file)
    return f"unexpected error: {type(error).__name__}: {error} (see {file.name})"


if __name__ == "__main__":
    main()
