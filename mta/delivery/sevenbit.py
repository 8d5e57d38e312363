"""Transfer encodings for raw octets: 8-bit content for a server without 8BITMIME (RFC 6152 3),
binary content for one without BINARYMIME (RFC 3030 3).

Only what has to be is touched; all else stays byte for byte. What is not understood for certain
(a line that is no field, a field given twice, a boundary that never comes) is not converted at all:
a bounce tells the sender, a message that was changed by mistake tells nobody.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import NamedTuple

from mta._speedups.headers import scan
from mta.delivery.mimetype import MimeType, NotUnderstoodError, parse_type, without_comments

__all__ = ["to_seven_bit", "to_text"]

Clean = Callable[[bytes], bool]  # whether octets may stay as they are

FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:((?:[^\r\n]|\r\n[ \t])*)\r\n")  # RFC 5322 2.2, 4.5
NO_TEXT = re.compile(rb"\0|\r(?!\n)|(?<!\r)\n|[^\r\n]{999}")  # RFC 2045 2.7
PLAIN_ENCODINGS = ("7bit", "8bit", "binary")
MIME_VERSION = b"MIME-Version: 1.0\r\n"
UNLABELLED = b"Content-Type: text/plain; charset=unknown-8bit\r\n"  # RFC 1428
TEXT, MESSAGE = MimeType("text", "plain", None), MimeType("message", "rfc822", None)
MAX_DEPTH = 20
HIGH_OCTETS = bytes(range(128, 256))
TO_ASCII = bytes.maketrans(HIGH_OCTETS, b"?" * 128)


def to_seven_bit(content: bytes) -> bytes | None:
    """The message with 7-bit content only; None if that would take more than transfer encodings.

    So it is with 8-bit octets in a header, signed parts, and whatever is labelled wrongly or in a
    way that is not understood.
    """
    return _converted(content, bytes.isascii)


def to_text(content: bytes) -> bytes | None:
    """Binary content as 7-bit lines; None as for `to_seven_bit`."""
    return _converted(content, _is_text)


def _converted(content: bytes, clean: Clean) -> bytes | None:
    try:
        return _entity(content, TEXT, 0, clean)
    except NotUnderstoodError:
        return None


def _is_text(content: bytes) -> bool:
    """Whether these are 7-bit lines (RFC 2045 2.7)."""
    return content.isascii() and NO_TEXT.search(content) is None


class _Header(NamedTuple):
    """The fields of an entity, each with its CRLF, and what MIME says of its body."""

    octets: bytes
    type: MimeType | None  # None: there is no Content-Type
    encoding: str  # as it stands there, "" without the field
    encoding_at: tuple[int, int]  # where that field is in `octets`
    versioned: bool  # it has MIME-Version

    def labelled(self, encoding: str, more: bytes = b"") -> bytes:
        """The header and the empty line, with this Content-Transfer-Encoding and more fields."""
        if encoding == (self.encoding or "7bit"):
            return self.octets + more + b"\r\n"
        field = b"Content-Transfer-Encoding: %b\r\n" % encoding.encode()
        if not self.encoding:
            return self.octets + more + field + b"\r\n"
        start, end = self.encoding_at
        return self.octets[:start] + field + self.octets[end:] + more + b"\r\n"


def _entity(content: bytes, default: MimeType, depth: int, clean: Clean) -> bytes:
    """A header and body, converted; `default` is its type if it names none."""
    if clean(content):
        return _relabelled(content)
    octets, body = _split(content)
    if depth > MAX_DEPTH or not clean(octets):
        raise NotUnderstoodError
    header = _parsed(octets)
    if header.encoding not in ("", *PLAIN_ENCODINGS):
        raise NotUnderstoodError
    kind = header.type or default
    more = b"" if depth or header.versioned else MIME_VERSION
    if kind.main == "multipart":
        return header.labelled("7bit", more) + _multipart(body, kind, depth, clean)
    if kind == MESSAGE:
        return header.labelled("7bit", more) + _entity(body, TEXT, depth + 1, clean)
    if kind.main == "message":
        raise NotUnderstoodError
    if depth == 0 and header.type is None:
        more += UNLABELLED
    encoding, encoded = _leaf(body, kind)
    return header.labelled(encoding, more) + encoded


def _relabelled(content: bytes) -> bytes:
    """Content that needs no encoding: "binary" would say too much of it where lines are meant."""
    if b"binary" not in content and b"BINARY" not in content:
        return content
    try:
        octets, body = _split(content)
        header = _parsed(octets)
    except NotUnderstoodError:
        return content
    return header.labelled("7bit") + body if header.encoding == "binary" else content


def _split(content: bytes) -> tuple[bytes, bytes]:
    """Header fields with their final CRLF, and what follows the empty line."""
    end = scan(content).header_end
    if content.startswith(b"\r\n", end):
        return content[:end], content[end + 2 :]
    raise NotUnderstoodError  # a line that is no field, or no empty line


def _parsed(octets: bytes) -> _Header:
    """The fields that MIME is about; each may be there once."""
    found: dict[bytes, tuple[int, int, str]] = {}
    at = 0
    while at < len(octets):
        field = FIELD.match(octets, at)
        if field is None:
            raise NotUnderstoodError  # a bare CR or LF
        name, at = field[1].lower(), field.end()
        if name == b"mime-version" or name.startswith(b"content-"):
            if name in found:
                raise NotUnderstoodError
            found[name] = field.start(), at, without_comments(field[2])
    version = found.get(b"mime-version")
    if version and version[2] != "1.0":
        raise NotUnderstoodError
    kind, encoding = found.get(b"content-type"), found.get(b"content-transfer-encoding")
    return _Header(
        octets,
        parse_type(kind[2]) if kind else None,
        encoding[2].lower() if encoding else "",
        encoding[:2] if encoding else (0, 0),
        version is not None,
    )


def _multipart(body: bytes, kind: MimeType, depth: int, clean: Clean) -> bytes:
    """The parts converted; preamble and epilogue say nothing, so their octets become `?`."""
    if kind.sub == "signed" or kind.boundary is None:
        raise NotUnderstoodError
    pattern = re.compile(rb"(?:\A|\r\n)--" + re.escape(kind.boundary) + rb"(--)?[ \t]*(?=\r\n|\Z)")
    default = MESSAGE if kind.sub == "digest" else TEXT  # RFC 2046 5.1.5
    out, at, lead, inside = [], 0, b"", False
    for delimiter in pattern.finditer(body):
        if delimiter.start() >= at:  # else two delimiters share their CRLF: an empty part
            piece = body[at : delimiter.start()]
            out += [lead, _piece(piece, inside, default, depth, clean)]
        out.append(delimiter[0])
        lead = body[delimiter.end() : delimiter.end() + 2]
        at, inside = delimiter.end() + len(lead), delimiter[1] is None
        if not inside:
            break
    if not out:
        raise NotUnderstoodError
    return b"".join([*out, lead, _piece(body[at:], inside, default, depth, clean)])


def _piece(content: bytes, inside: bool, default: MimeType, depth: int, clean: Clean) -> bytes:
    if inside:
        return _entity(content, default, depth + 1, clean)
    return content if clean(content) else NO_TEXT.sub(b"?", content.translate(TO_ASCII))


def _leaf(body: bytes, kind: MimeType) -> tuple[str, bytes]:
    """A part without parts: text becomes quoted-printable, all else base64."""
    if kind.main == "text" and NO_TEXT.search(body) is None:
        # With its newlines the last line gets soft breaks of CRLF; without any they would be LF.
        return "quoted-printable", binascii.b2a_qp(body + b"\r\n", istext=True)[:-2]
    return "base64", base64.encodebytes(body).replace(b"\n", b"\r\n")
