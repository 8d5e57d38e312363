"""The asyncio shell around the SMTP client core: one connection to one server (compiled).

No task and no timer per message: a read goes through the core, the feeder gives the next message,
and all that follows is written with one call, within the same callback of the loop.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, NamedTuple, cast

from mta._speedups.client import ClientCore, Transaction
from mta.delivery.feeder import Attempt, Connection
from mta.delivery.outcome import outcome, outcomes
from mta.delivery.parameters import DSN, SMTPUTF8, ascii_address, of_mail, of_rcpt
from mta.model import Flag, Kind, Outcome, Peer
from mta.smtp.client import KIND_NAMES, Capability, Event

if TYPE_CHECKING:
    from mta.delivery.deadlines import Deadlines
    from mta.delivery.feeder import Feeder
    from mta.model import Recipient
    from mta.smtp.client import ClientOptions

__all__ = ["SmtpConnection", "Timeouts"]

_READY, _CONTENT_WANTED, _DONE = int(Event.READY), int(Event.CONTENT_WANTED), int(Event.DONE)
_UTF8_FLAG = Flag.SMTPUTF8
_BINARY = int(Capability.BINARYMIME)
_DSN, _SMTPUTF8 = DSN, SMTPUTF8
_KIND_AHEAD = KIND_NAMES.index("ahead")
_MAX_LOCAL = 100  # transactions decided without the server before other connections have a turn
FEWER = Outcome(Kind.UNATTEMPTED, 0, "", "the server takes fewer recipients at once", "RCPT")
IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h: one source port may serve many destinations


class Timeouts(NamedTuple):
    """Seconds by `ClientCore.deadline_kind` (RFC 5321 4.5.3.2); its "none" is connecting here."""

    connect: float = 30
    greeting: float = 300
    hello: float = 300
    mail: float = 300
    rcpt: float = 300
    data: float = 120
    block: float = 180
    dot: float = 600
    rset: float = 300
    quit: float = 10
    ahead: float = 10
    late: float = 20


def _socket(host: str, port: int) -> socket.socket:
    """A socket to connect with; a host without a port is a path."""
    if not port:
        return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _endpoint(host: str, port: int) -> str:
    return f"[{host}]:{port}" if port else host


class BindError(OSError):
    """The source's address cannot be used: no word about the server."""


