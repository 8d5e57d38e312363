"""Transfer encodings for raw octets: 8-bit content for a server without 8BITMIME (RFC 6152 3),
binary content for one without BINARYMIME (RFC 3030 3).

Only what has to be is touched; all else stays byte for byte.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from email.parser import BytesHeaderParser
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from email.message import Message

__all__ = ["to_seven_bit", "to_text"]

Clean = Callable[[bytes], bool]  # whether octets may stay as they are

ENCODING_FIELD = re.compile(
    rb"^content-transfer-encoding:[^\r\n]*(?:\r\n[ \t][^\r\n]*)*\r\n", re.I | re.M
)
NO_TEXT = re.compile(rb"\0|\r(?!\n)|(?<!\r)\n|[^\r\n]{999}")  # RFC 2045 2.7
UNLABELLED = b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n"  # RFC 1428
MAX_DEPTH = 20
HIGH_OCTETS = bytes(range(128, 256))
TO_ASCII = bytes.maketrans(HIGH_OCTETS, b"?" * 128)


def to_seven_bit(content: bytes) -> bytes | None:
    """The message with 7-bit content only; None if that would take more than transfer encodings.

    So it is with 8-bit octets in a header, signed parts, and parts that are labelled wrongly.
    """
    try:
        return _entity(content, 0, bytes.isascii)
    except _NotConvertibleError:
        return None


def to_text(content: bytes) -> bytes | None:
    """Binary content as 7-bit lines; None as for `to_seven_bit`."""
    try:
        return _entity(content, 0, _is_text)
    except _NotConvertibleError:
        return None


def _is_text(content: bytes) -> bool:
    """Whether these are 7-bit lines (RFC 2045 2.7)."""
    return content.isascii() and NO_TEXT.search(content) is None


class _NotConvertibleError(Exception):
    """Some part cannot be converted without changing what it says."""


def _entity(content: bytes, depth: int, clean: Clean) -> bytes:
    """A header and body, converted."""
    if clean(content):
        return _relabelled(content)
    header, body = _split(content)
    if depth > MAX_DEPTH or not clean(header):
        raise _NotConvertibleError
    fields = BytesHeaderParser().parsebytes(header)
    kind = fields.get_content_type()
    if kind == "multipart/signed":
        raise _NotConvertibleError
    boundary = fields.get_boundary() if kind.startswith("multipart/") else None
    if boundary:
        return _labelled(header, b"7bit") + b"\r\n" + _multipart(body, boundary, depth, clean)
    if kind == "message/rfc822":
        return _labelled(header, b"7bit") + b"\r\n" + _entity(body, depth + 1, clean)
    return _leaf(header, body, fields, depth, clean)


def _relabelled(content: bytes) -> bytes:
    """Content that needs no encoding: "binary" would say too much of it where lines are meant."""
    if b"binary" not in content and b"BINARY" not in content:
        return content
    header, body = _split(content)
    found = ENCODING_FIELD.search(header)
    if found is None or found[0].split(b":", 1)[1].strip().lower() != b"binary":
        return content
    return _labelled(header, b"7bit") + b"\r\n" + body


def _split(content: bytes) -> tuple[bytes, bytes]:
    """Header fields with their final CRLF, and what follows the empty line."""
    if content.startswith(b"\r\n"):
        return b"", content[2:]
    header, empty, body = content.partition(b"\r\n\r\n")
    return (header + b"\r\n", body) if empty else (content, b"")


def _labelled(header: bytes, encoding: bytes) -> bytes:
    """The header with this Content-Transfer-Encoding, in the place of the old one."""
    field = b"Content-Transfer-Encoding: " + encoding + b"\r\n"
    replaced, found = ENCODING_FIELD.subn(field, header, count=1)
    return replaced if found else header + field


def _multipart(body: bytes, boundary: str, depth: int, clean: Clean) -> bytes:
    """The parts converted; preamble and epilogue say nothing, so their octets become `?`."""
    mark = re.escape(boundary.encode("ascii", "replace"))
    pattern = re.compile(rb"(?:\A|\r\n)--" + mark + rb"(--)?[ \t]*(?=\r\n|\Z)")
    out, at, lead, inside = [], 0, b"", False
    for delimiter in pattern.finditer(body):
        if delimiter.start() >= at:  # else two delimiters share their CRLF: an empty part
            out += [lead, _piece(body[at : delimiter.start()], inside, depth, clean)]
        out.append(delimiter[0])
        lead = body[delimiter.end() : delimiter.end() + 2]
        at, inside = delimiter.end() + len(lead), delimiter[1] is None
        if not inside:
            break
    return b"".join([*out, lead, _piece(body[at:], inside, depth, clean)])


def _piece(content: bytes, inside: bool, depth: int, clean: Clean) -> bytes:
    if inside:
        return _entity(content, depth + 1, clean)
    return content if clean(content) else NO_TEXT.sub(b"?", content.translate(TO_ASCII))


def _leaf(header: bytes, body: bytes, fields: Message, depth: int, clean: Clean) -> bytes:
    """A part without parts: text becomes quoted-printable, all else base64."""
    kind = fields.get_content_maintype()
    encoding = str(fields.get("content-transfer-encoding", "8bit")).strip().lower()
    if encoding not in ("7bit", "8bit", "binary") or kind in ("message", "multipart"):
        raise _NotConvertibleError
    if depth == 0 and "content-type" not in fields:
        header += UNLABELLED
    if kind == "text" and NO_TEXT.search(body) is None:
        encoded = binascii.b2a_qp(body, istext=True)
        return _labelled(header, b"quoted-printable") + b"\r\n" + encoded
    encoded = base64.encodebytes(body).replace(b"\n", b"\r\n")
    return _labelled(header, b"base64") + b"\r\n" + encoded
