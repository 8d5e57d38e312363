"""A session with a transport, a wheel and a reception that a test holds in its hands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

from mta._speedups.verdict import ACCEPTED
from mta.maillog.records import RecordWriter, decode
from mta.model import IdGenerator, Message
from mta.reception.admit import Member
from mta.reception.members import admission
from mta.reception.policy import Policy
from mta.reception.reception import Reception, ReceptionOptions
from mta.smtp.server import ServerOptions
from mta.smtpd.aiosmtpd_compat.member import HandlerMember, LoginRequired
from mta.smtpd.aiosmtpd_compat.session import HandledSession, commands, mail_parameters
from mta.smtpd.limits import SessionLimits
from mta.smtpd.listener import Listener, ListenerOptions
from mta.smtpd.service import Service
from mta.smtpd.session import Session
from mta.smtpd.timeouts import Timeouts
from mta.testing.clock import FakeClock
from mta.testing.room import Room

HOST = "mx.example.net"


class FakeLoop:
    """Time, and timers that run when it moves."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.calls: list[tuple[float, Callable[..., None], tuple[Any, ...]]] = []

    def time(self) -> float:
        return self.clock.monotonic()

    def call_later(self, delay: float, callback: Callable[..., None], *args: Any) -> None:
        self.calls.append((self.time() + delay, callback, args))

    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1)
            due = [call for call in self.calls if call[0] <= self.time()]
            self.calls = [call for call in self.calls if call[0] > self.time()]
            for _, callback, args in due:
                callback(*args)


class FakeTransport:
    """Takes down what the session does to its connection."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.reading, self.eof, self.closed, self.aborted = True, False, False, False

    def get_extra_info(self, name: str) -> None:
        return None

    def write(self, data: bytes) -> None:
        assert not self.eof and not self.closed and not self.aborted
        self.writes.append(data)

    def write_eof(self) -> None:
        self.eof = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True


class Desk:
    """One listener, and as many sessions as a test opens."""

    def __init__(
        self,
        *,
        timeouts: Timeouts | None = None,
        rule: dict[str, Any] | None = None,
        at_once: bool = True,
        limits: SessionLimits | None = None,
        handler: Any = None,
        xclient: bool = False,
        members: Sequence[Member] = (),
        **server: Any,
    ) -> None:
        self.loop = FakeLoop()
        self.service = Service(self.loop, limits, started=1)
        self.messages: list[tuple[Message, list[str]]] = []
        self.pending: list[Callable[[BaseException | None], None]] = []
        self.log: list[dict[str, Any]] = []
        self.at_once, self.room = at_once, Room()
        clock = self.loop.clock
        policy, asked = Policy(HOST, **(rule or {})), ReceptionOptions(HOST)
        login, members = (
            ([LoginRequired()], [HandlerMember()]) if handler is not None else ([], members)
        )
        judges = admission(asked, policy, clock, self.room, login=login, handler=members)
        self.reception = Reception(
            asked, policy, judges, IdGenerator(0, clock), self.submit, self.reject, clock,
            self.room, records=RecordWriter("n1", 0, clock),
        )  # fmt: skip
        self.session: Callable[..., Session] = Session
        if handler is not None:
            self.session = partial(HandledSession, handler)
            server["commands"] = {*commands(handler), *(["XCLIENT"] if xclient else [])}
            server["mail_parameters"] = mail_parameters(handler)
        options = ListenerOptions(ServerOptions(HOST, **server), timeouts or Timeouts())
        self.listener = Listener(
            options, [], reception=self.reception, service=self.service, loop=cast(Any, self.loop)
        )

    def submit(
        self,
        message: Message,
        recipients: list[str],
        done: Callable[[BaseException | None], None],
        wishes: object = None,
    ) -> None:
        self.messages.append((message, recipients))
        if self.at_once:
            done(None)
        else:
            self.pending.append(done)

    def reject(self, line: bytes) -> None:
        self.log.append(decode(line) or {})

    def open(self, address: str = "127.0.0.1") -> Talk:
        """A greeted session."""
        return Talk(self, address)


class Talk:
    """A client's view of one session."""

    def __init__(self, desk: Desk, address: str) -> None:
        self.transport = FakeTransport()
        network = desk.service.limits.network(address)
        assert desk.service.limits.enter(network) is ACCEPTED
        relay = desk.reception.policy.may_relay(address)
        self.session = desk.session(desk.listener, address, network, relay)
        desk.listener.sessions.add(self.session)
        self.session.connection_made(cast(Any, self.transport))

    def send(self, data: bytes) -> None:
        """Have the transport read this, in as many reads as its buffer asks for."""
        while data:
            buffer = self.session.get_buffer(65536)
            piece, data = data[: len(buffer)], data[len(buffer) :]
            buffer[: len(piece)] = piece
            self.session.buffer_updated(len(piece))

    def replies(self) -> bytes:
        """What was written since the last call."""
        writes, self.transport.writes = self.transport.writes, []
        return b"".join(writes)

    def say(self, data: bytes) -> bytes:
        """Send, and return what comes back at once."""
        self.send(data)
        return self.replies()

    def codes(self, data: bytes) -> list[int]:
        """The codes of the replies that come back at once."""
        lines = self.say(data).split(b"\r\n")[:-1]
        return [int(line[:3]) for line in lines if line[3:4] == b" "]

    def lost(self) -> None:
        """The connection has ended."""
        self.session.connection_lost(None)
