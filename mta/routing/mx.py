"""What mail servers a domain's answer means (RFC 5321 5.1, RFC 7505). Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import groupby
from random import Random

from mta.model import Kind, Outcome
from mta.resolver import MxAnswer
from mta.resolver.names import ip_text

Hosts = tuple[tuple[int, str], ...]  # (preference, host)


def bounce(enhanced: str, text: str, code: int = 0) -> Outcome:
    """A destination that will never take the message."""
    return Outcome(Kind.BOUNCED, code, enhanced, text, "connect")


def defer(enhanced: str, text: str) -> Outcome:
    """A destination that is not known now."""
    return Outcome(Kind.DEFERRED, 0, enhanced, text, "connect")


def select(domain: str, answer: MxAnswer, local_names: Collection[str] = ()) -> Hosts | Outcome:
    """The hosts to try, cut before ourselves, or what becomes of mail to the domain."""
    if answer.status == "temporary":
        return defer("4.4.3", answer.text)
    if answer.status == "nxdomain":
        return bounce("5.1.2", answer.text)
    if answer.status == "nodata":
        return bounce("5.4.4", answer.text)
    if answer.null:
        return bounce("5.1.10", f"{domain} takes no mail (null MX)", 556)  # RFC 7505 4.2
    hosts = cut(lowest(answer.hosts), local_names)
    if not hosts:
        return bounce("5.4.6", f"mail for {domain} loops back to this server")
    return hosts


def cut(hosts: Hosts, local_names: Collection[str]) -> Hosts:
    """Hosts preferred to ourselves: a relay never sends backwards (RFC 5321 5.1)."""
    ours = [preference for preference, host in hosts if host in local_names]
    if not ours:
        return hosts
    return tuple(pair for pair in hosts if pair[0] < min(ours))


def lowest(hosts: Sequence[tuple[int, str]]) -> Hosts:
    """Each host once, with its best preference, sorted."""
    best: dict[str, int] = {}
    for preference, host in hosts:
        best[host] = min(preference, best.get(host, preference))
    return tuple(sorted((preference, host) for host, preference in best.items()))


def order(hosts: Sequence[tuple[int, str]], random: Random) -> list[tuple[int, str]]:
    """By preference, at random among equals (RFC 5321 5.1)."""
    if len(hosts) < 2:
        return list(hosts)
    ordered: list[tuple[int, str]] = []
    for _, equals in groupby(sorted(hosts), key=lambda pair: pair[0]):
        group = list(equals)
        random.shuffle(group)
        ordered += group
    return ordered


def literal(domain: str) -> str | Outcome | None:
    """The IP address of an address literal (RFC 5321 4.1.3); None if the domain is a name."""
    if not domain.startswith("["):
        return None
    inside = domain[1:].removesuffix("]")
    tagged = inside.lower().startswith("ipv6:")
    address = ip_text(inside[5:] if tagged else inside)
    if not address or not domain.endswith("]") or tagged != (":" in address):
        return bounce("5.1.2", f"{domain} is not an address literal")
    return address
