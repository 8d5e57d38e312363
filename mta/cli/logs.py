"""`mta logs`: follow the log, and find what became of a message."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any

import typer

from mta.cli import common
from mta.cli.common import Home, Json, LogDir

Record = dict[str, Any]

Id = Annotated[str, typer.Option(help="Message id.")]
Recipient = Annotated[str, typer.Option(help="Recipient address; * and ? stand for anything.")]
Sender = Annotated[str, typer.Option(help="Envelope sender.")]
Domain = Annotated[str, typer.Option(help="Recipient domain.")]
Tenant = Annotated[str, typer.Option(help="Tenant.")]
Campaign = Annotated[str, typer.Option(help="Campaign.")]
Type = Annotated[str, typer.Option(help="Record type, as Bounce; several by commas.")]

TYPES = ("Reception", "Delivery", "TransientFailure", "Bounce", "Expiration", "AdminBounce",
         "Removed", "Rejection")  # fmt: skip
COLOURS = {"Delivery": "green", "TransientFailure": "yellow", "Bounce": "red", "Expiration": "red",
           "AdminBounce": "red", "Removed": "red", "Rejection": "magenta"}  # fmt: skip
PAUSE = 0.25  # seconds between two looks at a log that is followed

logs = typer.Typer(help="Read the log of events.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(logs, name="logs")


@logs.command()
def tail(
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Begin so far back.")] = 10,
    follow: Annotated[bool, typer.Option(help="Go on with what is written.")] = True,
    id: Id = "",
    recipient: Recipient = "",
    sender: Sender = "",
    domain: Domain = "",
    tenant: Tenant = "",
    campaign: Campaign = "",
    type: Type = "",
    home: Home = None,
    log_dir: LogDir = None,
    as_json: Json = False,
) -> None:
    """Show the last records and follow the log; as JSON, one a line."""
    wanted = chosen(id, recipient, sender, domain, tenant, campaign, type)
    folder = log_folder(home, log_dir)
    with common.waiting("reading the log"):
        begun, recent = last(folder, lines, wanted)
    for record in recent:
        show(record, as_json)
    if follow:
        for record in begun:
            if wanted(record):
                show(record, as_json)


@logs.command()
def find(
    id: Id = "",
    recipient: Recipient = "",
    sender: Sender = "",
    domain: Domain = "",
    tenant: Tenant = "",
    campaign: Campaign = "",
    type: Type = "",
    since: Annotated[str, typer.Option(help="From 2026-01-31T12:00Z, or 2h ago on.")] = "",
    until: Annotated[str, typer.Option(help="To a time, written the same way.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=0, help="End after so many; 0 all.")] = 0,
    home: Home = None,
    log_dir: LogDir = None,
    as_json: Json = False,
) -> None:
    """Find records, in the order of time; as JSON, one a line."""
    wanted = chosen(id, recipient, sender, domain, tenant, campaign, type)
    begin, end = instant(since, "--since"), instant(until, "--until")
    found = read(log_folder(home, log_dir), begin, end, wanted)
    with common.waiting("reading the log"):
        first = next(found, None)
    if first is None:
        if not as_json:
            typer.echo("nothing")
        raise typer.Exit(1)
    for record in islice(chain([first], found), limit or None):
        show(record, as_json)


def log_folder(home: Path | None, log_dir: Path | None) -> Path:
    """The folder of the log; a ControlError-like message if there is none."""
    from mta.errors import ConfigError

    folder = log_dir or common.home_folder(home) / "log"
    if not folder.is_dir():
        hint = "name the server's folder by --home or MTA_HOME, or the log's by --log-dir"
        raise ConfigError("there is no log", where=str(folder), hint=hint)
    return folder


def chosen(
    id: str, recipient: str, sender: str, domain: str, tenant: str, campaign: str, types: str
) -> Callable[[Record], bool]:
    """Whether a record is meant by all that was given."""
    names = type_names(types)
    patterns = {
        "id": id.replace("-", "").lower(),
        "recipient": recipient.lower(),
        "sender": sender.lower(),
        "tenant": tenant.lower(),
        "campaign": campaign.lower(),
    }
    given = [(key, pattern) for key, pattern in patterns.items() if pattern]

    def wanted(record: Record) -> bool:
        if names and record.get("type") not in names:
            return False
        at = str(record.get("recipient") or "").rpartition("@")[2].lower()
        if domain and not fnmatchcase(at, domain.lower()):
            return False
        return all(fnmatchcase(str(record.get(k) or "").lower(), p) for k, p in given)

    return wanted


def type_names(text: str) -> set[str]:
    """Record types from a list with commas, in any case; a usage error if one is unknown."""
    known = {name.lower(): name for name in TYPES}
    found = set()
    for word in filter(None, (part.strip() for part in text.split(","))):
        if word.lower() not in known:
            message = f'"{word}" is none of {", ".join(TYPES)}'
            raise typer.BadParameter(message, param_hint="--type")
        found.add(known[word.lower()])
    return found


def instant(text: str, option: str) -> int | None:
    """Microseconds of the wall clock: a moment, or a duration before now."""
    from mta.config.values import duration

    if not text:
        return None
    try:
        return time.time_ns() // 1000 - round(duration(text) * 1e6)
    except ValueError:
        pass
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        hint = "write it like 2026-01-31T12:00Z or, before now, 90m"
        raise typer.BadParameter(f'"{text}" is no time: {hint}', param_hint=option) from None
    return round((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1e6)


def show(record: Record, as_json: bool) -> None:
    """One record."""
    if as_json:
        common.print_line(record)
        return
    kind = str(record.get("type", ""))
    typer.echo(common.cell("time", record.get("time")) + " ", nl=False)
    typer.secho(f"{kind:16}", fg=COLOURS.get(kind), nl=False)
    typer.echo(" " + common.plain(described(record)))


def described(record: Record) -> str:
    """Who, where and what was said, of one record."""
    get = record.get
    where = " ".join(str(part) for part in (get("peer_name"), get("peer_address")) if part)
    said = " ".join(str(part) for part in (get("code"), get("enhanced"), get("text")) if part)
    parts = [
        str(get("id") or "-"),
        f"<{get('sender') or ''}>",
        f"to <{get('recipient')}>" if get("recipient") else "",
        f"by {where}" if where else "",
        f": {said}" if said else "",
    ]
    return " ".join(part for part in parts if part).replace(" : ", ": ")


def read(
    folder: Path, since: int | None, until: int | None, wanted: Callable[[Record], bool]
) -> Iterator[Record]:
    """The records of all shards that are wanted, in the order of time."""
    from mta.maillog import reader  # type: ignore[import-not-found, unused-ignore]

    yield from reader.read_all(folder, since, until, wanted)


def last(
    folder: Path, lines: int, wanted: Callable[[Record], bool]
) -> tuple[Iterable[Record], Iterable[Record]]:
    """(what is written from now on, the last records that are wanted)."""
    from mta.maillog import reader

    begun = reader.follow(folder, lambda: time.sleep(PAUSE))
    recent: deque[Record] = deque(reader.read_all(folder, None, None, wanted), maxlen=lines)
    return begun, recent
