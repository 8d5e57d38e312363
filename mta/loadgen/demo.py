"""`mta demo`: a server, receivers with manners, 20,000 messages, and an account of each recipient.

All in one folder and on loopback: each manner has an address of its own, a route sends its domains
there, and the last route keeps everything else on the machine too.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from mta.errors import MailraceError
from mta.loadgen.account import Account, Log, Promise, settle
from mta.loadgen.ledger import Ledger
from mta.loadgen.logview import LogView
from mta.loadgen.manners import parse
from mta.loadgen.message import Composer, Load
from mta.loadgen.sink import Sink
from mta.loadgen.source import Report, run_processes
from mta.loadgen.usage import cpu_seconds
from mta.testing.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

RETRY = "2s,3s,5s"
MAX_AGE = "25s"  # of what is for the one who puts everything off
PUTS_OFF = "defer"  # the manner, and the name of its retry table
CONFIG = f"""\
[retry]
schedule = {json.dumps(RETRY.split(","))}
[retry.{PUTS_OFF}]
schedule = {json.dumps(RETRY.split(","))}
max_age = "{MAX_AGE}"
"""
ROUTE = """\
[[route]]
match.domain = "{pattern}"
next_hop = "{hop}"
"""
SENDER = "campaign@sender.example"
START_LIMIT = 120.0  # seconds until the server greets
STOP_LIMIT = 120.0  # seconds for its end
END_LIMIT = 300.0  # seconds from the last acceptance to the last final record


class Receivers(NamedTuple):
    """Receivers of one manner."""

    manner: str
    address: str
    domains: int
    unknown: float = 0.0  # share of recipients that do not exist

    @property
    def name(self) -> str:
        """The manner's name, which its domains begin with."""
        return parse(self.manner).name

    def recipients(self) -> Iterator[tuple[str, float]]:
        """Address templates with their weights: each domain weighs 1."""
        for index in range(1, self.domains + 1):
            domain = f"{self.name}-{index}.example"
            yield "user{n}@" + domain, 1 - self.unknown
            if self.unknown:
                yield "unknown{n}@" + domain, self.unknown


RECEIVERS = (
    Receivers("accept", "127.0.1.1", 150),
    Receivers("greylist:1.5", "127.0.1.2", 15),
    Receivers("throttle:50,200", "127.0.1.3", 15),
    Receivers("unknown", "127.0.1.4", 10, unknown=0.3),
    Receivers("drop:25", "127.0.1.5", 5),
    Receivers("slow:0.05", "127.0.1.6", 4),
    Receivers("defer", "127.0.1.7", 1),
)


class Live(NamedTuple):
    """The figures of the moment."""

    accepted: int
    delivered: int
    retried: int
    failed: int
    open: int
    dsns: int


class Show(Protocol):
    """Where progress goes."""

    def say(self, text: str) -> None:
        """A step begins."""
        ...

    def live(self, figures: Live, messages: int) -> None:
        """Figures, four times a second."""
        ...


class Result(msgspec.Struct, kw_only=True):
    """What the demo found; `mta demo --json` prints it."""

    messages: int
    domains: int
    workers: int
    retry: str = RETRY
    max_age: str = MAX_AGE
    account: Account
    source: dict[str, int]  # refused, deferred, unknown, unsent
    accept_rate: float  # messages/s while the source ran
    deliver_rate: float  # messages/s of those that left by the first attempt
    accept_p99_us: int  # from final dot to 250
    cpu_us: float  # of all server processes, a message
    seconds: float  # the whole demo
    folder: str
    logs: str
    problems: list[str]


class Options(NamedTuple):
    """What the command line says."""

    folder: Path
    messages: int = 20_000
    size: int = 10_240
    sessions: int = 20
    workers: int = 0  # 0: one per core


