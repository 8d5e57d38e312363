"""A message as JSON: what receivers by HTTP want of it, decoded."""

from __future__ import annotations

import base64
import email
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.policy import compat32
from typing import TYPE_CHECKING, Any

import msgspec

from mta.model import id_text

if TYPE_CHECKING:
    from email.message import Message as Part

    from mta.delivery.feeder import Attempt

LEAVES = 1000  # parts looked at; what is nested deeper or comes later stays in "raw" form only


class Attachment(msgspec.Struct):
    """A part that is neither the text nor the HTML of the message."""

    filename: str
    content_type: str
    content_id: str
    disposition: str
    content: str  # base64


class Parsed(msgspec.Struct, rename={"sender": "from", "recipients": "to"}):
    """The document; `from` and `to` are the envelope's."""

    id: str
    sender: str
    recipients: list[str]
    tenant: str
    campaign: str
    headers: list[tuple[str, str]]  # decoded, in order, as often as they occur
    text: str | None
    html: str | None
    attachments: list[Attachment]


def document(attempt: Attempt) -> bytes:
    """The JSON document of a message."""
    message = attempt.message
    root = email.message_from_bytes(attempt.body, policy=compat32)
    parsed = Parsed(
        id_text(message.id),
        message.sender,
        [recipient.address for recipient in attempt.recipients],
        message.tenant,
        message.campaign,
        [(_clean(name), _header(value)) for name, value in root.items()],
        None,
        None,
        [],
    )
    for number, part in enumerate(root.walk()):
        if number >= LEAVES:
            break
        if not part.is_multipart():
            _sort(part, parsed)
    return msgspec.json.encode(parsed)


def _sort(part: Part[str, str], parsed: Parsed) -> None:
    """A part into its place: the first text, the first HTML, else an attachment."""
    kind, disposition = part.get_content_type(), part.get_content_disposition() or ""
    name = _header(part.get_filename() or "")
    body = part.get_payload(decode=True)
    content = body if isinstance(body, bytes) else b""
    inline = disposition != "attachment" and not name
    if inline and kind == "text/plain" and parsed.text is None:
        parsed.text = _text(part, content)
    elif inline and kind == "text/html" and parsed.html is None:
        parsed.html = _text(part, content)
    else:
        id = _header(part.get("Content-ID", "")).strip("<> ")
        encoded = base64.b64encode(content).decode()
        parsed.attachments.append(Attachment(name, kind, id, disposition, encoded))


def _text(part: Part[str, str], content: bytes) -> str:
    """Decoded by its charset; what that cannot be read by is replaced."""
    charset = part.get_content_charset() or "utf-8"
    try:
        return content.decode(charset, "replace")
    except (LookupError, ValueError):  # no such charset, or one that does not decode text
        return content.decode("utf-8", "replace")


def _header(value: Any) -> str:
    """Encoded words (RFC 2047) decoded, folding removed; as it is if that cannot be done."""
    text = _clean(value).replace("\r\n", "").replace("\n", "")
    if "=?" not in text:
        return text
    try:
        return _clean(make_header(decode_header(text)))
    except (ValueError, LookupError, HeaderParseError):
        return text


def _clean(value: Any) -> str:
    """Text that JSON can have: octets over 127 were read as surrogates."""
    return str(value).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
