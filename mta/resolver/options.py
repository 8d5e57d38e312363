"""What a resolver can be told, and which servers it asks."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Literal, NamedTuple

import dns.exception
import dns.resolver

from mta.errors import ConfigError

RESOLV_CONF = "/etc/resolv.conf"


class Server(NamedTuple):
    """Where a DNS server listens."""

    address: str
    port: int = 53

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ResolverOptions:
    """Settings of a resolver; times in seconds."""

    nameservers: tuple[str, ...] = ()  # "192.0.2.53", "127.0.0.1:5353", "[::1]:53"; or resolv.conf
    timeout: float = 3.0  # for one answer of one server
    attempts: int = 2  # rounds over the servers
    lifetime: float = 20.0  # for a whole look-up with its CNAMEs and the wait for a turn
    concurrency: int = 200  # questions under way at once
    cache_size: int = 100_000  # answers kept, least recently used ones leave
    min_ttl: float = 5.0
    max_ttl: float = 86_400.0
    max_negative_ttl: float = 3600.0  # RFC 2308 5 advises one to three hours
    temporary_ttl: float = 15.0  # a failure is remembered so long (RFC 2308 7: at most 300 s)
    ipv4: bool = True
    ipv6: bool = True
    prefer: Literal["ipv4", "ipv6"] = "ipv6"  # which addresses come first


def parse_server(text: str) -> Server:
    """A server from "address", "address:port" or "[address]:port"; ConfigError if it is none."""
    host, port = text.strip(), "53"
    if host.startswith("["):
        host, _, rest = host[1:].partition("]")
        port = rest.removeprefix(":") if rest else port
    elif host.count(":") == 1:
        host, _, port = host.partition(":")
    try:
        address = str(ipaddress.ip_address(host))
    except ValueError:
        address = ""
    if not address or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigError(
            f'"{text}" is not a DNS server',
            key="dns.nameservers",
            hint="write an address, with a port if it is not 53: 192.0.2.53, 127.0.0.1:5353",
        )
    return Server(address, int(port))


def servers(options: ResolverOptions, resolv_conf: str = RESOLV_CONF) -> tuple[Server, ...]:
    """The servers to ask: the named ones, else the system's, else loopback (resolv.conf(5))."""
    if options.nameservers:
        return tuple(parse_server(text) for text in options.nameservers)
    try:
        system = dns.resolver.Resolver(resolv_conf)
    except (dns.exception.DNSException, OSError):
        return (Server("127.0.0.1"),)
    return tuple(Server(str(address)) for address in system.nameservers)
