"""Whether a listener relays: tried by sessions of our own, up to the reply to RCPT.

They come from the addresses that this machine has, and through a listener's proxies from one that
is nobody's. No mail is sent: a session ends by QUIT behind that reply.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from mta.config.values import Endpoint
from mta.reception.policy import UNIX, Clients

if TYPE_CHECKING:
    from mta.config.listener import Listener

LOOPBACK = {4: "127.0.0.1", 6: "::1"}
STRANGER = {4: "198.51.100.1", 6: "2001:db8::1"}  # RFC 5737, RFC 3849: nobody's
WILDCARDS = {"0.0.0.0": (4,), "::": (6, 4)}
FOREIGN = "doctor.invalid"  # RFC 2606: a domain that is nobody's
LONGEST = 4096  # octets of a reply line


class Try(NamedTuple):
    """A session to be tried."""

    endpoint: Endpoint
    source: str  # the address it comes from, or "unix"
    judged: str  # the address that the rules judge
    by: str = ""  # how a proxy names that: "PROXY" or "XCLIENT"


def tries(listener: Listener, own: list[str]) -> Iterator[Try]:
    """What can be tried of a listener; `own` are addresses of this machine."""
    endpoint = Endpoint.parse(listener.listen)
    if endpoint.path:
        yield Try(endpoint, UNIX, UNIX)
        return
    for version in WILDCARDS.get(endpoint.host) or (6 if ":" in endpoint.host else 4,):
        to = endpoint
        if endpoint.host in WILDCARDS:
            to = endpoint._replace(host=LOOPBACK[version])
        mine = [one for one in own if (6 if ":" in one else 4) == version]
        for source in (LOOPBACK[version], *mine):
            yield from _tries_from(listener, to, source, STRANGER[version])


def _tries_from(listener: Listener, to: Endpoint, source: str, stranger: str) -> Iterator[Try]:
    """From one address, for itself and as a proxy where it is one."""
    if source in Clients(listener.proxy_from):
        yield Try(to, source, stranger, "PROXY")
    elif not listener.proxy_from:
        yield Try(to, source, source)
        if source in Clients(listener.xclient_from):
            yield Try(to, source, stranger, "XCLIENT")


def expected(listener: Listener, one: Try) -> bool:
    """Whether the settings let this session relay."""
    speaks_for_others = not one.by and one.source in Clients(listener.xclient_from)
    return not speaks_for_others and one.judged in Clients(listener.relay_from)


def attempt(one: Try, timeout: float) -> str:
    """The reply to a recipient that is nobody's, or an earlier refusal; OSError."""
    with _connected(one, timeout) as sock, sock.makefile("rb") as lines:
        answer = ""
        for command in _commands(one):
            sock.sendall(command)
            answer = answer if command.startswith(b"PROXY") else _reply(lines)
            if answer[:1] not in ("", "2"):
                break
        with contextlib.suppress(OSError):
            sock.sendall(b"QUIT\r\n")
            _reply(lines)
        return answer


def _commands(one: Try) -> list[bytes]:
    """What is said, the last of it RCPT; the greeting answers an empty command."""
    wide = ":" in one.judged
    texts = ["", f"EHLO {FOREIGN}\r\n"]
    if one.by == "PROXY":
        there = LOOPBACK[6 if wide else 4]
        texts.insert(0, f"PROXY TCP{6 if wide else 4} {one.judged} {there} 40000 25\r\n")
    elif one.by == "XCLIENT":
        texts += [f"XCLIENT ADDR={'IPV6:' * wide}{one.judged}\r\n", f"EHLO {FOREIGN}\r\n"]
    texts += ["MAIL FROM:<>\r\n", f"RCPT TO:<relay-test@{FOREIGN}>\r\n"]
    return [text.encode() for text in texts]


def own_addresses() -> list[str]:
    """The addresses that this machine's packets to the world leave from; nothing is sent."""
    found = []
    for family, outside in ((socket.AF_INET, STRANGER[4]), (socket.AF_INET6, STRANGER[6])):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((outside, 25))
            found.append(str(probe.getsockname()[0]))
    return [one for one in found if not ipaddress.ip_address(one).is_loopback]


def _connected(one: Try, timeout: float) -> socket.socket:
    if one.endpoint.path:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(timeout)
        try:
            sock.connect(one.endpoint.path)
        except OSError:
            sock.close()
            raise
        return sock
    place = one.endpoint.host, one.endpoint.port
    return socket.create_connection(place, timeout, source_address=(one.source, 0))


def _reply(lines: BinaryIO) -> str:
    """The last line of a reply."""
    while True:
        line = lines.readline(LONGEST)
        if not line.endswith(b"\n"):
            raise ConnectionError("the server closed the connection")
        if line[3:4] != b"-":
            return line.decode("ascii", "replace").strip()
