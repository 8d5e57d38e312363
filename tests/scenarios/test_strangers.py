"""Clients that hold what they can: nobody is kept from sending mail by them."""

from __future__ import annotations

import smtplib
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from mta.testing.remote import RemoteMX
from tests.scenarios.server import BODY, Server
from tests.waiting import PATIENCE, wait

RULE = ["-o", 'listener.0.relay_from=["127.0.0.1"]']
LINE = b"0123456789abcdef" * 4 + b"\r\n"


class Talk:
    """A session that says what it is told, from an address of loopback."""

    def __init__(self, port: int, source: str) -> None:
        self.sock = socket.create_connection(
            ("127.0.0.1", port), PATIENCE, source_address=(source, 0)
        )
        self.lines = self.sock.makefile("rb")
        self.reply()
        self.say("EHLO stranger.example")

    def reply(self) -> str:
        while (line := self.lines.readline())[3:4] == b"-":
            pass
        return line.decode().strip()

    def say(self, command: str) -> str:
        self.sock.sendall(command.encode() + b"\r\n")
        return self.reply()

    def close(self) -> None:
        self.lines.close()
        self.sock.close()


@contextmanager
def talks(port: int, sources: list[str]) -> Iterator[list[Talk]]:
    """A session from each of these addresses."""
    with ExitStack() as stack:
        found = []
        for source in sources:
            found.append(Talk(port, source))
            stack.callback(found[-1].close)
        yield found


def addresses(count: int) -> list[str]:
    """Addresses that may not relay, none of them more often than a network may come."""
    return [f"127.0.1.{1 + n // 40}" for n in range(count)]


@pytest.mark.parametrize(
    "sizes", [[50_000_000] * 4 + [5_000_000, 1_000_000], [1_000_000] * 206], ids=["six", "206"]
)
def test_strangers_that_declare_sizes_hold_nothing(tmp_path: Path, sizes: list[int]) -> None:
    with (
        RemoteMX() as remote,
        Server(tmp_path, "--route", f"*=127.0.0.1:{remote.port}", *RULE, workers=2) as server,
        talks(server.port, addresses(len(sizes))) as strangers,
    ):
        for talk, size in zip(strangers, sizes, strict=True):
            assert talk.say(f"MAIL FROM:<x@stranger.example> SIZE={size}")[:3] == "250"
        server.send("a@d.example")
        for talk in strangers:
            assert talk.say("NOOP")[:3] == "250"
            assert talk.say("RCPT TO:<b@d.example>")[:3] == "554"
        for _ in range(5):
            server.send("a@d.example", body="Subject: x\r\n\r\n" + "y" * 70 * 1000)
        server.wait_records(6, "Delivery")


def test_a_client_that_may_relay_declares_what_it_likes(tmp_path: Path) -> None:
    with (
        RemoteMX() as remote,
        Server(tmp_path, "--route", f"*=127.0.0.1:{remote.port}", workers=2) as server,
        talks(server.port, ["127.0.0.1"] * 206) as clients,
    ):
        for talk in clients:
            for command in ("MAIL FROM:<a@c.example> SIZE=1000000", "RCPT TO:<b@d.example>"):
                assert talk.say(command)[:3] == "250"
            assert talk.say("DATA")[:3] == "354"
        server.send("a@d.example")
        server.wait_records(1, "Delivery")


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.9"])
def test_drips_give_way_when_room_is_short(tmp_path: Path, workers: int, source: str) -> None:
    memory = ["-o", "queue.body_memory=8MB", "-o", "smtpd.max_size=2MB"]
    end = threading.Event()
    with (
        RemoteMX() as remote,
        Server(
            tmp_path, "--route", f"*=127.0.0.1:{remote.port}", *memory, workers=workers
        ) as server,
        talks(server.port, [source] * 60) as slow,
    ):
        for talk in slow:
            for command in ("MAIL FROM:<a@c.example> SIZE=1000000", "RCPT TO:<b@d.example>"):
                assert talk.say(command)[:3] == "250"
            assert talk.say("DATA")[:3] == "354"
        for talk in slow:
            talk.sock.setblocking(False)
            try:
                talk.sock.send(b"Subject: slow\r\n\r\n" + LINE * 4000)
            except BlockingIOError:
                pass

        def drip() -> None:
            while not end.wait(0.5):
                for talk in slow:
                    try:
                        talk.sock.send(b"x")
                    except OSError:
                        pass

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            wait(lambda: sent(server))
            for _ in range(20):
                wait(lambda: sent(server))
            totals = server.status()["totals"]
            assert totals["contents_dropped"] > 0, totals
        finally:
            end.set()
            thread.join()
        told = [talk for talk in slow if said(talk).startswith("421 4.3.1 ")]
        assert told
        server.wait_records(21, "Delivery")


def sent(server: Server) -> bool:
    """Whether a message was taken, rather than put off."""
    with smtplib.SMTP("127.0.0.1", server.port, timeout=PATIENCE) as client:
        client.ehlo("client.example")
        client.mail("sender@source.example")
        client.rcpt("a@d.example")
        try:
            code, _ = client.data(BODY)
        except smtplib.SMTPDataError as error:
            assert error.smtp_code == 452, error
            return False
        return code == 250


def said(talk: Talk) -> str:
    """What the server has said meanwhile."""
    try:
        return talk.sock.recv(4096).decode()
    except OSError:
        return ""
