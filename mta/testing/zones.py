"""DNS zones from a dict, for a real server and for a resolver in the process.

Records are written by name, without final dots, values as in a zone file:

    {"example.com": {"MX": ["10 mx1.example.com", "20 mx2.example.com"]},
     "mx1.example.com": {"A": "192.0.2.1", "AAAA": "2001:db8::1"}}

A name with an SOA record begins a zone of its own; all others are in the root zone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import dns.zone

from mta.clock import Clock
from mta.resolver import Resolver, ResolverOptions, wire
from mta.resolver.exchange import Asked, Trouble
from mta.resolver.names import normalise
from mta.testing.clock import FakeClock

Values = str | Sequence[str]
Records = Mapping[str, Mapping[str, Values]]

TTL = 300
SOA = f"ns.invalid hostmaster.invalid 1 3600 600 86400 {60}"  # negative answers hold 60 s


def zone_texts(records: Records, ttl: int = TTL) -> dict[str, str]:
    """A zone file for each zone ("." and each name with an SOA), ready to be loaded."""
    zones = {origin: [f"$ORIGIN .\n$TTL {ttl}"] for origin in _origins(records)}
    for origin, lines in zones.items():
        own = records.get(origin, {})
        top = "@" if origin == "." else origin
        lines += [f"{top} SOA {SOA}"] * ("SOA" not in own) + [f"{top} NS ns.invalid"]
    for origin in zones:
        parent = _zone_of(origin.partition(".")[2], zones)
        zones[parent] += [f"{origin} NS ns.invalid"] * (origin != ".")  # the delegation
    for name, types in records.items():
        zones[_zone_of(name, zones)] += _lines(name, types)
    return {origin: "\n".join(lines) + "\n" for origin, lines in zones.items()}


def _origins(records: Records) -> list[str]:
    return [".", *(_ascii(name) for name, types in records.items() if "SOA" in types)]


def _zone_of(name: str, origins: Iterable[str]) -> str:
    name = _ascii(name) if name else "."
    inside = [origin for origin in origins if name == origin or name.endswith(f".{origin}")]
    return max(inside, key=len, default=".")


def _lines(name: str, types: Mapping[str, Values]) -> list[str]:
    return [
        f"{_ascii(name)} {rdtype} {value}"
        for rdtype, values in types.items()
        for value in ([values] if isinstance(values, str) else values)
    ]


def _ascii(name: str) -> str:
    return "." if name == "." else normalise(name)


class Answered:
    """A question that is over."""

    def cancel(self) -> None:
        """There is nothing to give up."""


class ZoneExchange:
    """Answers questions from records, as a server over the network would; counts them."""

    def __init__(
        self,
        records: Records,
        *,
        broken: Collection[str] = (),
        ttl: int = TTL,
        gate: asyncio.Event | None = None,
    ) -> None:
        self._zones = {
            origin: dns.zone.from_text(text, origin=origin, relativize=False)
            for origin, text in zone_texts(records, ttl).items()
        }
        self.broken = set(broken)  # zones that get SERVFAIL
        self.asked: list[tuple[str, str]] = []  # (name, type) in order
        self._gate = gate  # answers wait for it

    def ask(self, name: str, rdtype: int, done: Callable[[wire.Reply | Trouble], object]) -> Asked:
        """Give `done` the answer that the zones have: at once, or in a task behind the gate."""
        self.asked.append((name, wire.TYPE_NAMES[rdtype]))
        if self._gate is None:
            done(self._answer(name, rdtype))
            return Answered()
        return asyncio.create_task(self._later(self._gate, name, rdtype, done))

    async def _later(
        self, gate: asyncio.Event, name: str, rdtype: int, done: Callable[..., object]
    ) -> None:
        await gate.wait()
        done(self._answer(name, rdtype))

    def _answer(self, name: str, rdtype: int) -> wire.Reply | Trouble:
        if any(name == zone or name.endswith(f".{zone}") for zone in self.broken):
            return Trouble("zones: SERVFAIL")
        section = wire.question(name, rdtype)
        return wire.read(self.response(name, rdtype).to_wire(max_size=65535), section)

    def response(self, name: str, rdtype: int) -> dns.message.Message:
        """The whole answer, CNAMEs followed within their zone (RFC 1034 4.3.2)."""
        query = dns.message.make_query(name, dns.rdatatype.RdataType(rdtype))
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        owner: dns.name.Name | None = query.question[0].name
        assert owner is not None
        zone = self._zone(owner)
        while owner is not None and self._zone(owner) is zone:
            owner = _add(response, zone, owner, rdtype)
        return response

    def _zone(self, owner: dns.name.Name) -> dns.zone.Zone:
        return self._zones[_zone_of(owner.to_text(omit_final_dot=True), self._zones)]

    def close(self) -> None:
        """Nothing is open."""


def _origin(zone: dns.zone.Zone) -> dns.name.Name:
    assert zone.origin is not None
    return zone.origin


def _add(
    response: dns.message.Message, zone: dns.zone.Zone, owner: dns.name.Name, rdtype: int
) -> dns.name.Name | None:
    """Add what the zone has at one name; the CNAME's target if the search goes on there."""
    rrset = zone.get_rrset(owner, dns.rdatatype.RdataType(rdtype))
    if rrset is not None:
        response.answer.append(rrset)
        return None
    alias = zone.get_rrset(owner, dns.rdatatype.CNAME)
    if alias is not None and alias not in response.answer:
        response.answer.append(alias)
        target: dns.name.Name = alias[0].target
        return target
    soa = zone.get_rrset(_origin(zone), dns.rdatatype.SOA)
    assert soa is not None
    response.authority.append(soa)
    if alias is None and not any(name.is_subdomain(owner) for name in zone.nodes):
        response.set_rcode(dns.rcode.NXDOMAIN)
    return None


class FakeResolver(Resolver):
    """A resolver that answers from records, with the real cache and a clock that stands still."""

    def __init__(
        self,
        records: Records,
        *,
        broken: Collection[str] = (),
        options: ResolverOptions | None = None,
        clock: Clock | None = None,
        ttl: int = TTL,
        gate: asyncio.Event | None = None,
    ) -> None:
        self.zones = ZoneExchange(records, broken=broken, ttl=ttl, gate=gate)
        super().__init__(options, clock or FakeClock(), self.zones)
