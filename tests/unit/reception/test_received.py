"""The Received header."""

from __future__ import annotations

import email
import email.utils

import pytest

from mta.reception.received import Dates, client_name, tcp_info, trace

START = 1_767_225_600_000_000  # 2026-01-01 00:00 UTC


def test_trace():
    assert trace("c.example", "192.0.2.1", "mx.example.net", extended=True) == (
        b"Received: from c.example ([192.0.2.1])\r\n\tby mx.example.net with ESMTP id "
    )
    assert b"with SMTP id" in trace("c", "192.0.2.1", "mx", extended=False)


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("192.0.2.1", "([192.0.2.1])"),
        ("2001:db8::1", "([IPv6:2001:db8::1])"),
        ("unix", "(unix socket)"),
    ],
)
def test_addresses(address, text):
    assert tcp_info(address) == text


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("mail.example.com", "mail.example.com"),
        ("[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]"),
        ("a\r\nX-Evil: 1", "a??X-Evil:?1"),
        ("a (by evil) b", "a??by?evil??b"),
        ("naïve\0", "na?ve?"),
        ("", "unknown"),
        ("x" * 1000, "x" * 255),
        ("ok\n", "ok?"),
    ],
)
def test_names_cannot_break_the_header(name, clean):
    assert client_name(name) == clean


def test_lines_stay_short_and_parse():
    line = trace("é" * 3000, "2001:db8::1", "h" * 255, extended=True) + b"0" * 32 + b"; x\r\n"
    assert all(len(part) <= 998 for part in line.split(b"\r\n"))
    parsed = email.message_from_bytes(line + b"Subject: y\r\n\r\nbody")
    assert parsed.keys() == ["Received", "Subject"]


def test_dates():
    dates = Dates()
    assert dates.at(START) == b"Thu, 01 Jan 2026 00:00:00 +0000"
    first = dates.at(START + 1_000_000)
    assert dates.at(START + 1_999_999) is first
    parsed = email.utils.parsedate_to_datetime(first.decode())
    assert parsed.timestamp() == START / 1_000_000 + 1
    assert dates.at(START) == b"Thu, 01 Jan 2026 00:00:00 +0000"
