"""Notifications to senders: of failure, delay and success (RFC 3464, as RFC 6522 reports); pure.

A notification has three parts: text for people, fields for programs, and the message that failed or
its header. It may tell of several recipients; the queue manager makes one for each, as each is
stored in the batch that closes its recipient. It goes out from the null sender (RFC 3461 6.2).

To a sender of SMTPUTF8 mail addresses are written in UTF-8, else what is not ASCII is escaped
(RFC 6533).
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

from mta.bounce.words import account, fold, plain, taken, wrap
from mta.model import Flag, Message, Outcome, Peer, Recipient, id_text
from mta.smtp import xtext

Action = Literal["failed", "delayed", "delivered", "relayed"]  # RFC 3464 2.3.3
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


SUBJECTS: dict[Action, str] = {
    "failed": "Could not be delivered",
    "delayed": "Not yet delivered",
    "delivered": "Delivered",
    "relayed": "Handed on",
}
ACCOUNTS: dict[Action, str] = {
    "failed": "could not be delivered to",
    "delayed": "has not yet been delivered to",
    "delivered": "was delivered to",
    "relayed": "was handed on for",
}


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
    action: Action = "failed",
) -> bytes:
    """The notification as it is to be stored, CRLF line ends; `id` names it and its boundary.

    Without `original` (the body is gone) there is no third part, which RFC 6522 allows.
    """
    boundary = f"=_{id}"
    parts = [
        _for_people(message, failures, original, options, now_us, action),
        _for_programs(message, failures, options, now_us, action),
    ]
    if original is not None:
        parts.append(_returned(message, original, options, action))
    body = b"".join(b"--%s\r\n%s\r\n" % (boundary.encode(), part) for part in parts)
    eight_bit = "7bit" if body.isascii() else "8bit"
    head = _header(message, failures, options, id, now_us, action)
    head += [
        "MIME-Version: 1.0",
        "Content-Type: multipart/report; report-type=delivery-status;",  # RFC 6522 3
        f' boundary="{boundary}"',
        f"Content-Transfer-Encoding: {eight_bit}",
    ]
    return _join(head) + b"\r\n" + body + f"--{boundary}--\r\n".encode()


def status(outcome: Outcome, action: Action = "failed") -> str:
    """The Status field (RFC 3464 2.3.4): as given, else derived from the reply code."""
    given, code = outcome.enhanced, outcome.code
    if action in ("delivered", "relayed"):
        return given if _ENHANCED.fullmatch(given) and given[0] == "2" else "2.0.0"
    if action == "delayed" and (code == 0 or code >= 500):
        return given if given[:1] == "4" and _ENHANCED.fullmatch(given) else "4.0.0"
    fits = code == 0 or given[:1] == str(code)[0]
    if _ENHANCED.fullmatch(given) and given[0] != "2" and fits:
        return given
    if outcome.command == "expire":
        return EXPIRED
    return STATUS_BY_CODE.get(code, "4.0.0" if 400 <= code < 500 else "5.0.0")


def _date(us: int) -> str:
    return format_datetime(datetime.fromtimestamp(us // 1_000_000, UTC))  # RFC 5322 3.3


def _header(
    message: Message,
    failures: Sequence[Failure],
    options: Options,
    id: str,
    now_us: int,
    action: Action,
) -> list[str]:
    sender = options.sender or f"mailer-daemon@{options.hostname}"
    whom = failures[0][0].address if len(failures) == 1 else f"{len(failures)} recipients"
    lines = [
        f"Date: {_date(now_us)}",
        f"From: Mail Delivery System <{_ascii(sender)}>",
        f"To: {plain(message.sender) if is_wide(message) else _ascii(message.sender)}",
        *_field("Subject", f"{SUBJECTS[action]}: your message to {whom}"),
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
    action: Action,
) -> bytes:
    these = "these recipients" if len(failures) > 1 else "this recipient"
    age = now_us - message.received_us
    subject = _subject(original)
    named = f'Your message "{subject}"' if subject else "Your message"
    named += f" of {_date(message.received_us)} {ACCOUNTS[action]} {these}:"
    lines = [f"This is the mail server {options.hostname}.", "", *wrap(named), ""]
    for recipient, outcome, peer in failures:
        if action in ("failed", "delayed"):
            lines += [*account(recipient, outcome, peer, status(outcome, action), age), ""]
        else:
            lines += [*taken(recipient, outcome, peer, action), ""]
    lines += wrap(_what_follows(failures, options, these, action))
    text = ("\r\n".join(lines) + "\r\n").encode()
    encoding = b"7bit" if text.isascii() else b"8bit"
    return (
        b"Content-Type: text/plain; charset=utf-8\r\n"
        b"Content-Description: Notification\r\n"
        b"Content-Transfer-Encoding: " + encoding + b"\r\n\r\n" + text
    )


def _what_follows(failures: Sequence[Failure], options: Options, these: str, action: Action) -> str:
    ask = options.postmaster or f"postmaster@{options.hostname}"
    if action == "failed":
        return (
            f"Nothing more will be tried for {these}. If you need help, send this notice to {ask}."
        )
    if action == "delayed":
        until = _date(max(recipient.expires_us for recipient, _, _ in failures))
        return f"You need not send it again: it will be tried until {until}."
    return "This notice was asked for by the sender of the message."


def is_wide(message: Message) -> bool:
    """Whether its sender is known to take UTF-8 (RFC 6531)."""
    return bool(message.flags & Flag.SMTPUTF8)


def _address(message: Message, address: str) -> str:
    """An address with its type (RFC 3464 2.1.2, RFC 6533 3)."""
    if address.isascii():
        return f"rfc822; {address}"
    return f"utf-8; {address if is_wide(message) else xtext.encode_utf8(address)}"


def _original(message: Message, orcpt: str) -> str:
    """The original recipient as the client gave it (RFC 3464 2.3.1)."""
    kind, _, address = orcpt.partition(";")
    if kind.lower() != "utf-8":
        text = xtext.decode(address)
        return f"{kind}; {text if text.isascii() or is_wide(message) else address}"
    text = xtext.decode_utf8(address)
    return f"{kind}; {text if is_wide(message) else xtext.encode_utf8(text)}"


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
    message: Message, failures: Sequence[Failure], options: Options, now_us: int, action: Action
) -> bytes:
    lines = [
        *([f"Original-Envelope-Id: {plain(xtext.decode(message.envid))}"] if message.envid else []),
        f"Reporting-MTA: dns; {options.hostname}",  # RFC 3464 2.2.2
        *(_field("Received-From-MTA", f"dns; {message.peer_name}") if message.peer_name else []),
        f"Arrival-Date: {_date(message.received_us)}",
        f"X-Mailrace-Queue-ID: {id_text(message.id)}",
    ]
    for failure in failures:
        lines += ["", *_recipient_fields(*failure, now_us, action)]
    fields = _join(lines)
    if fields.isascii():
        head = ["Content-Type: message/delivery-status"]  # RFC 3464 2.1
    else:
        head = ["Content-Type: message/global-delivery-status"]  # RFC 6533 4
        head.append("Content-Transfer-Encoding: 8bit")
    return _join([*head, "Content-Description: Delivery report", ""]) + fields


def _recipient_fields(
    recipient: Recipient, outcome: Outcome, peer: Peer | None, now_us: int, action: Action
) -> list[str]:
    """RFC 3464 2.3, in its order."""
    message, lines = recipient.message, []
    if recipient.orcpt:
        lines += _wide_field("Original-Recipient", _original(message, recipient.orcpt))
    lines += [
        *_wide_field("Final-Recipient", _address(message, recipient.address)),
        f"Action: {action}",
        f"Status: {status(outcome, action)}",
    ]
    if peer is not None and peer.name:
        kind = "x-mailrace" if _TRANSPORT.fullmatch(peer.name) else "dns"
        lines += _field("Remote-MTA", f"{kind}; {peer.name}")
    lines += _diagnostic(recipient, outcome, peer)
    if outcome.command not in ("expire", "admin", "content"):
        lines.append(f"Last-Attempt-Date: {_date(now_us)}")
    if action == "delayed":
        lines.append(f"Will-Retry-Until: {_date(recipient.expires_us)}")  # RFC 3464 2.3.9
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


def _returned(message: Message, original: bytes, options: Options, action: Action) -> bytes:
    whole = _is_whole(message, original, options, action)
    content = original if whole else _cut(_head(original), options.max_body)
    kind = b"message/rfc822" if whole else b"text/rfc822-headers"  # RFC 6522 4
    if is_wide(message) and not _head(original).isascii():
        kind = b"message/global" if whole else b"message/global-headers"  # RFC 6533 4
    described = b"The message" if whole else b"Header of the message"
    encoding = b"7bit" if content.isascii() else b"8bit"
    return b"Content-Type: %s\r\nContent-Description: %s\r\nContent-Transfer-Encoding: %s\r\n" % (
        kind, described, encoding,
    ) + b"\r\n" + content + (b"" if content.endswith(b"\r\n") else b"\r\n")  # fmt: skip


def _is_whole(message: Message, original: bytes, options: Options, action: Action) -> bool:
    """Whether all of the message goes back: only where it failed (RFC 3461 4.3, 6.2)."""
    asked = message.ret == "FULL" or not message.ret and options.content == "full"
    fits = len(original) <= options.max_body and not message.flags & Flag.BINARYMIME
    return action == "failed" and asked and fits


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


def _wide_field(name: str, value: str) -> list[str]:
    """A field whose value may be UTF-8."""
    return fold(plain(value), FIELD_WIDTH, f"{name}: ", " ")


def _ascii(text: str) -> str:
    return plain(text).encode("ascii", "replace").decode()


def _join(lines: list[str]) -> bytes:
    return "".join(f"{line}\r\n" for line in lines).encode()
