"""A fast SMTP injector: numbered messages over kept-open sessions, and what became of each.

`python -m mta.loadgen.source` reads a `Load` as JSON from its standard input and prints JSON lines:
{"accepted": n} now and then, at the end {"report": ...}.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import itertools
import sys
import time
from collections import Counter, deque
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import msgspec
import uvloop

from mta.config.values import Endpoint
from mta.loadgen.histogram import Histogram
from mta.loadgen.message import Composer, Load
from mta.loadgen.tally import Tally, now

if TYPE_CHECKING:
    from collections.abc import Callable

PAUSE = 0.2  # seconds before a session goes on after a 4xx or a lost connection
ATTEMPTS = 50  # after so many 4xx a message counts as refused
QUEUED = b"queued as "


class Report(msgspec.Struct):
    """What became of a load."""

    accepted: int = 0
    refused: int = 0  # 5xx, or 4xx time after time
    deferred: int = 0  # 4xx replies; the message was offered again
    unknown: list[int] = []  # numbers whose connection was lost between dot and reply
    unsent: int = 0  # time ran out, or nobody listened
    seconds: float = 0.0
    queue_ids: dict[int, str] = {}  # number -> id in the 250
    replies: dict[str, int] = {}  # refusals: reply -> count
    latency: list[tuple[int, int]] = []  # dot to 250: histogram buckets
    slowest: int = 0  # microseconds
    gone: str = ""  # why the last connection failed, where the load was given up for that

    def histogram(self) -> Histogram:
        """Times from final dot to reply."""
        return Histogram(self.latency, self.slowest)

    def merge(self, other: Report) -> None:
        """Add what another process reports of its part."""
        both = self.histogram()
        both.merge(other.histogram())
        self.latency, self.slowest = list(both.counts.items()), both.largest
        self.accepted += other.accepted
        self.refused += other.refused
        self.deferred += other.deferred
        self.unknown += other.unknown
        self.unsent += other.unsent
        self.gone = self.gone or other.gone
        self.seconds = max(self.seconds, other.seconds)
        self.queue_ids |= other.queue_ids
        self.replies = dict(Counter(self.replies) + Counter(other.replies))


class Work:
    """The numbers still to send and the results, shared by the sessions of a process."""

    __slots__ = ("load", "composer", "report", "now", "finished", "_again", "_fresh", "_tries",
                 "_histogram", "_open", "_tally", "_began", "_begun", "_connected",
                 "_reached")  # fmt: skip

    def __init__(self, load: Load, now: Callable[[], float] = time.monotonic) -> None:
        self.load, self.composer, self.report = load, Composer(load), Report()
        self.now = now
        self.finished: Callable[[], None] = lambda: None  # called when every message has its result
        self._fresh = iter(range(load.first, load.first + load.messages * load.step, load.step))
        self._again: deque[int] = deque()
        self._tries: Counter[int] = Counter()
        self._histogram = Histogram()
        self._open = load.messages
        self._tally = Tally(Path(load.tally)) if load.tally else None
        self._began, self._begun = now(), 0  # for the pace: the start, and messages begun since
        self._connected, self._reached = 0, now()  # connections, and when there last was one

    @property
    def open(self) -> int:
        """Messages without a result."""
        return self._open

    def connected(self, change: int) -> None:
        """A connection was made (1) or lost (-1)."""
        self._connected += change
        self._reached = self.now()

    def unreachable(self, error: OSError) -> None:
        """No connection can be made now; ends the load when its patience is over."""
        patience = self.load.patience
        if patience and not self._connected and self.now() - self._reached >= patience:
            self.report.gone = error.strerror or str(error)
            self.finished()

    def next(self) -> int | None:
        """The next number to send; None when there is none, or none is due yet."""
        if self._again:
            return self._again.popleft()
        if self.load.rate and self.wait() > 0:
            return None
        self._begun += 1
        return next(self._fresh, None)

    def wait(self) -> float:
        """Seconds until the next message is due, if there is a pace."""
        if not self.load.rate:
            return PAUSE
        return self._began + self._begun / self.load.rate - self.now()

    def sent(self, number: int) -> None:
        """The final dot leaves."""
        if self._tally is not None:
            self._tally.sent[number] = now()

    def give_back(self, number: int) -> None:
        """A message whose dot has not left: it is sent again."""
        self._again.append(number)

    def accepted(self, number: int, line: bytes, sent: float) -> None:
        """250 to the dot."""
        self.report.accepted += 1
        self._histogram.add(int((self.now() - sent) * 1e6))
        if self._tally is not None:
            self._tally.accepted[number] = now()
        at = line.find(QUEUED) if self.load.ids else -1
        if at >= 0:
            self.report.queue_ids[number] = line[at + len(QUEUED) :].split()[0].decode()
        self._close()

    def refused(self, number: int, line: bytes) -> bool:
        """4xx or 5xx; True if the message will be offered again, after a pause."""
        if line[:1] == b"4":
            self.report.deferred += 1
            self._tries[number] += 1
            if self._tries[number] < ATTEMPTS:
                self.give_back(number)
                return True
        text = line.decode("latin-1").strip()
        self.report.replies[text] = self.report.replies.get(text, 0) + 1
        self.report.refused += 1
        self._close()
        return False

    def unknown(self, number: int) -> None:
        """The connection was lost after the dot: it may have arrived or not."""
        self.report.unknown.append(number)
        self._close()

    def _close(self) -> None:
        self._open -= 1
        if not self._open:
            self.finished()

    def result(self, seconds: float) -> Report:
        """The report, complete."""
        self.report.seconds, self.report.unsent = seconds, self._open
        self.report.latency = list(self._histogram.counts.items())
        self.report.slowest = self._histogram.largest
        return self.report


class Reply(enum.IntEnum):
    """What the next reply line answers."""

    GREETING = 0
    EHLO = 1
    MAIL = 2
    RCPT = 3
    DATA = 4
    DOT = 5
    RSET = 6
    QUIT = 7


class Transport(Protocol):
    """What a session needs of an asyncio transport."""

    def write(self, data: bytes) -> None: ...
    def close(self) -> None: ...


class Session(asyncio.Protocol):
    """One connection of the source."""

    __slots__ = ("_work", "_transport", "_buffer", "_expected", "_number", "_sending", "_sent",
                 "_recipient", "_refusal", "_later", "_pipelines", "closed")  # fmt: skip

    def __init__(self, work: Work, later: Callable[[float, Callable[[], None]], object]) -> None:
        self._work, self._later = work, later
        self._transport: Transport | None = None
        self._buffer = b""
        self._expected: deque[Reply] = deque([Reply.GREETING])
        self._number: int | None = None  # the message whose envelope is under way
        self._sending: int | None = None  # the message whose dot has left
        self._sent = 0.0
        self._recipient = ""
        self._refusal = b""
        self._pipelines = False  # the server offers it, and the load wants it
        self.closed: Callable[[], None] = lambda: None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the greeting."""
        self._transport = cast(Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Say what became of the messages under way."""
        self._transport = None
        if self._sending is not None:
            self._work.unknown(self._sending)
        if self._number is not None:
            self._work.give_back(self._number)
        self._sending = self._number = None
        self.closed()

    def data_received(self, data: bytes) -> None:
        """Take every whole reply; the rest waits."""
        lines = (self._buffer + data).split(b"\n") if self._buffer else data.split(b"\n")
        self._buffer = lines.pop()
        for line in lines:
            if line[3:4] != b"-":  # the last line of a reply (RFC 5321 4.2.1)
                self._answered(line)
            elif line[4:14].upper() == b"PIPELINING":
                self._pipelines = self._work.load.pipelining

    def _answered(self, line: bytes) -> None:
        if not self._expected or line[:3] == b"421":
            self._dismissed(line)
            return
        what, good = self._expected.popleft(), line[:1] in b"23"
        if what is Reply.EHLO and line[4:14].upper() == b"PIPELINING":  # as its last line
            self._pipelines = self._work.load.pipelining
        if what is Reply.DOT:
            self._dot_answered(line, good)
        elif what is Reply.DATA:
            self._data_answered(line, good)
        elif what in (Reply.MAIL, Reply.RCPT):
            self._envelope_answered(what, line, good)
        elif what is Reply.GREETING and good:
            self._say(b"EHLO source.example\r\n", Reply.EHLO)
        elif what in (Reply.EHLO, Reply.RSET) and good:
            self._start()
        else:
            self._close()

    def _dismissed(self, line: bytes) -> None:
        """421: a message whose dot it answers was not taken; the server closes (RFC 5321 3.8)."""
        if self._sending is not None and self._expected and self._expected[0] is Reply.DOT:
            self._work.refused(self._sending, line)
            self._sending = None
        self.leave()

    def leave(self) -> None:
        """End the session; politely at a message boundary."""
        if self._transport is not None and not self._expected:
            self._transport.write(b"QUIT\r\n")
        self._close()

    def _say(self, data: bytes, *expected: Reply) -> None:
        self._expected.extend(expected)
        if self._transport is not None:
            self._transport.write(data)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _group(self) -> tuple[bytes, tuple[Reply, ...]]:
        """What opens the next transaction, and the replies it calls for; nothing at the end."""
        self._number, self._refusal = self._work.next(), b""
        if self._number is None:
            return b"", ()
        self._recipient = self._work.composer.recipient(self._number)
        mail = b"MAIL FROM:<%b>\r\n" % self._work.load.sender.encode()
        if not self._pipelines:
            return mail, (Reply.MAIL,)
        rcpt = b"RCPT TO:<%b>\r\nDATA\r\n" % self._recipient.encode()
        return mail + rcpt, (Reply.MAIL, Reply.RCPT, Reply.DATA)

    def _start(self) -> None:
        """Begin a transaction at a boundary, or end the session when there is no more."""
        data, expected = self._group()
        if data:
            self._say(data, *expected)
        elif not self._expected and not self._work.open:
            self._say(b"QUIT\r\n", Reply.QUIT)
        elif not self._expected:  # another session may yet give a message back
            self._later(max(self._work.wait(), 0.001), self._resume)

    def _resume(self) -> None:
        if self._transport is not None and self._number is None and not self._expected:
            self._start()

    def _envelope_answered(self, what: Reply, line: bytes, good: bool) -> None:
        if not good:
            self._refusal = self._refusal or line
        if self._pipelines:
            return
        if not good:
            self._undo()
        elif what is Reply.MAIL:
            self._say(b"RCPT TO:<%b>\r\n" % self._recipient.encode(), Reply.RCPT)
        else:
            self._say(b"DATA\r\n", Reply.DATA)

    def _data_answered(self, line: bytes, good: bool) -> None:
        if not good:
            self._refusal = self._refusal or line
            self._undo()
        elif self._refusal:  # 354 though no recipient was taken: a lone dot (RFC 2920 3.1)
            self._say(b".\r\n", Reply.DOT)
        else:
            self._send()

    def _undo(self) -> None:
        """The envelope was refused: go on with RSET, after a pause if it may be tried again."""
        number, self._number = self._number, None
        if number is not None and self._work.refused(number, self._refusal):
            self._later(PAUSE, self._reset)
        else:
            self._reset()

    def _reset(self) -> None:
        if self._transport is not None:
            self._say(b"RSET\r\n", Reply.RSET)

    def _send(self) -> None:
        """Content and dot, with the next envelope behind them if pipelining."""
        number = cast(int, self._number)
        content = self._work.composer.content(number, self._recipient)
        self._sending, self._number, self._sent = number, None, self._work.now()
        self._work.sent(number)
        if self._pipelines:
            group, expected = self._group()
            self._say(b"%b.\r\n%b" % (content, group), Reply.DOT, *expected)
        else:
            self._say(content + b".\r\n", Reply.DOT)

    def _dot_answered(self, line: bytes, good: bool) -> None:
        if self._sending is None:  # a lone dot
            self._undo()
            return
        number, self._sending = self._sending, None
        if good:
            self._work.accepted(number, line, self._sent)
        else:
            self._work.refused(number, line)
        if not self._expected:
            self._start()


async def run(load: Load, progress: Callable[[int], None] | None = None) -> Report:
    """Inject a load in this process; `progress` gets the accepted count five times a second."""
    work, began = Work(load), time.monotonic()
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    work.finished = done.set
    sessions = [
        asyncio.create_task(_keep_open(work, load.server, loop, local))
        for local in itertools.islice(
            itertools.cycle(load.sources or [""]), min(load.sessions, load.messages)
        )
    ]
    try:
        async with asyncio.timeout(load.timeout):
            while load.messages and not done.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(done.wait(), 0.2)
                if progress is not None:
                    progress(work.report.accepted)
    except TimeoutError:
        pass
    seconds = time.monotonic() - began
    for task in sessions:
        task.cancel()
    await asyncio.gather(*sessions, return_exceptions=True)
    return work.result(seconds)


async def _keep_open(work: Work, server: str, loop: asyncio.AbstractEventLoop, local: str) -> None:
    """One session after the other until all work is done; a refused connection is tried again."""
    host, port, _ = Endpoint.parse(server)
    while work.open:
        lost = asyncio.Event()
        session = Session(work, loop.call_later)
        session.closed = lost.set
        try:
            await loop.create_connection(
                lambda s=session: s, host, port, local_addr=(local, 0) if local else None
            )
        except OSError as error:
            work.unreachable(error)
            await asyncio.sleep(PAUSE)
            continue
        work.connected(1)
        try:
            await lost.wait()
        finally:
            work.connected(-1)
            session.leave()
        if work.open:
            await asyncio.sleep(PAUSE)


async def run_processes(
    load: Load, processes: int, progress: Callable[[int], None] | None = None
) -> Report:
    """Inject a load from several processes of their own."""
    counts = [0] * processes

    def counted(index: int, accepted: int) -> None:
        counts[index] = accepted
        if progress is not None:
            progress(sum(counts))

    reports = await asyncio.gather(
        *(_child(load.share(i, processes), lambda n, i=i: counted(i, n)) for i in range(processes))  # type: ignore[misc]
    )
    total = Report()
    for report in reports:
        total.merge(report)
    return total


async def _child(load: Load, counted: Callable[[int], None]) -> Report:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mta.loadgen.source",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 28,
        start_new_session=True,  # a Ctrl-C is for us; we end it
    )  # fmt: skip
    assert child.stdin is not None and child.stdout is not None
    report = Report(unsent=load.messages)
    try:
        child.stdin.write(msgspec.json.encode(load))
        child.stdin.write_eof()
        async for line in child.stdout:
            part = msgspec.json.decode(line, type=Part)
            if part.report is not None:
                report = part.report
            counted(part.accepted if part.report is None else report.accepted)
        await child.wait()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    return report


class Part(msgspec.Struct, omit_defaults=True):
    """One line that a source process prints."""

    accepted: int = 0
    report: Report | None = None


def _print(part: Part) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(part) + b"\n")
    sys.stdout.buffer.flush()


def main() -> None:
    """Run the load that standard input describes."""
    load = msgspec.json.decode(sys.stdin.buffer.read(), type=Load)
    with contextlib.suppress(BrokenPipeError):  # who asked for it has gone
        report = uvloop.run(run(load, lambda accepted: _print(Part(accepted))))
        _print(Part(report=report))


if __name__ == "__main__":
    main()
