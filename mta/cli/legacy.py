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
            help="-t: recipients from the header; -i: a line of one dot is content; -f SENDER;"
            " -F NAME; -v: print the dialog; -N, -R, -V: DSN options; -bm, -bs, -bp, -bi, -q;"
            " --server ADDRESS; --home DIR. Other options of sendmail are ignored",
        ),
    ] = None,
) -> None:
    """Send a message from standard input, as sendmail does. While no server answers, it goes to the
    pickup folder.

    Also installed as `mailrace-sendmail`, which may be linked as sendmail, mailq and newaliases.
    """
    from mta.cli import sendmail as program

    raise typer.Exit(program.run(arguments or []))


def mailq(home: Home = None, socket: Socket = None, as_json: Json = False) -> None:
    """List the queue in the format of mailq. See also `mta queue list`."""
    from mta.cli import mailq as program

    raise typer.Exit(program.show(home, socket, as_json=as_json))
