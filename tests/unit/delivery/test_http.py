"""What is posted, and what answers mean."""

from __future__ import annotations

import base64
import json
from email.message import EmailMessage
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.delivery.transports import http, parsed
from mta.model import Kind
from tests.unit.delivery.fakes import attempt


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, Kind.DELIVERED), (202, Kind.DELIVERED), (204, Kind.DELIVERED),
        (301, Kind.DEFERRED), (308, Kind.DEFERRED),
        (400, Kind.BOUNCED), (401, Kind.BOUNCED), (404, Kind.BOUNCED), (410, Kind.BOUNCED),
        (408, Kind.DEFERRED), (425, Kind.DEFERRED), (429, Kind.DEFERRED),
        (500, Kind.DEFERRED), (503, Kind.DEFERRED), (599, Kind.DEFERRED),
    ],
)  # fmt: skip
def test_answers(status: int, kind: Kind) -> None:
    found = http.outcome(status, {}, "Why", "said")
    assert (found.kind, found.code, found.text) == (kind, 0, f"HTTP {status} Why: said")
    assert found.enhanced[0] == {Kind.DELIVERED: "2", Kind.DEFERRED: "4", Kind.BOUNCED: "5"}[kind]


def test_retry_after_is_told_where_it_counts() -> None:
    headers = httpx.Headers({"retry-after": "120"})
    assert http.outcome(503, headers, "", "").text == "HTTP 503 (Retry-After: 120)"
    assert http.outcome(404, headers, "", "").text == "HTTP 404"


def test_the_envelope_is_in_the_header_and_cannot_add_to_it() -> None:
    fields = dict(http.envelope(attempt("é@b", "c@d", sender="a\r\nX: y@x")))
    assert fields["X-Envelope-To"] == "\\xe9@b, c@d"
    with pytest.raises(httpx.LocalProtocolError):
        raise_for(fields)


def raise_for(fields: dict[str, str]) -> None:
    """As httpx would on the wire."""
    import h11

    try:
        h11.Request(method="POST", target="/", headers=[("host", "x"), *fields.items()])
    except h11.LocalProtocolError as error:
        raise httpx.LocalProtocolError(str(error)) from error


def document(body: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(parsed.document(attempt("r@b", body=body)))
    return found


def test_a_document_has_all_parts() -> None:
    made = EmailMessage()
    made["Subject"], made["X-Twice"] = "größer", "1"
    made["X-Twice"] = "2"
    made.set_content("text é\n")
    made.add_alternative("<p>é</p>\n", subtype="html")
    made.add_attachment(b"\0\xff", "application", "pdf", filename="ü.pdf")
    made.add_attachment("notes\n", filename="n.txt")
    found = document(made.as_bytes().replace(b"\n", b"\r\n"))
    assert (found["from"], found["to"], found["id"]) == ("a@x", ["r@b"], "0" * 32)
    assert ["Subject", "größer"] in found["headers"]
    assert [h for h in found["headers"] if h[0] == "X-Twice"] == [
        ["X-Twice", "1"],
        ["X-Twice", "2"],
    ]
    assert (found["text"].strip(), found["html"].strip()) == ("text é", "<p>é</p>")
    first, second = found["attachments"]
    assert (first["filename"], first["content_type"]) == ("ü.pdf", "application/pdf")
    assert base64.b64decode(first["content"]) == b"\0\xff"
    assert (second["filename"], second["disposition"]) == ("n.txt", "attachment")


@pytest.mark.parametrize(
    ("head", "text"),
    [
        (b"Content-Type: text/plain; charset=no-such\r\n", "ab\ufffd\r\n"),
        (b"Content-Type: text/plain; charset=iso-8859-1\r\n", "abé\r\n"),
        (b"Content-Type: text/plain; charset=hex\r\n", "ab\ufffd\r\n"),
        (b"", "ab\ufffd\r\n"),
    ],
)
def test_charsets(head: bytes, text: str) -> None:
    assert document(head + b"\r\nab\xe9\r\n")["text"] == text


NASTY = [
    b"Content-Type: multipart/mixed; boundary=x\r\n", b"--x\r\n", b"--x--\r\n", b"\r\n",
    b"Content-Type: text/html; charset=\"\x00\"\r\n", b"Content-Transfer-Encoding: base64\r\n",
    b"Subject: =?utf-8?b?////?=\r\n", b"Subject: =?x?q?=FF?=\r\n", b"\xff\xfe\r\n", b"=?a?b?c?=",
    b"Content-Disposition: attachment; filename*=utf-7''%ff%00\r\n",
    b"Content-Disposition: attachment; filename*0*=no-such'x'%e9; filename*1=b\r\n",
    b"Content-Type: message/rfc822\r\n", b"Content-Transfer-Encoding: uuencode\r\n", b"begin x\r\n",
]  # fmt: skip


@given(st.lists(st.one_of(st.sampled_from(NASTY), st.binary(max_size=10)), max_size=12))
def test_whatever_comes_there_is_a_document(pieces: list[bytes]) -> None:
    found = document(b"".join(pieces))
    assert found["to"] == ["r@b"]
    assert isinstance(found["attachments"], list)
