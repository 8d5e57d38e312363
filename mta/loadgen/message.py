"""What the source sends: a pure function from a message's number to its recipient and content."""

from __future__ import annotations

import bisect
import itertools
import re
from pathlib import Path

import msgspec

GOLDEN = 0.6180339887498949  # its multiples modulo 1 fill the unit interval evenly
LINE = b"The quick brown fox jumps over the lazy dog; pack my box with liquor jugs.\r\n"
HEADER = b"X-Load-Id: "


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """One injection: how many messages of what kind go where, over how many sessions."""

    server: str  # host:port
    recipients: dict[str, float]  # address with {n} for the number -> weight
    sender: str = "load@source.example"
    messages: int = 1000
    first: int = 0  # number of the first message
    names: int = 0  # {n} begins again after so many; 0: never
    step: int = 1  # distance of the numbers: processes interleave
    size: int = 10240  # octets of a message
    sessions: int = 20
    pipelining: bool = True  # RFC 2920, with the dot of a message and MAIL of the next in one write
    timeout: float = 300.0  # seconds after which the rest is left unsent
    rate: float = 0.0  # messages/s that begin; 0: as many as the server takes
    bodies: list[str] = []  # files that are sent in turn instead of `size` octets of text
    tally: str = ""  # file of mta.loadgen.tally: times of each number
    ids: bool = True  # report the id in each 250
    sources: list[str] = []  # local addresses, in turn
    fields: list[str] = []  # header fields that every message has too
    patience: float = 0.0  # seconds without any connection after which it ends; 0: the timeout

    def share(self, index: int, of: int) -> Load:
        """The part of one process among several: every `of`-th number, a share of the sessions."""
        return msgspec.structs.replace(
            self,
            first=self.first + index * self.step,
            step=self.step * of,
            messages=len(range(index, self.messages, of)),
            sessions=max(1, len(range(index, self.sessions, of))),
            rate=self.rate / of,
        )


class Composer:
    """Makes message `n` of a load: the same number gives the same message in every process."""

    __slots__ = ("_addresses", "_bodies", "_bounds", "_fields", "_filler", "_names", "_sender",
                 "_size")  # fmt: skip

    def __init__(self, load: Load) -> None:
        self._addresses = list(load.recipients)
        self._bounds = list(itertools.accumulate(load.recipients.values()))
        self._sender, self._size, self._names = load.sender.encode(), load.size, load.names
        self._filler = LINE * (load.size // len(LINE) + 1)
        self._fields = "".join(f"{field}\r\n" for field in load.fields).encode()
        self._bodies = [transparent(Path(path).read_bytes()) for path in load.bodies]

    def recipient(self, number: int) -> str:
        """The address of message `number`, by weight."""
        point = number * GOLDEN % 1.0 * self._bounds[-1]
        index = min(bisect.bisect_right(self._bounds, point), len(self._addresses) - 1)
        name = number % self._names if self._names else number
        return self._addresses[index].replace("{n}", str(name))

    def content(self, number: int, recipient: str) -> bytes:
        """The message, CRLF line ends, no line that begins with a dot, without the final dot."""
        if self._bodies:
            body = self._bodies[number % len(self._bodies)]
            return b"%b%d\r\n%b%b" % (HEADER, number, self._fields, body)
        head = (
            b"From: <%b>\r\nTo: <%b>\r\nSubject: load %d\r\nMessage-ID: <%d@source.example>\r\n"
            b"Date: Mon, 01 Jan 2024 00:00:00 +0000\r\n%b%d\r\n%b\r\n"
        ) % (self._sender, recipient.encode(), number, number, HEADER, number, self._fields)
        start = len(self._filler) - max(0, self._size - len(head))
        if self._filler[start : start + 1] == b"\n":  # never a bare LF (RFC 5321 2.3.8)
            start += 1
        return head + self._filler[start:]


def transparent(text: bytes) -> bytes:
    """A file as it goes over the wire: CRLF line ends, leading dots doubled (RFC 5321 4.5.2)."""
    text = re.sub(rb"\r\n|\r|\n", b"\r\n", text)
    text = re.sub(rb"(?m)^\.", b"..", text)
    return text if text.endswith(b"\r\n") else text + b"\r\n"
