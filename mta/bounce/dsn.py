"""Failure notifications to senders (RFC 3464 in the report form of RFC 6522); pure.

A notification has three parts: text for people, fields for programs, and the message that failed or
its header. It may tell of several recipients; the queue manager makes one for each, as each is
stored in the batch that closes its recipient. It goes out from the null sender (RFC 3461 6.2).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.utils import format_datetime
from typing import Literal

from mta.bounce.words import account, fold, plain, wrap
from mta.model import Message, Outcome, Peer, Recipient, id_text

Failure = tuple[Recipient, Outcome, Peer | None]

FIELD_WIDTH = 78  # RFC 5322 2.1.1
EXPIRED = "4.4.7"  # RFC 3463: delivery time expired

_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_MESSAGE_ID = re.compile(r"<[!-;=?-~]{1,250}>")
_TRANSPORT = re.compile(r"[a-z]+:[^:]+")  # KIND:NAME, which is no host
_SUBJECT = re.compile(rb"^subject:([^\r\n]*(?:\r\n[ \t][^\r\n]*)*)", re.I | re.M)

# What a reply code says where no enhanced code came with it (RFC 5248, RFC 7504).
STATUS_BY_CODE = {
    450: "4.2.0", 451: "4.3.0", 452: "4.3.1", 454: "4.7.0", 455: "4.5.4",
    500: "5.5.2", 501: "5.5.4", 502: "5.5.1", 503: "5.5.1", 504: "5.5.4",
    521: "5.3.2", 530: "5.7.0", 535: "5.7.8", 551: "5.1.6", 552: "5.3.4",
    553: "5.1.3", 555: "5.5.4", 556: "5.1.10",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Options:
    """How notifications look; `content` is what of the failed message goes back."""

    hostname: str
    sender: str = ""  # From address; mailer-daemon@HOSTNAME if empty
    postmaster: str = ""  # whom the text says to ask; postmaster@HOSTNAME if empty
    content: Literal["headers", "full"] = "headers"
    max_body: int = 65536  # octets; a larger message goes back as its header only


def build(
    message: Message,
    failures: Sequence[Failure],
    original: bytes | None,
    options: Options,
    id: str,
    now_us: int,
) -> bytes:
    """The notification as it is to be stored, CRLF line ends; `id` names it and its boundary.

    Without `original` (the body is gone) there is no third part, which RFC 6522 allows.
    """
    boundary = f"=_{id}"
    parts = [
        _for_people(message, failures, original, options, now_us),
        _for_programs(message, failures, options, now_us),
    ]
    if original is not None:
        parts.append(_returned(original, options))
    body = b"".join(b"--%s\r\n%s\r\n" % (boundary.encode(), part) for part in parts)
    eight_bit = "7bit" if body.isascii() else "8bit"
    head = _header(message, failures, options, id, now_us)
    head += [
        "MIME-Version: 1.0",
        "Content-Type: multipart/report; report-type=delivery-status;",  # RFC 6522 3
        f' boundary="{boundary}"',
        f"Content-Transfer-Encoding: {eight_bit}",
    ]
    return _join(head) + b"\r\n" + body + f"--{boundary}--\r\n".encode()


def status(outcome: Outcome) -> str:
    """The Status field (RFC 3464 2.3.4): as given, else derived from the reply code."""
    given, code = outcome.enhanced, outcome.code
    fits = code == 0 or given[:1] == str(code)[0]
    if _ENHANCED.fullmatch(given) and given[0] != "2" and fits:
        return given
    if outcome.command == "expire":
        return EXPIRED
    return STATUS_BY_CODE.get(code, "4.0.0" if 400 <= code < 500 else "5.0.0")


def _date(us: int) -> str:
    return format_datetime(datetime.fromtimestamp(us // 1_000_000, UTC))  # RFC 5322 3.3


def _header(
    message: Message, failures: Sequence[Failure], options: Options, id: str, now_us: int
) -> list[str]:
    sender = options.sender or f"mailer-daemon@{options.hostname}"
    whom = failures[0][0].address if len(failures) == 1 else f"{len(failures)} recipients"
    lines = [
        f"Date: {_date(now_us)}",
        f"From: Mail Delivery System <{_ascii(sender)}>",
        f"To: {_ascii(message.sender)}",
        *_field("Subject", f"Could not be delivered: your message to {whom}"),
        f"Message-ID: <{id}@{options.hostname}>",
        "Auto-Submitted: auto-replied",  # RFC 3834 5
    ]
    if _MESSAGE_ID.fullmatch(message.message_id):
        lines += [f"In-Reply-To: {message.message_id}", f"References: {message.message_id}"]
    return lines


def _for_people(
    message: Message,
    failures: Sequence[Failure],
    original: bytes | None,
    options: Options,
    now_us: int,
) -> bytes:
    these = "these recipients" if len(failures) > 1 else "this recipient"
    age = now_us - message.received_us
    subject = _subject(original)
    named = f'Your message "{subject}"' if subject else "Your message"
    named += f" of {_date(message.received_us)} could not be delivered to {these}:"
    lines = [f"This is the mail server {options.hostname}.", "", *wrap(named), ""]
    for recipient, outcome, peer in failures:
        lines += [*account(recipient, outcome, peer, status(outcome), age), ""]
    ask = options.postmaster or f"postmaster@{options.hostname}"
    end = f"Nothing more will be tried for {these}. If you need help, send this notice to {ask}."
    lines += wrap(end)
    text = ("\r\n".join(lines) + "\r\n").encode()
    encoding = b"7bit" if text.isascii() else b"8bit"
    return (
        b"Content-Type: text/plain; charset=utf-8\r\n"
        b"Content-Description: Notification\r\n"
        b"Content-Transfer-Encoding: " + encoding + b"\r\n\r\n" + text
    )


def _subject(original: bytes | None) -> str:
    """The failed message's subject, decoded as far as it can be."""
    head = _head(original or b"")
    found = _SUBJECT.search(head)
    if found is None:
        return ""
    raw = found[1].decode("utf-8", "replace").replace("\r\n", "")
    try:
        text = str(make_header(decode_header(raw))) if "=?" in raw else raw
    except (HeaderParseError, LookupError, ValueError):
        text = raw
    return plain(text, 60)


