"""The two DNS messages of a look-up (RFC 1035 4): a question made, the answer read. Pure.

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

_HEADER = struct.Struct("!HHHHHH")
_FIXED = struct.Struct("!HHIH")  # type, class, TTL, length of the data
_ASKED = b"\xc0\x0c"  # a pointer to the name in the question (RFC 1035 4.1.4)
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
    labels = [bytes((len(label),)) + label.encode("ascii") for label in name.split(".")]
    return b"".join(labels) + struct.pack("!xHH", rdtype, 1)


def query(id: int, section: bytes) -> bytes:
    """A recursive query with EDNS (RFC 6891)."""
    return _HEADER.pack(id, 0x0100, 1, 0, 0, 1) + section + _OPT


def answers(wire: bytes, section: bytes) -> bool:
    """Whether the bytes are a response to this question (the id is matched by the caller)."""
    if len(wire) < 12 + len(section) or not wire[2] & 0x80:
        return False
    return wire[4:6] == b"\0\1" and wire[12 : 12 + len(section)].lower() == section.lower()


def read(wire: bytes, section: bytes) -> Reply:
    """The answer to a question; WireError if the bytes are cut off or make no sense."""
    try:
        return _read(wire, section)
    except (struct.error, IndexError, ValueError) as error:
        raise WireError(f"malformed answer: {error}") from None


def _read(wire: bytes, section: bytes) -> Reply:
    _, flags, _, answer_count, authority_count, _ = _HEADER.unpack_from(wire)
    if not answers(wire, section):
        raise WireError("not the answer to this question")
    asked = name = _name(wire, 12)[0]
    rdtype = int.from_bytes(section[-4:-2], "big")
    rcode, truncated = flags & 15, bool(flags & 0x0200)
    if truncated:
        return Reply(rcode, True, (), name, 0)
    offset = 12 + len(section)
    aliases: dict[str, tuple[str, int]] = {}
    found: list[tuple[str, int, tuple[int, str]]] = []
    for _ in range(answer_count):
        offset = _answer(wire, offset, rdtype, asked, aliases, found)
    name, ttl, looped = _follow(name, aliases)
    matching = [(owner_ttl, value) for owner, owner_ttl, value in found if owner == name]
    if matching and not looped:
        ttl = min(ttl, *(owner_ttl for owner_ttl, _ in matching))
        values = tuple(dict.fromkeys(value for _, value in matching))
        return Reply(rcode, False, values, name, ttl)
    negative = _negative_ttl(wire, offset, authority_count)
    if negative is None:
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
    if wire[offset : offset + 2] == _ASKED:
        owner, offset = asked, offset + 2
    else:
        owner, offset = _name(wire, offset)
    kind, kind_class, ttl, length = _fixed(wire, offset)
    data, end = offset + 10, offset + 10 + length
    if end > len(wire):
        raise WireError("a record ends behind the message")
    if ttl >> 31:
        ttl = 0  # RFC 2181 8
    if kind_class != 1:
        return end
    if kind == CNAME:
        aliases[owner] = (_name(wire, data)[0], ttl)
    elif kind == rdtype:
        found.append((owner, ttl, _value(wire, data, end, kind)))
    return end


def _value(wire: bytes, data: int, end: int, kind: int) -> tuple[int, str]:
    if kind == MX:
        return int.from_bytes(wire[data : data + 2], "big"), _name(wire, data + 2)[0]
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


def _negative_ttl(wire: bytes, offset: int, count: int) -> int | None:
    """The smaller of the SOA's TTL and its minimum field (RFC 2308 5); None without an SOA."""
    for _ in range(count):
        _, offset = _name(wire, offset)
        kind, _, ttl, length = _fixed(wire, offset)
        offset += 10 + length
        if kind == SOA:
            return min(ttl, int.from_bytes(wire[offset - 4 : offset], "big"))
    return None


def _fixed(wire: bytes, offset: int) -> tuple[int, int, int, int]:
    kind, kind_class, ttl, length = _FIXED.unpack_from(wire, offset)
    return kind, kind_class, ttl, length


def _name(wire: bytes, offset: int) -> tuple[str, int]:
    """A name in lower case, "" for the root, and the offset behind it (RFC 1035 4.1.4)."""
    labels: list[str] = []
    end, limit = 0, len(wire)
    total = 0
    while length := wire[offset]:
        if length >= 0xC0:
            target = (length & 0x3F) << 8 | wire[offset + 1]
            end = end or offset + 2
            if target >= min(offset, limit):  # pointers lead backwards only, so this ends
                raise WireError("a compression pointer leads forward")
            limit = offset = target
            continue
        total += length + 1
        if length > 63 or total > 254 or offset + length >= len(wire):
            raise WireError("a name is too long")
        labels.append(_label(wire[offset + 1 : offset + 1 + length]))
        offset += length + 1
    return ".".join(labels), end or offset + 1


def _label(raw: bytes) -> str:
    """The label in lower case; what no host name has is escaped, so that it matches none."""
    text = raw.decode("latin-1").lower()
    if text.isascii() and (text.isalnum() or _is_plain(text)):
        return text
    return "".join(c if c.isascii() and c.isalnum() else f"\\{ord(c):03d}" for c in text)


def _is_plain(text: str) -> bool:
    return text.isprintable() and "." not in text and "\\" not in text
