"""`mta queue`: what waits, and what an operator can do with it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Annotated, Any

import typer

from mta.cli import acts, common, control
from mta.cli.acts import (
    Campaign,
    Domain,
    Id,
    Recipient,
    Sender,
    Site,
    Tenant,
    selection,
)
from mta.cli.common import Home, Json, Socket, Wide

All = Annotated[bool, typer.Option("--all", help="All mail")]
Limit = Annotated[
    int, typer.Option("--limit", "-n", min=1, help="Show at most N rows", metavar="N")
]
MessageId = Annotated[str, typer.Argument(metavar="ID", help="Message id")]

COLUMNS = ("id", "recipient", "state", "site", "tenant", "campaign", "attempts", "due", "code",
           "enhanced", "text")  # fmt: skip
FIRST = ("id", "recipient", "state", "due", "text", "code")  # kept where the terminal is narrow
EMPTY = "The queue is empty"

queue = typer.Typer(help="Show and manage the queue.", no_args_is_help=True)
dead = typer.Typer(
    help="Show and requeue dead letters: bounces that could not be delivered.", no_args_is_help=True
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(queue, name="queue")
    acts.register(queue)
    queue.add_typer(dead, name="dead")


@queue.command("list")
def list_(
    domain: Domain = "",
    site: Site = "",
    tenant: Tenant = "",
    campaign: Campaign = "",
    sender: Sender = "",
    recipient: Recipient = "",
    id: Id = "",
    limit: Limit = 100,
    wide: Wide = False,
    home: Home = None,
    socket: Socket = None,
    as_json: Json = False,
) -> None:
    """List queued recipients, the oldest first; as JSON, one per line."""
    select = selection(
        domain=domain, site=site, tenant=tenant, campaign=campaign, sender=sender,
        recipient=recipient, id=id,
    )  # fmt: skip
    path = common.control_socket(home, socket)
    stream = control.stream(path, "queue.list", {"select": select, "limit": limit})
    count = show_rows(stream, as_json, wide=wide, none="No matching mail" if select else EMPTY)
    tell_limit(count, limit, as_json)
    control.tell_refused(path)
    raise typer.Exit(0 if count or not select else 1)


def tell_limit(count: int, limit: int, as_json: bool) -> None:
    """Say on standard error that there may be more."""
    if count >= limit and not as_json:
        typer.echo(f"These are the first {count:,}; --limit shows more.", err=True)


def show_rows(
    stream: Generator[Any, None, Any],
    as_json: bool,
    columns: tuple[str, ...] = COLUMNS,
    *,
    first: tuple[str, ...] = FIRST,
    wide: bool = False,
    none: str = EMPTY,
) -> int:
    """Print the rows of an answer: its parts, or the rows that are its result; their count."""
    rows: list[dict[str, Any]] = []
    count = 0

    def take(row: dict[str, Any]) -> None:
        nonlocal count
        count += 1
        common.print_line(row) if as_json else rows.append(row)

    with common.waiting("reading the queues"):
        result = drain(stream, take)
    if isinstance(result, dict) and isinstance(result.get("rows"), list):
        result = result["rows"]
    for row in result if isinstance(result, list) else ():
        take(row)
    if rows:
        common.print_table(rows, columns, first=first, wide=wide)
    elif not as_json:
        typer.echo(none)
    return count


def drain(stream: Generator[Any, None, Any], take: Callable[[Any], None]) -> Any:
    """Give every part to `take`; the result."""
    while True:
        try:
            take(next(stream))
        except StopIteration as end:
            return end.value


@queue.command()
def show(
    id: MessageId,
    wide: Wide = False,
    home: Home = None,
    socket: Socket = None,
    as_json: Json = False,
) -> None:
    """Show a message and its recipients."""
    found = control.ask(common.control_socket(home, socket), "queue.show", id=id)
    if as_json:
        common.print_json(found)
    else:
        common.print_facts(found, COLUMNS[1:], first=FIRST[1:], wide=wide)


@queue.command()
def top(
    by: Annotated[
        str, typer.Option(help="Group by site, domain, tenant, campaign or queue", metavar="WHAT")
    ] = "site",
    limit: Limit = 20,
    wide: Wide = False,
    home: Home = None,
    socket: Socket = None,
    as_json: Json = False,
) -> None:
    """Count queued recipients by group, the largest first; as JSON, one per line."""
    kinds = ("site", "domain", "tenant", "campaign", "queue")
    if by not in kinds:
        raise typer.BadParameter(f'"{by}" is none of {", ".join(kinds)}', param_hint="--by")
    path = common.control_socket(home, socket)
    stream = control.stream(path, "queue.top", {"by": by, "limit": limit})
    show_rows(stream, as_json, (), first=("name",), wide=wide)
    control.tell_refused(path)


@dead.command("list")
def dead_list(
    limit: Limit = 100,
    wide: Wide = False,
    home: Home = None,
    socket: Socket = None,
    as_json: Json = False,
) -> None:
    """List the dead letters, the oldest first; as JSON, one per line."""
    path = common.control_socket(home, socket)
    columns = ("id", "time", "sender", "recipient", "code", "enhanced", "text")
    first, none = ("id", "recipient", "time", "text"), "There are no dead letters"
    stream = control.stream(path, "dead.list", {"limit": limit})
    count = show_rows(stream, as_json, columns, first=first, wide=wide, none=none)
    tell_limit(count, limit, as_json)


@dead.command("show")
def dead_show(
    id: MessageId, home: Home = None, socket: Socket = None, as_json: Json = False
) -> None:
    """Show a dead letter."""
    found = control.ask(common.control_socket(home, socket), "dead.show", id=id)
    common.print_json(found) if as_json else common.print_facts(found)


@dead.command("requeue")
def dead_requeue(
    id: Annotated[str | None, typer.Argument(metavar="ID", help="Message id")] = None,
    all: All = False,
    home: Home = None,
    socket: Socket = None,
    as_json: Json = False,
) -> None:
    """Queue a dead letter, or all of them, again."""
    if bool(id) == all:
        raise typer.BadParameter("name an id, or use --all")
    args: dict[str, Any] = {"all": True} if all else {"id": id}
    with common.waiting("requeuing"):
        found = control.ask(common.control_socket(home, socket), "dead.requeue", **args)
    if as_json:
        common.print_json(found)
    else:
        typer.echo("requeued")


@dead.command("export")
def dead_export(
    id: MessageId,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write to this file; default: standard output")
    ] = None,
    home: Home = None,
    socket: Socket = None,
    as_json: Json = False,
) -> None:
    """Write a dead letter's content (.eml); as JSON, a string of its octets in Latin-1."""
    found = control.ask(common.control_socket(home, socket), "dead.export", id=id)
    if as_json:
        common.print_json(found)
        return
    content = found.encode("latin-1")
    if out is None:
        typer.get_binary_stream("stdout").write(content)
    else:
        out.write_bytes(content)
