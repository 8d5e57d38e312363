"""`mta sink`: receivers with manners, for tests and measurements."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mta.cli.common import live, print_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from mta.loadgen.ledger import Counts


def register(app: typer.Typer) -> None:
    """Add `sink` to the application."""
    app.command("sink")(sink)


def sink(
    listen: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST[-HOST]:PORT[=MANNER]",
            help="Listen on an address, or on a range of addresses; may be repeated."
            " [default: 127.0.0.1:2526]",
        ),
    ] = None,
    profile: Annotated[
        str,
        typer.Option(
            metavar="MANNER",
            help="How to behave: accept, greylist:SECONDS, throttle:PER_CONNECTION,PER_SECOND, "
            "unknown, drop:EVERY, slow:SECONDS, defer, flaky:EVERY, latency:SECONDS[,AT_THE_DOT] "
            "or cap:CONNECTIONS",
        ),
    ] = "accept",
    domain: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SUFFIX=MANNER",
            help="How to behave for recipients of a domain and its subdomains; may be repeated",
        ),
    ] = None,
    record: Annotated[
        Path | None, typer.Option(help="Write a JSON line for each arrival to this file")
    ] = None,
    processes: Annotated[
        int,
        typer.Option(
            min=1,
            help="Processes to receive in; they divide the addresses, or share them if there are"
            " fewer, and write FILE.0, FILE.1 ...",
        ),
    ] = 1,
    json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON lines")] = False,
) -> None:
    """Receive and count test mail. Accepts, greylists, throttles, refuses ...; Ctrl-C ends."""
    import uvloop

    from mta.loadgen.ledger import Ledger
    from mta.loadgen.manners import parse
    from mta.loadgen.sink import parse_domain, parse_listen, serve
    from mta.loadgen.sinks import planned, run

    manner = parse(profile)
    listeners = [parse_listen(text, manner) for text in listen or ["127.0.0.1:2526"]]
    domains = dict(parse_domain(text) for text in domain or [])
    printer = Printer(json=json)
    if processes > 1:
        plan = planned(listeners, domains, str(record or ""))
        uvloop.run(run(plan, processes, printer.listening, printer.counts))
        return
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(record.open("ab", buffering=1 << 20)) if record else None
        uvloop.run(serve(Ledger(file), listeners, domains, printer.listening, printer.counts))


class Printer:
    """The counts once a second: in place on a terminal, as JSON lines, else only at the end."""

    def __init__(self, *, json: bool, now: Callable[[], float] = time.monotonic) -> None:
        self._json, self._now = json, now
        self._last: tuple[float, int] = (now(), 0)
        self._seen: dict[str, int] = {}

    def listening(self, address: str, manner: str) -> None:
        """One listener is open."""
        if self._json:
            print_line({"listen": address, "manner": manner})
        else:
            print(f"listening on {address}, manner {manner}", flush=True)

    def counts(self, counts: Counts, *, final: bool) -> None:
        """The figures, with the rate since the last time."""
        import msgspec

        now, (then, before) = self._now(), self._last
        rate = (counts.messages - before) / max(now - then, 1e-9)
        self._last = now, counts.messages
        values = msgspec.to_builtins(counts)
        if self._json:
            if final or values != self._seen:
                print_line({**values, "rate": round(rate, 1), "final": final})
            self._seen = values
        elif final or sys.stdout.isatty():
            figures = "  ".join(f"{name} {value:,}" for name, value in values.items() if value)
            line = figures or "no mail yet"
            if not sys.stdout.isatty():
                print(line, flush=True)
            elif final:
                print(f"{live('')}{line}", flush=True)
            else:
                print(live(f"{rate:,.0f}/s  {line}"), end="", flush=True)