class SmtpConnection(Connection):
    """An SMTP session that takes messages from its feeder until a limit, an error or `close`.

    To the loop it is a buffered protocol.
    """

    __slots__ = (
        "core", "ready", "idle_since", "connect_us", "_feeder",
        "_loop", "_timeouts", "_deadlines", "_max_messages", "_idle_timeout", "_buffer",
        "_transport", "_now", "_began", "_taken", "_local", "_mark_replies", "_mark_kind",
        "_unsent", "_latest", "_sent_at", "_watched", "_pumping", "_kicked", "_closing", "_paused",
        "_ended", "_lost", "_told", "_why", "_expired",
    )  # fmt: skip

    core: ClientCore
    ready: bool  # EHLO was answered
    idle_since: float  # loop time of the last boundary without a message
    connect_us: int  # from connecting to the greeting

    def __init__(
        self,
        feeder: Feeder,
        loop: asyncio.AbstractEventLoop,
        options: ClientOptions,
        timeouts: Timeouts,
        deadlines: Deadlines,
        host_name: str,
        address: str,
        source: str,
        max_messages: int,
        idle_timeout: float,
        buffer: memoryview,
    ) -> None:
        """`buffer` is shared by all connections of the worker; `max_messages` 0 is no limit."""
        super().__init__()
        self.core = ClientCore(options)
        # RFC 2033 1: an LMTP server delivers at once
        success = "delivered" if options.lmtp else "relayed"
        self.peer = Peer(host_name, address, source, success)
        self.local = None
        self.ready, self.idle_since, self.connect_us = False, 0.0, 0
        self.overlap_failed, self.offers = False, 0
        self._feeder, self._loop, self._timeouts = feeder, loop, timeouts
        self._deadlines, self._buffer = deadlines, buffer
        self._max_messages, self._idle_timeout = max_messages, idle_timeout
        self._transport: asyncio.Transport | None = None
        self._now = self._began = loop.time()
        self._taken = 0  # attempts taken from the feeder
        self._local = 0  # submissions within one callback
        self._mark_replies = self._mark_kind = -1  # for which the deadline was set
        self._sent_at = 0.0  # loop time at which the last content left
        self._watched = False  # the feeder looks whether its reply takes long
        self._unsent = 0  # octets unwritten when the writing deadline was set
        self._pumping = self._kicked = self._closing = self._paused = False
        self._ended = self._lost = self._told = False  # session, connection; the feeder knows
        self._expired = False  # the time to connect is over
        self._why: Outcome | None = None  # what the feeder will be told

    def __repr__(self) -> str:
        state, peer = self.core.state, self.peer
        if self._transport is None and not self._ended:
            state = "CONNECTING"
        elif self.core.idle and self.ready:
            state = f"IDLE for {max(0.0, self._loop.time() - self.idle_since):.0f} s"
        return (
            f"<SmtpConnection {peer.name} ({peer.address}) from {peer.source or 'any'}: "
            f"{state}, {self.core.transactions} messages, {self.core.in_flight} in flight>"
        )

    # For the dispatcher

    @property
    def closed(self) -> bool:
        """The feeder was told of its end."""
        return self._told

    async def connect(
        self, host: str, port: int, local_addr: tuple[str, int] | None = None
    ) -> None:
        """Open the connection to an IP address, or to the path of a socket with port 0.

        A failure is told by `connection_closed`.
        """
        self._began = self._loop.time()
        task = asyncio.current_task()
        assert task is not None
        # `asyncio.timeout` was a twentieth of what a dial of a dead host costs.
        timer = self._loop.call_later(self._timeouts.connect, self._too_late, task)
        try:
            await self._open(host, port, local_addr)
        except BindError as error:
            self._tell_closed(Outcome(Kind.DEFERRED, 0, "4.3.5", str(error), "bind"))
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            self._not_connected(f"cannot connect to {_endpoint(host, port)}: {why}")
        except asyncio.CancelledError:
            if self._expired and not task.uncancel():
                self._not_connected(f"cannot connect to {_endpoint(host, port)}: timed out")
                return
            self._not_connected(f"connecting to {_endpoint(host, port)} was cancelled")
            raise
        finally:
            timer.cancel()

    def _too_late(self, task: asyncio.Task[None]) -> None:
        self._expired = True
        task.cancel()

    def _not_connected(self, text: str) -> None:
        self._tell_closed(Outcome(Kind.DEFERRED, 0, "", text, "connect"))

    def kick(self) -> None:
        """There may be something to send: ask for it if the session is idle."""
        self._kicked = True
        self._now = self._loop.time()
        self._pump()

    def close(self) -> None:
        """Say QUIT at the next message boundary."""
        self._closing = True
        self.kick()

    def abort(self) -> None:
        """Drop the connection now; what is under way is decided as for a loss."""
        self.core.connection_lost("dropped by us")
        self._pump()

    def unload(self, before: float) -> bool:
        """Give up content that left before that loop time; True: there is nothing to watch."""
        sent, transport = self.core.awaiting(), self._transport
        if sent is not None and transport is not None and not self._ended:
            if self._sent_at > before or transport.get_write_buffer_size():
                return False
            attempt: Attempt = sent.tag
            sent.forget_body()
            attempt.body = b""
            self._feeder.content_over(attempt)
        self._watched = False
        return True

    # For the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The TCP connection is up: the greeting is due."""
        self._transport = cast("asyncio.Transport", transport)
        self._now = self._loop.time()
        if self._closing or self._ended:
            self._ended = True
            self._transport.abort()
        else:
            self._pump()

    def eof_received(self) -> None:
        """The server will say no more: the loop closes the connection."""

    def get_buffer(self, sizehint: int) -> memoryview:
        """The worker's read buffer: it is consumed before another connection reads."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Octets were read."""
        self._now = self._loop.time()
        if not self.connect_us:
            self.connect_us = max(1, int((self._now - self._began) * 1e6))
        self.core.feed(self._buffer, nbytes)
        self._pump()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, and its socket closed in a moment."""
        self._lost = True
        if self._ended:
            self._tell_closed(self._why)
            return
        self.core.connection_lost("" if exc is None else str(exc))
        self._pump()

    def pause_writing(self) -> None:
        """The server does not take what we write: no more messages until it does."""
        self._paused = True
        self._now = self._loop.time()
        self._watch_writing()

    def resume_writing(self) -> None:
        """The server has taken most of it."""
        self._paused = False
        self._mark_replies = -1
        self.kick()

    def expired(self) -> None:
        """The deadline has passed (from the wheel)."""
        self._now = self._loop.time()
        core = self.core
        if self._ended:
            if self._transport is not None:
                self._transport.abort()  # the server does not take our last words
            return
        if self._paused and self._drains():
            self._watch_writing()
        elif core.idle:
            core.quit()
        elif core.deadline_kind == _KIND_AHEAD:
            core.overlap_off()
        else:
            core.time_out()
        self._pump()

    # Within

    async def _open(self, host: str, port: int, local_addr: tuple[str, int] | None) -> None:
        protocol = cast("asyncio.BaseProtocol", self)
        if port and local_addr is None:  # the loop's own way costs half as much
            await self._loop.create_connection(lambda: protocol, host, port)
            return
        sock = _socket(host, port)
        try:
            if local_addr is not None:
                self._bind(sock, local_addr)
            await self._loop.sock_connect(sock, (host, port) if port else host)
            await self._loop.create_connection(lambda: protocol, sock=sock)
        except BaseException:
            sock.close()
            raise

    def _bind(self, sock: socket.socket, local_addr: tuple[str, int]) -> None:
        try:
            sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind(local_addr)
        except OSError as error:
            why = f"cannot send from {local_addr[0]} (source {self.peer.source}): {error.strerror}"
            raise BindError(why) from error

    def _pump(self) -> None:
        """Handle the core's events, write what it gives, set the deadline."""
        if self._pumping or self._ended:
            return  # the feeder called back, or a late callback of the transport
        self._pumping, self._local = True, 0
        try:
            closed = self._handle_events()
            out = self.core.output()
            if out and self._transport is not None:
                self._write(out)
        finally:
            self._pumping = False
            self._feeder.hand.drop()
        if closed:
            self._end()
        else:
            self._arm()

    def _handle_events(self) -> bool:
        """Go through the events; True if the session has ended."""
        core = self.core
        while True:
            event = core.event()
            if event == 0:
                if not (self._kicked and core.idle):
                    self._kicked = False
                    return False
                event = _READY
            if event == _DONE:
                self._on_done(core.take_done())
            elif event == _CONTENT_WANTED:
                self._on_content_wanted()
            elif event == _READY:
                self._on_ready()
            else:
                return True

    def _write(self, out: list[bytes]) -> None:
        """The content is a piece of its own, which nothing copies."""
        assert self._transport is not None
        if len(out) == 1:
            self._transport.write(out[0])
        else:
            self._transport.writelines(out)

    def _on_ready(self) -> None:
        self._kicked = False
        if not self.ready:
            self.ready = True
            self._learn()
            self._feeder.connection_ready(self)
        if not self.core.idle:
            return  # aborted by the feeder
        if self._closing or self._is_full():
            self.core.quit()
        elif self._paused:
            pass  # resume_writing asks again
        elif self._local >= _MAX_LOCAL:
            self._loop.call_soon(self.kick)
        else:
            self._begin()

    def _begin(self) -> None:
        attempt = self._feeder.next_attempt(self)
        if attempt is not None:
            self._local += 1
            self.core.submit(self._transaction(attempt))
        elif not self._closing:
            self.idle_since = self._now
            self._feeder.connection_idle(self)

    def _on_content_wanted(self) -> None:
        ahead, current = None, self._latest
        if self.core.overlap_ok and not self._closing and not self._is_full():
            ahead = self._feeder.next_attempt(self)
        following = None if ahead is None else self._transaction(ahead)
        self._feeder.hand.hold(current)
        self.core.send_content(following)
        self._sent_at = self._now
        if not self._watched:
            self._watched = True
            self._feeder.content_sent(self)

    def _is_full(self) -> bool:
        """As many messages were taken as one connection may carry."""
        return 0 < self._max_messages <= self._taken

    def _learn(self) -> None:
        """Heed what the server's greeting says of itself."""
        self.offers = self.core.capabilities
        if not self.core.takes_binary:
            self.offers &= ~_BINARY
        if self.core.capabilities & Capability.DSN:
            self.peer = self.peer._replace(success="")
        most = self.core.limits.get("MAILMAX", 0)  # RFC 9422 4.1
        if most and not 0 < self._max_messages <= most:
            self._max_messages = most

    def _transaction(self, attempt: Attempt) -> Transaction:
        core, message = self.core, attempt.message
        self._latest = message.id
        self._feeder.hand.hold(message.id)
        attempt.mail_at = self._now
        if not self._taken:
            attempt.connect_us = self.connect_us
        self._taken += 1
        body, flags, recipients = attempt.body, attempt.flags, attempt.recipients
        if core.limits:
            recipients = recipients[: self._share(recipients)]
        sender, addresses = message.sender, [recipient.address for recipient in recipients]
        if flags & _UTF8_FLAG and not core.capabilities & _SMTPUTF8:
            sender, addresses = ascii_address(sender), [*map(ascii_address, addresses)]
        mail, rcpt = b"", None
        if message.ret or message.envid or message.priority:
            mail = of_mail(message, core.capabilities)
        if core.capabilities & _DSN:
            for recipient in recipients:
                if recipient.notify or recipient.orcpt:
                    rcpt = of_rcpt(recipients, core.capabilities)
                    break
        return Transaction(sender, addresses, body, flags, attempt, mail, rcpt)

    def _share(self, recipients: list[Recipient]) -> int:
        """How many of them the server takes in one transaction (RFC 9422 4.2, 4.3)."""
        limits = self.core.limits
        most = min(limits.get("RCPTMAX", len(recipients)), len(recipients))
        domains: set[str] = set()
        for place in range(most if "RCPTDOMAINMAX" in limits else 0):
            domains.add(recipients[place].domain)
            if len(domains) > limits["RCPTDOMAINMAX"]:
                return place
        return most

    def _on_done(self, transaction: Transaction) -> None:
        attempt: Attempt = transaction.tag
        attempt.transfer_us = int((self._now - attempt.mail_at) * 1e6)
        found = outcomes(transaction.results)
        left = len(attempt.recipients) - len(found)
        if left:
            found += [FEWER] * left
        self._feeder.attempt_done(self, attempt, found)

    def _end(self) -> None:
        """The session has ended: close the connection, then tell the feeder, once."""
        failure, transport = self.core.failure, self._transport
        self._ended, self._why = True, None if failure is None else outcome(failure)
        if transport is None or self._lost:
            self._tell_closed(self._why)
            return
        self.deadline = self._now + self._timeouts.quit
        self._deadlines.add(self)
        # With a failure nobody waits for what is unwritten.
        if failure is not None and (failure[0] == 0 or self._paused):
            transport.abort()
        else:
            transport.close()

    def _tell_closed(self, why: Outcome | None) -> None:
        """Tell the feeder, who may then open another connection in place of this one.

        So not before the server can know that this one is gone.
        """
        if self._told:
            return
        self._told = self._ended = True
        self.overlap_failed = self.core.overlap_failed
        self._deadlines.remove(self)
        self._feeder.connection_closed(self, why)

    # Deadlines

    def _arm(self) -> None:
        """Set the deadline if a reply was read or something else is awaited.

        Octets alone do not move it: a server that drips a reply has no more time than another.
        """
        core = self.core
        kind = core.deadline_kind
        if (core.replies != self._mark_replies or kind != self._mark_kind) and not self._paused:
            self._mark_replies, self._mark_kind = core.replies, kind
            self.deadline = self._now + (self._timeouts[kind] if kind else self._idle_timeout)
        if self.deadline < self.armed:
            self._deadlines.add(self)

    def _watch_writing(self) -> None:
        assert self._transport is not None
        self._unsent = self._transport.get_write_buffer_size()
        self.deadline = self._now + self._timeouts.block
        self._mark_replies = -1

    def _drains(self) -> bool:
        """The server took something since the deadline was set (RFC 5321 4.5.3.2.5)."""
        transport = self._transport
        return transport is not None and transport.get_write_buffer_size() < self._unsent
