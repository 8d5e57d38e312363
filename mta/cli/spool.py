"""`mta spool`: what a spool has lost, whether it is whole, and how to mend it."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Annotated, Any

import typer

from mta.cli import common
from mta.cli.common import ConfigFile, Home, Json, Override, Socket, pairs

spool = typer.Typer(
    help="Look at the spool, mend it, accept what it has lost.", no_args_is_help=True
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(spool, name="spool")


@spool.command("accept-loss")
def accept_loss(
    reason: Annotated[str, typer.Option(help="Why; kept with the loss.")] = "",
    home: Home = None,
    socket: Socket = None,
    config: ConfigFile = None,
    override: Override = None,
    as_json: Json = False,
) -> None:
    """Say that you have seen what was lost: the node is ready again.

    Who did so and when is kept in `losses.json` of the shard's log. 1 while a loss is still being
    compared with the log.
    """
    from mta.cli import control

    try:
        path = common.control_socket(home, socket)
        found = control.ask(path, "spool.accept", by=user(), reason=reason)
    except control.NoServerError:
        found = accept_offline(config, override, home, reason)
    if as_json:
        common.print_json(found)
    else:
        for row in found["accepted"]:
            count = f"{row['recipients']} recipients are recorded as Lost"
            typer.echo(f"accepted: shard {row['shard']}: {row['what']}; {count}")
        for line in found["pending"]:
            typer.echo(f"not yet: {line}")
        if not (found["accepted"] or found["pending"]):
            typer.echo("nothing was lost that is not accepted")
    raise typer.Exit(1 if found["pending"] else 0)


def accept_offline(
    config: Path | None, override: list[str] | None, home: Path | None, reason: str
) -> dict[str, Any]:
    """The same where no server runs."""
    from mta.audit import losses
    from mta.clock import SystemClock
    from mta.config.load import load
    from mta.maillog import reader
    from mta.maillog.writer import LOCK_FILE, locked

    settings = load(config, pairs(override), home)
    accepted: list[dict[str, Any]] = []
    pending: list[str] = []
    for folder in reader.shard_folders(Path(settings.log_dir)):
        number = int(folder.name.removeprefix("shard-"))
        with locked(folder / LOCK_FILE):
            known = losses.Losses(folder)
            now = SystemClock().wall_us()
            accepted += [losses.row(number, one) for one in known.accept(user(), reason, now)]
            pending += [losses.said(number, one) for one in known.pending]
    return {"accepted": accepted, "pending": pending}


def user() -> str:
    """Who runs this, whoever sudo made of them."""
    name = os.environ.get("SUDO_USER")
    if name:
        return name
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
