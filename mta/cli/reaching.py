"""Where `mta doctor --target` leads, and what a failure to get there calls for."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Callable

LookUp = Callable[[str, str], list[str]]
TRIED = 3  # mail servers of a domain

_BLOCKED = (
    "if other mail servers time out too, outbound port 25 is blocked: ask your provider to open it,"
    " or send by a smarthost (--route)"
)
_ADVICE = {
    errno.ECONNREFUSED: "the machine answers, but nothing listens there: check name and port",
    errno.ENETUNREACH: "this machine has no route there: check its addresses and routes",
    errno.EHOSTUNREACH: "its network or a firewall turns us away: check routes and the firewall",
    errno.EACCES: "a firewall of this machine forbids it: allow outbound port 25",
    errno.EPERM: "a firewall of this machine forbids it: allow outbound port 25",
}


def servers(host: str, look_up: LookUp) -> list[str]:
    """The mail servers of a domain, best first; the name itself where it has no MX (RFC 5321 5.1).

    Empty for a null MX (RFC 7505).
    """
    if _is_address(host):
        return [host]
    records = [text.split() for text in look_up(host, "MX")]
    if not records:
        return [host]
    ranked = sorted((int(record[0]), record[1]) for record in records if len(record) > 1)
    return [name for _, name in ranked][:TRIED]


def addresses(host: str, look_up: LookUp) -> list[str]:
    """The addresses of a server by our name servers; its name where they know none."""
    if _is_address(host):
        return [host]
    return (look_up(host, "A") + look_up(host, "AAAA")) or [host]


def advice(error: OSError) -> str:
    """What to do about a connection that failed."""
    if isinstance(error, socket.gaierror):
        return "no such name, or no DNS: check its spelling and the check of dns above"
    if isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT:
        return _BLOCKED
    return _ADVICE.get(error.errno or 0, _BLOCKED)


def refusal(greeting: str) -> str:
    """What to do about a greeting that is not 220."""
    if greeting[:1] == "4":
        return "it is busy or asks us to wait: try again later"
    if greeting[:1] == "5":
        return "it refuses this address: look for the reason in its reply, a blocklist or the PTR"
    return "this is no mail server, or something in between answers: check name and port"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
