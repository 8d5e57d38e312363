"""The small HTTP server for monitoring."""

from __future__ import annotations

import asyncio
import socket

import pytest

from mta.supervisor.http import HEAD_LIMIT, Answer, HttpServer


async def page() -> Answer:
    return Answer(200, b"hello\n")


async def gone() -> Answer:
    return Answer(503, b"no\n")


def ask(request: bytes) -> bytes:
    """All that the server says to these bytes."""

    async def run() -> bytes:
        server = HttpServer({"/page": page, "/gone": gone})
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        await server.start(sock)
        reader, writer = await asyncio.open_connection(*sock.getsockname())
        writer.write(request)
        if not request.endswith(b"\r\n\r\n"):
            writer.write_eof()
        try:
            return await reader.read()
        finally:
            writer.close()
            server.close()

    return asyncio.run(run())


def test_a_page() -> None:
    head, _, body = ask(b"GET /page?x=1 HTTP/1.1\r\nHost: h\r\n\r\n").partition(b"\r\n\r\n")
    assert body == b"hello\n"
    lines = head.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 200 OK"
    assert b"Content-Length: 6" in lines and b"Connection: close" in lines


def test_head_has_no_content() -> None:
    said = ask(b"HEAD /page HTTP/1.0\r\n\r\n")
    assert said.endswith(b"\r\n\r\n") and b"Content-Length: 6" in said


@pytest.mark.parametrize(
    ("request_", "line"),
    [
        (b"GET /gone HTTP/1.1\r\n\r\n", b"HTTP/1.1 503 Service Unavailable"),
        (b"GET /other HTTP/1.1\r\n\r\n", b"HTTP/1.1 404 Not Found"),
        (b"POST /page HTTP/1.1\r\n\r\n", b"HTTP/1.1 405 Method Not Allowed"),
        (b"EHLO example.com\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
        (b"GET /page HTTP/2.0\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
        (b"GET /" + b"x" * 2 * HEAD_LIMIT, b"HTTP/1.1 400 Bad Request"),
    ],
)
def test_other_answers(request_: bytes, line: bytes) -> None:
    assert ask(request_).partition(b"\r\n")[0] == line


def test_an_unfinished_request_gets_nothing() -> None:
    assert ask(b"GET /page HTTP/1.1\r\n") == b""


def test_405_names_what_is_allowed() -> None:
    assert b"\r\nAllow: GET, HEAD\r\n" in ask(b"DELETE /page HTTP/1.1\r\n\r\n")
