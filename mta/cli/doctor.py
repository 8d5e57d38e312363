"""`mta doctor`: looks at the machine, the disk and the network before mail does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mta.cli import common
from mta.cli.common import ConfigFile, Home, Json, Override, pairs

if TYPE_CHECKING:
    from mta.cli.checks import Finding

MARKS = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "red")}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor(
    target: Annotated[
        str,
        typer.Option(
            metavar="DOMAIN|HOST[:PORT]",
            help="Try to reach this mail server, or the MX of this domain",
        ),
    ] = "",
    address: Annotated[
        str, typer.Option(help="Public address that mail leaves from, if behind NAT")
    ] = "",
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Wait this many seconds for each answer")
    ] = 5.0,
    config: ConfigFile = None,
    override: Override = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Check machine, disk, network, names and relaying. Exits with 1 if a check fails."""
    from mta.cli.checks import Probe
    from mta.config.load import load

    check_address(address)
    settings = load(config, pairs(override), home)
    probe = Probe(settings, target=target, address=address, timeout=timeout)
    found: list[Finding] = []
    for name, check in probe.checks():
        with common.waiting(f"checking {name}"):
            news = list(check())
        found += news
        if not as_json:
            for finding in news:
                show(finding)
    if as_json:
        common.print_json([finding._asdict() for finding in found])
    raise typer.Exit(1 if any(finding.level == "fail" for finding in found) else 0)


def check_address(text: str) -> None:
    """A usage error unless this is an IP address or empty."""
    import ipaddress

    try:
        if text:
            ipaddress.ip_address(text)
    except ValueError:
        message = f'"{text}" is not an IP address'
        raise typer.BadParameter(message, param_hint="--address") from None


def show(finding: Finding) -> None:
    """One finding, and below it what to change."""
    mark, colour = MARKS[finding.level]
    typer.secho(mark, fg=colour, nl=False)
    typer.echo(f" {finding.check:11} {common.plain(finding.text)}")
    if finding.advice:
        typer.echo(f"{'':13} → {finding.advice}")
