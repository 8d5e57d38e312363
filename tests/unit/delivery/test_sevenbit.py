"""Conversion to 7 bits, checked by Python's email package."""

from __future__ import annotations

from email import message_from_bytes, policy

import pytest

from mta.delivery.mimetype import parse_type, without_comments
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
        b"Subject: x\r\nno field\r\n" + TEXT + b"\r\n\xff\r\n",
        b"From joe@example.com Mon Nov 30\r\n" + TEXT + b"\r\n\xff\r\n",
        TEXT + TEXT + b"\r\n\xff\r\n",
        TEXT + b"Content-Transfer-Encoding: 8bit\r\n" * 2 + b"\r\n\xff\r\n",
        b"MIME-Version: 2.0\r\n" + TEXT + b"\r\n\xff\r\n",
        b"Content-Type: text\r\n\r\n\xff\r\n",
        b"Content-Type: text/plain charset=utf-8\r\n\r\n\xff\r\n",
        b"Content-Type: text/plain " + b"(" * 20 + b"\r\n\r\n\xff\r\n",
        b"Content-Type: text/plain (a comment\r\n\r\n\xff\r\n",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n\xff\r\n--bb\r\n",
        b"Content-Type: multipart/mixed; boundary=b; boundary=c\r\n\r\n--b\r\n\r\n\xff\r\n",
        b"Content-Type: multipart/mixed; boundary*0=b\r\n\r\n--b\r\n\r\n\xff\r\n--b--\r\n",
        b'Content-Type: multipart/mixed; boundary=""\r\n\r\n--\r\n\r\n\xff\r\n----\r\n',
        b"Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: base64\r\n"
        b"\r\n--b\r\n\r\n\xff\r\n--b--\r\n",
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


@pytest.mark.parametrize("blank", [b" ", b"\t ", b"  "])
def test_a_blank_before_the_colon_ends_no_header(blank: bytes) -> None:
    """RFC 5322 4.5: Python's parser ends the header there, and would see text without a type."""
    data = nested(TEXT + b"\r\n" + CAFE)
    data = b"X-Old" + blank + b": 1\r\n" + data.replace(b"MIME-Version", b"Mime-version" + blank)
    out = to_seven_bit(data)
    assert out is not None and out.isascii()
    assert out.lower().count(b"mime-version") == 1
    assert out.startswith(data[: data.index(b"Content-Transfer")])
    assert out.count(b"quoted-printable") == 1 and b"=C3=A9\r\n" in out
    assert out.endswith(b"\r\n--b=b--\r\n")


def test_the_encoding_is_replaced_with_a_blank_before_its_colon() -> None:
    out = to_seven_bit(TEXT + b"Content-Transfer-Encoding : 8bit (plain)\r\n\r\n" + CAFE)
    assert out is not None and content(out) == CAFE
    assert out.lower().count(b"content-transfer-encoding") == 1


def test_a_long_line_without_a_newline_gets_no_bare_lf() -> None:
    """Soft line breaks of Python's encoder are LF where the text has no CRLF."""
    out = to_seven_bit(nested(TEXT + b"\r\n" + b"x" * 90 + b"\xc3\xa9"))
    assert out is not None and b"\n" not in out.replace(b"\r\n", b"")
    part = message_from_bytes(out, policy=policy.SMTP).get_payload()[0]  # type: ignore[index]
    assert part.get_payload(decode=True) == b"x" * 90 + b"\xc3\xa9"


@pytest.mark.parametrize("given", [b"MIME-Version: 1.0\r\n", b"MIME-Version: 1.0 (mail)\r\n"])
def test_a_version_that_is_there_is_not_added_again(given: bytes) -> None:
    out = to_seven_bit(given + b"Subject: x\r\n\r\n" + CAFE)
    assert out is not None and out.count(b"MIME-Version") == 1
    assert b"charset=unknown-8bit" in out and content(out) == CAFE


def test_a_type_without_a_version_gets_one() -> None:
    out = to_seven_bit(TEXT + b"\r\n" + CAFE)
    assert out is not None and out.count(b"MIME-Version: 1.0\r\n") == 1


def test_parts_of_a_digest_are_messages() -> None:
    """RFC 2046 5.1.5; an encoding of the message as a whole is forbidden (5.2.1)."""
    data = nested(b"\r\nSubject: inner\r\n" + TEXT + b"\r\n" + CAFE).replace(b"mixed", b"digest")
    out = to_seven_bit(data)
    assert out is not None
    (part,) = message_from_bytes(out).get_payload()  # type: ignore[misc]
    assert part.get_content_type() == "message/rfc822"
    inner = part.get_payload()[0]  # type: ignore[index]
    assert inner["Subject"] == "inner" and inner.get_payload(decode=True) == CAFE


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Text/HTML", ("text", "html", None)),
        ("text/plain; charset=utf-8;", ("text", "plain", None)),
        ('multipart/mixed;\tboundary="a \\"b"', ("multipart", "mixed", b'a "b')),
        ("multipart/mixed; boundary=--=_a/b;x=y", ("multipart", "mixed", b"--=_a/b")),
        ("multipart/mixed; boundary=a; x=y", ("multipart", "mixed", b"a")),
    ],
)
def test_types_are_read(text: str, found: tuple[str, str, bytes | None]) -> None:
    assert parse_type(text) == found


def test_comments_are_left_out_of_a_value() -> None:
    value = b'text/plain (a (nested "one") \\) too); name="(no comment)"'
    assert without_comments(value).split() == ["text/plain", ";", 'name="(no', 'comment)"']
