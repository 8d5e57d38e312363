"""Accepting connections."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
import uvloop

from mta.smtp.server import ServerOptions
from mta.smtpd.bind import bind
from mta.smtpd.limits import SessionLimits
from mta.smtpd.listener import PAUSE, Listener, ListenerOptions
from mta.smtpd.service import Service
from mta.smtpd.timeouts import Timeouts
from tests.waiting import PATIENCE

from .desk import HOST, Desk, FakeLoop

Steps = Callable[[Listener, socket.socket], Awaitable[None]]


def serve(
    steps: Steps,
    spec: str = "127.0.0.1:0",
    limits: SessionLimits | None = None,
    clock: FakeLoop | None = None,
    rule: dict[str, Any] | None = None,
) -> Desk:
    """Run the steps against a listener on a real loop; deadlines may have a clock of their own."""
    desk = Desk(rule=rule)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        with bind(spec) as sock:
            listener = Listener(
                ListenerOptions(ServerOptions(HOST)),
                [sock],
                reception=desk.reception,
                service=Service(clock or loop, limits),
                loop=loop,
            )
            listener.start()
            try:
                await asyncio.wait_for(steps(listener, sock), PATIENCE)
            finally:
                listener.abort()
                await asyncio.wait_for(listener.wait_closed(), PATIENCE)

    uvloop.run(run())
    return desk


async def connect(sock: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return await asyncio.open_unix_connection(name)
    return await asyncio.open_connection(name[0], name[1])


async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: bytes) -> bytes:
    """Send a line, return the last line of the reply."""
    writer.write(line)
    while True:
        answer = await reader.readline()
        if answer[3:4] != b"-":
            return answer


@pytest.mark.parametrize("spec", ["127.0.0.1:0", "unix:{}/s"])
def test_a_message_over_a_real_socket(spec, tmp_path):
    async def steps(listener: Listener, sock: socket.socket) -> None:
        reader, writer = await connect(sock)
        assert (await reader.readline()).startswith(b"220 ")
        for line in (b"EHLO c\r\n", b"MAIL FROM:<a@c>\r\n", b"RCPT TO:<b@d>\r\n"):
            assert (await say(reader, writer, line)).startswith(b"250 ")
        assert (await say(reader, writer, b"DATA\r\n")).startswith(b"354 ")
        body = b"x" * 70 + b"\r\n"
        answer = await say(reader, writer, b"Subject: s\r\n\r\n" + body * 5000 + b".\r\n")
        assert answer.startswith(b"250 2.0.0 Ok: queued as ")
        assert (await say(reader, writer, b"QUIT\r\n")).startswith(b"221 ")
        assert await reader.read() == b""
        writer.close()

    desk = serve(steps, spec.format(tmp_path))
    message = desk.messages[0][0]
    assert message.size > 360_000
    assert message.peer_address == ("unix" if spec.startswith("unix") else "127.0.0.1")


def test_a_unix_client_that_may_not_relay(tmp_path):
    async def steps(listener: Listener, sock: socket.socket) -> None:
        reader, writer = await connect(sock)
        await reader.readline()
        for line in (b"EHLO c\r\n", b"MAIL FROM:<a@c>\r\n", b"RCPT TO:<b@example.com>\r\n"):
            assert (await say(reader, writer, line)).startswith(b"250 ")
        assert (await say(reader, writer, b"RCPT TO:<b@d>\r\n")).startswith(b"554 5.7.1 ")
        writer.close()

    serve(steps, f"unix:{tmp_path}/s", rule={"relay_from": [], "relay_domains": ["example.com"]})


def test_replies_are_not_delayed():
    async def steps(listener: Listener, sock: socket.socket) -> None:
        reader, writer = await connect(sock)
        await reader.readline()
        (session,) = listener.sessions
        assert session.transport is not None
        connection = session.transport.get_extra_info("socket")
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        writer.close()

    serve(steps)


def test_the_limit_of_sessions():
    async def steps(listener: Listener, sock: socket.socket) -> None:
        first = await connect(sock)
        assert (await first[0].readline()).startswith(b"220 ")
        second = await connect(sock)
        assert (await second[0].read()).startswith(b"421 4.3.2 ")
        assert listener.service.refused == 1
        await say(*first, b"QUIT\r\n")
        assert await first[0].read() == b""
        first[1].close()
        await listener.wait_closed()
        third = await connect(sock)
        assert (await third[0].readline()).startswith(b"220 ")
        for _, writer in (second, third):
            writer.close()

    serve(steps, limits=SessionLimits(1))


def test_a_client_that_stops_reading():
    clock = FakeLoop()

    async def steps(listener: Listener, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(sock.getsockname())
        client.setblocking(False)
        assert await loop.sock_recv(client, 4) == b"220 "
        (session,) = listener.sessions
        while not session.paused:
            try:
                client.send(b"NOOP\r\n" * 10_000)
            except BlockingIOError:
                await asyncio.sleep(0)
        assert session.transport is not None
        waiting = session.transport.get_write_buffer_size()
        assert waiting < 1_000_000
        clock.run(301)
        await listener.wait_closed()
        with pytest.raises(ConnectionResetError):
            while True:
                await loop.sock_recv(client, 65_536) or pytest.fail("an orderly end")
        client.close()

    serve(steps, clock=clock)


def test_relay_clients_are_not_limited_by_network():
    async def steps(listener: Listener, sock: socket.socket) -> None:
        talks = [await connect(sock) for _ in range(3)]
        for reader, writer in talks:
            assert (await reader.readline()).startswith(b"220 ")
            writer.close()

    serve(steps, limits=SessionLimits(0, 1))


def test_strangers_are():
    listener = Desk(limits=SessionLimits(0, 1)).listener
    ours, theirs = socket.socketpair()
    counter = listener.service.limits
    assert not counter.enter(counter.network("192.0.2.1")).refuses
    listener.take(ours, "192.0.2.1")
    assert theirs.recv(512).startswith(b"421 4.7.0 ")
    assert theirs.recv(512) == b""
    assert listener.sessions == set()
    theirs.close()


def test_a_client_that_resets_while_it_is_turned_away():
    listener = Desk(limits=SessionLimits(0, 1)).listener
    counter = listener.service.limits
    counter.enter(counter.network("192.0.2.1"))
    ours, theirs = socket.socketpair()
    theirs.close()
    listener.take(ours, "192.0.2.1")
    assert ours.fileno() == -1


def test_drain_ends_what_is_open_and_accepts_no_more():
    async def steps(listener: Listener, sock: socket.socket) -> None:
        reader, writer = await connect(sock)
        await reader.readline()
        assert (await say(reader, writer, b"EHLO c\r\n")).startswith(b"250 ")
        listener.drain()
        assert (await reader.read()).startswith(b"421 4.3.2 ")
        writer.close()
        await listener.wait_closed()
        late = await connect(sock)  # the kernel takes it, for the next owner of the socket
        await asyncio.sleep(0)
        assert listener.sessions == set()
        late[1].close()

    serve(steps)


def test_the_last_reply_survives_unread_input():
    async def steps(listener: Listener, sock: socket.socket) -> None:
        reader, writer = await connect(sock)
        writer.write(b"FOO\r\n" * 50_000)
        lines = (await reader.read()).splitlines()
        assert lines[-1].startswith(b"421 4.7.0 ")
        writer.close()
        await listener.wait_closed()

    serve(steps)


def test_drain_of_a_connection_that_is_being_made():
    async def steps(listener: Listener, sock: socket.socket) -> None:
        ours, theirs = socket.socketpair()
        listener.take(ours, "127.0.0.1")
        listener.drain()
        reader, writer = await asyncio.open_connection(sock=theirs)
        assert (await reader.read()).startswith(b"421 4.3.2 ")
        writer.close()
        await asyncio.gather(listener.wait_closed(), listener.wait_closed())

    serve(steps)


def test_reload_is_for_what_comes():
    desk = Desk()
    talk = desk.open()
    talk.send(b"EHLO c\r\n")
    stricter = Desk(rule={"relay_from": ["192.0.2.0/24"]}).reception
    server = ServerOptions("new.example.net")
    desk.listener.reload(ListenerOptions(server, Timeouts(idle=7)), stricter)
    assert desk.open().replies().startswith(b"220 new.example.net ")
    talk.send(b"NOOP\r\n")
    talk.replies()
    desk.loop.run(8)
    assert talk.replies().startswith(b"421 4.4.2 mx.example.net ")


class Poller(FakeLoop):
    """Which sockets are polled."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: dict[Any, tuple[Any, ...]] = {}

    def add_reader(self, fd: Any, callback: Callable[..., None], *args: Any) -> None:
        self.readers[fd] = (callback, *args)

    def remove_reader(self, fd: Any) -> bool:
        return self.readers.pop(fd, None) is not None


