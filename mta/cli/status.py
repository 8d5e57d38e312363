"""`mta status`: how the running server does."""

from __future__ import annotations

import typer

from mta.cli import common
from mta.cli.common import Home, Json, Socket


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(status)


def status(home: Home = None, socket: Socket = None, as_json: Json = False) -> None:
    """Tell how the running server does."""
    from mta.cli import control

    path = common.control_socket(home, socket)
    with common.waiting("asking all workers"):
        found = control.ask(path, "status")
    if as_json:
        common.print_json(found)
    elif isinstance(found, dict):
        common.print_facts(found)
