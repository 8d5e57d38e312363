"""XCLIENT: a proxy that is trusted says whom it speaks for (Postfix's XCLIENT_README).

    XCLIENT ADDR=192.0.2.1 NAME=client.example.org PROTO=ESMTP HELO=client.example.org

Offered to the clients of `xclient_from` alone. Afterwards the session begins anew with the
greeting (220), its relaying and limits judged by ADDR; until then the proxy's own address grants
no relaying. HELO and PROTO stand for what the proxy itself says in EHLO; NAME and LOGIN are told in
Received, and grant nothing.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

import msgspec

from mta._speedups.verdict import ACCEPTED
from mta.reception.received import trace
from mta.smtp.replies import reply
from mta.smtpd.proxy import plain

if TYPE_CHECKING:
    from mta.smtp.server import Command
    from mta.smtpd.session import Session

ATTRIBUTES = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN")
KEYWORD = "XCLIENT " + " ".join(ATTRIBUTES)  # the line of the reply to EHLO
UNKNOWN = ("[UNAVAILABLE]", "[TEMPUNAVAIL]")
HEX = re.compile(rb"\+([0-9A-F]{2})")
LOOSE_PLUS = re.compile(rb"\+(?![0-9A-F]{2})")
NAME = re.compile(r"[!-~]{1,255}")

SYNTAX = reply(501, "5.5.4", "Syntax: XCLIENT attribute=value ...; values are xtext (RFC 3461 4)")
TOO_LATE = reply(503, "5.5.1", "A transaction is open: XCLIENT comes before MAIL")


class Claims(msgspec.Struct):
    """What a proxy has said of its client; None: nothing, "": that it is not known."""

    addr: str | None = None
    name: str | None = None
    port: str | None = None
    proto: str | None = None
    helo: str | None = None
    login: str | None = None


class XclientError(Exception):
    """Attributes that cannot be taken; carries the reply."""

    def __init__(self, answer: bytes) -> None:
        super().__init__(answer)
        self.answer = answer


def parse(line: bytes) -> Claims:
    """The attributes of an XCLIENT line; XclientError for one that is none or has a bad value."""
    words = line.split()[1:]
    if not words:
        raise XclientError(SYNTAX)
    claims = Claims()
    for word in words:
        key, equals, value = word.partition(b"=")
        attribute = key.decode("ascii", "replace").upper()
        if not equals or not value or LOOSE_PLUS.search(value):
            raise XclientError(SYNTAX)
        if attribute not in ATTRIBUTES:
            text = f"XCLIENT knows {', '.join(ATTRIBUTES)}, not {attribute[:40]}"
            raise XclientError(reply(501, "5.5.4", text))
        text = HEX.sub(lambda found: bytes([int(found[1], 16)]), value).decode("utf-8", "replace")
        setattr(claims, attribute.lower(), "" if text.upper() in UNKNOWN else text)
    _check(claims)
    return claims


def _check(claims: Claims) -> None:
    """Judge values; ADDR and PROTO are brought to their plain form."""
    if claims.addr:
        claims.addr = _address(claims.addr)
    if claims.proto:
        claims.proto = claims.proto.upper()
    ok = {
        "PROTO": not claims.proto or claims.proto in ("SMTP", "ESMTP"),
        "PORT": not claims.port or (claims.port.isdecimal() and int(claims.port[:6]) <= 65535),
        "NAME": not claims.name or NAME.fullmatch(claims.name),
        "HELO": not claims.helo or NAME.fullmatch(claims.helo),
        "LOGIN": claims.login is None or claims.login.isprintable(),
    }
    for attribute, good in ok.items():
        if not good:
            raise XclientError(reply(501, "5.5.4", f"XCLIENT {attribute} has a bad value"))


def _address(text: str) -> str:
    """`192.0.2.1` or `IPV6:2001:db8::1` as the rules have it."""
    bare = text[5:] if text[:5].upper() == "IPV6:" else text
    try:
        return plain(ipaddress.ip_address(bare))
    except ValueError:
        answer = reply(501, "5.5.4", f"XCLIENT ADDR: {text[:60]} is not an IP address")
        raise XclientError(answer) from None


def answer(session: Session, event: Command) -> None:
    """Obey an XCLIENT line, or refuse it."""
    core = session.core
    if session.sender is not None:
        core.say(TOO_LATE)
        core.proceed()
        return
    try:
        claims = parse(event.line or b"")
    except XclientError as error:
        core.say(error.answer)
        core.proceed()
        return
    _take(session, claims)
    verdict = ACCEPTED if claims.addr is None else session.listener.move(session, claims.addr)
    if verdict.refuses:
        core.say(verdict.reply())
        core.proceed("close")
        return
    core.say(reply(220, "", f"{core.options.hostname} {core.options.banner}"))
    core.proceed("start")


def trace_of(session: Session, claims: Claims) -> bytes:
    """The Received header of the session's messages: NAME, and LOGIN as RFC 3848 has it."""
    hostname = session.terms.reception.options.hostname
    return trace(
        session.name, session.address, hostname,
        extended=session.extended, host=claims.name or "", login=bool(claims.login),
    )  # fmt: skip


def _take(session: Session, new: Claims) -> None:
    """What is given now stands beside what was given before."""
    old = session.claims
    if old is not None:
        for name in Claims.__struct_fields__:
            if getattr(new, name) is None:
                setattr(new, name, getattr(old, name))
    session.claims = new
    session.trace = b""
