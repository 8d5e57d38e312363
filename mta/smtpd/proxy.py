"""The PROXY protocol, versions 1 and 2: whom a proxy speaks for, before the greeting.

`HeaderReader` is a function of octets. `Preamble` is the connection's protocol until the header
is complete; the session that follows takes over its transport, with what came behind the header.
Source: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt, cited by section.
"""

from __future__ import annotations

import asyncio
import ipaddress
from typing import TYPE_CHECKING, NamedTuple

from mta._speedups.verdict import Reason, Verdict
from mta.errors import MailraceError
from mta.reception.policy import UNIX

if TYPE_CHECKING:
    from mta.smtpd.listener import Listener

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"  # 2.2
LONGEST_V1 = 107  # octets with the CRLF (2.1)
HEAD = 16  # octets of version 2 before the addresses
ADDRESSES = {0x11: 12, 0x21: 36, 0x31: 216}  # TCP over IPv4, IPv6, Unix stream: octets (2.2)
UNSPECIFIED = 0x00


class ProxyError(MailraceError):
    """What came is no PROXY header that can be used."""


class Origin(NamedTuple):
    """The client that a header names; address None: the proxy speaks for itself."""

    address: str | None  # IP address, or "unix"
    port: int = 0


ITSELF = Origin(None)


class HeaderReader:
    """One header, in whatever pieces it comes; at most 232 octets of it are kept."""

    __slots__ = ("rest", "_kept", "_skip", "_origin")

    def __init__(self) -> None:
        self.rest = b""  # what came behind the header
        self._kept = b""
        self._skip = 0  # octets of type-length-values that still come
        self._origin: Origin | None = None

    def feed(self, data: bytes) -> Origin | None:
        """Whom the connection comes from, once that is known; ProxyError for what is no header."""
        if self._origin is not None:
            return self._pass_over(data)
        kept = self._kept = self._kept + data
        if kept[: len(SIGNATURE)] == SIGNATURE[: len(kept)]:
            return self._binary(kept)
        if kept[:6] == b"PROXY "[: len(kept)]:
            return self._text(kept)
        raise ProxyError("a PROXY protocol header comes first here")

    def _text(self, kept: bytes) -> Origin | None:
        end = kept.find(b"\r\n", 0, LONGEST_V1)
        if end < 0:
            if len(kept) >= LONGEST_V1:
                raise ProxyError(f"the PROXY line is longer than {LONGEST_V1} octets")
            return None
        self._origin = text_origin(kept[:end])
        return self._pass_over(kept[end + 2 :])

    def _binary(self, kept: bytes) -> Origin | None:
        if len(kept) < HEAD:
            return None
        size, wanted = int.from_bytes(kept[14:16], "big"), addresses_size(kept)
        if size < wanted:
            raise ProxyError(f"a PROXY header of {size} octets has no room for its addresses")
        if len(kept) < HEAD + wanted:
            return None
        self._origin = binary_origin(kept[12], kept[13], kept[HEAD : HEAD + wanted])
        self._skip = size - wanted
        return self._pass_over(kept[HEAD + wanted :])

    def _pass_over(self, data: bytes) -> Origin | None:
        """Type-length-values are skipped (2.2.7: a receiver may ignore what it does not need)."""
        self._kept = b""
        if len(data) < self._skip:
            self._skip -= len(data)
            return None
        self.rest, self._skip = data[self._skip :], 0
        return self._origin


def text_origin(line: bytes) -> Origin:
    """Version 1 without its CRLF: `PROXY TCP4 SOURCE DESTINATION PORT PORT` (2.1)."""
    words = line.split(b" ")
    if words[1:2] == [b"UNKNOWN"]:
        return ITSELF
    if len(words) != 6 or words[1] not in (b"TCP4", b"TCP6"):
        raise ProxyError("a PROXY line is PROXY TCP4 or TCP6, two addresses and two ports")
    kind = ipaddress.IPv4Address if words[1] == b"TCP4" else ipaddress.IPv6Address
    try:
        source = kind(words[2].decode("ascii"))
        kind(words[3].decode("ascii"))
    except ValueError:
        raise ProxyError("a PROXY line has an address that is none") from None
    ports = [int(word) if word.isdigit() and len(word) <= 5 else 65536 for word in words[4:]]
    if max(ports) > 65535:
        raise ProxyError("a PROXY line has a port that is none")
    return Origin(plain(source), ports[0])


def addresses_size(head: bytes) -> int:
    """Octets of the addresses of a version 2 header that are to be read; 0 for LOCAL."""
    version, command, kind = head[12] >> 4, head[12] & 15, head[13]
    if version != 2 or command > 1:
        raise ProxyError(f"a PROXY header of version {version}, command {command} is not known")
    if command == 0 or kind == UNSPECIFIED:
        return 0
    if kind not in ADDRESSES:
        raise ProxyError(f"a PROXY header for transport {kind:#04x}: no stream over IP or Unix")
    return ADDRESSES[kind]


def binary_origin(command: int, kind: int, addresses: bytes) -> Origin:
    """Version 2: the source of the addresses, in network order (2.2)."""
    if command & 15 == 0 or kind == UNSPECIFIED:
        return ITSELF  # 2.2: the connection's own endpoints count
    if kind == 0x31:
        return Origin(UNIX)
    half = len(addresses) - 4 >> 1
    port = int.from_bytes(addresses[2 * half : 2 * half + 2], "big")
    return Origin(plain(ipaddress.ip_address(addresses[:half])), port)


def plain(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """An address as rules and log have it: one that IPv6 only carries becomes IPv4."""
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


class Preamble(asyncio.BufferedProtocol):
    """A connection whose PROXY header is still to come."""

    __slots__ = (
        "listener", "service", "transport", "peer", "network", "deadline", "bucket", "_reader",
    )  # fmt: skip

    def __init__(self, listener: Listener, peer: str, network: bytes) -> None:
        self.listener, self.service = listener, listener.service
        self.peer, self.network = peer, network  # of the proxy
        self.transport: asyncio.Transport | None = None
        self.deadline = self.bucket = 0
        self._reader = HeaderReader()

    def __repr__(self) -> str:
        return f"<Preamble of proxy [{self.peer}]>"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The header is due."""
        self.transport = transport  # type: ignore[assignment]  # always a stream's
        self.service.deadlines.add(self, self.listener.terms.seconds.header)

    def get_buffer(self, sizehint: int) -> bytearray:
        """The worker's buffer."""
        return self.service.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """A piece of the header has come."""
        try:
            origin = self._reader.feed(bytes(self.service.buffer[:nbytes]))
        except ProxyError as error:
            self._refuse(str(error))
            return
        if origin is not None:
            self.listener.introduce(self, origin, self._reader.rest)

    def eof_received(self) -> bool:
        """The proxy has given up."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The end."""
        self.transport = None
        self.listener.forget(self)

    def expire(self) -> None:
        """The header did not come in time (`Deadlines` calls this)."""
        self.service.timed_out += 1
        self._refuse("no PROXY protocol header came in time")

    def _refuse(self, why: str) -> None:
        refusal = Verdict(554, "5.5.0", why, Reason.SYNTAX)
        self.listener.introduce(self, ITSELF, b"", refusal)

    def drain(self) -> None:
        """421 in the greeting's place."""
        self.listener.introduce(self, ITSELF, b"")

    def abort(self) -> None:
        """Drop the connection at once."""
        if self.transport is not None:
            self.transport.abort()
