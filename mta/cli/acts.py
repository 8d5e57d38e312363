"""`mta queue hold` and the like: what an operator does to mail in the queue."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from mta.cli import common, control
from mta.cli.common import Home, Json, Socket, Wide

Domain = Annotated[str, typer.Option(help="Recipient domain; * and ? match anything")]
Site = Annotated[str, typer.Option(help="Destination site")]
Tenant = Annotated[str, typer.Option(help="Tenant")]
Campaign = Annotated[str, typer.Option(help="Campaign")]
Sender = Annotated[str, typer.Option(help="Envelope sender")]
Recipient = Annotated[str, typer.Option(help="Recipient address")]
Id = Annotated[str, typer.Option(help="Message id")]
All = Annotated[bool, typer.Option("--all", help="All mail")]
Reason = Annotated[str, typer.Option(help="Reason, for the log and for bounces")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Only count the recipients that would be affected")
]
Wait = Annotated[
    float,
    typer.Option(
        min=0, metavar="SECONDS", help="Wait this long for the act to finish (0 = do not wait)"
    ),
]
WAIT = 60.0  # seconds

VERBS = {
    "flush": "Retry deferred mail now.",
    "delete": "Delete mail from the queue; senders are not told.",
    "bounce": "Return mail to its senders.",
}
DESTROY = ("delete", "bounce")
DONE = {"hold": "held", "release": "released", "flush": "flushed", "delete": "deleted",
        "bounce": "bounced", "reroute": "rerouted"}  # fmt: skip
COLUMNS = ("act", "verb", "select", "state", "touched", "by", "created_us", "ended_us", "reason",
           "next_hop")  # fmt: skip
NOTHING = "No matching mail"


def register(queue: typer.Typer) -> None:
    """Add the commands to `mta queue`."""
    queue.command("acts")(acts)
    queue.command("hold", help="Hold mail, including what arrives later, until it is released.")(
        command("hold")
    )
    queue.command("release")(release)
    for name, text in VERBS.items():
        queue.command(name, help=text)(command(name))
    queue.command("reroute")(reroute)


def selection(**given: str | bool) -> dict[str, Any]:
    """What was given of a selection."""
    return {key: value for key, value in given.items() if value}


def acts(
    wide: Wide = False, home: Home = None, socket: Socket = None, as_json: Json = False
) -> None:
    """List operators' acts: those in force and those of the last 7 days; as JSON, one per line."""
    path = common.control_socket(home, socket)
    with common.waiting("asking the server"):
        rows = control.ask(path, "act.list", ended=True)
    for row in rows if as_json else ():
        common.print_line(row)
    if as_json:
        return
    if not rows:
        typer.echo("No acts")
        return
    shown = [row | {"act": row["sequence"], "touched": row.get("touched", 0)} for row in rows]
    common.print_table(shown, COLUMNS, first=COLUMNS[:5], wide=wide)


def command(verb: str) -> Callable[..., None]:
    """The function of a verb: most take the same selection."""

    def run(
        domain: Domain = "",
        site: Site = "",
        tenant: Tenant = "",
        campaign: Campaign = "",
        sender: Sender = "",
        recipient: Recipient = "",
        id: Id = "",
        all: All = False,
        reason: Reason = "",
        dry_run: DryRun = False,
        yes: Yes = False,
        wait: Wait = WAIT,
        home: Home = None,
        socket: Socket = None,
        as_json: Json = False,
    ) -> None:
        select = selection(
            domain=domain, site=site, tenant=tenant, campaign=campaign, sender=sender,
            recipient=recipient, id=id, all=all,
        )  # fmt: skip
        wanted = {"verb": verb, "select": chosen(select), "reason": reason}
        act(common.control_socket(home, socket), wanted, dry_run, yes, wait, as_json)

    return run


