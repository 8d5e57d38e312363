"""`SMTP`: the protocol that stands in for aiosmtpd's, on the server core.

A connection has one task, which waits for the core's next event and awaits the method of its
command; so hooks run in a task that lasts as long as the connection, as with aiosmtpd, and are
cancelled when the client goes. What a client sends meanwhile is kept by the core, bounded.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import ssl
from typing import Any

from aiosmtpd.proxy_protocol import get_proxy
from aiosmtpd.smtp import MISSING, TLSSetupException

from mta.smtp.server import Closed, Command, Event, ServerCore, ServerOptions
from mta.smtpd.aiosmtpd_compat.commands import Commands

log = logging.getLogger("mail.log")

TLS_DETAILS = ("peercert", "cipher", "compression", "ssl_object", "sslcontext")
SLACK = 0.001  # seconds that a loop's timer may be early


@functools.cache
def core_options(longest: int) -> ServerOptions:
    """Every line is ours, and content stays as it was sent; `longest` counts without CRLF."""
    return ServerOptions(
        "localhost",
        commands=["*"],
        bare_newlines="keep",
        max_size=0,
        max_recipients=0,
        max_errors=0,
        max_command_line=max(512, longest + 2),
    )


class SMTP(Commands, asyncio.Protocol):
    """One connection of a server with a handler; arguments and hooks are aiosmtpd's."""

    def __init__(self, handler: Any, **options: Any) -> None:
        super().__init__(handler, **options)
        self._core = ServerCore(core_options(self.line_length_limit))
        self._handler_coroutine: asyncio.Task[None] | None = None
        self._waiter: asyncio.Future[None] | None = None  # for octets
        self._blocked: asyncio.Future[None] | None = None  # while the client does not read
        self._paused = False  # we do not read
        self._timeout_handle: asyncio.TimerHandle | None = None
        self._deadline = self._armed = 0.0
        self._proxy_reader: asyncio.StreamReader | None = None

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come."""
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self.transport = transport  # type: ignore[assignment]
        self._begin(transport)
        self._reset_timeout()
        if self._proxy_timeout is not None:
            self._proxy_reader = asyncio.StreamReader(loop=self.loop)
        log.info("Peer: %r", self.session.peer)
        self._core.greeting(b"")
        self._handler_coroutine = self.loop.create_task(self._handle_client())

    def _begin(self, transport: asyncio.BaseTransport) -> None:
        """A new session: of the connection, or behind STARTTLS (RFC 3207 4.2)."""
        self._set_rset_state()
        self.session = self._create_session()
        self.session.peer = transport.get_extra_info("peername")

    def data_received(self, data: bytes) -> None:
        """Octets have come."""
        if self._proxy_reader is not None:
            self._proxy_reader.feed_data(data)
            return
        core = self._core
        core.feed(data)
        if self._waiter is not None:
            if not self._waiter.done():
                self._waiter.set_result(None)
        elif not core.wants_read and not self._paused and self.transport is not None:
            self._paused = True
            self.transport.pause_reading()

    def eof_received(self) -> bool | None:
        """The client sends no more, and with aiosmtpd gets no more."""
        log.info("%r EOF received", self.session.peer)
        if self._handler_coroutine is not None:
            self._handler_coroutine.cancel()
        return self.session.ssl is None

    def connection_lost(self, error: Exception | None) -> None:
        """The connection has ended."""
        log.info("%r connection lost", self.session.peer)
        if self._timeout_handle is not None:
            self._timeout_handle.cancel()
        self.resume_writing()
        if self._handler_coroutine is not None:
            self._handler_coroutine.cancel()
        self.transport = None

    def pause_writing(self) -> None:
        """The client lets replies pile up: no command goes on until it reads."""
        self._blocked = self.loop.create_future()

    def resume_writing(self) -> None:
        """The client has read its replies."""
        blocked, self._blocked = self._blocked, None
        if blocked is not None and not blocked.done():
            blocked.set_result(None)

    # Time.

    def _reset_timeout(self, duration: float | None = None) -> None:
        """The client has so many seconds from now; the timer itself is set once in a while."""
        self._deadline = self.loop.time() + (duration or self._timeout_duration)
        if self._timeout_handle is None:
            self._arm()
        elif self._deadline < self._armed:
            self._timeout_handle.cancel()
            self._arm()

    def _arm(self) -> None:
        self._armed = self._deadline
        self._timeout_handle = self.loop.call_at(self._deadline, self._timeout_cb)

    def _timeout_cb(self) -> None:
        if self._deadline > self.loop.time() + SLACK:
            self._arm()
            return
        log.info("%r connection timeout", self.session.peer)
        if self.transport is not None:
            self.transport.close()

    # The task.

    async def _handle_client(self) -> None:
        """Greet, then command after command."""
        log.info("%r handling connection", self.session.peer)
        try:
            if self._proxy_timeout is not None and not await self._introduced():
                return
            await self.push(f"220 {self.hostname} {self.__ident__}")
            while not self._closing and not self._gone():
                event = await self._next()
                if isinstance(event, Closed):
                    break
                await self._command(event)
        except asyncio.CancelledError:
            log.info("%r Connection lost during _handle_client()", self.session.peer)
            raise
        except ConnectionResetError:
            log.info("%r Connection lost during _handle_client()", self.session.peer)
        finally:
            self._close()

    async def _command(self, event: Event) -> None:
        """One command; an exception of it is answered."""
        try:
            if isinstance(event, Command):
                await self._obey(event.verb, event.line)
        except ConnectionResetError:
            raise
        except Exception as error:  # noqa: BLE001  answered, or the handler's own affair
            await self._failed(error)
            if isinstance(error, TLSSetupException):
                self._close()
        if self._core.waiting:
            self._core.proceed()

    def _gone(self) -> bool:
        return self.transport is None or self.transport.is_closing()

    async def _next(self) -> Event:
        """The core's next event, as soon as there is one."""
        while (event := self._core.next_event()) is None:
            if self._paused and self._core.wants_read and self.transport is not None:
                self._paused = False
                self.transport.resume_reading()
            self._waiter = self.loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return event

    def _written(self) -> asyncio.Future[None] | None:
        if self.transport is not None:
            self.transport.write(self._core.output())
        return self._blocked

    # What comes before and between.

    async def _introduced(self) -> bool:
        """Read the header of the PROXY protocol and ask the handler; else close."""
        reader, session = self._proxy_reader, self.session
        assert reader is not None
        self._reset_timeout(self._proxy_timeout)
        session.proxy_data = await get_proxy(reader)
        status: Any = MISSING
        if session.proxy_data:
            status = await self._call_handler_hook("PROXY", session.proxy_data)
        else:
            log.warning("%r invalid PROXY handshake", session.peer)
        if status is MISSING or not status:
            log.info("%r rejected by handle_PROXY", session.peer)
            return False
        self._proxy_reader = None
        reader.feed_eof()
        self._core.feed(await reader.read())  # what came behind the header
        self._reset_timeout()
        return True

    async def _upgrade(self, context: ssl.SSLContext) -> None:
        """Go on in TLS, with a new session."""
        assert self.transport is not None
        self._core.discard()  # RFC 3207 5: nothing from before counts
        try:
            secured = await self.loop.start_tls(self.transport, self, context, server_side=True)
        except Exception as error:
            raise TLSSetupException from error
        if secured is None:
            raise TLSSetupException("the client has gone")
        self.transport, self._secure = secured, True
        self._begin(secured)
        self.session.ssl = {name: secured.get_extra_info(name) for name in TLS_DETAILS}
        hook = self._handle_hooks.get("STARTTLS")
        if hook is not None:
            self._tls_handshake_okay = hook(self, self.session, self.envelope)
