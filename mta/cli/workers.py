"""`mta restart-workers`: replace the worker processes of the running server, one after another."""

from __future__ import annotations

from typing import Annotated

import typer

from mta.cli import common
from mta.cli.common import Home, Json, Socket

Workers = Annotated[
    list[int] | None,
    typer.Option(
        "--worker", metavar="N", help="Replace only this worker (0 = the first); may be repeated"
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("restart-workers")(restart)


def restart(
    worker: Workers = None, home: Home = None, socket: Socket = None, as_json: Json = False
) -> None:
    """Replace worker processes, refusing no connection.

    A worker's sessions get 421 at their next boundary, and it finishes what it sends within the
    grace period; meanwhile new connections go to the other workers, or wait.
    """
    from mta.cli import control

    path = common.control_socket(home, socket)
    with common.waiting("replacing workers"):
        found = control.ask(path, "worker.restart", workers=worker or [])
    if as_json:
        common.print_json(found)
    else:
        names = ", ".join(str(number) for number in found["restarted"])
        typer.echo(f"replaced worker {names}")
