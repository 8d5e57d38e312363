"""Accepting connections for one listener of a worker.

The accept loop is our own: the loop's server closes itself for good when descriptors run out,
and a connection over a limit should cost neither a transport nor a session.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Iterable
from typing import cast

import msgspec

from mta._speedups.verdict import ACCEPTED, Reason, Verdict
from mta.reception.policy import UNIX, Clients
from mta.reception.reception import Reception
from mta.smtp.server import ServerOptions
from mta.smtpd import limits
from mta.smtpd.handover import Handover, address_of
from mta.smtpd.proxy import Origin, Preamble
from mta.smtpd.service import Service, Terms
from mta.smtpd.session import Session
from mta.smtpd.timeouts import Seconds, Timeouts

ACCEPTS = 32  # connections taken per wake-up, so that sessions get their turn
PAUSE = 0.5  # seconds without accepting after descriptors ran out
NOT_A_PROXY = "This address takes connections of its proxies alone, {} is none of them"
SHORTAGES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class ListenerOptions(msgspec.Struct, frozen=True):
    """What the sessions of a listener have in common."""

    server: ServerOptions
    timeouts: Timeouts = Timeouts()
    proxies: Clients | None = None  # whose connections begin with a PROXY header; no others come
    xclient: Clients | None = None  # who may use XCLIENT
    server_xclient: ServerOptions | None = None  # what they are offered
    session: type[Session] | Callable[..., Session] = Session  # what serves a connection
    drain_text: str = "Service is shutting down, try again later"


class Listener:
    """Serves bound, listening sockets until `close`; `sessions` has what it opened."""

    __slots__ = (
        "terms", "service", "server", "sessions", "drain_text", "draining", "number",
        "handover", "_options", "_loop", "_sockets", "_tasks", "_paused",
        "_ended",
    )  # fmt: skip

    def __init__(
        self,
        options: ListenerOptions,
        sockets: Iterable[socket.socket],
        *,
        reception: Reception,
        service: Service,
        loop: asyncio.AbstractEventLoop,
        number: int = 0,
        handover: Handover | None = None,
    ) -> None:
        self.service = service
        self.number, self.handover = number, handover  # as the other workers count listeners
        self.sessions: set[Session | Preamble] = set()
        self.draining = False
        self.terms = Terms(reception, Seconds(options.timeouts))
        self.reload(options, reception)
        self._loop, self._sockets = loop, list(sockets)
        self._tasks: set[asyncio.Task[object]] = set()
        self._paused: set[socket.socket] = set()
        self._ended: asyncio.Future[None] | None = None

    def reload(self, options: ListenerOptions, reception: Reception) -> None:
        """Serve by these from now on; open sessions keep their `options.server`."""
        self.server, self.drain_text, self._options = options.server, options.drain_text, options
        self.terms.reception, self.terms.seconds = reception, Seconds(options.timeouts)

    def start(self) -> None:
        """Accept from now on."""
        for sock in self._sockets:
            sock.setblocking(False)
            self._loop.add_reader(sock, self._accept, sock)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTS):
            try:
                sock, peer = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in SHORTAGES:
                    self._pause(listening)
                    return
                continue  # accept(2): an error of that connection, which is gone
            address = address_of(listening, peer)
            handover = self.handover
            if handover is None or not handover.offer(self.number, sock, address):
                self.take(sock, address)

    def _pause(self, listening: socket.socket) -> None:
        """Out of descriptors: the socket stays readable, so polling on would be a busy loop."""
        self.service.starved += 1
        self._loop.remove_reader(listening)
        self._paused.add(listening)
        self._loop.call_later(PAUSE, self._resume, listening)

    def _resume(self, listening: socket.socket) -> None:
        if listening in self._paused:
            self._paused.discard(listening)
            self._loop.add_reader(listening, self._accept, listening)

    def take(self, sock: socket.socket, address: str) -> None:
        """Serve an accepted connection from this address, or turn it away."""
        proxies = self._options.proxies
        if proxies is not None and address not in proxies:
            text = NOT_A_PROXY.format(address)
            self._turn_away(sock, Verdict(554, "5.7.1", text, Reason.RELAYING_DENIED))
            return
        relay = proxies is None and self._may_relay(address)
        network = limits.TRUSTED if proxies is not None else self._network(address, relay)
        verdict = self.service.limits.enter(network)
        if verdict is not ACCEPTED:
            self._turn_away(sock, verdict)
            return
        if proxies is not None:
            self._serve(sock, Preamble(self, address, network))
        else:
            self._serve(sock, self._options.session(self, address, network, relay))

    def _may_relay(self, address: str) -> bool:
        """A proxy that may use XCLIENT speaks for others: its own address grants nothing."""
        xclient = self._options.xclient
        if xclient is not None and address in xclient:
            return False
        return self.terms.reception.policy.may_relay(address)

    def _network(self, address: str, relay: bool) -> bytes:
        # The limit per network is against strangers: an injector may open what it needs.
        xclient = self._options.xclient
        if relay or address == UNIX or (xclient is not None and address in xclient):
            return limits.TRUSTED
        return self.service.limits.network(address)

    def options_for(self, session: Session) -> ServerOptions:
        """What a session is offered: XCLIENT to its proxies."""
        xclient, extended = self._options.xclient, self._options.server_xclient
        if xclient is not None and extended is not None and session.address in xclient:
            return extended
        return self.server

    def _serve(self, sock: socket.socket, protocol: Session | Preamble) -> None:
        self.sessions.add(protocol)
        task = self._loop.create_task(self._connect(sock, protocol))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def introduce(
        self, preamble: Preamble, origin: Origin, rest: bytes, verdict: Verdict = ACCEPTED
    ) -> None:
        """The PROXY header was read, or is refused: a session takes over the connection.

        Relaying and limits go by the header's address; a proxy that speaks for itself may not
        relay, wherever it is.
        """
        transport, address = preamble.transport, origin.address or preamble.peer
        if transport is None or preamble not in self.sessions:
            return
        relay = origin.address is not None and self._may_relay(address)
        network = preamble.network
        if origin.address is not None and not verdict.refuses:
            network = self._network(address, relay)
            verdict = self.service.limits.move(preamble.network, network)
            if verdict.refuses:
                self.service.refused += 1
                network = limits.TRUSTED
        session = self._options.session(self, address, network, relay)
        if verdict.refuses:
            session.core.refuse(verdict.reply())
        self.sessions.discard(preamble)
        self.service.deadlines.remove(preamble)
        self.sessions.add(session)
        transport.set_protocol(_protocol(session))
        session.connection_made(transport)
        if rest and not session.ending:
            session.data_received(rest)

    def move(self, session: Session, address: str) -> Verdict:
        """XCLIENT has named the client ("": it is not known); may its network have one more."""
        relay = bool(address) and self.terms.reception.policy.may_relay(address)
        network = self._network(address, relay) if address else limits.TRUSTED
        verdict = self.service.limits.move(session.network, network)
        if verdict.refuses:
            network = limits.TRUSTED
        session.network, session.relay = network, relay
        session.address = address or session.address
        return verdict

    def _turn_away(self, sock: socket.socket, verdict: Verdict) -> None:
        self.service.refused += 1
        sock.setblocking(False)
        try:
            sock.send(verdict.reply())  # a fresh socket buffer takes a line whole
        except OSError:
            pass  # the client has gone already
        sock.close()

    async def _connect(self, sock: socket.socket, session: Session | Preamble) -> None:
        sock.setblocking(False)
        try:
            await self._loop.connect_accepted_socket(lambda: _protocol(session), sock)
        except OSError:  # gone before it was served
            sock.close()
            self.forget(session)

    def forget(self, session: Session | Preamble) -> None:
        """The session's connection has ended."""
        if session in self.sessions:
            self.sessions.discard(session)
            self.service.limits.release(session.network)
            self.service.deadlines.remove(session)
        if self._ended is not None and not self.sessions and not self._ended.done():
            self._ended.set_result(None)

    def close(self) -> None:
        """Accept no more; the sockets stay open, for whoever bound them."""
        for sock in self._sockets:
            self._loop.remove_reader(sock)
        self._paused.clear()
        self._sockets.clear()

    def drain(self) -> None:
        """Accept no more, and end each session at its next boundary with 421 4.3.2.

        With a hand-over that is retired, what comes is still accepted and passed on.
        """
        if self.handover is None or not self.handover.away:
            self.close()
        self.draining = True
        for session in list(self.sessions):
            session.drain()

    def abort(self) -> None:
        """End all sessions at once, without a word."""
        self.close()
        self.draining = True  # for one whose connection is not made yet
        for session in list(self.sessions):
            session.abort()

    async def wait_closed(self) -> None:
        """Return when the last session has ended."""
        while self.sessions:
            if self._ended is None or self._ended.done():
                self._ended = self._loop.create_future()
            await asyncio.shield(self._ended)


def _protocol(session: Session | Preamble) -> asyncio.BaseProtocol:
    """A session has the methods of a protocol; a compiled class cannot inherit from asyncio's."""
    return cast(asyncio.BaseProtocol, session)
