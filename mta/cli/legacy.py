"""`mta sendmail` and `mta mailq`: the commands whose names other programs know."""

from __future__ import annotations

from typing import Annotated

import typer

from mta.cli.common import Home, Json, Socket

AS_GIVEN = {
    "ignore_unknown_options": True,
    "allow_interspersed_args": False,
    "help_option_names": ["--help"],
}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("sendmail", context_settings=AS_GIVEN)(sendmail)
    app.command("mailq")(mailq)


def sendmail(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="OPTION-OR-RECIPIENT",
            help="-t recipients from the header, -i dots do not end it, -f SENDER, -F NAME, -v,"
            " -N/-R/-V for DSN, -bm, -bs, -bp, -bi, -q, --server ADDRESS, --home DIR;"
            " -o and other options of sendmail are taken and change nothing.",
        ),
    ] = None,
) -> None:
    """Take a message from standard input as sendmail does: to the server, or, while none answers,
    into its pickup folder.

    Installed as `mailrace-sendmail` too, which knows its names sendmail, mailq and newaliases.
    """
    from mta.cli import sendmail as program

    raise typer.Exit(program.run(arguments or []))


def mailq(home: Home = None, socket: Socket = None, as_json: Json = False) -> None:
    """List what waits, as mailq does; `mta queue` does it better."""
    from mta.cli import mailq as program

    raise typer.Exit(program.show(home, socket, as_json=as_json))
