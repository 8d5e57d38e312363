"""Questions to DNS servers: UDP on a few shared sockets, TCP for long answers, several servers.

A socket is left after `QUERIES_PER_PORT` questions and a question takes one of `PORTS` at random,
so that ports and ids stay hard to guess (RFC 5452 9.2) without a socket for each question.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from typing import NamedTuple, Protocol

import dns.asyncquery
import dns.exception
import dns.message

from mta.clock import Clock
from mta.resolver import wire
from mta.resolver.options import ResolverOptions, Server, servers

PORTS = 4
QUERIES_PER_PORT = 100
DOWN_TIME = 30.0  # a server that kept silent is asked last for so long
USEFUL = (wire.NOERROR, wire.NXDOMAIN)  # any other rcode may be different at another server


class Trouble(NamedTuple):
    """No server could answer now."""

    text: str


class Exchange(Protocol):
    """One question, answered over the network or by a fake."""

    async def ask(self, name: str, rdtype: int) -> wire.Reply | Trouble:
        """The answer to a question about a normalised name."""
        ...

    def close(self) -> None:
        """Let go of all sockets."""
        ...


class Port(asyncio.DatagramProtocol):
    """One UDP socket, connected to a server: ids to the questions that wait."""

    def __init__(self) -> None:
        self._transport: asyncio.DatagramTransport | None = None
        self._waiting: dict[int, tuple[bytes, asyncio.Future[bytes]]] = {}
        self._left = QUERIES_PER_PORT

    def __repr__(self) -> str:
        return f"<Port {len(self._waiting)} waiting, {self._left} questions left>"

    @property
    def usable(self) -> bool:
        """Whether it takes another question."""
        return self._left > 0 and self._transport is not None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._fail(exc or ConnectionAbortedError("socket closed"))

    def error_received(self, exc: Exception) -> None:
        self._fail(exc)  # ICMP: the server's port is closed or its network is gone

    def _fail(self, exc: Exception) -> None:
        waiting, self._waiting = self._waiting, {}
        for _, future in waiting.values():
            if not future.done():
                future.set_exception(exc)

    def datagram_received(self, data: bytes, addr: object) -> None:
        entry = self._waiting.get(int.from_bytes(data[:2], "big"))
        if entry and wire.answers(data, entry[0]) and not entry[1].done():
            entry[1].set_result(data)  # anything else is a forgery or late (RFC 5452 9.1)

    async def ask(self, section: bytes, timeout: float) -> bytes:
        """The answer's bytes; TimeoutError or OSError."""
        assert self._transport is not None
        id = secrets.randbits(16)
        while id in self._waiting:
            id = secrets.randbits(16)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bytes] = loop.create_future()
        self._waiting[id] = section, future
        self._left -= 1
        late = loop.call_later(timeout, _time_out, future)
        try:
            self._transport.sendto(wire.query(id, section))
            return await future
        finally:
            late.cancel()
            self._waiting.pop(id, None)
            if self._left <= 0 and not self._waiting:
                self.close()

    def close(self) -> None:
        """Close the socket; what waits fails."""
        if self._transport is not None:
            self._transport.close()


def _time_out(future: asyncio.Future[bytes]) -> None:
    if not future.done():
        future.set_exception(TimeoutError())


class Upstream:
    """One server: its sockets, and until when it counts as down."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.down_until = 0.0
        self._ports: list[Port | None] = [None] * PORTS
        self._opening = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Upstream {self.server}>"

    async def _port(self) -> Port:
        place = random.randrange(PORTS)
        port = self._ports[place]
        if port is not None and port.usable:
            return port
        async with self._opening:
            port = self._ports[place]
            if port is None or not port.usable:
                port = self._ports[place] = await self._open()
            return port

    async def _open(self) -> Port:
        loop = asyncio.get_running_loop()
        address = self.server.address, self.server.port
        return (await loop.create_datagram_endpoint(Port, remote_addr=address))[1]

    async def ask(self, section: bytes, timeout: float) -> wire.Reply:
        """Over UDP, then TCP if truncated (RFC 7766 5); TimeoutError, OSError or WireError."""
        port = await self._port()
        reply = wire.read(await port.ask(section, timeout), section)
        if not reply.truncated:
            return reply
        return wire.read(await self._ask_tcp(section, timeout), section)

    async def _ask_tcp(self, section: bytes, timeout: float) -> bytes:
        query = dns.message.from_wire(wire.query(secrets.randbits(16), section))
        address, port = self.server
        answer = await dns.asyncquery.tcp(query, address, timeout=timeout, port=port)
        return answer.to_wire(max_size=65535)

    def close(self) -> None:
        """Close all sockets."""
        for port in self._ports:
            if port is not None:
                port.close()
        self._ports = [None] * PORTS


class NetworkExchange:
    """Asks the servers in order, those that kept silent lately last."""

    def __init__(self, options: ResolverOptions, clock: Clock) -> None:
        self._options, self._clock = options, clock
        self._upstreams = [Upstream(server) for server in servers(options)]
        self._turns = asyncio.Semaphore(options.concurrency)

    def __repr__(self) -> str:
        return f"<NetworkExchange {', '.join(str(up.server) for up in self._upstreams)}>"

    async def ask(self, name: str, rdtype: int) -> wire.Reply | Trouble:
        """The first useful answer; Trouble with the last server's failure if there is none."""
        section = wire.question(name, rdtype)
        async with self._turns:
            return await self._rounds(section)

    async def _rounds(self, section: bytes) -> wire.Reply | Trouble:
        trouble = Trouble("no DNS server")
        silent = self._in_order()
        for _ in range(self._options.attempts):
            asked, silent = silent, []
            for upstream in asked:
                result = await self._try(upstream, section)
                if isinstance(result, wire.Reply):
                    return result
                trouble, again = result
                if again:
                    silent.append(upstream)
        return trouble

    def _in_order(self) -> list[Upstream]:
        now = self._clock.monotonic()
        return sorted(self._upstreams, key=lambda upstream: upstream.down_until > now)

    async def _try(self, upstream: Upstream, section: bytes) -> wire.Reply | tuple[Trouble, bool]:
        """The reply, or why not and whether asking this server again may help."""
        try:
            reply = await upstream.ask(section, self._options.timeout)
        except (OSError, wire.WireError, dns.exception.DNSException) as error:
            upstream.down_until = self._clock.monotonic() + DOWN_TIME
            return Trouble(f"{upstream.server}: {_reason(error)}"), True
        if reply.rcode in USEFUL:
            upstream.down_until = 0.0
            return reply
        rcode = wire.RCODE_NAMES.get(reply.rcode, f"rcode {reply.rcode}")
        return Trouble(f"{upstream.server}: {rcode}"), False

    def close(self) -> None:
        """Let go of all sockets."""
        for upstream in self._upstreams:
            upstream.close()


def _reason(error: Exception) -> str:
    if isinstance(error, (TimeoutError, dns.exception.Timeout)):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
