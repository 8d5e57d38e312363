"""Between aiosmtpd's forms and ours: statuses and verdicts, envelopes and arrivals, options."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from aiosmtpd.smtp import MISSING, Envelope

from mta._speedups.dots import ContentReader
from mta._speedups.stuff import dot_stuff
from mta._speedups.verdict import ACCEPTED, Reason, Verdict, given
from mta.model import Flag

if TYPE_CHECKING:
    from mta.reception.arrival import Arrival
    from mta.smtp.server import Mail

LINE = re.compile(rb"[245]\d\d[ -][^\r\n]*")
ADDRESS = re.compile(r"[^\s<>\x00]+@[^\s<>\x00]+")
SCANNED: int = Flag.EIGHT_BIT | Flag.DOT_LINES | Flag.LONG_LINES


def verdict_of(status: Any) -> Verdict:
    """What a hook's answer stands for; ValueError or TypeError if it is no reply."""
    if isinstance(status, Verdict):
        return status
    return ACCEPTED if status is MISSING else given(whole(status), Reason.HANDLER)


def whole(status: Any) -> bytes:
    """The reply that a hook's answer stands for; ValueError or TypeError if it is none."""
    if isinstance(status, (list, tuple)):
        status = "\r\n".join(status)
    octets = status.encode() if isinstance(status, str) else status
    if not isinstance(octets, bytes):
        raise TypeError("a reply is str or bytes")
    lines = octets.removesuffix(b"\r\n").split(b"\r\n")
    if not all(LINE.fullmatch(line) for line in lines) or len({line[:3] for line in lines}) > 1:
        raise ValueError("that is no reply")
    if any(line[3:4] != b"-" for line in lines[:-1]) or lines[-1][3:4] == b"-":
        raise ValueError("the lines of a reply but its last have a hyphen behind the code")
    return b"\r\n".join(lines) + b"\r\n"


def address(text: str, *, empty: bool = False) -> str:
    """An address as a handler left it; ValueError if it cannot be sent."""
    if not (empty and not text) and not ADDRESS.fullmatch(text):
        raise ValueError(f"{text!r} is no address")
    return text


def words(params: Any) -> list[str]:
    """Parameters as aiosmtpd's hooks get them."""
    return [key if value is None else f"{key}={value}" for key, value in (params or {}).items()]


def mail_options(event: Mail) -> list[str]:
    """All parameters of MAIL as aiosmtpd's hooks get them."""
    found = [f"SIZE={event.size}"] if event.size else []
    if event.binary or event.body8:
        found.append("BODY=BINARYMIME" if event.binary else "BODY=8BITMIME")
    if event.utf8:
        found.append("SMTPUTF8")
    return found + words(event.params)


def changed(content: Any, flags: int) -> tuple[bytes, int]:
    """What the handler made of the content, its line ends mended, and the flags of that."""
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogateescape")
    if not isinstance(content, bytes):
        raise TypeError("envelope.content is str or bytes")
    if not content.endswith(b"\r\n"):
        bare = content.endswith((b"\r", b"\n"))
        content = (content[:-1] if bare else content) + b"\r\n"
    reader = ContentReader(mend=True)
    reader.feed(dot_stuff(content) + b".\r\n")
    return reader.body(), flags & ~SCANNED | reader.flags


def use(envelope: Envelope, arrival: Arrival) -> None:
    """The handler's envelope is the one that counts; ValueError if it cannot be sent."""
    given_to, recipients = arrival.recipients or [], [address(text) for text in envelope.rcpt_tos]
    if not recipients:
        raise ValueError("there is no recipient left")
    arrival.sender = address(envelope.mail_from or "", empty=True)
    asked = arrival.asked
    if recipients != given_to and asked is not None and asked.wishes:
        wishes = {given_to[place]: wish for place, wish in asked.wishes.items()}
        asked.wishes = {
            place: wishes[text] for place, text in enumerate(recipients) if text in wishes
        }
    arrival.recipients = recipients
