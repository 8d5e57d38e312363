"""Conversion to 7 bits, checked by Python's email package."""

from __future__ import annotations

from email import message_from_bytes, policy

import pytest

from mta.delivery.sevenbit import to_seven_bit, to_text

TEXT = b"Content-Type: text/plain; charset=utf-8\r\n"
CAFE = "café\r\n\r\n.dot\r\n".encode()


def content(data: bytes) -> bytes:
    return message_from_bytes(data, policy=policy.SMTP).get_payload(decode=True)  # type: ignore


def test_seven_bit_is_left_alone() -> None:
    data = b"Subject: x\r\n\r\nhello\r\n"
    assert to_seven_bit(data) is data


@pytest.mark.parametrize(
    "field",
    [b"", b"Content-Transfer-Encoding: 8bit\r\n", b"content-transfer-encoding:\r\n BINARY\r\n"],
)
def test_text_becomes_quoted_printable(field: bytes) -> None:
    out = to_seven_bit(b"Subject: x\r\n" + TEXT + field + b"To: y@z\r\n\r\n" + CAFE)
    assert out is not None
    assert out.isascii()
    assert content(out) == CAFE
    assert out.lower().count(b"content-transfer-encoding") == 1
    assert b"\n" not in out.replace(b"\r\n", b"")
    assert max(map(len, out.split(b"\r\n"))) <= 78


def test_unlabelled_text_is_labelled() -> None:
    out = to_seven_bit(b"Subject: x\r\n\r\n" + CAFE)
    assert out is not None
    assert content(out) == CAFE
    parsed = message_from_bytes(out)
    assert (parsed["MIME-Version"], parsed.get_content_charset()) == ("1.0", "unknown-8bit")


def test_octets_become_base64() -> None:
    data = bytes(range(256)) * 3
    out = to_seven_bit(b"Content-Type: image/png\r\n\r\n" + data)
    assert out is not None
    assert content(out) == data


def nested(*parts: bytes, preamble: bytes = b"", epilogue: bytes = b"") -> bytes:
    top = b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b=b"\r\n'
    top += b"Content-Transfer-Encoding: 8bit\r\n\r\n" + preamble
    return top + b"".join(b"\r\n--b=b\r\n" + p for p in parts) + b"\r\n--b=b--\r\n" + epilogue


def test_only_the_parts_that_need_it_change() -> None:
    plain = b"Content-Type: text/html\r\n\r\n<p>--b=b\r\n --b=b"
    inner = b"Content-Type: message/rfc822\r\n\r\n" + nested(TEXT + b"\r\n" + CAFE, b"", b"\r\n")
    data = nested(
        plain, TEXT + b"\r\n" + CAFE, inner, b"", preamble=b"hi \xff", epilogue=b"\xfe bye\r\n"
    )
    out = to_seven_bit(data)
    assert out is not None
    assert out.isascii()
    assert plain in out
    assert b"hi ?" in out
    assert out.endswith(b"--b=b--\r\n? bye\r\n")
    before, after = (message_from_bytes(one) for one in (data, out))
    shape = [part.get_content_type() for part in before.walk()]
    assert [part.get_content_type() for part in after.walk()] == shape
    texts = [p.get_payload(decode=True) for p in after.walk() if p.get_content_charset() == "utf-8"]
    assert texts == [CAFE, CAFE]
    assert out.count(b"\r\n--b=b") == data.count(b"\r\n--b=b")


@pytest.mark.parametrize(
    "data",
    [
        b"Subject: caf\xe9\r\n\r\nx\r\n",
        b"Subject: no body \xff",
        b"Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n\xff\r\n--b--\r\n",
        b"Content-Type: message/partial; id=1; number=1\r\n\r\n\xff\r\n",
        b"Content-Type: multipart/mixed\r\n\r\n\xff\r\n",
        b"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n\xff\r\n",
        b"Content-Type: message/rfc822\r\n\r\n" * 30 + b"\r\n\xff",
    ],
)
def test_what_cannot_be_converted(data: bytes) -> None:
    assert to_seven_bit(data) is None


@pytest.mark.parametrize("data", [b"\0\x01", b"bare\nlf", b"bare\rcr", b"\xff\r\n", b"x" * 999])
def test_binary_octets_become_base64(data: bytes) -> None:
    label = b"Content-Type: application/zip\r\nContent-Transfer-Encoding: binary\r\n"
    out = to_text(label + b"\r\n" + data)
    assert out is not None and content(out) == data
    assert out.count(b"ransfer-") == 1 and b"binary" not in out and b"\0" not in out
    assert b"\n" not in out.replace(b"\r\n", b"")


def test_binary_text_keeps_its_newlines() -> None:
    out = to_text(TEXT + b"\r\n" + b"one\ntwo\0")
    assert out is not None and content(out) == b"one\ntwo\0"
    out = to_text(TEXT + b"\r\n" + CAFE)
    assert out is not None and content(out) == CAFE and b"quoted-printable" in out


def test_what_was_called_binary_and_is_text_says_so() -> None:
    out = to_text(TEXT + b"Content-Transfer-Encoding: BINARY\r\n\r\nplain\r\n")
    assert out == TEXT + b"Content-Transfer-Encoding: 7bit\r\n\r\nplain\r\n"
    said = TEXT + b"\r\nit is binary\r\n"
    assert to_text(said) is said


def test_parts_that_are_binary_change_alone() -> None:
    plain = b"Content-Type: text/plain\r\n\r\nhello"
    odd = b"Content-Type: image/png\r\nContent-Transfer-Encoding: binary\r\n\r\n\x89PNG\r\n\x1a\n\0"
    out = to_text(nested(plain, odd, preamble=b"p\0", epilogue=b"e\n"))
    assert out is not None and plain in out and out.isascii() and b"\0" not in out
    parts = message_from_bytes(out, policy=policy.SMTP).get_payload()
    assert parts[1].get_payload(decode=True) == b"\x89PNG\r\n\x1a\n\0"


def test_a_header_that_is_not_text_cannot_be_converted() -> None:
    assert to_text(b"Subject: \xff\r\n\r\n\0") is None
    assert to_text(b"Subject: a\nb\r\n\r\n\0") is None
