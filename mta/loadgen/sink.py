"""Receivers on uvloop: the compiled SMTP core, a manner for each, and a ledger of what arrived."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import signal
import time
from typing import TYPE_CHECKING, Any, Protocol, cast

from mta.config.flags import tcp_endpoint
from mta.config.values import Endpoint
from mta.errors import ConfigError
from mta.loadgen.manners import FULL, Judge, Judgement, Judges, Manner, Stage, parse
from mta.smtp.server import (
    Closed,
    Content,
    Mail,
    Rcpt,
    Reset,
    ServerCore,
    ServerOptions,
)
from mta.smtp.server import Data as DataEvent

if TYPE_CHECKING:
    from collections.abc import Callable

    from mta.loadgen.ledger import Counts, Ledger
    from mta.smtp.server import Event

BUFFER = 256 * 1024
MAX_SIZE = 200 * 1024 * 1024


class Loop(Protocol):
    """What the sink asks its event loop for."""

    def time(self) -> float: ...
    def call_later(self, delay: float, call: Callable[..., object], /, *args: Any) -> object: ...


class SinkSession(asyncio.BufferedProtocol):
    """One connection to the sink."""

    __slots__ = ("_sink", "_judges", "_core", "_transport", "_sender", "_recipients", "_cut",
                 "_delay", "_taken", "_paused", "_counted", "_began")  # fmt: skip

    def __init__(self, sink: Sink, judges: Judges) -> None:
        self._sink, self._judges = sink, judges
        self._core = ServerCore(sink.options)
        self._transport: asyncio.Transport | None = None
        self._sender, self._recipients = "", list[str]()
        self._cut, self._delay = Stage.NEVER, 0.0
        self._taken = 0
        self._paused = False
        self._counted = False  # among those that `cap` lets in
        self._began = 0.0  # seconds since 1970

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        self._transport = cast(asyncio.Transport, transport)
        self._began = time.time()
        self._sink.ledger.counts.connections += 1
        self._sink.sessions.add(self)
        if self._judges.room:
            self._counted = self._judges.room > 0
            self._judges.room -= self._counted
            self._core.greeting()
        else:
            self._refuse(FULL)
            self._core.refuse(FULL)
        self._flush()

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the connection; what came without its final dot was nothing."""
        self._transport = None
        self._judges.room += self._counted
        self._sink.sessions.discard(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """The buffer that all sessions share: the core takes everything before the next read."""
        return self._sink.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Feed the core and answer its events."""
        self._core.feed(self._sink.buffer[:nbytes])
        self._pump()

    def end(self) -> None:
        """Hang up, with what was to be said before."""
        if self._transport is not None:
            self._transport.close()

    def _pump(self) -> None:
        """Answer events until one is answered later or none is left."""
        core = self._core
        while self._transport is not None and (event := core.next_event()) is not None:
            if not self._answer(event):
                break
        self._flush()

    def _flush(self) -> None:
        core, transport = self._core, self._transport
        if transport is None:
            return
        out = core.output()
        if self._judges.latency:
            if out or core.closing:
                self._sink.loop.call_later(self._judges.latency, self._leave, out, core.closing)
        else:
            if out:
                transport.write(out)
            if core.closing:
                transport.close()
        if not core.closing and self._paused == core.wants_read:
            self._paused = not core.wants_read
            (transport.pause_reading if self._paused else transport.resume_reading)()

    def _leave(self, out: bytes, closing: bool) -> None:
        """What was to be sent late."""
        if self._transport is not None:
            self._transport.write(out)
            if closing:
                self._transport.close()

    def _answer(self, event: Event) -> bool:
        """Give the verdict on one event; False when it comes later or never."""
        kind = type(event)
        if kind is Content:
            return self._content(cast(Content, event))
        if kind is Rcpt:
            return self._recipient(cast(Rcpt, event).recipient)
        if kind is DataEvent and self._cut is Stage.DATA:
            return self._hang_up()
        if kind is Mail:
            self._sender, self._recipients = cast(Mail, event).sender, []
            self._cut, self._delay = Stage.NEVER, 0.0
        if kind is not Reset and kind is not Closed:
            self._core.verdict(None)
        return True

    def _recipient(self, recipient: str) -> bool:
        judge = self._judges.judge(recipient)
        if judge.manner.name == "accept":
            judgement = Judgement()
        else:
            now = self._sink.loop.time()
            judgement = judge.recipient(self._sender, recipient, self._taken, now)
        if judgement.cut is Stage.RCPT:
            return self._hang_up()
        self._cut = max(self._cut, judgement.cut)
        self._delay = max(self._delay, judgement.delay)
        if judgement.reply is None:
            self._recipients.append(recipient)
        else:
            self._refuse(judgement.reply)
        return self._reply(judgement.reply, judgement.delay)

    def _refuse(self, reply: bytes) -> None:
        counts = self._sink.ledger.counts
        if reply[:1] == b"4":
            counts.deferred += 1
        else:
            counts.rejected += 1

    def _content(self, event: Content) -> bool:
        cut = self._cut is Stage.DOT
        self._sink.ledger.take(
            self._sender, self._recipients, event.body, cut=cut, now=time.time(),
            session=self._began,
        )  # fmt: skip
        if cut:
            return self._hang_up()
        self._taken += 1
        return self._reply(None, self._delay or self._judges.dot)

    def _reply(self, reply: bytes | None, delay: float) -> bool:
        if delay:
            self._sink.loop.call_later(delay, self._late, reply)
            return False
        self._core.verdict(reply)  # 421 closes (RFC 5321 3.8)
        return True

    def _late(self, reply: bytes | None) -> None:
        if self._transport is not None and self._reply(reply, 0.0):
            self._pump()

    def _hang_up(self) -> bool:
        """End the connection without a reply to what is outstanding."""
        self._sink.ledger.counts.cut += 1
        self._flush()
        if self._transport is not None:
            self._transport.abort()
        return False


class Sink:
    """Listeners, each with its manner, over one ledger."""

    def __init__(
        self, ledger: Ledger, loop: Loop, domains: dict[str, Manner] | None = None
    ) -> None:
        self.ledger, self.loop = ledger, loop
        self.buffer = memoryview(bytearray(BUFFER))
        self.sessions: set[SinkSession] = set()
        self.options = ServerOptions(
            "sink.example",
            banner="ESMTP mta sink",
            max_size=MAX_SIZE,
            max_recipients=0,
            max_errors=0,
        )
        self.rules = {suffix: Judge(manner) for suffix, manner in (domains or {}).items()}
        self._servers: list[asyncio.Server] = []

    async def listen(self, address: str, manner: Manner, *, shared: bool = False) -> str:
        """Listen on host:port with a manner; the address with the port that was bound.

        `shared`: other processes listen there too, and the kernel spreads connections over them.
        """
        host, port, _ = tcp_endpoint(address, "listen")
        judges = Judges(manner, self.rules)
        try:
            server = await asyncio.get_running_loop().create_server(
                lambda: SinkSession(self, judges),
                host,
                port,
                backlog=4096,
                reuse_port=shared or None,
            )
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {address}: {os.strerror(error.errno or 0)}", key="listen"
            ) from error
        self._servers.append(server)
        return str(Endpoint(host, server.sockets[0].getsockname()[1]))

    async def close(self) -> None:
        """Stop listening, hang up, write the record out."""
        for server in self._servers:
            server.close()
        for session in list(self.sessions):
            session.end()
        await asyncio.sleep(0)
        self.ledger.flush()


def parse_listen(text: str, default: Manner) -> tuple[str, Manner]:
    """`host:port` or `host:port=manner`."""
    address, equals, manner = text.partition("=")
    for one in addresses(address):
        tcp_endpoint(one, "listen")
    return address, parse(manner) if equals else default


def addresses(text: str) -> list[str]:
    """One address, or all of `127.0.1.1-127.0.4.232:2526`, each with the port."""
    hosts, _, port = text.rpartition(":")
    first, dash, last = hosts.partition("-")
    try:
        low, high = (int(ipaddress.IPv4Address(end)) for end in (first, last)) if dash else (0, -1)
    except ValueError:
        low, high = 0, -1  # a name with a hyphen
    if high < low:
        return [text]
    return [f"{ipaddress.IPv4Address(number)}:{port}" for number in range(low, high + 1)]


def parse_domain(text: str) -> tuple[str, Manner]:
    """`suffix=manner`: the manner for recipients in a domain and below it."""
    suffix, equals, manner = text.partition("=")
    if not equals or not suffix:
        raise ConfigError(f"{text!r} is no rule", key="domain", hint="as example.com=greylist:5")
    return suffix.lower().removeprefix("*.").rstrip("."), parse(manner)


class Tell(Protocol):
    """Takes the counts."""

    def __call__(self, counts: Counts, *, final: bool) -> None: ...


async def serve(
    ledger: Ledger,
    listeners: list[tuple[str, Manner]],
    domains: dict[str, Manner],
    listening: Callable[[str, str], None],
    tell: Tell,
) -> None:
    """Listen until SIGINT or SIGTERM; `tell` gets the counts once a second and at the end."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    sink = Sink(ledger, loop, domains)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    try:
        for text, manner in listeners:
            bound = [await sink.listen(one, manner) for one in addresses(text)]
            listening(bound[0] if len(bound) == 1 else text, str(manner))
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), 1.0)
            ledger.flush()
            if not ended.is_set():
                tell(ledger.counts, final=False)
    finally:
        await sink.close()
    tell(ledger.counts, final=True)
