"""Clients that keep a session open, send now and then or idle, and come again when it ends."""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass, field

from tests.waiting import PATIENCE

ENVELOPE = (b"EHLO client.example\r\n", b"MAIL FROM:<a@source.example>\r\n")
CONTENT = b"Subject: load\r\n\r\nhello\r\n.\r\n"
WAIT = PATIENCE  # seconds for any reply


@dataclass
class Tally:
    """What all clients saw."""

    accepted: list[str] = field(default_factory=list)  # message ids
    closed_by_421: int = 0
    problems: list[str] = field(default_factory=list)


class Ended(Exception):
    """The server closed the session with 421."""


class Line:
    """One connection."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=WAIT)
        self.lines = self.sock.makefile("rb")
        self.expect(b"220")

    def expect(self, code: bytes) -> str:
        """The last line of a reply with this code; Ended for a 421."""
        while True:
            line = self.lines.readline()
            if line[:3] == b"421":
                raise Ended
            if line[:3] != code:
                raise OSError(f"{code.decode()} expected, {line!r} came")
            if line[3:4] != b"-":
                return line.decode().strip()

    def send(self, number: int) -> str:
        """One message; its id. A connection that is lost before the 250 is no problem of a 421."""
        for line in (*ENVELOPE, b"RCPT TO:<r%d@load.example>\r\n" % number):
            self.sock.sendall(line)
            self.expect(b"250")
        self.sock.sendall(b"DATA\r\n")
        self.expect(b"354")
        self.sock.sendall(CONTENT)
        return self.expect(b"250").rpartition(" ")[2]

    def close(self) -> None:
        """Leave without a word."""
        self.lines.close()
        self.sock.close()


def talk(port: int, number: int, idle: bool, tally: Tally, until: threading.Event) -> None:
    """Sessions one after another: an idle one only waits for its end, a busy one sends."""
    while not until.is_set():
        try:
            line = Line(port)
        except Ended:
            tally.problems.append(f"client {number} was turned away instead of a greeting")
            return
        except OSError as error:
            tally.problems.append(f"client {number} could not connect: {error}")
            return
        try:
            stay(line, number, idle, tally, until)
        except Ended:
            tally.closed_by_421 += 1
        except OSError as error:
            if until.is_set():
                return
            tally.problems.append(f"client {number}: {error}")
        finally:
            line.close()


def stay(line: Line, number: int, idle: bool, tally: Tally, until: threading.Event) -> None:
    """Use a session until `until`, or until it ends."""
    while not until.is_set():
        if not idle:
            tally.accepted.append(line.send(number))
        line.sock.settimeout(0.05)
        try:
            line.expect(b"421")
        except TimeoutError:
            line.lines = line.sock.makefile("rb")
        line.sock.settimeout(WAIT)