class Failing:
    """A listening socket whose accept fails."""

    family = socket.AF_INET

    def __init__(self, *numbers: int) -> None:
        self.errors = [OSError(number, "no") for number in numbers]
        self.accepts = 0

    def setblocking(self, flag: bool) -> None:
        assert not flag

    def accept(self) -> None:
        self.accepts += 1
        raise self.errors.pop(0) if self.errors else BlockingIOError()


def failing(*numbers: int) -> tuple[Listener, Failing, Poller]:
    loop, sock, desk = Poller(), Failing(*numbers), Desk()
    listener = Listener(
        ListenerOptions(ServerOptions(HOST)),
        [cast(Any, sock)],
        reception=desk.reception,
        service=desk.service,
        loop=cast(Any, loop),
    )
    listener.start()
    return listener, sock, loop


def wake(loop: Poller, sock: Failing) -> None:
    callback, *args = loop.readers[sock]
    callback(*args)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS])
def test_without_descriptors_accepting_pauses(number):
    listener, sock, loop = failing(number)
    wake(loop, sock)
    assert sock.accepts == 1
    assert loop.readers == {}
    assert listener.service.starved == 1
    loop.run(int(PAUSE) + 1)
    assert sock in loop.readers
    wake(loop, sock)
    assert sock in loop.readers


def test_a_paused_listener_that_is_closed_stays_closed():
    listener, sock, loop = failing(errno.EMFILE)
    wake(loop, sock)
    listener.close()
    loop.run(2)
    assert loop.readers == {}


def test_a_connection_that_has_gone_is_skipped():
    _, sock, loop = failing(errno.ECONNABORTED, errno.EPROTO)
    wake(loop, sock)
    assert sock.accepts == 3
    assert sock in loop.readers
