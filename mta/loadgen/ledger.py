"""What arrived at a sink: every message number and recipient, so that loss and copies show."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import msgspec

from mta.loadgen.message import HEADER

if TYPE_CHECKING:
    from collections.abc import Iterator

FINAL = b"\nFinal-Recipient: rfc822;"  # RFC 3464 2.3.2


class Arrival(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message that arrived for one recipient; a line of the record file."""

    time: float  # seconds since 1970
    number: int | None  # X-Load-Id
    sender: str
    recipient: str
    size: int
    cut: bool = False  # the connection was ended instead of the reply: not delivered
    failed: str = ""  # a DSN: the recipient that it reports
    session: float = 0.0  # when its connection began, seconds since 1970


class Content(NamedTuple):
    """What the sink reads out of a message."""

    number: int | None
    failed: str


def _digits(body: bytes, at: int) -> int | None:
    digits = body[at : at + 20].split(b"\r", 1)[0].strip()
    return int(digits) if digits.isdigit() else None


def read_content(sender: str, body: bytes) -> Content:
    """The number in the header; of a DSN the number in what it returns, and whom it is about."""
    if sender:
        at = body.find(HEADER, 0, body.find(b"\r\n\r\n") + 1)
        return Content(_digits(body, at + len(HEADER)) if at >= 0 else None, "")
    at, final = body.find(HEADER), body.find(FINAL)
    line = body[final + len(FINAL) :].split(b"\r\n", 1)[0] if final >= 0 else b""
    number = _digits(body, at + len(HEADER)) if at >= 0 else None
    return Content(number, line.decode("utf-8", "replace").strip())


class Counts(msgspec.Struct):
    """The sink's figures."""

    connections: int = 0
    messages: int = 0
    recipients: int = 0
    octets: int = 0
    duplicates: int = 0  # copies of a number for a recipient after the first
    dsns: int = 0
    deferred: int = 0  # 4xx replies
    rejected: int = 0  # 5xx replies
    cut: int = 0  # connections ended on purpose


class Ledger:
    """Counts arrivals and remembers how often each number came for each recipient."""

    __slots__ = ("counts", "_copies", "_cut", "_failures", "_file", "_encoder")

    def __init__(self, file: BinaryIO | None = None) -> None:
        self.counts = Counts()
        self._copies: dict[tuple[int, str], int] = {}
        self._cut: dict[tuple[int, str], int] = {}
        self._failures: dict[tuple[int, str], int] = {}  # DSNs by number and failed recipient
        self._file, self._encoder = file, msgspec.json.Encoder()

    def take(
        self,
        sender: str,
        recipients: list[str],
        body: bytes,
        *,
        cut: bool,
        now: float,
        session: float = 0.0,
    ) -> None:
        """Note a whole message; `cut` says that it gets no reply."""
        number, failed = read_content(sender, body)
        counts, size = self.counts, len(body)
        if not cut:
            counts.messages += 1
            counts.octets += size
        for recipient in recipients:
            if not cut:
                counts.recipients += 1
            self._note(number, recipient, failed, cut)
            if self._file is not None:
                arrival = Arrival(now, number, sender, recipient, size, cut, failed, session)
                self._file.write(self._encoder.encode(arrival) + b"\n")

    def _note(self, number: int | None, recipient: str, failed: str, cut: bool) -> None:
        self.counts.dsns += bool(failed) and not cut
        if number is None:
            return
        book = self._cut if cut else self._failures if failed else self._copies
        key = (number, failed or recipient)
        copies = book.get(key, 0)
        book[key] = copies + 1
        if copies and not cut:
            self.counts.duplicates += 1

    def copies(self, number: int, recipient: str) -> int:
        """How often a message was delivered to a recipient."""
        return self._copies.get((number, recipient), 0)

    def cuts(self, number: int, recipient: str) -> int:
        """How often the connection was ended after the whole message for a recipient."""
        return self._cut.get((number, recipient), 0)

    def failures(self, number: int, recipient: str) -> int:
        """How many DSNs about a recipient arrived."""
        return self._failures.get((number, recipient), 0)

    def arrivals(self) -> Iterator[tuple[int, str]]:
        """The number and recipient of everything delivered, once each, without DSNs."""
        return iter(self._copies)

    def flush(self) -> None:
        """Write the record file out."""
        if self._file is not None:
            self._file.flush()
