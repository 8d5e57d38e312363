"""The value of a Content-Type field (RFC 2045 5.1), read strictly: nothing is guessed."""

from __future__ import annotations

import re
from typing import NamedTuple

TOKEN = rb"[!#$%&'*+.0-9A-Z^_`a-z{|}~-]+"  # RFC 2045 5.1
# Unquoted values often have an = or a slash, as in boundary=----=_Part: where they end is certain.
VALUE = rb"[^\x00-\x20\x7f-\xff\"(),;\\]+"
QUOTED = rb'"(?:[^"\\]|\\.)*"'
OUTSIDE = re.compile(rb'(?:[^"()\\]|%b)*' % QUOTED)  # up to a comment, or the end
INSIDE = re.compile(rb"(?:[^()\\]|\\.)*")  # up to the next parenthesis of a comment
MAX_NESTING = 20
KIND = re.compile(rb"(%b)/(%b)\s*" % (TOKEN, TOKEN))
PARAMETER = re.compile(rb";\s*(%b)\s*=\s*(%b|%b)\s*" % (TOKEN, VALUE, QUOTED))


class NotUnderstoodError(Exception):
    """What stands there has no certain meaning."""


class MimeType(NamedTuple):
    """A type in lower case, and its boundary."""

    main: str
    sub: str
    boundary: bytes | None


def without_comments(value: bytes) -> str:
    """A field's value unfolded, stripped and without its comments (RFC 5322 3.2.2)."""
    value = value.replace(b"\r\n", b"")
    kept, at, depth = [], 0, 0
    while True:
        run = (INSIDE if depth else OUTSIDE).match(value, at)
        assert run is not None, "both match nothing, too"
        kept.append(b"" if depth else run[0])
        at = run.end()
        if at == len(value) and not depth:
            return b" ".join(kept).strip().decode("latin-1")
        depth += {b"(": 1, b")": -1}.get(value[at : at + 1], -MAX_NESTING - 1)
        if not 0 <= depth <= MAX_NESTING:
            raise NotUnderstoodError
        at += 1


def parse_type(text: str) -> MimeType:
    """The type that a value without comments names; a `;` at its end is of no consequence."""
    value = text.encode("latin-1")
    kind = KIND.match(value)
    if kind is None:
        raise NotUnderstoodError
    at, names, boundary = kind.end(), set(), None
    while at < len(value) and value[at:].strip(b"; \t"):
        found = PARAMETER.match(value, at)
        name = found[1].lower() if found else b""
        if found is None or name in names or name.startswith(b"boundary*"):
            raise NotUnderstoodError  # RFC 2231 continues or encodes a boundary that way
        names.add(name)
        if name == b"boundary":
            boundary = _unquoted(found[2])
        at = found.end()
    main, sub = kind[1].decode().lower(), kind[2].decode().lower()
    return MimeType(main, sub, boundary)


def _unquoted(value: bytes) -> bytes:
    if value.startswith(b'"'):
        value = re.sub(rb"\\(.)", rb"\1", value[1:-1]).rstrip()
    if not value:
        raise NotUnderstoodError
    return value
