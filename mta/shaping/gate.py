"""One worker's view of the node-wide limits: may a connection open, a message leave (compiled).

A site has one slot in the shared table, for its connections and its rate; so have each tenant with
a rate and the node as a whole. Whoever is refused a connection leaves a bit there and is woken, by
eventfd, when any worker gives one back. Connections are counted where no limit is set, too, so that
a limit which a reload brings counts those that are open.

Taking turns: a worker that holds more than its share while another waits gives a connection up at
a message boundary (`should_yield`), and then leaves the place to the others for TURN seconds. Those
that were told to close and have not closed yet count as given up. A place that is passed on in
turns is used for some times as long as it took to get ready, or most of the time would go there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mta._speedups.sharedtable import Bucket, SharedTable
from mta.clock import Clock
from mta.model import Limit, Scope
from mta.shaping.limits import UNLIMITED, Limits, RateLike, Resolved

TURN = 0.2  # seconds that a place given up is left to the others, and used at least
WORTH = 4  # times as long as it took until it could be used
LONGEST = 5.0  # seconds that others wait for an odd place
_UNLIMITED = UNLIMITED
MAX_SITES = 65536  # remembered by a worker; idle ones are dropped beyond it
MAX_CHAINS = 1024  # tenants remembered for a site


class Denied(NamedTuple):
    """Why something may not go now."""

    scope: Scope  # of whom the limit is
    name: str  # which one of them; "" for the node
    limit: Limit
    rule: str  # key of the setting
    value: str  # what it says
    use: int  # connections over all workers; 0 for a rate
    retry: float  # seconds until it is worth another try; 0.0 = wait to be woken


class _Places:
    """Connections of one site, or of the node, as this worker sees them."""

    __slots__ = ("scope", "name", "slot", "limit", "rule", "mine", "taken_at", "turn",
                 "turn_until", "leaving")  # fmt: skip

    def __init__(self, scope: Scope, name: str, slot: int) -> None:
        self.scope, self.name, self.slot = scope, name, slot
        self.limit, self.rule = UNLIMITED, ""
        self.mine = 0
        self.taken_at = 0.0  # when this worker last got a place, or could use it
        self.turn = TURN  # seconds that an odd place is used
        self.leaving = 0  # connections that were told to yield and are open yet
        self.turn_until = 0.0  # the others' turn lasts until then


class SiteLimits(_Places):
    """The limits of a site as a pool holds them: resolved once, changed in place by a reload."""

    __slots__ = ("names", "rate", "chains", "users")

    def __init__(self, name: str, slot: int) -> None:
        super().__init__(Scope.SITE, name, slot)
        self.users = 0  # pools that hold it
        self.names: tuple[str, ...] = (name,)
        self.rate: Bucket | None = None
        self.chains: dict[str, tuple[Bucket, ...]] = {}


class Rule(NamedTuple):
    """What a bucket says of itself."""

    scope: Scope
    name: str
    rule: str
    value: str


class Gate:
    """Limits of the node, asked by one worker's loop."""

    def __init__(
        self,
        table: SharedTable,
        worker: int,
        specs: Limits,
        clock: Clock,
        eventfds: Sequence[int] = (),
    ) -> None:
        """`eventfds`: one for each worker, ours as well; written to wake its loop."""
        self._table, self._worker, self._clock = table, worker, clock
        self._eventfds = eventfds
        self._limits = specs
        self._sites: dict[str, SiteLimits] = {}
        self._waiting: dict[str, None] = {}
        self._total = _Places(Scope.NODE, "", table.slot(b"total"))
        self._total_rate: Bucket | None = None
        self.denied: Denied | None = None  # why the last answer that was a no was one
        self._queues: dict[tuple[str, RateLike], Bucket] = {}
        self._apply_total()

    # settings

    def reload(self, specs: Limits) -> list[str]:
        """Use other limits from now on; the sites that waited and may try again."""
        self._limits = specs
        self._apply_total()
        for site in self._sites.values():
            self._apply(site)
        return self.on_wake()

    def define(self, site: str, names: Iterable[str]) -> None:
        """Tell by which further names (domains, a pretty name) a limit may name this site.

        A name that makes no limit stricter is not kept: tell it again after a `reload`.
        """
        state = self.site(site)
        known = self._limits.site(state.names)
        for name in names:
            found = self._limits.site((*state.names, name))
            if found != known:  # thousands of domains may share a site: keep those that count
                state.names, known = (*state.names, name), found
                self._apply(state)

    def _apply_total(self) -> None:
        spec = self._limits.total
        self._total.limit, self._total.rule = UNLIMITED, ""
        if isinstance(spec.connections, int):
            self._total.limit, self._total.rule = spec.connections, self._limits.total_rule
        self._total_rate = None
        if spec.rate is not None and spec.rate != "none":
            rule = Rule(Scope.NODE, "", self._limits.total_rule, str(spec.rate))
            rate = spec.rate
            self._total_rate = Bucket(self._total.slot, rate.interval_ns, rate.burst, rule)

    def _apply(self, site: SiteLimits) -> None:
        found = self._limits.site(site.names)
        site.limit, site.rule = found.connections, found.connections_rule
        site.rate = self._site_bucket(site, found)
        site.chains.clear()

    def _site_bucket(self, site: SiteLimits, found: Resolved) -> Bucket | None:
        if found.rate is None:
            return None
        rule = Rule(Scope.SITE, site.name, found.rate_rule, str(found.rate))
        return Bucket(site.slot, found.rate.interval_ns, found.rate.burst, rule)

    def site(self, name: str) -> SiteLimits:
        """The limits of a site, which the methods below are asked with."""
        site = self._sites.get(name)
        if site is None:
            if len(self._sites) >= MAX_SITES:
                self._drop_idle()
            site = SiteLimits(name, self._table.slot(b"site:" + name.encode()))
            self._sites[name] = site
            self._apply(site)
        return site

    def _drop_idle(self) -> None:
        """Forget sites that are not in use, but none whose limit came by another name."""
        waiting = self._waiting
        idle = [
            name
            for name, site in self._sites.items()
            if not (site.mine or site.users or name in waiting) and len(site.names) == 1
        ]
        for name in idle[: MAX_SITES // 4]:
            del self._sites[name]

    # connections

    def connect(self, site: SiteLimits) -> Denied | None:
        """Take a place for a connection; if refused, `on_wake` will name the site again."""
        now = self._clock.monotonic()  # once: who is told no time to try again must be woken
        if not self._take(site, now):
            return self._refuse(site, site, now)
        if not self._take(self._total, now):
            self._give(site)
            return self._refuse(site, self._total, now)
        self._waiting.pop(site.name, None)
        return None

    def connected(self, site: SiteLimits) -> None:
        """The connection can be used now: its turn begins."""
        now = self._clock.monotonic()
        for places in (site, self._total):
            places.turn = min(max(TURN, WORTH * (now - places.taken_at)), LONGEST)
            places.taken_at = now

    def disconnected(self, site: SiteLimits) -> None:
        """Give the place of a connection back and wake who waits for it."""
        self._give(site)
        self._give(self._total)

    def _take(self, places: _Places, now: float) -> bool:
        """Take a place; the table wakes who gets none, but for those whose turn is over."""
        if now < places.turn_until:
            return False
        if not self._table.acquire_or_wait(places.slot, self._worker, places.limit):
            return False
        places.mine += 1
        places.taken_at = now
        return True

    def _give(self, places: _Places) -> None:
        places.mine -= 1
        if places.leaving:
            places.leaving -= 1
        self._wake(self._table.release(places.slot, self._worker))

    def _refuse(self, site: SiteLimits, places: _Places, now: float) -> Denied:
        self._waiting[site.name] = None
        retry = max(0.0, places.turn_until - now)
        current = self._table.counts(places.slot)[0]
        limit = str(places.limit)
        self.denied = Denied(
            places.scope, places.name, Limit.CONNECTIONS, places.rule, limit, current, retry
        )
        return self.denied

    def _wake(self, mask: int) -> None:
        for worker, fd in enumerate(self._eventfds if mask else ()):
            if mask >> worker & 1:
                try:
                    os.eventfd_write(fd, 1)
                except BlockingIOError:
                    pass  # its counter is full: it has not slept since

    def on_wake(self) -> list[str]:
        """The sites that were refused a connection since the last call: try them again."""
        sites = list(self._waiting)
        self._waiting.clear()
        return sites

    def should_yield(self, site: SiteLimits) -> bool:
        """At a message boundary: True = close this connection, as another worker waits for it."""
        total = self._total
        if not (self._yields(site) or self._yields(total)):
            return False
        site.leaving += 1
        total.leaving += 1
        return True

    def _yields(self, places: _Places) -> bool:
        if places.limit == _UNLIMITED:
            return False
        if not self._table.should_yield(places.slot, self._worker, places.limit):
            return False
        now = self._clock.monotonic()
        share = places.limit / self._table.interested(places.slot)
        staying = self._table.counts(places.slot)[1][self._worker] - places.leaving
        if staying <= share:
            return False
        if staying - 1 < share and now < places.taken_at + places.turn:
            return False  # an odd place is passed on in turns, not at each message
        places.turn_until = now + TURN
        return True

    # messages

    def message(self, site: SiteLimits, tenant: str = "", n: int = 1) -> float:
        """Take `n` tokens of each rate that applies: 0.0, or seconds to wait (`denied`: why)."""
        chain = site.chains.get(tenant)
        if chain is None:
            chain = self._chain(site, tenant)
        if not chain:
            return 0.0
        return self.take(chain, n)

    def refund(self, site: SiteLimits, tenant: str = "", n: int = 1) -> None:
        """Give back the tokens of a message that did not leave."""
        self._table.give_back_rates(self._chain(site, tenant), n)

    def take(self, buckets: tuple[Bucket, ...], n: int = 1) -> float:
        """Take `n` tokens of each of these, or none: 0.0, or seconds to wait (`denied`: why)."""
        wait = self._table.take_rates(buckets, self._clock.monotonic(), n)
        if wait:
            rule: Rule = buckets[self._table.denied].rule
            self.denied = Denied(rule.scope, rule.name, Limit.RATE, rule.rule, rule.value, 0, wait)
        return wait

    def give_back(self, buckets: tuple[Bucket, ...], n: int = 1) -> None:
        """Undo a `take`."""
        self._table.give_back_rates(buckets, n)

    def queue_bucket(self, queue: str, rate: RateLike) -> Bucket:
        """The bucket of a queue that has a rate of its own, one for all workers."""
        bucket = self._queues.get((queue, rate))
        if bucket is None:
            if len(self._queues) >= MAX_SITES:
                self._queues.clear()
            slot = self._table.slot(b"queue:" + queue.encode())
            rule = Rule(Scope.QUEUE, queue, "hook queue_settings", str(rate))
            bucket = Bucket(slot, rate.interval_ns, rate.burst, rule)
            self._queues[queue, rate] = bucket
        return bucket

    def _chain(self, site: SiteLimits, tenant: str) -> tuple[Bucket, ...]:
        chain = site.chains.get(tenant)
        if chain is None:
            if len(site.chains) >= MAX_CHAINS:
                site.chains.clear()
            buckets = (self._tenant_bucket(tenant), site.rate, self._total_rate)
            chain = tuple(bucket for bucket in buckets if bucket is not None)
            site.chains[tenant] = chain
        return chain

    def _tenant_bucket(self, tenant: str) -> Bucket | None:
        rate, key = self._limits.tenant(tenant)
        if rate is None:
            return None
        rule = Rule(Scope.TENANT, tenant, key, str(rate))
        slot = self._table.slot(b"tenant:" + tenant.encode())
        return Bucket(slot, rate.interval_ns, rate.burst, rule)

    # telling

    def explain(self, site: str, tenant: str = "") -> dict[str, object]:
        """The limits that this tenant's messages to this site meet, and how far they are used."""
        state = self.site(site)
        now_ns = int(self._clock.monotonic() * 1e9)
        rates = [self._rate_report(bucket, now_ns) for bucket in self._chain(state, tenant)]
        return {
            "site": site,
            "names": list(state.names),
            "connections": self._places_report(state),
            "total": self._places_report(self._total),
            "rates": rates,
        }

    def _places_report(self, places: _Places) -> dict[str, object]:
        total, columns, waiters, _ = self._table.counts(places.slot)
        return {
            "limit": None if places.limit == UNLIMITED else places.limit,
            "rule": places.rule,
            "open": total,
            "by_worker": list(columns),
            "waiting_workers": [w for w in range(self._table.workers) if waiters >> w & 1],
            "shared_slot": self._table.is_overflow(places.slot),
        }

    def _rate_report(self, bucket: Bucket, now_ns: int) -> dict[str, object]:
        rule: Rule = bucket.rule
        ahead = max(0, self._table.counts(bucket.slot)[3] - now_ns)
        left = (bucket.burst * bucket.interval_ns - ahead) // bucket.interval_ns
        return {
            "scope": rule.scope,
            "name": rule.name,
            "limit": rule.value,
            "rule": rule.rule,
            "left_now": max(0, left),
            "shared_slot": self._table.is_overflow(bucket.slot),
        }
