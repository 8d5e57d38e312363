"""Sites: destinations that share their servers, so their limits and connections. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mta.resolver.names import ip_text
from mta.routing.mx import Hosts, lowest
from mta.routing.rules import Hop

# Second-level labels under which registries sell names: "co.uk" is nobody's name.
REGISTRY_LABELS = frozenset(
    ("ac", "co", "com", "edu", "gob", "gov", "gouv", "ltd", "me", "mil", "ne", "net", "nom", "or")
    + ("org", "plc", "sch")
)


class SitePlan(NamedTuple):
    """Where connections of one site go."""

    name: str  # for people: "google.com", "127.0.0.1:2526"
    key: str  # the same for the same servers, in every worker
    hosts: Hosts  # (preference, host name or IP address), sorted
    port: int
    addresses: tuple[str, ...] = ()  # those hosts that are IP addresses: no look-up
    ports: tuple[int, ...] = ()  # per host, where they differ; else ()
    mx: bool = False  # hosts came from DNS, so one of them may be ourselves

    def port_of(self, preference: int, host: str) -> int:
        """The port of one of `hosts`; one address may stand there with several ports."""
        if self.ports:
            return self.ports[self.hosts.index((preference, host))]
        return self.port


def site_key(kind: str, parts: Iterable[str]) -> str:
    """16 hexadecimal digits that every worker computes alike."""
    return hashlib.blake2b("\0".join([kind, *parts]).encode(), digest_size=8).hexdigest()


def mx_site(hosts: Hosts, port: int) -> SitePlan:
    """The site of an MX set; preferences do not make another site."""
    hosts = lowest(hosts)
    names = sorted(host for _, host in hosts)
    return SitePlan(pretty_name(hosts), site_key("mx", [*names, str(port)]), hosts, port, mx=True)


def static_site(hops: Sequence[Hop]) -> SitePlan:
    """The site of named servers, tried in order."""
    hops = tuple(dict.fromkeys(hops))
    texts = [str(hop) for hop in hops]
    hosts = tuple((number, hop.host) for number, hop in enumerate(hops))
    return _fixed(",".join(texts), site_key("static", texts), hosts, hops)


def transport_site(name: str, hops: Sequence[Hop]) -> SitePlan:
    """The site of a transport; a hop of port 0 is a path or a name that is not looked up."""
    hosts = tuple((number, hop.host) for number, hop in enumerate(hops))
    site = _fixed(name, site_key("transport", [name]), hosts, hops)
    known = tuple(hop.host for hop in hops if not hop.port)
    return site._replace(addresses=site.addresses + known)


def smarthost_site(name: str, found: Sequence[tuple[int, Hop]]) -> SitePlan:
    """The site of next hops whose MX were looked up: (preference, server), hop after hop."""
    texts = sorted(str(hop) for _, hop in found)
    hosts = tuple((preference, hop.host) for preference, hop in found)
    return _fixed(name, site_key("mx", texts), hosts, [hop for _, hop in found])


def _fixed(name: str, key: str, hosts: Hosts, hops: Sequence[Hop]) -> SitePlan:
    ports = tuple(hop.port for hop in hops)
    literals = tuple(hop.host for hop in hops if ip_text(hop.host))
    same = len(set(ports)) == 1
    return SitePlan(name, key, hosts, ports[0], literals, () if same else ports)


def pretty_name(hosts: Hosts) -> str:
    """The longest common suffix of the host names, if it is anyone's; else the best host."""
    common: list[str] = []
    for labels in zip(*(host.split(".")[::-1] for _, host in hosts), strict=False):
        if len(set(labels)) > 1:
            break
        common.append(labels[0])
    shared = len(common) > 1 and not (len(common) == 2 and common[1] in REGISTRY_LABELS)
    return ".".join(reversed(common)) if shared else hosts[0][1]
