"""`mta serve`: the server, in the foreground."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mta.cli.common import ConfigFile, Home, LogDir, Override, pairs

Listen = Annotated[
    list[str] | None,
    typer.Option(
        help="Listen on host:port, [v6]:port or unix:/path; may be repeated;"
        " replaces the listeners of the file"
    ),
]
Routes = Annotated[
    list[str] | None,
    typer.Option(
        "--route",
        metavar="DOMAIN=HOP[,HOP]",
        help="Send mail for DOMAIN (* = all) to [address]:port, or to host:port by its MX;"
        " may be repeated; comes before the routes of the file",
    ),
]
Spool = Annotated[Path | None, typer.Option(help="Folder of the spool; default: HOME/spool")]
Workers = Annotated[
    str | None, typer.Option(metavar="N", help="Worker processes; default: one per core")
]
MaxConnections = Annotated[
    str | None, typer.Option(metavar="N", help="Most outgoing connections; default: 20000")
]
Connections = Annotated[
    str | None,
    typer.Option(
        "--connections-per-destination", metavar="N", help="Most connections to a site; default: 20"
    ),
]
MessagesPer = Annotated[
    str | None,
    typer.Option(
        "--messages-per-connection",
        metavar="N",
        help="Close a connection after N messages (0 = never); default: 1000",
    ),
]
Rate = Annotated[
    str | None,
    typer.Option(
        metavar="RATE",
        help='Most messages to a site, such as "100/s, burst=400"; default: no limit',
    ),
]
Sessions = Annotated[
    str | None, typer.Option(metavar="N", help="Most incoming sessions; default: 10000")
]
Interval = Annotated[
    str | None,
    typer.Option(
        "--outcome-interval",
        metavar="TIME",
        help="Sync delivery results this often; a crash may resend up to this much; default: 50ms",
    ),
]
Memory = Annotated[str | None, typer.Option(metavar="SIZE", help="Memory limit; default: 2GB")]
Retry = Annotated[
    str | None,
    typer.Option(metavar="TIMES", help='Waiting times between attempts, such as "1m,5m,1h"'),
]
MaxAge = Annotated[
    str | None,
    typer.Option(
        "--max-age", metavar="TIME", help="Bounce undelivered mail at this age; default: 5d"
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(serve)


def serve(
    config: ConfigFile = None,
    home: Home = None,
    listen: Listen = None,
    route: Routes = None,
    spool: Spool = None,
    log_dir: LogDir = None,
    workers: Workers = None,
    sessions: Sessions = None,
    max_connections: MaxConnections = None,
    connections_per_destination: Connections = None,
    messages_per_connection: MessagesPer = None,
    rate: Rate = None,
    retry: Retry = None,
    max_age: MaxAge = None,
    outcome_interval: Interval = None,
    memory: Memory = None,
    override: Override = None,
) -> None:
    """Run the server in the foreground. SIGTERM stops it, SIGHUP reloads its configuration."""
    flags: dict[str, str | None] = {
        "home": str(home) if home else None,
        "spool": str(spool) if spool else None,
        "log_dir": str(log_dir) if log_dir else None,
        "workers": workers,
        "smtpd.max_sessions": sessions,
        "delivery.max_connections": max_connections,
        "limits.site.default.connections": connections_per_destination,
        "delivery.messages_per_connection": messages_per_connection,
        "limits.site.default.rate": rate,
        "retry.schedule": retry,
        "retry.max_age": max_age,
        "delivery.outcome_interval": outcome_interval,
        "memory.cap": memory,
    }
    given = [(key, value) for key, value in flags.items() if value is not None]
    given += listeners(listen) + routes(route) + pairs(override)
    raise typer.Exit(run(config, given))


def run(path: Path | None, overrides: list[tuple[str, str]]) -> int:
    """Load the configuration and serve; the exit code."""
    from mta.config.load import load

    config = load(path, overrides)
    from mta.supervisor import master

    code: int = master.serve(config, path, overrides)
    return code


def listeners(addresses: list[str] | None) -> list[tuple[str, str]]:
    """--listen as an override: the whole list."""
    if not addresses:
        return []
    tables = ", ".join(f"{{listen = {json.dumps(address)}}}" for address in addresses)
    return [("listener", f"[{tables}]")]


def routes(texts: list[str] | None) -> list[tuple[str, str]]:
    """--route as overrides: each before the routes of the file."""
    found = []
    for text in texts or ():
        domain, equals, hops = text.partition("=")
        if not equals or not domain.strip() or not hops.strip():
            hint = "write it like 'example.com=[192.0.2.1]:25' or '*=127.0.0.1:2526'"
            raise typer.BadParameter(f'"{text}" is not a route: {hint}', param_hint="--route")
        hosts = json.dumps([hop.strip() for hop in hops.split(",")])
        table = f"{{match = {{domain = {json.dumps(domain.strip())}}}, next_hop = {hosts}}}"
        found.append(("route.+", table))
    return found
