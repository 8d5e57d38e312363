"""The ledger: counts, copies, cut connections and DSNs."""

from __future__ import annotations

import io

import msgspec

from mta.loadgen.ledger import Arrival, Ledger, read_content

MESSAGE = b"Received: by us\r\nX-Load-Id: 12\r\n\r\nX-Load-Id: 99\r\n"
DSN = (
    b"Content-Type: multipart/report\r\n\r\n--b\r\n"
    b"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; here\r\n\r\n"
    b"Final-Recipient: rfc822; unknown7@b.example\r\nAction: failed\r\n\r\n--b\r\n"
    b"Content-Type: text/rfc822-headers\r\n\r\nX-Load-Id: 7\r\n\r\n--b--\r\n"
)


def take(ledger: Ledger, sender: str, body: bytes, *, cut: bool = False) -> None:
    ledger.take(sender, ["r@x"], body, cut=cut, now=1.5)


def test_number_comes_from_the_header_only() -> None:
    assert read_content("s@x", MESSAGE) == (12, "")
    assert read_content("s@x", b"A: b\r\n\r\nX-Load-Id: 99\r\n") == (None, "")
    assert read_content("s@x", b"X-Load-Id: none\r\n\r\n") == (None, "")


def test_dsn_names_number_and_recipient() -> None:
    assert read_content("", DSN) == (7, "unknown7@b.example")


def test_copies_cuts_and_failures_are_apart() -> None:
    ledger = Ledger()
    take(ledger, "s@x", MESSAGE, cut=True)
    take(ledger, "s@x", MESSAGE)
    assert (ledger.copies(12, "r@x"), ledger.cuts(12, "r@x")) == (1, 1)
    assert ledger.counts.duplicates == 0
    take(ledger, "s@x", MESSAGE)
    assert ledger.copies(12, "r@x") == 2
    assert ledger.counts.duplicates == 1
    take(ledger, "", DSN)
    assert ledger.failures(7, "unknown7@b.example") == 1
    assert (ledger.counts.messages, ledger.counts.dsns) == (3, 1)
    assert list(ledger.arrivals()) == [(12, "r@x")]


def test_record_file_has_a_line_for_each_arrival() -> None:
    file = io.BytesIO()
    ledger = Ledger(file)
    ledger.take("s@x", ["a@x", "b@x"], MESSAGE, cut=False, now=2.0)
    take(ledger, "", DSN, cut=True)
    ledger.flush()
    lines = [msgspec.json.decode(line, type=Arrival) for line in file.getvalue().splitlines()]
    assert lines == [
        Arrival(2.0, 12, "s@x", "a@x", len(MESSAGE)),
        Arrival(2.0, 12, "s@x", "b@x", len(MESSAGE)),
        Arrival(1.5, 7, "", "r@x", len(DSN), True, "unknown7@b.example"),
    ]
