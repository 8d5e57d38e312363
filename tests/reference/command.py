"""SMTP commands by regular expressions (RFC 5321 4.1.2)."""

from __future__ import annotations

import ipaddress
import re

ATOM = rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\xff-]+"
IN_LABEL = rb"[A-Za-z0-9_\x80-\xff-]"
A_LABEL = rb"[A-Za-z0-9_-]{1,63}(?!%b)" % IN_LABEL
U_LABEL = rb"(?=[A-Za-z0-9_-]*[\x80-\xff])%b+" % IN_LABEL  # its A-label may have 63 octets
LABEL = rb"(?!-)(?:%b|%b)(?<!-)" % (A_LABEL, U_LABEL)
DOMAIN = rb"%b(?:\.%b)*" % (LABEL, LABEL)
QUOTED = rb'"(?:[ !#-\[\]-~\x80-\xff]|\\[ -~\x80-\xff])*"'
LITERAL = rb"\[[^\]\0]*\]"
LOCAL = rb"(?:%b(?:\.%b)*|%b)" % (ATOM, ATOM, QUOTED)
ROUTE = rb"(?:@%b(?:,@%b)*:)?" % (DOMAIN, DOMAIN)
PATH = re.compile(rb"<%b((%b)@(%b|%b))>" % (ROUTE, LOCAL, DOMAIN, LITERAL))
POSTMASTER = re.compile(rb"<%b(postmaster)>" % ROUTE, re.I)
PARAM = re.compile(rb" +([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~\x80-\xff]+))?(?= |\Z)")
NAME = re.compile(rb"[A-Za-z0-9._:\[\]%+/=~#@-]{1,255}\Z")

MALFORMED = "malformed"  # no keyword: those are upper case
VERBS = ["EHLO", "HELO", "MAIL", "RCPT", "DATA", "RSET", "QUIT", "NOOP", "VRFY", "EXPN", "HELP"]
VERBS.append("BDAT")
OTHER = ["STARTTLS", "AUTH", "ETRN", "TURN", "ATRN", "SEND", "SOML", "SAML"]
HTTP = ["GET", "POST", "HEAD", "PUT", "OPTIONS", "DELETE", "CONNECT", "PATCH", "TRACE"]


def verb(line: bytes) -> tuple[str, int]:
    """The verb and where its argument begins."""
    word = line.split(b" ")[0]
    after = re.compile(rb" *").match(line, len(word)).end()  # type: ignore[union-attr]
    name = word.decode("latin-1") if word.isascii() else ""
    name = name.upper()
    if name in VERBS:
        return name, after
    return ("other" if name in OTHER else "http" if name in HTTP else ""), after


def bare(text: bytes, recipient: bool) -> tuple[str, int] | None:
    """The same of an address that needs no bracket and has none."""
    if text.startswith((b"<", b"\t", b"@")):
        return path(text, recipient)
    word = text.split(b" ")[0]
    found = path(b"<%b>" % word, recipient) if word else None
    return (found[0], len(word)) if found and found[1] == len(word) + 2 else None


def path(text: bytes, recipient: bool) -> tuple[str, int] | None:
    """The address and what follows its bracket, or None."""
    if text.startswith(b"<>") and not recipient:
        return "", 2
    if recipient and (found := POSTMASTER.match(text)):
        return found[1].decode(), found.end()
    found = PATH.match(text)
    if not found or len(found[1]) > 320 or not _domain_ok(found[3]):
        return None
    try:
        return (found[1].decode(), found.end()) if _route_ok(text) else None
    except UnicodeDecodeError:
        return None


def _domain_ok(domain: bytes) -> bool:
    if not domain.startswith(b"["):
        return len(domain) <= 255
    text = domain[1:-1].decode("latin-1")
    try:
        if text.lower().startswith("ipv6:"):
            return "%" not in text and bool(ipaddress.IPv6Address(text[5:]))
        return bool(ipaddress.IPv4Address(text))
    except ValueError:
        return False


def _route_ok(text: bytes) -> bool:
    route = re.match(rb"<" + ROUTE, text)
    return route is None or all(len(d.strip(b"<@:")) <= 255 for d in route[0].split(b","))


def judged(text: bytes) -> list[tuple[str, str | None]]:
    """The parameters up to one that is malformed, which is told as MALFORMED."""
    found: list[tuple[str, str | None]] = []
    at = 0
    while one := PARAM.match(text, at):
        value = one[2].decode("utf-8", "surrogateescape") if one[2] else None
        found.append((one[1].decode().upper(), value))
        at = one.end()
    return [*found, (MALFORMED, None)] if text[at:].strip(b" ") else found


def params(text: bytes) -> list[tuple[str, str | None]] | None:
    """All parameters, or None where one is malformed."""
    found = judged(text)
    return None if (MALFORMED, None) in found else found
