"""`mta source`: numbered messages into a server, as fast as it takes them or at a pace."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mta.cli.common import live, print_line

if TYPE_CHECKING:
    from mta.loadgen.source import Report

CONNECT = 10.0  # seconds for the first connection, which shows that somebody listens
PATIENCE = 10.0  # seconds without any connection after which the server is gone


Server = Annotated[str, typer.Argument(metavar="HOST:PORT", help="Server to send to")]
To = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ADDRESS[=WEIGHT]",
        help="Recipient; {n} is replaced by the message's number; may be repeated."
        " [default: user{n}@load.example]",
    ),
]
Domains = Annotated[
    int,
    typer.Option(min=0, help="Send to N domains in turn: d0.example, d1.example ...", metavar="N"),
]
Sender = Annotated[str, typer.Option(help="Envelope sender")]
Messages = Annotated[int, typer.Option(min=1, help="Messages to send")]
First = Annotated[int, typer.Option(min=0, help="Number of the first message")]
Size = Annotated[int, typer.Option(min=0, help="Size of a message in octets")]
Body = Annotated[
    list[Path] | None,
    typer.Option(exists=True, help="Send this file as the content; several are sent in turn"),
]
Sessions = Annotated[int, typer.Option(min=1, help="SMTP sessions to send over")]
Processes = Annotated[int, typer.Option(min=1, help="Processes to send from")]
Pace = Annotated[float, typer.Option(min=0, help="Messages per second; 0 = as fast as possible")]
Pipelining = Annotated[
    bool, typer.Option(help="Send the next envelope with the final dot (RFC 2920)")
]
Local = Annotated[
    list[str] | None,
    typer.Option(metavar="ADDRESS", help="Local address to send from; several are used in turn"),
]
Tenant = Annotated[str, typer.Option(help="Set X-Tenant")]
Campaign = Annotated[str, typer.Option(help="Set X-Campaign")]
Header = Annotated[
    list[str] | None,
    typer.Option(metavar="'NAME: VALUE'", help="Add a header field; may be repeated"),
]
Timeout = Annotated[float, typer.Option(help="Stop after this many seconds")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the report as JSON")]


def register(app: typer.Typer) -> None:
    """Add `source` to the application."""
    app.command("source")(source)


def source(
    server: Server = "127.0.0.1:2525",
    to: To = None,
    domains: Domains = 0,
    sender: Sender = "load@source.example",
    messages: Messages = 1000,
    first: First = 0,
    size: Size = 10240,
    body: Body = None,
    sessions: Sessions = 20,
    processes: Processes = 1,
    rate: Pace = 0.0,
    pipelining: Pipelining = True,
    local: Local = None,
    tenant: Tenant = "",
    campaign: Campaign = "",
    header: Header = None,
    timeout: Timeout = 300.0,
    json: AsJson = False,
) -> None:
    """Send numbered messages to a server. Exits with 1 unless each got its 250.

    Tenant, campaign and other control fields count where the listener has control_headers.
    """
    import asyncio

    from mta.loadgen.message import Load
    from mta.loadgen.source import run_processes

    answers(server)
    load = Load(
        server=server,
        recipients=recipients(to or [], domains),
        sender=sender,
        messages=messages,
        first=first,
        size=size,
        bodies=[str(path) for path in body or ()],
        sessions=sessions,
        rate=rate,
        pipelining=pipelining,
        sources=local or [],
        timeout=timeout,
        ids=False,
        fields=fields(tenant, campaign, header or []),
        patience=PATIENCE,
    )
    show = None if json or not sys.stdout.isatty() else _show
    report = asyncio.run(run_processes(load, processes, show))
    tell(report, json)
    if report.gone:
        from mta.errors import MailraceError

        raise MailraceError(
            f"gave up: {server} has taken no connection for {PATIENCE:g} s ({report.gone})"
        )
    raise typer.Exit(int(report.accepted < messages))


def answers(server: str) -> None:
    """A MailraceError if nobody listens; what ends later is waited for, up to the timeout."""
    import socket

    from mta.config.flags import tcp_endpoint
    from mta.errors import MailraceError

    endpoint = tcp_endpoint(server, "HOST:PORT")
    try:
        socket.create_connection(endpoint[:2], CONNECT).close()
    except OSError as error:
        why = error.strerror or error
        raise MailraceError(
            f"cannot connect to {server}: {why}; start a server with `mta serve`"
        ) from None


def fields(tenant: str, campaign: str, more: list[str]) -> list[str]:
    """The header fields to add; a usage error for what is none."""
    named = {"X-Tenant": tenant, "X-Campaign": campaign}
    found = [f"{name}: {value}" for name, value in named.items() if value] + more
    for text in found:
        name, colon, _ = text.partition(":")
        if not colon or not name.isascii() or not name.isprintable() or " " in name or not name:
            message = f"{text!r} is not a header field: write 'Name: value'"
            raise typer.BadParameter(message, param_hint="--header")
        if not text.isprintable():
            raise typer.BadParameter(f"{text!r} is more than one line", param_hint="--header")
    return found


def recipients(to: list[str], domains: int) -> dict[str, float]:
    """Address templates with their weights."""
    found = {f"user{{n}}@d{index}.example": 1.0 for index in range(domains)}
    for text in to:
        address, equals, weight = text.partition("=")
        try:
            found[address] = float(weight) if equals else 1.0
        except ValueError:
            raise typer.BadParameter(f"{weight!r} is no weight", param_hint="--to") from None
    return found or {"user{n}@load.example": 1.0}


def _show(accepted: int) -> None:
    print(live(f"accepted {accepted:,}"), end="", flush=True)


def tell(report: Report, json: bool) -> None:
    """Print what became of the load."""
    times = report.histogram()
    figures = {
        "accepted": report.accepted,
        "refused": report.refused,
        "deferred": report.deferred,
        "unknown": len(report.unknown),
        "unsent": report.unsent,
        "seconds": round(report.seconds, 3),
        "rate": round(report.accepted / max(report.seconds, 1e-9), 1),
        "p50_us": times.quantile(0.5),
        "p99_us": times.quantile(0.99),
        "slowest_us": report.slowest,
    }
    if json:
        print_line({**figures, "replies": report.replies})
        return
    start = live("") if sys.stdout.isatty() else ""
    print(start + "  ".join(f"{name} {value:,}" for name, value in figures.items() if value))
    for reply, count in report.replies.items():
        print(f"{count:,} times: {reply}")
