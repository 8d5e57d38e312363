"""Every dialog over a loopback connection to a listener whose commits take a turn of the loop."""

from __future__ import annotations

import asyncio
import random
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from mta._speedups.verdict import ACCEPTED, Verdict, given
from mta.maillog.records import RecordWriter
from mta.model import IdGenerator, Message
from mta.reception.admit import Member
from mta.reception.members import admission
from mta.reception.policy import Policy
from mta.reception.reception import Reception, ReceptionOptions
from mta.smtp.server import ServerOptions
from mta.smtpd.bind import bind
from mta.smtpd.listener import Listener, ListenerOptions
from mta.smtpd.service import Service
from mta.testing.clock import FakeClock
from mta.testing.room import Room
from tests.dialogs.dialog import CLOSED, DIALOGS, Dialog, Step, check, load
from tests.waiting import PATIENCE

HOST = "mx.example"
RECEIVED = re.compile(
    rb"Received: from .*\r\n\tby mx\.example with (?:E|UTF8)?SMTP id .*\r\n\t.*\r\n"
)

every_dialog = pytest.mark.parametrize("path", DIALOGS, ids=lambda path: path.stem)
cut_dialogs = pytest.mark.parametrize(
    "path", [p for p in DIALOGS if "whole" not in load(p).flags], ids=lambda path: path.stem
)


class DialogMember(Member):
    """The dialog's policy; its verdicts on contents come a turn of the loop later."""

    def __init__(self, dialog: Dialog) -> None:
        self.dialog = dialog

    def mail(self, client: Any, params: Any) -> Verdict:
        return self.said("MAIL", client.sender)

    def rcpt(self, client: Any, recipient: str, params: Any) -> Verdict:
        return self.said("RCPT", recipient)

    def data(self, client: Any) -> Verdict:
        return self.said("DATA")

    async def message(self, arrival: Any) -> Verdict:
        await asyncio.sleep(0)
        return self.said(".")

    def said(self, *what: str) -> Verdict:
        refusal = self.dialog.refusal(*what)
        return ACCEPTED if refusal is None else given(refusal)


def rule(dialog: Dialog) -> Policy:
    """Loopback clients may relay, or are strangers to whom every recipient is ours."""
    if "stranger" not in dialog.flags:
        return Policy(HOST)
    return Policy(HOST, relay_from=["192.0.2.1"], relay_domains=["*"])


class Server:
    """A listener with the dialog's settings; `bodies` has what was stored, without Received."""

    def __init__(self, dialog: Dialog, sock: socket.socket) -> None:
        self.loop, clock = asyncio.get_running_loop(), FakeClock()
        self.bodies: list[bytes] = []
        self.rejections: list[bytes] = []
        policy, room, asked = rule(dialog), Room(), ReceptionOptions(HOST)
        members = admission(asked, policy, clock, room, login=[DialogMember(dialog)])
        reception = Reception(
            asked, policy, members, IdGenerator(0, clock), self.submit, self.rejections.append,
            clock, room, records=RecordWriter("n1", 0, clock),
        )  # fmt: skip
        options: dict[str, Any] = dialog.settings  # type: ignore[assignment]
        self.listener = Listener(
            ListenerOptions(ServerOptions(HOST, **options)),
            [sock],
            reception=reception,
            service=Service(self.loop),
            loop=self.loop,
        )

    def submit(
        self,
        message: Message,
        recipients: list[str],
        done: Callable[[BaseException | None], None],
        wishes: object = None,
    ) -> None:
        assert message.body is not None and message.size == len(message.body)
        header = RECEIVED.match(message.body)
        assert header is not None and len(recipients) == message.total > 0
        self.bodies.append(message.body[header.end() :])
        self.loop.call_soon(done, None)


class Client:
    """Speaks a dialog, cut into pieces by `cut`."""

    def __init__(self, sock: socket.socket, cut: Callable[[bytes], Iterator[bytes]]) -> None:
        self.loop, self.sock, self.cut = asyncio.get_running_loop(), sock, cut

    async def speak(self, step: Step) -> None:
        for piece in self.cut(step.sent):
            await self.loop.sock_sendall(self.sock, piece)
            await asyncio.sleep(0)
        output = b""
        while not self.satisfied(step, output):
            received = await self.loop.sock_recv(self.sock, 65_536)
            if not received:
                check(step.expected, output)
                assert ("S:", CLOSED) in step.expected, "closed too early"
                return
            output += received

    def satisfied(self, step: Step, output: bytes) -> bool:
        """All that is wanted has come; the end of the connection is awaited apart."""
        if ("S:", CLOSED) in step.expected or output[-2:] != b"\r\n":
            return not step.expected
        try:
            check(step.expected, output)
        except AssertionError:
            return False
        return True


def run(path: Path, cut: Callable[[bytes], Iterator[bytes]]) -> None:
    """Speak the dialog, then compare what was stored."""
    dialog = load(path)

    async def talk() -> None:
        with bind("127.0.0.1:0") as listening, socket.socket() as sock:
            server = Server(dialog, listening)
            server.listener.start()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.connect(listening.getsockname())
            sock.setblocking(False)
            client = Client(sock, cut)
            async with asyncio.timeout(PATIENCE):
                for step in dialog.steps:
                    await client.speak(step)
            sock.close()
            await server.listener.wait_closed()
            server.listener.close()
            assert [body.removeprefix(b"\r\n") for body in server.bodies] == [
                body.removeprefix(b"\r\n") for body in dialog.bodies
            ]

    uvloop.run(talk())


@every_dialog
def test_whole(path: Path) -> None:
    run(path, lambda data: iter([data] if data else []))


@cut_dialogs
def test_octet_by_octet(path: Path) -> None:
    run(path, lambda data: (data[at : at + 1] for at in range(len(data))))


@cut_dialogs
def test_in_random_pieces(path: Path) -> None:
    rng = random.Random(f"{path.stem} live")

    def cut(data: bytes) -> Iterator[bytes]:
        while data:
            size = rng.randrange(1, len(data) + 1)
            yield data[:size]
            data = data[size:]

    run(path, cut)
