"""`SMTP` in a loop: what a client sees, and what becomes of the handler's hooks."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword, Session

from mta.smtpd import SMTP
from tests.waiting import PATIENCE

ENVELOPE = [b"MAIL FROM:<a@b.example>", b"RCPT TO:<c@d.example>"]


class Client:
    """The other end of a socket pair."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def reply(self) -> bytes:
        """One whole reply."""
        lines = b""
        while True:
            line = await self.reader.readline()
            lines += line
            if line[3:4] != b"-":
                return lines

    async def say(self, *lines: bytes) -> bytes:
        """The reply to the last of these lines, sent one by one."""
        answer = b""
        for line in lines:
            self.writer.write(line + b"\r\n")
            answer = await self.reply()
        return answer


def talk(handler: Any, dialogue: Callable[[Client, SMTP], Awaitable[None]], **options: Any) -> SMTP:
    """Run a dialogue against one connection; the server's end of it."""

    async def main() -> SMTP:
        loop = asyncio.get_running_loop()
        here, there = socket.socketpair()
        server = SMTP(handler, hostname="mx.example", loop=loop, **options)
        await loop.connect_accepted_socket(lambda: server, here)
        client = Client(*await asyncio.open_connection(sock=there))
        assert (await client.reply()).startswith(b"220 mx.example ")
        async with asyncio.timeout(PATIENCE):
            await dialogue(client, server)
            client.writer.close()
            task = server._handler_coroutine
            assert task is not None
            await asyncio.wait([task])
        return server

    return asyncio.run(main())


class Box:
    """Keeps what arrives."""

    def __init__(self) -> None:
        self.messages: list[Envelope] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.messages.append(envelope)
        return "250 mine"


