"""PROXY protocol headers, as octets and over a real socket."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from mta.reception.policy import Clients
from mta.smtp.server import ServerOptions
from mta.smtpd.bind import bind
from mta.smtpd.limits import SessionLimits
from mta.smtpd.listener import Listener, ListenerOptions
from mta.smtpd.proxy import ITSELF, SIGNATURE, HeaderReader, Origin, ProxyError
from mta.smtpd.service import Service
from mta.smtpd.timeouts import Timeouts
from tests.waiting import PATIENCE

from .desk import HOST, Desk, FakeLoop
from .test_listener import connect, say

V4 = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\r\n"


def v2(command: int, kind: int, addresses: bytes, more: bytes = b"") -> bytes:
    size = len(addresses) + len(more)
    return SIGNATURE + struct.pack("!BBH", 0x20 | command, kind, size) + addresses + more


def ip4(source: str, port: int) -> bytes:
    pair = ipaddress.ip_address(source).packed + ipaddress.ip_address("198.51.100.1").packed
    return pair + struct.pack("!HH", port, 25)


def ip6(source: str, port: int) -> bytes:
    pair = ipaddress.ip_address(source).packed + ipaddress.ip_address("2001:db8::25").packed
    return pair + struct.pack("!HH", port, 25)


GOOD: list[tuple[bytes, Origin]] = [
    (V4, Origin("192.0.2.7", 4711)),
    (b"PROXY TCP6 2001:db8::7 2001:db8::25 1 65535\r\n", Origin("2001:db8::7", 1)),
    (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 25\r\n", Origin("192.0.2.7", 1)),
    (b"PROXY UNKNOWN\r\n", ITSELF),
    (b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", ITSELF),
    (v2(1, 0x11, ip4("192.0.2.7", 4711)), Origin("192.0.2.7", 4711)),
    (v2(1, 0x21, ip6("2001:db8::7", 9)), Origin("2001:db8::7", 9)),
    (v2(1, 0x21, ip6("::ffff:192.0.2.7", 9)), Origin("192.0.2.7", 9)),
    (v2(1, 0x31, b"/run/x".ljust(216, b"\0")), Origin("unix")),
    (v2(1, 0x11, ip4("192.0.2.7", 4711), b"\x03\0\x04abcd\x04\0\x02xy"), Origin("192.0.2.7", 4711)),
    (v2(1, 0x11, ip4("192.0.2.7", 1), bytes(65535 - 12)), Origin("192.0.2.7", 1)),
    (v2(0, 0x00, b""), ITSELF),
    (v2(0, 0x11, ip4("192.0.2.7", 4711)), ITSELF),
    (v2(1, 0x00, b"whatever"), ITSELF),
]

BAD = [
    b"EHLO client.example\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 4711\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 25 \r\n",
    b"PROXY  TCP4 192.0.2.7 198.51.100.1 4711 25\r\n",
    b"PROXY TCP4 2001:db8::7 198.51.100.1 4711 25\r\n",
    b"PROXY TCP4 192.0.2.777 198.51.100.1 4711 25\r\n",
    b"PROXY TCP4 192.0.2.7 nowhere 4711 25\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 25\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 -1 25\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 +1 25\r\n",
    b"PROXY UDP4 192.0.2.7 198.51.100.1 1 25\r\n",
    b"PROXY TCP6 fe80::1%eth0\xff ::1 1 25\r\n",
    b"PROXY " + b"x" * 200,
    b"PROXX",
    SIGNATURE[:11] + b"\r",
    v2(2, 0x11, ip4("192.0.2.7", 1)),
    v2(1, 0x12, ip4("192.0.2.7", 1)),
    v2(1, 0x41, ip4("192.0.2.7", 1)),
    v2(1, 0x21, ip4("192.0.2.7", 1)),
    SIGNATURE + struct.pack("!BBH", 0x11, 0x11, 12) + ip4("192.0.2.7", 1),
]


def read(pieces: list[bytes]) -> tuple[Origin | None, bytes]:
    reader = HeaderReader()
    for number, piece in enumerate(pieces):
        if (origin := reader.feed(piece)) is not None:
            return origin, reader.rest + b"".join(pieces[number + 1 :])
        assert len(reader._kept) <= 232  # noqa: SLF001
    return None, b""


@pytest.mark.parametrize(("header", "origin"), GOOD)
def test_headers(header: bytes, origin: Origin) -> None:
    assert read([header]) == (origin, b"")
    assert read([header + b"EHLO x\r\n"]) == (origin, b"EHLO x\r\n")
    if len(header) < 1000:
        assert read([bytes([octet]) for octet in header + b"Z"]) == (origin, b"Z")
    assert read([header[:-1]]) == (None, b"")


@pytest.mark.parametrize("header", BAD)
def test_what_is_no_header(header: bytes) -> None:
    with pytest.raises(ProxyError):
        read([header])
    with pytest.raises(ProxyError):
        read([bytes([octet]) for octet in header])


@given(st.sampled_from(GOOD), st.binary(max_size=40), st.lists(st.integers(1, 60), max_size=20))
def test_pieces_make_no_difference(
    good: tuple[bytes, Origin], rest: bytes, sizes: list[int]
) -> None:
    data, pieces = good[0] + rest, []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    assert read([*pieces, data]) == (good[1], rest)


@given(st.one_of(st.binary(max_size=300), st.binary().map(lambda b: SIGNATURE + b),
                 st.binary().map(lambda b: b"PROXY TCP4 " + b)))  # fmt: skip
def test_any_octets(data: bytes) -> None:
    def verdict(pieces: list[bytes]) -> Any:
        try:
            return read(pieces)
        except ProxyError:
            return ProxyError

    assert verdict([data]) == verdict([bytes([octet]) for octet in data])


# Over a socket.

Steps = Callable[[Listener, socket.socket], Awaitable[None]]


def serve(
    steps: Steps,
    proxies: tuple[str, ...] = ("127.0.0.0/8",),
    rule: dict[str, Any] | None = None,
    limits: SessionLimits | None = None,
    clock: FakeLoop | None = None,
) -> Desk:
    desk = Desk(rule=rule)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        options = ListenerOptions(ServerOptions(HOST), Timeouts(header=3), proxies=Clients(proxies))
        with bind("127.0.0.1:0") as sock:
            service = Service(clock or loop, limits)
            listener = Listener(
                options, [sock], reception=desk.reception, service=service, loop=loop
            )
            listener.start()
            try:
                await asyncio.wait_for(steps(listener, sock), PATIENCE)
            finally:
                listener.abort()
                await asyncio.wait_for(listener.wait_closed(), PATIENCE)

    uvloop.run(run())
    return desk


async def until(ready: Callable[[], bool]) -> None:
    """Give the loop turns until this is so."""
    for _ in range(10_000):
        if ready():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to be")


async def talk(sock: socket.socket, header: bytes, recipient: bytes = b"b@d") -> bytes:
    """Send a header and an envelope; the reply to RCPT, or what came instead of a greeting."""
    reader, writer = await connect(sock)
    writer.write(header)
    greeting = await reader.readline()
    if not greeting.startswith(b"220 "):
        return greeting
    for line in (b"EHLO c\r\n", b"MAIL FROM:<a@c>\r\n"):
        assert (await say(reader, writer, line)).startswith(b"250 ")
    answer = await say(reader, writer, b"RCPT TO:<" + recipient + b">\r\n")
    writer.close()
    return answer


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (V4, b"250 "),
        (b"PROXY TCP4 203.0.113.1 198.51.100.1 1 25\r\n", b"554 5.7.1 "),
        (v2(1, 0x11, ip4("192.0.2.7", 4711)), b"250 "),
        (v2(1, 0x21, ip6("2001:db8::7", 9)), b"554 5.7.1 "),
        (b"PROXY UNKNOWN\r\n", b"554 5.7.1 "),
        (v2(0, 0, b""), b"554 5.7.1 "),
        (v2(1, 0x31, bytes(216)), b"554 5.7.1 "),
        (b"EHLO c\r\n", b"554 5.5.0 "),
    ],
)
def test_rules_judge_the_address_of_the_header(header: bytes, code: bytes) -> None:
    async def steps(listener: Listener, sock: socket.socket) -> None:
        assert (await talk(sock, header)).startswith(code)

    rule = {"relay_from": ["192.0.2.0/24", "127.0.0.0/8"]}
    serve(steps, rule=rule)


def test_a_proxy_on_loopback_gives_no_right_to_relay() -> None:
    async def steps(listener: Listener, sock: socket.socket) -> None:
        for header in (b"PROXY UNKNOWN\r\n", v2(0, 0, b""), V4):
            assert (await talk(sock, header)).startswith(b"554 5.7.1 "), header

    serve(steps)


def test_others_are_refused_at_once() -> None:
    async def steps(listener: Listener, sock: socket.socket) -> None:
        reader, writer = await connect(sock)
        assert (await reader.readline()).startswith(
            b"554 5.7.1 This address takes connections of its proxies alone"
        )
        assert await reader.read() == b""
        writer.close()
        assert listener.service.refused == 1

    serve(steps, proxies=("192.0.2.0/24",))


def test_a_message_behind_a_header_in_pieces() -> None:
    async def steps(listener: Listener, sock: socket.socket) -> None:
        reader, writer = await connect(sock)
        for octet in V4:
            writer.write(bytes([octet]))
            await asyncio.sleep(0)
        assert (await reader.readline()).startswith(b"220 ")
        for line in (b"EHLO c\r\n", b"MAIL FROM:<a@c>\r\n", b"RCPT TO:<b@d>\r\n"):
            assert (await say(reader, writer, line)).startswith(b"250 ")
        assert (await say(reader, writer, b"DATA\r\n")).startswith(b"354 ")
        assert (await say(reader, writer, b"\r\nx\r\n.\r\n")).startswith(b"250 ")
        (session,) = listener.sessions
        assert session.network == listener.service.limits.network("192.0.2.7")  # type: ignore[union-attr]
        writer.close()

    desk = serve(steps, rule={"relay_domains": ["d"]})
    message = desk.messages[0][0]
    assert message.peer_address == "192.0.2.7"
    assert message.body is not None and b"from c ([192.0.2.7])" in message.body


def test_the_limit_of_a_network_behind_a_proxy() -> None:
    async def steps(listener: Listener, sock: socket.socket) -> None:
        first = await connect(sock)
        first[1].write(V4)
        assert (await first[0].readline()).startswith(b"220 ")
        assert (await talk(sock, V4)).startswith(b"421 4.7.0 ")
        other = b"PROXY TCP4 192.0.2.8 198.51.100.1 4711 25\r\n"
        assert (await talk(sock, other)).startswith(b"554 5.7.1 ")
        first[1].close()
        await listener.wait_closed()
        assert listener.service.limits.sessions == 0
        assert (await talk(sock, V4)).startswith(b"554 5.7.1 ")

    serve(steps, limits=SessionLimits(0, 1))


def test_no_header_in_time() -> None:
    clock = FakeLoop()

    async def steps(listener: Listener, sock: socket.socket) -> None:
        reader, writer = await connect(sock)
        writer.write(V4[:10])
        await until(lambda: bool(listener.sessions and clock.calls))
        clock.run(4)
        assert (await reader.readline()).startswith(b"554 5.5.0 no PROXY protocol header came")
        assert await reader.read() == b""
        writer.close()
        await listener.wait_closed()
        assert listener.service.timed_out == 1

    serve(steps, clock=clock)


def test_ends_before_the_header() -> None:
    async def steps(listener: Listener, sock: socket.socket) -> None:
        reader, writer = await connect(sock)
        writer.write(V4[:10])
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        reader, writer = await connect(sock)
        await until(lambda: any(s.transport for s in listener.sessions))
        listener.drain()
        assert (await reader.readline()).startswith(b"421 4.3.2 ")
        writer.close()
        await listener.wait_closed()
        assert listener.service.limits.sessions == 0

    serve(steps)
