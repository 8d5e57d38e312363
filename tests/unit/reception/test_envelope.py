"""Envelopes out of headers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.reception.envelope import addresses, extract, header, with_crlf


@pytest.mark.parametrize(
    ("data", "content"),
    [
        (b"a\nb\n", b"a\r\nb\r\n"),
        (b"a\r\nb", b"a\r\nb\r\n"),
        (b"a\rb", b"a\r\nb\r\n"),
        (b"", b""),
        (b"From me@x Mon Jan  1\nA: b\n", b"A: b\r\n"),
        (b"From me@x", b"From me@x\r\n"),
    ],
)
def test_line_ends(data: bytes, content: bytes) -> None:
    assert with_crlf(data) == content


@given(st.binary())
def test_line_ends_of_anything(data: bytes) -> None:
    content = with_crlf(data)
    assert with_crlf(content) in (content, content[content.find(b"\n") + 1 :])
    assert content.replace(b"\r\n", b"").count(b"\n") == 0


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b" a@b.example", ["a@b.example"]),
        (b' A <a@b.example>, \r\n\t"B, c" <c@d.example>', ["a@b.example", "c@d.example"]),
        (b" root", ["root@host.example"]),
        (b" root, a@b.example (me)", ["root@host.example", "a@b.example"]),
        (b" undisclosed-recipients:;", []),
        (b" Team: a@b.example, c@d.example;", ["a@b.example", "c@d.example"]),
        (b" =?utf-8?q?J=C3=B6rg?= <j@b.example>", ["j@b.example"]),
        ("Jörg <j@b.example>".encode(), ["j@b.example"]),
        (b' "odd local"@b.example', ['"odd local"@b.example']),
        (b"", []),
        (b" ,,", []),
    ],
)
def test_addresses(value: bytes, found: list[str]) -> None:
    assert addresses(value, "host.example") == found


@given(st.binary(max_size=60))
def test_addresses_of_anything(value: bytes) -> None:
    assert all("@" in address for address in addresses(value, "h"))


def test_fields_end_where_the_header_ends() -> None:
    content = b"To: a\r\n b\r\nX-y : 1\r\n\r\nCc: c\r\n"
    assert [(f.name, f.value) for f in header(content)] == [
        (b"to", b" a\r\n b\r\n"),
        (b"x-y", b" 1\r\n"),
    ]
    assert list(header(b"no header\r\n")) == []


def test_recipients_are_each_once_and_bcc_goes() -> None:
    content = (
        b"From: me@x.example\r\nTo: a@b.example\r\nBcc: c@d.example,\r\n e@f.example\r\n"
        b"Cc: A@g.example, a@b.example\r\nbcc: h@i.example\r\nSubject: s\r\n\r\nBcc: kept\r\n"
    )
    found = extract(content, "host")
    assert found.sender == "me@x.example"
    assert found.recipients == [
        "a@b.example", "c@d.example", "e@f.example", "A@g.example", "h@i.example",
    ]  # fmt: skip
    assert found.content == (
        b"From: me@x.example\r\nTo: a@b.example\r\nCc: A@g.example, a@b.example\r\n"
        b"Subject: s\r\n\r\nBcc: kept\r\n"
    )


def test_resent_fields_count_before_the_others() -> None:
    content = (
        b"Resent-To: a@b.example\r\nResent-Bcc: c@d.example\r\nResent-From: me@x.example\r\n"
        b"To: old@x.example\r\nBcc: stays@x.example\r\nSender: old@x.example\r\n\r\n"
    )
    found = extract(content, "host")
    assert (found.sender, found.recipients) == ("me@x.example", ["a@b.example", "c@d.example"])
    assert b"Resent-Bcc" not in found.content and b"Bcc: stays" in found.content


def test_sender_counts_before_from() -> None:
    assert extract(b"From: a@x\r\nSender: b@x\r\n\r\n", "h").sender == "b@x"
    assert extract(b"Subject: x\r\n\r\n", "h").sender == ""
