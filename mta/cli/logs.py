"""`mta logs`: follow the log, and find what became of a message."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any

import typer

from mta.cli import common
from mta.cli.common import Home, Json, LogDir

Record = dict[str, Any]  # fields with their empty value are left out
Wanted = Callable[[Record], bool]

Id = Annotated[str, typer.Option(help="Message id")]
Recipient = Annotated[str, typer.Option(help="Recipient address; * and ? match anything")]
Sender = Annotated[str, typer.Option(help="Envelope sender")]
Domain = Annotated[str, typer.Option(help="Recipient domain")]
Tenant = Annotated[str, typer.Option(help="Tenant")]
Campaign = Annotated[str, typer.Option(help="Campaign")]
Type = Annotated[str, typer.Option(help="Record type, such as Bounce; several separated by commas")]

TYPES = ("Reception", "Delivery", "TransientFailure", "Bounce", "Expiration", "AdminBounce",
         "Removed", "Lost", "Found", "Rejection", "Act")  # fmt: skip
COLOURS = {"Delivery": "green", "TransientFailure": "yellow", "Bounce": "red", "Expiration": "red",
           "AdminBounce": "red", "Removed": "red", "Lost": "red", "Found": "yellow",
           "Rejection": "magenta", "Act": "cyan"}  # fmt: skip
PAUSE = 0.25  # seconds between two looks at a log that is followed
BACK = (60, 3600, 86_400, 0)  # seconds that the search for the last records goes back; 0: all

logs = typer.Typer(help="Follow and search the log.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(logs, name="logs")


@logs.command()
def tail(
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, help="Show the last N records", metavar="N")
    ] = 10,
    follow: Annotated[bool, typer.Option(help="Wait for new records")] = True,
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
    """Show the last records and wait for new ones; as JSON, one per line."""
    from mta.maillog import reader

    wanted = chosen(id, recipient, sender, domain, tenant, campaign, type)
    folder = log_folder(home, log_dir)
    ends = {shard.name: reader.end(shard) for shard in reader.shard_folders(folder)}
    with common.waiting("reading the log"):
        recent = last(folder, lines, wanted)
    for record in recent:
        show(record, as_json)
    for record in reader.follow(folder, pause, wanted, ends) if follow else ():
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
    since: Annotated[
        str,
        typer.Option(
            help="Show records from this time on: 2026-01-31T12:00Z, or 2h for two hours ago"
        ),
    ] = "",
    until: Annotated[
        str, typer.Option(help="Show records up to this time, in the same format")
    ] = "",
    limit: Annotated[
        int, typer.Option("--limit", min=0, help="Show at most N records (0 = all)", metavar="N")
    ] = 0,
    home: Home = None,
    log_dir: LogDir = None,
    as_json: Json = False,
) -> None:
    """Find records, the oldest first; as JSON, one per line. Exits with 1 if there are none."""
    wanted = chosen(id, recipient, sender, domain, tenant, campaign, type)
    begin, end = instant(since, "--since"), instant(until, "--until")
    from mta.maillog import reader

    found = reader.read_all(log_folder(home, log_dir), begin, end, wanted)
    with common.waiting("reading the log"):
        first = next(found, None)
    if first is None:
        if not as_json:
            typer.echo("No matching records")
        raise typer.Exit(1)
    for record in islice(chain([first], found), limit or None):
        show(record, as_json)


def log_folder(home: Path | None, log_dir: Path | None) -> Path:
    """The folder of the log: as given, that of the running server, else HOME/log."""
    from mta.cli import control
    from mta.errors import ConfigError

    folder = log_dir
    if folder is None:
        found = control.running(common.control_socket(home, None)) or {}
        folder = Path(found.get("log_dir") or common.home_folder(home) / "log")
    if not folder.is_dir():
        hint = "give the server's folder by --home or MTA_HOME, or the log's by --log-dir"
        raise ConfigError("no log found", where=str(folder), hint=hint)
    return folder


def chosen(
    id: str, recipient: str, sender: str, domain: str, tenant: str, campaign: str, types: str
) -> Wanted:
    """Whether a record is meant by all that was given."""
    names = type_names(types)
    patterns = {
        "id": id.replace("-", "").lower(),
        "sender": sender.lower(),
        "tenant": tenant.lower(),
        "campaign": campaign.lower(),
    }
    given = [(key, pattern) for key, pattern in patterns.items() if pattern]

    def wanted(record: Record) -> bool:
        if names and record["type"] not in names:
            return False
        if not all(fnmatchcase(record.get(k, "").lower(), p) for k, p in given):
            return False
        return addressed(record, recipient.lower(), domain.lower())

    return wanted


def recipients(record: Record) -> list[str]:
    """The recipients that a record is about."""
    found: list[str] = record.get("recipients") or [record.get("recipient", "")]
    return found


def addressed(record: Record, recipient: str, domain: str) -> bool:
    """Whether a record is about a recipient like this, in a domain like this."""
    if not recipient and not domain:
        return True
    return any(
        fnmatchcase(address, recipient or "*")
        and fnmatchcase(address.rpartition("@")[2], domain or "*")
        for address in map(str.lower, recipients(record))
    )


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
        hint = "write 2026-01-31T12:00Z, or 90m for 90 minutes ago"
        raise typer.BadParameter(f'"{text}" is not a time: {hint}', param_hint=option) from None
    return round((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1e6)


def show(record: Record, as_json: bool) -> None:
    """One record."""
    if as_json:
        common.print_line(record)
        return
    kind = record["type"]
    typer.echo(common.moment(record["time"]) + " ", nl=False)
    typer.secho(f"{kind:16}", fg=COLOURS.get(kind), nl=False)
    typer.echo(" " + common.plain(described(record)))


def described(record: Record) -> str:
    """Who, where and what was said, of one record."""
    if record["type"] == "Act":
        return act_described(record)
    whom = ", ".join(f"<{address}>" for address in recipients(record))
    peer = joined(record, "peer_name", "peer_address")
    said = joined(record, "code", "enhanced", "text")
    parts = [
        record.get("id") or "-",
        f"<{record['sender']}>" if "sender" in record else "",
        f"to {whom}" if whom != "<>" else "",
        f"by {peer}" if peer else "",
    ]
    line = " ".join(part for part in parts if part)
    reason = f" ({record['reason']})" if record.get("reason") else ""
    return (f"{line}: {said}" if said else line) + reason


def act_described(record: Record) -> str:
    """What an operator did."""
    to = f" to {record['next_hop']}" if record.get("next_hop") else ""
    reason = f" ({record['reason']})" if record.get("reason") else ""
    return (
        f"{record.get('act')} by {record.get('by') or '?'}: {record.get('verb')}"
        f" {record.get('select')}{to}: {record.get('touched', 0)} recipients{reason}"
    )


def joined(record: Record, *names: str) -> str:
    """The fields that are there, with blanks between."""
    return " ".join(str(record[name]) for name in names if record.get(name))


def last(log_dir: Path, lines: int, wanted: Wanted) -> list[Record]:
    """The last records that are wanted; the log is read from later and later beginnings back."""
    from mta.maillog import reader

    now = time.time_ns() // 1000
    for span in BACK if lines else ():
        since = now - span * 1_000_000 if span else None
        recent = deque(reader.read_all(log_dir, since, None, wanted), maxlen=lines)
        if len(recent) == lines or not span:
            return list(recent)
    return []


def pause() -> None:
    """Wait for more to be written."""
    time.sleep(PAUSE)
