"""The two DNS messages of a look-up (RFC 1035 4): a question made, the answer read; pure, compiled.

dnspython reads every field of every record, 400 us for an MX answer; a look-up wants a tenth of
that. dnspython stays the oracle of this reader's tests.
"""

from __future__ import annotations

import struct
from socket import AF_INET, AF_INET6, inet_ntop
from typing import NamedTuple

A, CNAME, SOA, MX, AAAA = 1, 5, 6, 15, 28
TYPE_NAMES = {A: "A", CNAME: "CNAME", SOA: "SOA", MX: "MX", AAAA: "AAAA"}
NOERROR, SERVFAIL, NXDOMAIN = 0, 2, 3
RCODE_NAMES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}

UDP_PAYLOAD = 1232  # the largest answer that no usual path fragments
MAX_CHAIN = 8  # CNAMEs followed in all

_CNAME, _SOA, _MX = CNAME, SOA, MX  # C integers
_POINTER, _QUESTION = 0xC0, 12  # together a pointer to the name that was asked (RFC 1035 4.1.4)
_DOT, _BACKSLASH, _BLANK, _TILDE = 46, 92, 32, 126  # octets; the last two: all that is printed
_RECURSIVE = struct.pack("!HHHHH", 0x0100, 1, 0, 0, 1)  # flags; one question, and one OPT
_OPT = b"\0" + struct.pack("!HHIH", 41, UDP_PAYLOAD, 0, 0)  # RFC 6891 6.1.2


class WireError(ValueError):
    """Bytes that are not a DNS answer."""


class Reply(NamedTuple):
    """What one answer says about the name that was asked."""

    rcode: int
    truncated: bool
    values: tuple[tuple[int, str], ...]  # (preference, host) of MX; (0, address) of A and AAAA
    name: str  # the end of the CNAME chain as far as this answer has it
    ttl: int  # seconds: least of chain and values; of a negative answer by RFC 2308
    negative: bool = False  # an SOA confirms that there is nothing (RFC 2308 2)
    looped: bool = False  # the CNAME chain is too long or bites its tail


def question(name: str, rdtype: int) -> bytes:
    """The question section of one normalised name."""
    section = bytearray(b"." + name.encode("ascii") + b"\0\0\0\0\1")
    end = len(name) + 1
    begin = 0
    for place in range(1, end + 1):  # a dot becomes the length of the label behind it
        if place == end or section[place] == _DOT:
            section[begin] = place - begin - 1
            begin = place
    section[end + 1] = rdtype >> 8
    section[end + 2] = rdtype & 0xFF
    return bytes(section)


def query(id: int, section: bytes) -> bytes:
    """A recursive query with EDNS (RFC 6891)."""
    return bytes((id >> 8, id & 0xFF)) + _RECURSIVE + section + _OPT


def answers(wire: bytes, section: bytes) -> bool:
    """Whether the bytes are a response to this question (the id is matched by the caller)."""
    if len(wire) < 12 + len(section) or not wire[2] & 0x80:
        return False
    asked = wire[12 : 12 + len(section)]
    return wire[4:6] == b"\0\1" and (asked == section or asked.lower() == section.lower())


def read(wire: bytes, section: bytes) -> Reply:
    """The answer to a question; WireError if the bytes are cut off or make no sense."""
    try:
        return _read(wire, section)
    except (IndexError, ValueError) as error:
        raise WireError(f"malformed answer: {error}") from None


def _read(wire: bytes, section: bytes) -> Reply:
    if not answers(wire, section):
        raise WireError("not the answer to this question")
    asked = name = _name(wire, 12)[0]
    flags, rdtype = _short(wire, 2), _short(section, len(section) - 4)
    rcode, truncated = flags & 15, bool(flags & 0x0200)
    if truncated:
        return Reply(rcode, True, (), name, 0)
    offset = 12 + len(section)
    aliases: dict[str, tuple[str, int]] = {}
    found: list[tuple[str, int, tuple[int, str]]] = []
    for _ in range(_short(wire, 6)):
        offset = _answer(wire, offset, rdtype, asked, aliases, found)
    name, ttl, looped = _follow(name, aliases)
    values: dict[tuple[int, str], None] = {}
    least = ttl
    for owner, owner_ttl, value in found:
        if owner == name:
            values[value] = None
            least = min(least, owner_ttl)
    if values and not looped:
        return Reply(rcode, False, tuple(values), name, least)
    negative = _negative_ttl(wire, offset, _short(wire, 8))
    if negative < 0:
        return Reply(rcode, False, (), name, ttl, False, looped)
    return Reply(rcode, False, (), name, min(ttl, negative), True, looped)