def _for_programs(
    message: Message, failures: Sequence[Failure], options: Options, now_us: int
) -> bytes:
    lines = [
        "Content-Type: message/delivery-status",  # RFC 3464 2.1
        "Content-Description: Delivery report",
        "",
        f"Reporting-MTA: dns; {options.hostname}",  # RFC 3464 2.2.2
        *(_field("Received-From-MTA", f"dns; {message.peer_name}") if message.peer_name else []),
        f"Arrival-Date: {_date(message.received_us)}",
        f"X-Mailrace-Queue-ID: {id_text(message.id)}",
    ]
    for failure in failures:
        lines += ["", *_recipient_fields(*failure, now_us)]
    return _join(lines)


def _recipient_fields(
    recipient: Recipient, outcome: Outcome, peer: Peer | None, now_us: int
) -> list[str]:
    """RFC 3464 2.3, in its order."""
    lines = [
        *_field("Final-Recipient", f"rfc822; {recipient.address}"),
        "Action: failed",
        f"Status: {status(outcome)}",
    ]
    if peer is not None and peer.name:
        kind = "x-mailrace" if _TRANSPORT.fullmatch(peer.name) else "dns"
        lines += _field("Remote-MTA", f"{kind}; {peer.name}")
    lines += _diagnostic(recipient, outcome, peer)
    if outcome.command not in ("expire", "admin"):
        lines.append(f"Last-Attempt-Date: {_date(now_us)}")
    return lines


def _diagnostic(recipient: Recipient, outcome: Outcome, peer: Peer | None) -> list[str]:
    """Diagnostic-Code: `smtp` for a remote's own words (RFC 3464 9.2), else ours."""
    code, enhanced, text = outcome.code, outcome.enhanced, outcome.text
    remote = peer is not None and code > 0
    if outcome.command == "expire" and recipient.code:
        code, enhanced, text, remote = recipient.code, recipient.enhanced, recipient.text, True
    if enhanced and not text.startswith(enhanced):
        text = f"{enhanced} {text}"
    if remote:
        return _field("Diagnostic-Code", f"smtp; {code} {plain(text)}")
    return _field("Diagnostic-Code", f"X-Mailrace; {plain(text)}") if text.strip() else []


def _returned(original: bytes, options: Options) -> bytes:
    whole = options.content == "full" and len(original) <= options.max_body
    content = original if whole else _cut(_head(original), options.max_body)
    kind = b"message/rfc822" if whole else b"text/rfc822-headers"  # RFC 6522 4
    described = b"Undelivered message" if whole else b"Header of the undelivered message"
    encoding = b"7bit" if content.isascii() else b"8bit"
    return b"Content-Type: %s\r\nContent-Description: %s\r\nContent-Transfer-Encoding: %s\r\n" % (
        kind, described, encoding,
    ) + b"\r\n" + content + (b"" if content.endswith(b"\r\n") else b"\r\n")  # fmt: skip


def _head(original: bytes) -> bytes:
    """The header of a message with its last line's end."""
    end = original.find(b"\r\n\r\n")
    return original if end < 0 else original[: end + 2]


def _cut(head: bytes, limit: int) -> bytes:
    """Whole lines, at most `limit` octets."""
    return head if len(head) <= limit else head[: head.rfind(b"\r\n", 0, limit) + 2]


def _field(name: str, value: str) -> list[str]:
    """A field in ASCII, folded at blanks (RFC 5322 2.2.3)."""
    return fold(_ascii(value), FIELD_WIDTH, f"{name}: ", " ")


def _ascii(text: str) -> str:
    return plain(text).encode("ascii", "replace").decode()


def _join(lines: list[str]) -> bytes:
    return "".join(f"{line}\r\n" for line in lines).encode()
