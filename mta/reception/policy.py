"""Who may send what to whom: the relay rule of a listener (compiled)."""

from __future__ import annotations

import fnmatch
import ipaddress
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mta._speedups.verdict import ACCEPTED, Reason, Verdict
from mta.errors import ConfigError
from mta.model import ascii_domain
from mta.reception.admit import Member, Said

if TYPE_CHECKING:
    from mta.reception.client import Client
    from mta.reception.parameters import Params

UNIX = "unix"  # the address of a client on a Unix socket
LOOPBACK = ("127.0.0.0/8", "::1/128")
NO_IDN = "the domain is no internationalized domain name (RFC 5890)"
CACHE = 4096  # client addresses whose answer is remembered

_ACCEPTED: Verdict = ACCEPTED  # a C global here

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Clients:
    """A list of client networks and the word `unix`, as settings have it; ConfigError."""

    __slots__ = ("_networks", "_unix", "_known")

    def __init__(self, texts: Iterable[str]) -> None:
        given = list(texts)
        self._unix = UNIX in given
        self._networks = [network(text) for text in given if text != UNIX]
        self._known: dict[str, bool] = {}

    def __contains__(self, address: str) -> bool:
        """Is this client (an IP address, or `UNIX`) listed."""
        if address == UNIX:
            return self._unix
        known = self._known.get(address)
        if known is None:
            if len(self._known) >= CACHE:
                self._known.clear()
            known = self._known[address] = self._in_networks(address)
        return known

    def _in_networks(self, address: str) -> bool:
        client = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(client, ipaddress.IPv6Address) and client.ipv4_mapped:
            client = client.ipv4_mapped
        return any(client in network for network in self._networks)


class Policy(Member):
    """The relay rule of one listener; built once, asked once a session and once a recipient.

    `relay_from` has networks and the word `unix` for clients of a Unix socket; empty, nobody may
    relay. None stands for loopback and Unix socket clients.
    """

    __slots__ = ("hostname", "_clients", "_domains", "_globs")

    def __init__(
        self,
        hostname: str,
        *,
        relay_from: Iterable[str] | None = None,
        relay_domains: Iterable[str] = (),
    ) -> None:
        domains = [d.lower() for d in relay_domains]
        self.hostname = hostname
        self._clients = Clients([*LOOPBACK, UNIX] if relay_from is None else relay_from)
        globs = [d for d in domains if any(c in d for c in "*?")]
        self._domains = frozenset(domains).difference(globs)
        self._globs = re.compile("|".join(map(fnmatch.translate, globs))) if globs else None

    def may_relay(self, address: str) -> bool:
        """May this client (an IP address, or `UNIX`) send to any domain."""
        return address in self._clients

    def takes(self, domain: str) -> bool:
        """Is mail to this domain accepted from every client."""
        domain = domain.lower()
        if domain in self._domains:
            return True
        return self._globs is not None and self._globs.match(domain) is not None

    def mail(self, client: Client, params: Params | None) -> Said:
        """Is the reverse-path an address."""
        assert client.sender is not None
        return self.sender(client.sender)

    def rcpt(self, client: Client, recipient: str, params: Params | None) -> Said:
        """Is the recipient an address, and may this client send to it."""
        return self.recipient(recipient, client.relay)

    def sender(self, sender: str) -> Verdict:
        """What becomes of this reverse-path."""
        if sender and sender[-1] == "@":
            text = f"<{sender}>: the sender address ends after the @"
        elif sender and "@" not in sender:
            text = f"<{sender}>: the sender address needs a domain"
        elif not sender.isascii() and not _has_a_labels(sender):
            text = f"<{sender}>: {NO_IDN}"
        else:
            return _ACCEPTED
        return Verdict(501, "5.1.7", text, Reason.ADDRESS)

    def complete(self, recipient: str) -> str | None:
        """The recipient with its domain; None when it has none and is not postmaster."""
        if "@" in recipient:
            return recipient if recipient[-1] != "@" else None
        if recipient.lower() == "postmaster":  # RFC 5321 4.5.1: <postmaster> without a domain
            return f"{recipient}@{self.hostname}"
        return None

    def recipient(self, recipient: str, relay: bool) -> Verdict:
        """What becomes of a complete recipient; a stranger is not told our settings."""
        if not recipient.isascii() and not _has_a_labels(recipient):
            return Verdict(501, "5.1.2", f"<{recipient}>: {NO_IDN}", Reason.ADDRESS)
        if relay:
            return _ACCEPTED
        domain = ascii_domain(recipient.rpartition("@")[2].lower())
        if self.takes(domain) or recipient.lower() == f"postmaster@{self.hostname}".lower():
            return _ACCEPTED
        text = f"<{recipient}>: relaying denied"
        return Verdict(554, "5.7.1", text, Reason.RELAYING_DENIED)


def _has_a_labels(address: str) -> bool:
    """Whether DNS can be asked for the domain of an internationalized address."""
    return ascii_domain(address.rpartition("@")[2].lower()).isascii()


def network(text: str) -> Network:
    """A network from `192.0.2.0/24`, `192.0.2.1` or the IPv6 forms; ConfigError if it is none."""
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ConfigError(
            f"{text!r} is not a network: {error}",
            key="relay_from",
            hint='write "192.0.2.0/24", "192.0.2.1" or "2001:db8::/32"',
        ) from None