def release(
    number: Annotated[
        int | None, typer.Argument(metavar="NUMBER", help="Number of the hold (mta queue acts)")
    ] = None,
    domain: Domain = "",
    site: Site = "",
    tenant: Tenant = "",
    campaign: Campaign = "",
    sender: Sender = "",
    recipient: Recipient = "",
    id: Id = "",
    all: Annotated[bool, typer.Option("--all", help="Every hold")] = False,
    reason: Reason = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    wait: Wait = WAIT,
    home: Home = None,
    socket: Socket = None,
    as_json: Json = False,
) -> None:
    """End holds: one by its number, those with the same selection, or all.

    Mail that another hold covers stays held.
    """
    select = selection(
        domain=domain, site=site, tenant=tenant, campaign=campaign, sender=sender,
        recipient=recipient, id=id, all=all,
    )  # fmt: skip
    if number is not None and select:
        raise typer.BadParameter("give the number of a hold, or a selection, not both")
    which = {"act": number} if number is not None else {"select": chosen(select)}
    wanted = {"verb": "release", **which, "reason": reason}
    act(common.control_socket(home, socket), wanted, dry_run, yes, wait, as_json)


def reroute(
    to: Annotated[str, typer.Option(metavar="HOP", help="Next hop, such as [192.0.2.1]:25")],
    domain: Domain = "",
    site: Site = "",
    tenant: Tenant = "",
    campaign: Campaign = "",
    sender: Sender = "",
    recipient: Recipient = "",
    id: Id = "",
    all: All = False,
    reason: Reason = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    wait: Wait = WAIT,
    home: Home = None,
    socket: Socket = None,
    as_json: Json = False,
) -> None:
    """Send mail to another next hop."""
    select = selection(
        domain=domain, site=site, tenant=tenant, campaign=campaign, sender=sender,
        recipient=recipient, id=id, all=all,
    )  # fmt: skip
    wanted = {"verb": "reroute", "select": chosen(select), "reason": reason, "next_hop": to}
    act(common.control_socket(home, socket), wanted, dry_run, yes, wait, as_json)


def chosen(select: dict[str, Any]) -> dict[str, Any]:
    """A selection that may be used; a usage error if it is none."""
    if not select:
        raise typer.BadParameter("say which mail: --domain, --tenant, --id ..., or --all")
    if select.get("all") and len(select) > 1:
        raise typer.BadParameter("--all stands alone: leave it out to select by the others")
    return select


def act(
    path: Path, wanted: dict[str, Any], dry_run: bool, yes: bool, wait: float, as_json: bool
) -> None:
    """Count, ask, give an act and tell how it ended: exit code 1 where there was no such mail."""
    verb = wanted["verb"]
    asks = verb in DESTROY and not yes
    if asks and not dry_run and not sys.stdin.isatty():
        raise typer.BadParameter(f"{verb} needs --yes where there is no terminal to confirm on")
    if dry_run or asks:
        with common.waiting("counting"):
            count = control.ask(path, "act.count", **wanted)["recipients"]
            control.tell_refused(path)
        if dry_run:
            tell(as_json, {"recipients": count}, f"{verb} would affect {recipients(count)}")
        elif not count:
            tell(as_json, {"recipients": 0}, NOTHING)
        if dry_run or not count:
            raise typer.Exit(0 if count else 1)
        typer.confirm(f"{verb.capitalize()} {recipients(count)}?", abort=True, err=True)
    with common.waiting("waiting for the act to finish"):
        given = control.ask(path, "act", **wanted, by=common.user())
        asked = {"act": given["act"], "seconds": wait}
        found = given | control.ask(path, "act.wait", **asked)
    raise typer.Exit(told(verb, found, as_json))


def told(verb: str, found: dict[str, Any], as_json: bool) -> int:
    """Print what an act has done so far; the exit code."""
    number, count = found["act"], recipients(found["touched"])
    nothing = found["ended"] and not found["touched"] and verb not in ("hold", "release")
    if nothing:
        text = NOTHING
    elif not found["ended"]:
        text = f"act {number}: {verb} is still running, {count} so far; see `mta queue acts`"
    else:
        text = f"act {number}: {count} {DONE[verb]}"
        if verb == "hold":
            text += f", as is what arrives until `mta queue release {number}`"
        elif found.get("released"):
            text += "; ended hold " + ", ".join(map(str, found["released"]))
    tell(as_json, found, text)
    for line in () if found["ended"] else found["missing"]:
        typer.echo(line, err=True)
    return 1 if nothing else 0


def tell(as_json: bool, found: dict[str, Any], text: str) -> None:
    """For programs or for people."""
    common.print_json(found) if as_json else typer.echo(text)


def recipients(count: int) -> str:
    """So many."""
    return f"{count:,} recipient{'' if count == 1 else 's'}"