class Server:
    """`mta serve` in a process of its own."""

    def __init__(self, folder: Path, routes: dict[str, str], workers: int) -> None:
        self.port, self.home, self.output = free_port(), folder, folder / "server.log"
        self.logs = folder / "log"
        self.command = [
            sys.executable, "-m", "mta.cli.main", "serve",
            "--home", str(folder), "--listen", f"127.0.0.1:{self.port}",
            "--spool", str(folder / "spool"), "--log-dir", str(self.logs),
            "--workers", str(workers), "--config", str(folder / "mailrace.toml"),
        ]  # fmt: skip
        (folder / "mailrace.toml").write_text(CONFIG + "".join(
            ROUTE.format(pattern=pattern, hop=hop)
            + f'retry = "{PUTS_OFF}"\n' * pattern.startswith(PUTS_OFF)
            for pattern, hop in routes.items()
        ))  # fmt: skip
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start, and wait for the greeting."""
        with self.output.open("wb") as output:
            self._process = await asyncio.create_subprocess_exec(
                *self.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, "MTA_HOME": str(self.home)},
            )
        deadline = time.monotonic() + START_LIMIT
        while not await self._greets():
            if self._process.returncode is not None or time.monotonic() > deadline:
                raise MailraceError(f"the server did not start:\n{self.output.read_text()[-2000:]}")
            await asyncio.sleep(0.05)

    async def _greets(self) -> bool:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(START_LIMIT):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                try:
                    return (await reader.readline()).startswith(b"220")
                finally:
                    writer.write(b"QUIT\r\n")
                    writer.close()
        return False

    def cpu(self) -> float:
        """CPU seconds of all its processes until now."""
        return cpu_seconds(self._process.pid) if self._process is not None else 0.0

    async def stop(self) -> int:
        """End it by SIGTERM, in the worst case by SIGKILL; the exit code."""
        process = self._process
        if process is None:
            return 0
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_LIMIT):
                return await process.wait()
        except TimeoutError:
            process.kill()
            return await process.wait()


async def run(options: Options, show: Show) -> Result:
    """The whole demo; the caller looks at `problems`."""
    began = time.monotonic()
    ledger = Ledger()
    sink = Sink(ledger, asyncio.get_running_loop())
    workers = options.workers or os.cpu_count() or 1
    server: Server | None = None
    try:
        routes = await _receivers(sink)
        server = Server(options.folder, routes, workers)
        show.say(f"starting a server with {workers} worker(s) on 127.0.0.1:{server.port}")
        await server.start()
        started = server.cpu()
        load = _load(options, server.port)
        show.say(
            f"{options.messages:,} messages of {options.size:,} octets to {_domains()} domains; "
            f"retries after {RETRY.replace(',', ', ')}, then each {RETRY.rpartition(',')[2]}, "
            f"until {MAX_AGE} have passed where all is put off"
        )
        report = await _until_settled(load, LogView(server.logs), ledger, show)
        cpu = server.cpu() - started
        show.say("stopping the server and comparing log and receivers")
        code = await server.stop()
    finally:
        if server is not None:
            await server.stop()
        await sink.close()
    log = LogView(server.logs).whole()
    return _result(options, server, workers, load, report, log, ledger, cpu, code, began)


async def _receivers(sink: Sink) -> dict[str, str]:
    """Listen on the addresses; the routes to them. Whatever matches nothing stays here too."""
    routes = {}
    for one in RECEIVERS:
        address = await sink.listen(f"{one.address}:0", parse(one.manner))
        routes[f"{one.name}-*.example"] = address
    routes["*"] = routes["accept-*.example"]
    return routes


def _load(options: Options, port: int) -> Load:
    return Load(
        server=f"127.0.0.1:{port}",
        recipients=dict(pair for one in RECEIVERS for pair in one.recipients()),
        sender=SENDER,
        messages=options.messages,
        size=options.size,
        sessions=options.sessions,
    )


def _domains() -> int:
    return sum(one.domains for one in RECEIVERS)


async def _until_settled(load: Load, view: LogView, ledger: Ledger, show: Show) -> Report:
    """Inject, then wait until each message has its final record, or too long."""
    counts = [0]

    def counted(accepted: int) -> None:
        counts[0] = accepted

    source = asyncio.create_task(run_processes(load, 1, counted))
    deadline = float("inf")
    try:
        while True:
            await asyncio.sleep(0.25)
            log = view.update()
            accepted = counts[0]
            figures = Live(
                accepted, log.delivered, log.retried, log.failed, log.open, ledger.counts.dsns
            )
            show.live(figures, load.messages)
            if not source.done():
                continue
            deadline = min(deadline, time.monotonic() + END_LIMIT)
            complete = not log.open and len(log.received) >= source.result().accepted
            if complete or time.monotonic() > deadline:
                return source.result()
    finally:
        source.cancel()


def _result(
    options: Options, server: Server, workers: int, load: Load, report: Report, log: Log,
    ledger: Ledger, cpu: float, code: int, began: float,
) -> Result:  # fmt: skip
    """Settle the account and work out the rates."""
    account = settle(promises(load, report), report.unknown, log, ledger)
    problems = list(_source_problems(report)) + account.problems
    if code:
        problems.append(f"the server ended with code {code}, see {server.output}")
    source = {name: getattr(report, name) for name in ("refused", "deferred", "unsent")}
    return Result(
        messages=load.messages,
        domains=_domains(),
        workers=workers,
        account=account,
        source=source | {"unknown": len(report.unknown)},
        accept_rate=report.accepted / max(report.seconds, 1e-9),
        deliver_rate=account.first_attempts / max(account.first_seconds, 1e-9),
        accept_p99_us=report.histogram().quantile(0.99),
        cpu_us=cpu * 1e6 / max(report.accepted, 1),
        seconds=time.monotonic() - began,
        folder=str(options.folder),
        logs=str(server.logs),
        problems=problems,
    )


def promises(load: Load, report: Report) -> dict[int, Promise]:
    """What the server said 250 to: number, id, recipient, and the manner that its domain names."""
    composer, found = Composer(load), {}
    for number, id in report.queue_ids.items():
        recipient = composer.recipient(number)
        manner = recipient.rpartition("@")[2].partition("-")[0]
        found[number] = Promise(id, recipient, manner)
    return found


def _source_problems(report: Report) -> Iterator[str]:
    """A source that did not get rid of its mail."""
    if report.unsent:
        yield f"{report.unsent} messages could not be sent to the server in time"
    for reply, count in report.replies.items():
        yield f"{count} messages were refused by the server: {reply}"
    for number in report.unknown:
        yield f"message {number}: the server closed the connection instead of a reply to the dot"
    if report.accepted != len(report.queue_ids):
        yield f"{report.accepted - len(report.queue_ids)} replies named no queue id"
