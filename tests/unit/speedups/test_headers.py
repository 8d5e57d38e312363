from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mta._speedups.headers import Names, scan
from tests.reference import headers as plain

DROP = frozenset([b"x-tenant", b"x-job", b"x-" + b"long" * 20])
piece = st.sampled_from(
    [
        b"\r\n", b"\n", b" ", b"\t", b":", b"Received: x\r\n", b"DATE:y\r\n",
        b"message-id: <i@d>\r\n",
        b"Message-ID : \r\n <j@e>\r\n", b"X-Tenant: acme\r\n", b"x-job:\r\n\tlong\r\n value \r\n",
        b"X-TENANT: other\n", b"\xe9", b"Subject", b"From me\r\n",
        b"X-" + b"LONG" * 20 + b": 1\r\n",
    ]
)  # fmt: skip
text = st.lists(piece, max_size=12).map(b"".join)


@given(text | st.binary(max_size=60), st.sampled_from([DROP, frozenset[bytes]()]))
def test_the_header_is_that_of_the_twin(body: bytes, drop: frozenset[bytes]) -> None:
    got, expected = scan(body, Names(drop)), plain.scan(body, drop)
    kept = body if got.kept is None else b"".join(body[a:b] for a, b in got.kept)
    assert kept == expected.pop("kept")
    assert (got.kept is None) == (expected["found"] is None)
    assert {name: getattr(got, name) for name in expected} == expected


def test_an_ordinary_header() -> None:
    body = (
        b"Received: from a\r\n by b\r\nReceived: c\r\nX-Job: spring\r\n sale\r\nDate: now\r\n"
        b"Message-Id: <1@a>\r\nX-Tenant:acme\r\n\r\nX-Job: in the text\r\n"
    )
    got = scan(body, Names(DROP))
    assert (got.received_count, got.has_date, got.message_id) == (2, True, "<1@a>")
    assert got.found == {"x-job": "spring sale", "x-tenant": "acme"}
    assert got.kept == [(0, 38), (60, 90), (105, len(body))]
    assert body[got.header_end :] == b"\r\nX-Job: in the text\r\n"


def test_broken_headers_end_where_they_break() -> None:
    assert scan(b" folded first\r\nDate: x\r\n").header_end == 0
    assert scan(b"Date: x\r\nno field here\r\nX-Job: y\r\n", Names(DROP)).kept is None
    assert scan(b"").header_end == 0
    assert scan(b"Date: x").header_end == 7


def test_what_stands_before_the_header_is_passed_over() -> None:
    body = b"Date: y\r\nX-Job: a\r\nSubject: s\r\n\r\n"
    got = scan(b"12345" + body, Names(DROP), 5)
    assert (got.header_end, got.kept) == (5 + 31, [(5, 14), (24, 5 + len(body))])
    assert scan(b"12345", Names(DROP), 5).header_end == 5
