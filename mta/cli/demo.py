"""`mta demo`: 20,000 messages through a real server, and an account of each."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live as RichLive
    from rich.table import Table

    from mta.loadgen.demo import Live, Result

NAMED = 20  # problems that are printed; --json has all


def register(app: typer.Typer) -> None:
    """Add `demo` to the application."""
    app.command("demo")(demo)


def demo(
    messages: Annotated[int, typer.Option(min=1, help="Messages to send")] = 20_000,
    size: Annotated[int, typer.Option(min=500, help="Size of a message in octets")] = 10_240,
    sessions: Annotated[int, typer.Option(min=1, help="SMTP sessions to send over")] = 20,
    workers: Annotated[int, typer.Option(min=0, help="Worker processes; 0 = one per core")] = 0,
    folder: Annotated[
        Path | None, typer.Option(help="Empty folder to work in; default: a new one")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the spool as well as the logs")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON")] = False,
) -> None:
    """Send mail through a server of its own and check it all. Receivers are of all kinds.

    Exits with 1 if a recipient was lost, got a second copy that nothing explains, or if log and
    receivers disagree.
    """
    import uvloop

    from mta.loadgen.demo import Options, run

    home = _empty(folder)
    show = Screen(quiet=json)
    options = Options(home, messages, size, sessions, workers)
    with show:
        result = uvloop.run(run(options, show))
    if not keep and not result.problems:
        shutil.rmtree(home / "spool", ignore_errors=True)
    if json:
        import msgspec

        print(msgspec.json.encode(result).decode())
    else:
        show.report(result)
    if result.problems:
        raise typer.Exit(1)


def _empty(folder: Path | None) -> Path:
    """The folder to work in; one that holds something is refused."""
    from mta.errors import ConfigError

    if folder is None:
        return Path(tempfile.mkdtemp(prefix="mailrace-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty", key="--folder", hint="name a new folder")
    return folder.absolute()


class Screen:
    """Progress on a terminal in place, elsewhere line by line, or not at all."""

    def __init__(self, *, quiet: bool) -> None:
        from rich.console import Console

        self._console: Console = Console(quiet=quiet, highlight=False, soft_wrap=True)
        self._live: RichLive | None = None
        self._printed = -1

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *error: object) -> None:
        self._end_live()

    def _end_live(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def say(self, text: str) -> None:
        """A step begins."""
        self._end_live()
        self._console.print(f"[bold]>[/bold] {text}")

    def live(self, figures: Live, messages: int) -> None:
        """Show the figures of the moment."""
        if self._console.is_terminal:
            self._in_place(figures, messages)
        else:
            self._line_by_line(figures, messages)

    def _in_place(self, figures: Live, messages: int) -> None:
        from rich.live import Live as RichLive

        if self._live is None:
            self._live = RichLive(console=self._console, auto_refresh=False, transient=False)
            self._live.start()
        self._live.update(_bars(figures, messages), refresh=True)

    def _line_by_line(self, figures: Live, messages: int) -> None:
        """A line for each tenth of the way."""
        tenth = 10 * (figures.accepted + figures.delivered + figures.failed) // (2 * messages)
        if tenth > self._printed:
            self._printed = tenth
            self._console.print(
                f"  accepted {figures.accepted:,}  delivered {figures.delivered:,}  "
                f"retried {figures.retried:,}  failed {figures.failed:,}  open {figures.open:,}"
            )

    def report(self, result: Result) -> None:
        """The table, then what is wrong."""
        self._console.print(_table(result))
        for problem in result.problems[:NAMED]:
            self._console.print(f"problem: {problem}", markup=False, style="red")
        rest = len(result.problems) - NAMED
        if rest > 0:
            self._console.print(f"... and {rest} more; mta demo --json lists all")
        if result.problems:
            print(f"mta demo: {len(result.problems)} problem(s)", file=sys.stderr)
        else:
            self._console.print(
                "Every recipient is accounted for: log and receivers agree, one by one."
            )


def _bars(figures: Live, messages: int) -> Table:
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    ended = figures.delivered + figures.failed - figures.dsns
    for name, value in (("accepted", figures.accepted), ("ended", max(0, ended))):
        table.add_row(name, ProgressBar(messages, min(value, messages), width=40), f"{value:,}")
    table.add_row(
        "",
        f"retried {figures.retried:,}  failed {figures.failed:,}  DSNs {figures.dsns:,}",
        f"open {figures.open:,}",
    )
    return table


def _table(result: Result) -> Table:
    from rich.table import Table

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in _rows(result):
        table.add_row(name, value)
    return table


def _rows(result: Result) -> list[tuple[str, str]]:
    """Name and value of each line of the report."""
    account = result.account
    median, slow = (f"{us / 1e6:,.3f} s" for us in account.time_to_deliver)
    once, once_slow = (f"{us / 1e6:,.3f} s" for us in account.first_time)
    return [
        ("accepted", f"{account.accepted:,} of {result.messages:,}, {result.domains} domains"),
        ("delivered", f"{account.delivered:,}, {account.first_attempts:,} by the first attempt"),
        ("retried", f"{account.retried:,}, after {result.retry.replace(',', ', ')}"),
        ("bounced", f"{account.bounced:,} unknown users"),
        ("expired", f"{account.expired:,} after {result.max_age}"),
        ("DSNs", f"{account.dsns:,} came back to the sender"),
        ("second copies", f"{account.duplicates:,}"),
        ("messages/s", f"{result.accept_rate:,.0f} accepted, {result.deliver_rate:,.0f} delivered"),
        ("250 after the dot", f"p99 {result.accept_p99_us / 1e3:,.1f} ms, synced to disk"),
        ("time to deliver", f"p50 {median}, p99 {slow}"),
        ("  by first attempt", f"p50 {once}, p99 {once_slow}"),
        ("CPU per message", f"{result.cpu_us:,.0f} us, {result.workers} workers and supervisor"),
        ("whole demo", f"{result.seconds:,.1f} s"),
        ("logs", result.logs),
    ]
