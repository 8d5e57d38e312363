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
        return
    totals, workers = found.pop("totals", {}), found.pop("workers", [])
    problems = [worker["problem"] for worker in workers if worker.get("problem")]
    common.print_facts(found | ({"problems": problems} if problems else {}))
    common.print_figures(totals, workers, [f"worker {n}" for n in range(len(workers))])
