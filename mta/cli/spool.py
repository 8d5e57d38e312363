"""`mta spool`: what a spool has lost, whether it is whole, and how to mend it."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mta.cli import common
from mta.cli.common import ConfigFile, Home, Json, Override, Socket, pairs

if TYPE_CHECKING:
    from mta.audit.check import Report
    from mta.audit.repair import Repaired
    from mta.config.schema import Config

spool = typer.Typer(
    help="Check and repair the spool, and acknowledge losses.", no_args_is_help=True
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(spool, name="spool")


Shard = Annotated[
    list[int] | None,
    typer.Option("--shard", metavar="N", help="Only this shard (0 = the first); may be repeated"),
]


@spool.command()
def check(
    shard: Shard = None,
    home: Home = None,
    config: ConfigFile = None,
    override: Override = None,
    as_json: Json = False,
) -> None:
    """Check the whole spool without changing it: files, rows, contents (by hash) and the log.

    For a spool that no server uses, or a shard that the server refuses. Exits with 1 on a problem.
    """
    from mta.audit.check import KINDS
    from mta.config.load import load

    settings = load(config, pairs(override), home, offline=True)
    reports = [checked(settings, number) for number in chosen(settings, shard)]
    if as_json:
        common.print_json([builtins(report) for report in reports])
    else:
        for report in reports:
            show(report, KINDS)
    raise typer.Exit(1 if any(report.counts for report in reports) else 0)


def checked(settings: Config, number: int) -> Report:
    """The report of one shard."""
    from mta.audit.check import check
    from mta.audit.source import Source, kept
    from mta.maillog import reader
    from mta.spool import keys

    folder = Path(settings.spool) / f"shard-{number:04}"
    log = Path(settings.log_dir) / f"shard-{number:04}"
    with (
        kept(folder),
        common.waiting(f"checking shard {number}"),
        closing(Source(folder, keys.parse_mark(reader.last_mark(log)))) as source,
    ):
        return check(source, number, log)


@spool.command()
def repair(
    shard: Shard = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation")] = False,
    home: Home = None,
    config: ConfigFile = None,
    override: Override = None,
    as_json: Json = False,
) -> None:
    """Rebuild damaged shards from everything that can still be read.

    The old files are kept, in a folder that is named. What cannot be saved is listed and recorded
    as Lost; acknowledge it by `mta spool accept-loss`. For shards that no server uses.
    """
    from mta.config.load import load

    settings = load(config, pairs(override), home, offline=True)
    numbers = [number for number in chosen(settings, shard) if wants_repair(settings, number)]
    if numbers and not yes:
        if not sys.stdin.isatty():
            raise typer.BadParameter("there is no terminal to ask: use --yes")
        names = ", ".join(map(str, numbers))
        typer.confirm(f"Repair shard {names}? The old files are kept.", abort=True)
    done = [repaired(settings, number) for number in numbers]
    if as_json:
        common.print_json([builtins(one) for one in done])
        return
    for one in done:
        show_repaired(one)
    if not done:
        typer.echo("Nothing to repair")


def wants_repair(settings: Config, number: int) -> bool:
    """Whether something is wrong with a shard that a repair mends."""
    from mta.spool.store import repairing

    if repairing(Path(settings.spool) / f"shard-{number:04}").exists():
        return True
    # A content that is gone is what the server sees to, with a DSN to the sender.
    return bool(set(checked(settings, number).counts) - {"accept", "content", "log"})


def repaired(settings: Config, number: int) -> Repaired:
    """Repair a shard, or end what was begun."""
    from mta.audit import repair
    from mta.audit.source import Source, kept
    from mta.clock import SystemClock
    from mta.maillog import LogWriter, RecordWriter
    from mta.spool import keys
    from mta.spool.store import repairing

    folder = Path(settings.spool) / f"shard-{number:04}"
    log_folder = Path(settings.log_dir) / f"shard-{number:04}"
    clock = SystemClock()
    with kept(folder), closing(LogWriter(log_folder, clock=clock)) as log:
        if repairing(folder).exists():
            repair.finish(folder, log, log_folder, clock)
            return repair.Repaired(number)
        lines = RecordWriter(settings.hostname, number, clock)
        with (
            common.waiting(f"repairing shard {number}"),
            closing(Source(folder, keys.parse_mark(log.mark))) as source,
        ):
            job = repair.Repair(source, number, log, log_folder, lines, clock)
            return job.run(round(settings.retry.max_age * 1e6))


def show_repaired(one: Repaired) -> None:
    """What was done, for people."""
    if not one.kept:
        typer.echo(f"shard {one.shard}: finished a repair that had begun")
        return
    typer.echo(f"shard {one.shard}: {one.recipients} recipients saved")
    typer.echo(f"  the old files are kept in {one.kept}")
    if one.again:
        typer.echo(f"  {one.again} of them rebuilt from contents and log")
    if one.ended:
        typer.echo(f"  {one.ended} left out: the log has their final record")
    if one.without:
        typer.echo(
            f"  {one.without} content files are missing: their mail will be set aside when due,"
            " and its senders get a DSN"
        )
    if one.unreadable:
        typer.echo(f"  {one.unreadable} records cannot be read; they are in that folder only")
    if one.lost:
        typer.secho(
            f"  {one.lost} recipients could not be saved and are recorded as Lost"
            " (`mta logs find --type Lost`); acknowledge them by `mta spool accept-loss`:",
            fg="red",
        )
        for name in one.names:
            typer.echo(common.plain(f"    {name}"))


def chosen(settings: Config, given: list[int] | None) -> list[int]:
    """The shards that are meant: those that are there, or have a log."""
    from mta.maillog import reader

    roots = (Path(settings.spool), Path(settings.log_dir))
    names = {path.name for root in roots for path in reader.shard_folders(root)}
    there = sorted(int(name[6:]) for name in names if name[6:].isdigit())
    unknown = sorted(set(given or ()) - set(there))
    if unknown:
        message = f"there is no shard {unknown[0]}: " + ", ".join(map(str, there))
        raise typer.BadParameter(message, param_hint="--shard")
    return sorted(given) if given else there


def show(report: Report, kinds: dict[str, str]) -> None:
    """A report for people."""
    typer.echo(
        f"shard {report.shard}: {report.messages} messages, {report.recipients} recipients, "
        f"{report.contents} whole contents of {report.octets} octets"
    )
    for kind, count in report.counts.items():
        typer.secho(f"✗ {kind}: {count} ({kinds[kind]})", fg="red")
        for problem in report.problems:
            if problem.kind == kind:
                whose = f"{problem.id}/{problem.rno}" if problem.rno is not None else problem.id
                typer.echo(common.plain(f"    {whose + ': ' if whose else ''}{problem.text}"))
    if not report.counts:
        typer.secho("✓ no problems found", fg="green")


@spool.command("accept-loss")
def accept_loss(
    reason: Annotated[str, typer.Option(help="Reason, kept with the loss")] = "",
    home: Home = None,
    socket: Socket = None,
    config: ConfigFile = None,
    override: Override = None,
    as_json: Json = False,
) -> None:
    """Acknowledge what the spool has lost, so that the node reports ready again.

    Who did so and when is kept in `losses.json` in the shard's log folder. Exits with 1 while a
    loss is still being compared with the log.
    """
    from mta.cli import control

    try:
        path = common.control_socket(home, socket)
        found = control.ask(path, "spool.accept", by=common.user(), reason=reason)
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
            typer.echo("No loss to acknowledge")
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

    settings = load(config, pairs(override), home, offline=True)
    accepted: list[dict[str, Any]] = []
    pending: list[str] = []
    for folder in reader.shard_folders(Path(settings.log_dir)):
        number = int(folder.name.removeprefix("shard-"))
        with locked(folder / LOCK_FILE):
            known = losses.Losses(folder)
            now = SystemClock().wall_us()
            accepted += [
                losses.row(number, one) for one in known.accept(common.user(), reason, now)
            ]
            pending += [losses.said(number, one) for one in known.pending]
    return {"accepted": accepted, "pending": pending}


def builtins(struct: Report | Repaired) -> Any:
    """A report as JSON has it."""
    import msgspec  # with these commands alone: `mta --help` is to be quick

    return msgspec.to_builtins(struct)
