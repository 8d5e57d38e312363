"""Hosts and their addresses: which to connect to, and which were dead a moment ago (compiled)."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from random import Random
from typing import NamedTuple

from mta.clock import Clock, SystemClock
from mta.model import Outcome
from mta.resolver import AddressAnswer, Resolver
from mta.routing.mx import bounce, defer, order
from mta.routing.site import SitePlan

UNSPECIFIED = frozenset({"0.0.0.0", "::"})  # how some domains say "no mail" (RFC 7505 1)
BATCH = 5  # hosts looked up together
ENOUGH = 10  # living targets after which no more hosts are looked up


class Target(NamedTuple):
    """Where to open a connection."""

    host: str  # MX host name or the literal
    address: str  # IP address
    port: int


class Targets(list[Target]):
    """Targets in the order to try; `notes` says of hosts without one why."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: dict[str, str] = {}
        self.outcome: Outcome | None = None  # what becomes of the mail if there is no target


class Dead(NamedTuple):
    """An address that did not answer."""

    until: float  # monotonic time
    failures: int  # periods in a row
    reason: str


@dataclass(frozen=True, slots=True)
class HostOptions:
    """Settings of a host book; times in seconds."""

    dead_initial: float = 15.0  # a dead address is left alone so long, then twice as long ...
    dead_max: float = 900.0  # ... up to this
    size: int = 50_000  # dead addresses remembered
    local_endpoints: frozenset[tuple[str, int]] = frozenset()  # (address, port) we listen on


class HostBook:
    """What one worker knows of hosts."""

    def __init__(
        self,
        resolver: Resolver,
        clock: Clock | None = None,
        options: HostOptions | None = None,
        random: Random | None = None,
    ) -> None:
        self._resolver, self._clock = resolver, clock or SystemClock()
        self._options, self._random = options or HostOptions(), random or Random()
        self._dead: OrderedDict[tuple[str, int, str], Dead] = OrderedDict()

    def __repr__(self) -> str:
        return f"<HostBook {len(self._dead)} addresses noted>"

    def failed(self, address: str, reason: str, port: int = 0, source: str = "") -> None:
        """No connection to an address, or to one port of it: leave it alone for a while.

        What one egress source meets says nothing of another: hosts block addresses.
        """
        now = self._clock.monotonic()
        dead = self._dead.pop((address, port, source), None)
        failures = 0 if dead is None else dead.failures
        if dead is None or dead.until <= now:  # many connections fail at once, that counts once
            period = min(self._options.dead_initial * 2**failures, self._options.dead_max)
            dead = Dead(now + period, min(failures + 1, 32), reason)
        self._dead[address, port, source] = dead
        if len(self._dead) > self._options.size:
            self._dead.popitem(last=False)

    def worked(self, address: str, port: int = 0, source: str = "") -> None:
        """The address answered: forget what was wrong with it, and with that port of it."""
        if self._dead:
            self._dead.pop((address, 0, source), None)
            self._dead.pop((address, port, source), None)

    def dead(self, address: str, port: int = 0, source: str = "") -> Dead | None:
        """What is wrong with an address now, if anything."""
        now = self._clock.monotonic()
        for key in ((address, port, source), (address, 0, source)):
            dead = self._dead.get(key)
            if dead is not None and dead.until > now:
                return dead
        return None

    def candidates(self, site: SitePlan, addresses: Mapping[str, Sequence[str]]) -> list[Target]:
        """Targets by preference, at random among equals, without the dead unless all are."""
        ordered = order(site.hosts, self._random)
        found = [
            t
            for preference, host in ordered
            for t in self._of_host(site, preference, host, addresses.get(host, ()))
        ]
        return self._living(found) or self._soonest(found)

    async def connect_targets(self, site: SitePlan, source: str = "") -> Targets:
        """Targets to try in order, addresses looked up as far as they are needed."""
        targets, found = Targets(), list[tuple[int, Target]]()
        ordered = order(site.hosts, self._random)
        temporary = looped = False
        for start in range(0, len(ordered), BATCH):
            batch = ordered[start : start + BATCH]
            for (preference, host), answer in zip(
                batch, await self._answers(site, [host for _, host in batch]), strict=True
            ):
                temporary |= answer.status == "temporary"
                if answer.status != "ok":
                    targets.notes[host] = answer.text
                its = self._of_host(site, preference, host, answer.addresses)
                found += [(preference, t) for t in its]
            mine = self._own_preference(site, found)
            if mine is not None:
                looped, found = True, [pair for pair in found if pair[0] < mine]
            if looped or len(self._living([t for _, t in found], source)) >= ENOUGH:
                break
        every = [target for _, target in found]
        targets += self._living(every, source) or self._soonest(every, source)
        if not targets:
            targets.outcome = _nowhere(site, targets.notes, temporary=temporary, looped=looped)
        return targets

    async def _answers(self, site: SitePlan, hosts: Sequence[str]) -> list[AddressAnswer]:
        """The addresses of each host; no task if all are known."""
        known = [self._known(site, host) for host in hosts]
        waiting = [
            self._resolver.address_answer(h) for h, a in zip(hosts, known, strict=True) if not a
        ]
        found = iter(await asyncio.gather(*waiting) if waiting else ())
        return [answer or next(found) for answer in known]

    def _known(self, site: SitePlan, host: str) -> AddressAnswer | None:
        if host in site.addresses:
            return AddressAnswer((host,), 0.0, "ok", "")
        return self._resolver.peek_address_answer(host)

    def _own_preference(self, site: SitePlan, found: Collection[tuple[int, Target]]) -> int | None:
        """The best preference at which an MX set names ourselves (RFC 5321 5.1)."""
        if not site.mx or not self._options.local_endpoints:
            return None
        ours = self._options.local_endpoints
        return min((p for p, t in found if (t.address, t.port) in ours), default=None)

    def _of_host(
        self, site: SitePlan, preference: int, host: str, addresses: Sequence[str]
    ) -> Iterator[Target]:
        """One host's targets: families in turn, the preferred one first, each shuffled."""
        port = site.port_of(preference, host)
        for address in self._in_turn([a for a in addresses if a not in UNSPECIFIED]):
            yield Target(host, address, port)

    def _in_turn(self, addresses: Sequence[str]) -> list[str]:
        if len(addresses) < 2:
            return list(addresses)
        six_first = ":" in addresses[0]
        first = [a for a in addresses if (":" in a) == six_first]
        second = [a for a in addresses if (":" in a) != six_first]
        self._random.shuffle(first)
        self._random.shuffle(second)
        return [a for pair in zip_longest(first, second) for a in pair if a]  # RFC 8305 4

    def _living(self, targets: Sequence[Target], source: str = "") -> list[Target]:
        if not self._dead:
            return list(targets)
        return [t for t in targets if self.dead(t.address, t.port, source) is None]

    def _soonest(self, targets: Sequence[Target], source: str = "") -> list[Target]:
        """The dead, those first whose time is over first."""

        def until(target: Target) -> float:
            dead = self.dead(target.address, target.port, source)
            return dead.until if dead else 0.0

        return sorted(targets, key=until)


def _nowhere(site: SitePlan, notes: Mapping[str, str], *, temporary: bool, looped: bool) -> Outcome:
    """What becomes of mail for a site without a usable address."""
    text = "; ".join(dict.fromkeys(notes.values())) or f"{site.name} has no usable address"
    if temporary:
        return defer("4.4.3", text)
    if looped:
        return bounce("5.4.6", f"mail for {site.name} loops back to this server")
    if not site.mx:
        return defer("4.3.5", f"the route's next hop cannot be used: {text}")
    return bounce("5.4.4", text)