def _answer(
    wire: bytes,
    offset: int,
    rdtype: int,
    asked: str,
    aliases: dict[str, tuple[str, int]],
    found: list[tuple[str, int, tuple[int, str]]],
) -> int:
    """Read one record of the answer section; the offset behind it."""
    if wire[offset] == _POINTER and wire[offset + 1] == _QUESTION:
        owner, offset = asked, offset + 2
    else:
        owner, offset = _name(wire, offset)
    kind, ttl = _short(wire, offset), _long(wire, offset + 4)
    data = offset + 10
    end = data + _short(wire, offset + 8)
    if end > len(wire):
        raise WireError("a record ends behind the message")
    if _short(wire, offset + 2) != 1:
        return end
    if ttl >> 31:
        ttl = 0  # RFC 2181 8
    if kind == _CNAME:
        aliases[owner] = (_name(wire, data)[0], ttl)
    elif kind == rdtype:
        found.append((owner, ttl, _value(wire, data, end, kind)))
    return end


def _value(wire: bytes, data: int, end: int, kind: int) -> tuple[int, str]:
    if kind == _MX:
        return _short(wire, data), _name(wire, data + 2)[0]
    if kind == A and end - data == 4:
        return 0, inet_ntop(AF_INET, wire[data:end])
    if kind == AAAA and end - data == 16:
        return 0, inet_ntop(AF_INET6, wire[data:end])
    raise WireError(f"{TYPE_NAMES.get(kind, kind)} data of {end - data} octets")


def _follow(name: str, aliases: dict[str, tuple[str, int]]) -> tuple[str, int, bool]:
    """The end of the chain, its least TTL, and whether it is a loop."""
    ttl = 0x7FFFFFFF
    for _ in range(MAX_CHAIN):
        if name not in aliases:
            return name, ttl, False
        name, own = aliases[name]
        ttl = min(ttl, own)
    return name, ttl, name in aliases


def _negative_ttl(wire: bytes, offset: int, count: int) -> int:
    """The smaller of the SOA's TTL and its minimum field (RFC 2308 5); -1 without an SOA."""
    for _ in range(count):
        _, offset = _name(wire, offset)
        begin, offset = offset, offset + 10 + _short(wire, offset + 8)
        if _short(wire, begin) == _SOA:
            return min(_long(wire, begin + 4), _long(wire, offset - 4))
    return -1


def _short(wire: bytes, offset: int) -> int:
    return wire[offset] << 8 | wire[offset + 1]


def _long(wire: bytes, offset: int) -> int:
    return _short(wire, offset) << 16 | _short(wire, offset + 2)


def _name(wire: bytes, offset: int) -> tuple[str, int]:
    """A name in lower case, "" for the root, and the offset behind it (RFC 1035 4.1.4)."""
    labels: list[str] = []
    end, limit = 0, len(wire)
    total = 0
    length = wire[offset]
    while length:
        if length >= _POINTER:
            target = (length & 0x3F) << 8 | wire[offset + 1]
            end = end or offset + 2
            if target >= min(offset, limit):  # pointers lead backwards only, so this ends
                raise WireError("a compression pointer leads forward")
            limit = offset = target
        else:
            total += length + 1
            if length > 63 or total > 254 or offset + length >= len(wire):
                raise WireError("a name is too long")
            labels.append(_label(wire, offset + 1, offset + 1 + length))
            offset += length + 1
        length = wire[offset]
    return ".".join(labels), end or offset + 1


def _label(wire: bytes, begin: int, end: int) -> str:
    """The label in lower case; what no host name has is escaped, so that it matches none."""
    text = wire[begin:end].decode("latin-1").lower()
    for place in range(begin, end):
        octet = wire[place]
        if octet < _BLANK or octet > _TILDE or octet in (_DOT, _BACKSLASH):
            return _escaped(text)
    return text


def _escaped(text: str) -> str:
    return "".join([c if c.isascii() and c.isalnum() else f"\\{ord(c):03d}" for c in text])