class Plain:
    """Hooks that are no coroutines."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def handle_HELO(self, server: SMTP, session: Session, envelope: Envelope, name: str) -> str:
        session.host_name = name
        return "250 plain"

    def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.mail_from = address
        self.seen += [address, *options]
        return "250 sender"

    def handle_NOOP(self, server: SMTP, session: Session, envelope: Envelope, arg: str) -> str:
        return f"250 {arg}"

    def handle_QUIT(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        return "221 so long"


def test_a_message_reaches_the_handler() -> None:
    box = Box()

    async def dialogue(client: Client, server: SMTP) -> None:
        assert b"250-8BITMIME" in await client.say(b"EHLO c.example")
        assert await client.say(*ENVELOPE, b"DATA") == b"354 End data with <CR><LF>.<CR><LF>\r\n"
        assert await client.say(b"..a\rb\nc\r\n.") == b"250 mine\r\n"
        assert await client.say(b"QUIT") == b"221 Bye\r\n"
        assert await client.reader.read() == b""

    talk(box, dialogue)
    (envelope,) = box.messages
    assert type(envelope) is Envelope
    assert (envelope.mail_from, envelope.rcpt_tos) == ("a@b.example", ["c@d.example"])
    assert envelope.content == envelope.original_content == b".a\rb\nc\r\n"


def test_commands_sent_ahead_are_answered_in_order() -> None:
    box = Box()

    async def dialogue(client: Client, server: SMTP) -> None:
        message = b"\r\n".join([*ENVELOPE, b"DATA", b"text", b".", b""])
        client.writer.write(b"HELO c\r\n" + message * 3 + b"QUIT\r\nNOOP\r\n")
        codes = [line[:3] for line in (await client.reader.read()).splitlines()]
        assert codes == [b"250", *[b"250", b"250", b"354", b"250"] * 3, b"221"]

    talk(box, dialogue)
    assert len(box.messages) == 3


def test_hooks_may_be_plain_functions() -> None:
    handler = Plain()

    async def dialogue(client: Client, server: SMTP) -> None:
        assert await client.say(b"HELO c") == b"250 plain\r\n"
        assert await client.say(ENVELOPE[0]) == b"250 sender\r\n"
        assert await client.say(b"NOOP  x y ") == b"250 x y\r\n"
        assert await client.say(b"QUIT") == b"221 so long\r\n"

    talk(handler, dialogue)
    assert handler.seen == ["a@b.example"]


def test_a_client_that_goes_cancels_its_hook() -> None:
    ended: list[str] = []

    class Slow:
        async def handle_RCPT(self, *_: Any) -> str:
            began.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise
            return "250 never"

    began = asyncio.Event()

    async def dialogue(client: Client, server: SMTP) -> None:
        await client.say(b"HELO c", ENVELOPE[0])
        client.writer.write(ENVELOPE[1] + b"\r\n")
        await began.wait()
        client.writer.transport.abort()

    server = talk(Slow(), dialogue)
    assert ended == ["cancelled"] and server.transport is None


@pytest.mark.parametrize("sent", [b"HELO c\r\nFOO", b"x" * 5555, b"HELO c\r\nMAIL FROM: <anne"])
def test_a_client_that_goes_within_a_line(sent: bytes) -> None:
    async def dialogue(client: Client, server: SMTP) -> None:
        transport = server.transport
        assert transport is not None
        client.writer.write(sent)
        client.writer.close()
        while not transport.is_closing():  # noqa: ASYNC110
            await asyncio.sleep(0)

    talk(Box(), dialogue)


def test_a_client_that_goes_within_its_content_leaves_no_message() -> None:
    box = Box()

    async def dialogue(client: Client, server: SMTP) -> None:
        await client.say(b"HELO c", *ENVELOPE, b"DATA")
        client.writer.write(b"From: x\r\n")

    talk(box, dialogue)
    assert box.messages == []


def test_an_exception_is_answered_and_the_session_goes_on() -> None:
    class Faulty:
        async def handle_RCPT(self, *_: Any) -> str:
            raise ValueError("no")

        def handle_exception(self, error: Exception) -> str:
            return f"451 {error}"

    async def dialogue(client: Client, server: SMTP) -> None:
        assert await client.say(b"HELO c", *ENVELOPE) == b"451 no\r\n"
        assert await client.say(b"NOOP") == b"250 OK\r\n"

    talk(Faulty(), dialogue)


def test_what_a_client_sends_ahead_is_bounded() -> None:
    class Slow:
        async def handle_NOOP(self, *_: Any) -> str:
            asked.set()
            await gate.wait()
            return "250 at last"

    asked, gate = asyncio.Event(), asyncio.Event()

    async def dialogue(client: Client, server: SMTP) -> None:
        client.writer.write(b"NOOP\r\n")
        await asked.wait()  # whatever a socket holds, it comes ahead
        client.writer.write(b"NOOP\r\n" * 40_000)
        while not server._paused:  # noqa: ASYNC110
            await asyncio.sleep(0)
        gate.set()
        for _ in range(40_001):
            assert await client.reader.readline() == b"250 at last\r\n"
        while server._paused:  # noqa: ASYNC110
            await asyncio.sleep(0)

    talk(Slow(), dialogue)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_authenticator(asynchronous: bool) -> None:
    asked: list[Any] = []

    def judge(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> Any:
        asked.append((mechanism, data))
        return AuthResult(success=data.password == b"right", auth_data=data, handled=False)

    async def later(*arguments: Any) -> Any:
        await asyncio.sleep(0)
        return judge(*arguments)

    async def dialogue(client: Client, server: SMTP) -> None:
        assert b"250-AUTH LOGIN PLAIN" in await client.say(b"EHLO c")
        assert await client.say(b"MAIL FROM:<a@b>") == b"530 5.7.0 Authentication required\r\n"
        wrong = base64.b64encode(b"\0me\0wrong")
        assert (await client.say(b"AUTH PLAIN " + wrong))[:9] == b"535 5.7.8"
        assert await client.say(b"AUTH LOGIN") == b"334 VXNlciBOYW1lAA==\r\n"
        answers = [base64.b64encode(text) for text in (b"me", b"right")]
        assert (await client.say(*answers))[:9] == b"235 2.7.0"
        assert await client.say(b"MAIL FROM:<a@b>") == b"250 OK\r\n"
        assert server.session.authenticated

    with pytest.warns(UserWarning, match="Requiring AUTH while not requiring TLS"):
        talk(
            Box(), dialogue, authenticator=later if asynchronous else judge,
            auth_required=True, auth_require_tls=False,
        )  # fmt: skip
    assert asked == [
        ("PLAIN", LoginPassword(b"me", b"wrong")), ("LOGIN", LoginPassword(b"me", b"right")),
    ]  # fmt: skip


def test_auth_waits_for_tls() -> None:
    async def dialogue(client: Client, server: SMTP) -> None:
        assert b"AUTH" not in await client.say(b"EHLO c")
        assert (await client.say(b"AUTH PLAIN AAA="))[:10] == b"538 5.7.11"

    talk(Box(), dialogue)


def test_a_subclass_replaces_and_adds_commands() -> None:
    class Mine(SMTP):
        async def smtp_XYZZY(self, arg: str | None) -> None:
            await self.push(f"250 nothing happens {arg}")

        async def smtp_NOOP(self, arg: str | None) -> None:
            await self.push("250 one")
            await self.push("250 two")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        here, there = socket.socketpair()
        await loop.connect_accepted_socket(lambda: Mine(Box(), hostname="a", loop=loop), here)
        client = Client(*await asyncio.open_connection(sock=there))
        await client.reply()
        assert await client.say(b"xyzzy now") == b"250 nothing happens now\r\n"
        assert await client.say(b"NOOP") == b"250 one\r\n"
        assert await client.reply() == b"250 two\r\n"
        client.writer.close()
        await client.writer.wait_closed()

    asyncio.run(main())


def test_a_handler_that_closes_gets_no_further_command() -> None:
    class Closing:
        async def handle_NOOP(self, server: SMTP, *_: Any) -> str:
            assert server.transport is not None
            server.transport.close()
            return "250 bye"

    async def dialogue(client: Client, server: SMTP) -> None:
        client.writer.write(b"NOOP\r\nHELO c\r\n")
        assert b"250 mx.example" not in await client.reader.read()

    talk(Closing(), dialogue)
