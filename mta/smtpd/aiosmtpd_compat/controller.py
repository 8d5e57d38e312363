"""aiosmtpd's controllers with our SMTP in them, on uvloop where no loop is given."""

from __future__ import annotations

import asyncio
import weakref
from pathlib import Path
from typing import Any

import aiosmtpd.controller as theirs
import uvloop

from mta.smtpd.aiosmtpd_compat.protocol import SMTP


def _loop(given: asyncio.AbstractEventLoop | None) -> asyncio.AbstractEventLoop:
    return uvloop.new_event_loop() if given is None else given


class _Refusing(asyncio.Protocol):
    """In the place of a protocol that could not be made."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class _Ours(theirs.BaseController):
    """Makes our protocols, and ends their connections before the loop is closed.

    A closed uvloop with an open connection is an error; asyncio's own loop only warns.
    """

    def factory(self) -> Any:
        """A protocol for a new connection; a subclass may make its own."""
        return SMTP(self.handler, **self.SMTP_kwargs)

    def _factory_invoker(self) -> Any:
        made = super()._factory_invoker()
        if self._thread_exception is not None:
            return _Refusing()
        self.__dict__.setdefault("_made", weakref.WeakSet()).add(made)
        return made

    def cancel_tasks(self, stop_loop: bool = True) -> None:
        """End all connections, and the loop too; called in the loop's thread."""
        super().cancel_tasks(stop_loop=False)
        self.loop.call_soon(self._abort, stop_loop)

    def _abort(self, stop_loop: bool) -> None:
        """Tasks have closed their connections; some clients do not read."""
        for protocol in self.__dict__.get("_made", ()):
            transport = getattr(protocol, "transport", None)
            if transport is not None:
                transport.abort()
        if stop_loop:
            self.loop.call_soon(self.loop.call_soon, self.loop.stop)


class _Inet(_Ours, theirs.InetMixin):
    """Listens on host and port."""

    def __init__(
        self,
        handler: Any,
        hostname: str | None = None,
        port: int = 8025,
        loop: asyncio.AbstractEventLoop | None = None,
        **options: Any,
    ) -> None:
        super().__init__(handler, hostname, port, _loop(loop), **options)


class _Unix(_Ours, theirs.UnixSocketMixin):
    """Listens on a Unix socket."""

    def __init__(
        self,
        handler: Any,
        unix_socket: str | Path,
        loop: asyncio.AbstractEventLoop | None = None,
        **options: Any,
    ) -> None:
        super().__init__(handler, unix_socket, _loop(loop), **options)


class Controller(_Inet, theirs.Controller):
    """A server on host and port, in a thread of its own."""


class UnixSocketController(_Unix, theirs.UnixSocketController):
    """A server on a Unix socket, in a thread of its own."""


class UnthreadedController(_Inet, theirs.UnthreadedController):
    """A server on host and port, in the caller's loop."""


class UnixSocketUnthreadedController(_Unix, theirs.UnixSocketUnthreadedController):
    """A server on a Unix socket, in the caller's loop."""
