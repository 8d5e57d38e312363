"""`/metrics`, `/healthz` and `/readyz`: as much of HTTP/1.1 (RFC 9112) as a probe needs.

GET and HEAD, one request a connection, a bounded header, a bounded number of clients.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import socket

HEAD_LIMIT = 8192  # octets of a request
PATIENCE = 10.0  # seconds for a request to arrive and its answer to leave
MAX_CLIENTS = 64

_REQUEST = re.compile(rb"([A-Z]{1,20}) (/[!-~]{0,2000}) HTTP/1\.[01]\r\n")
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed",
            503: "Service Unavailable"}  # fmt: skip


class Answer(NamedTuple):
    """What a page is."""

    status: int
    body: bytes
    kind: str = "text/plain; charset=utf-8"


Page = Callable[[], Awaitable[Answer]]


class HttpServer:
    """Serves `pages` by path on a bound socket."""

    def __init__(self, pages: dict[str, Page]) -> None:
        self._pages = pages
        self._clients = 0
        self._server: asyncio.Server | None = None

    async def start(self, sock: socket.socket) -> None:
        """Listen on a socket that is bound."""
        self._server = await asyncio.start_server(self._serve, sock=sock, limit=HEAD_LIMIT)

    def close(self) -> None:
        """Take no more requests."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients += 1
        try:
            if self._clients <= MAX_CLIENTS:
                async with asyncio.timeout(PATIENCE):
                    await self._one(reader, writer)
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            pass  # a client that is slow or gone is owed nothing
        finally:
            self._clients -= 1
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            head = b""
        method, answer = await self._answer(head)
        writer.write(
            f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}\r\n"
            f"Content-Type: {answer.kind}\r\nContent-Length: {len(answer.body)}\r\n"
            f"{'Allow: GET, HEAD' + chr(13) + chr(10) if answer.status == 405 else ''}"
            "Cache-Control: no-store\r\nConnection: close\r\n\r\n".encode()
        )
        if method != b"HEAD":  # RFC 9110 9.3.2: the same without content
            writer.write(answer.body)
        await writer.drain()

    async def _answer(self, head: bytes) -> tuple[bytes, Answer]:
        """The method, and what the request is answered with."""
        request = _REQUEST.match(head)
        if request is None:
            return b"", Answer(400, b"this is no HTTP request that is understood here\n")
        method, path = request[1], request[2].partition(b"?")[0].decode()
        page = self._pages.get(path)
        if page is None:
            known = " ".join(self._pages)
            return method, Answer(404, f"there is {known}\n".encode())
        if method not in (b"GET", b"HEAD"):
            return method, Answer(405, b"GET or HEAD\n")
        return method, await page()
