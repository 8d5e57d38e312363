"""Who may send what to whom: the relay rule of a listener."""

from __future__ import annotations

import fnmatch
import ipaddress
import re
from collections.abc import Iterable

from mta.errors import ConfigError
from mta.model import ascii_domain
from mta.smtp.replies import reply

UNIX = "unix"  # the address of a client on a Unix socket
LOOPBACK = ("127.0.0.0/8", "::1/128")
NO_IDN = "the domain is no internationalized domain name (RFC 5890)"
CACHE = 4096  # client addresses whose answer is remembered

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


class Policy:
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

    def sender(self, sender: str) -> bytes | None:
        """The refusal of this reverse-path, or None."""
        if sender and sender[-1] == "@":
            return reply(501, "5.1.7", f"<{sender}>: the sender address ends after the @")
        if sender and "@" not in sender:
            return reply(501, "5.1.7", f"<{sender}>: the sender address needs a domain")
        if not sender.isascii() and not _has_a_labels(sender):
            return reply(501, "5.1.7", f"<{sender}>: {NO_IDN}")
        return None

    def complete(self, recipient: str) -> str | None:
        """The recipient with its domain; None when it has none and is not postmaster."""
        if "@" in recipient:
            return recipient if recipient[-1] != "@" else None
        if recipient.lower() == "postmaster":  # RFC 5321 4.5.1: <postmaster> without a domain
            return f"{recipient}@{self.hostname}"
        return None

    def recipient(self, recipient: str, relay: bool) -> bytes | None:
        """The refusal of a complete recipient, or None; a stranger is not told our settings."""
        if not recipient.isascii() and not _has_a_labels(recipient):
            return reply(501, "5.1.2", f"<{recipient}>: {NO_IDN}")
        if relay:
            return None
        domain = ascii_domain(recipient.rpartition("@")[2].lower())
        if self.takes(domain) or recipient.lower() == f"postmaster@{self.hostname}".lower():
            return None
        return reply(554, "5.7.1", f"<{recipient}>: relaying denied")


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
