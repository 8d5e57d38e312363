"""From where a message leaves: sources, and pools of them.

A ready queue is one source's mail for one site. Which source of its pool a parcel gets is chosen
when it enters a lane, by smooth weighted round robin (as nginx's upstreams) for each pool and site,
so that every destination sees the pool's weights. A source whose lane is full leaves its turn to
the others: one that is blocked does not hold up the pool.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from mta.routing.mx import defer

if TYPE_CHECKING:
    from mta.config.schema import Config
    from mta.model import Message
    from mta.routing.hosts import Targets
    from mta.routing.planner import Plan

DEFAULT_NAME = "default"
NO_CHOICE = {DEFAULT_NAME: 1}
ROTATIONS = 100_000  # (pool, site) remembered
REPORTED = 1000  # unknown pools remembered, so that each is told once


class Source(NamedTuple):
    """An egress source."""

    name: str
    addresses: tuple[str, ...] = ()  # local addresses, one a family; () lets the system choose
    ehlo: str = ""  # name in EHLO; "" is the server's own

    def local(self, remote: str) -> str | None:
        """The address to bind to for a connection to `remote`; "" is any, None: not this family."""
        if not self.addresses:
            return ""
        six = ":" in remote
        return next((address for address in self.addresses if (":" in address) == six), None)


DEFAULT = Source(DEFAULT_NAME)


class Weighted:
    """One source of a rotation."""

    __slots__ = ("name", "weight", "current")

    def __init__(self, name: str, weight: int) -> None:
        self.name, self.weight, self.current = name, weight, 0


class Rotation:
    """Smooth weighted round robin: {a: 3, b: 1} gives a a b a."""

    __slots__ = ("entries",)

    def __init__(self, weights: Mapping[str, int]) -> None:
        self.entries = [Weighted(name, weight) for name, weight in weights.items()]

    def next(self, room: Callable[[str], bool]) -> str:
        """Whose turn it is among those with room, or among all if none has any."""
        entries = [entry for entry in self.entries if room(entry.name)] or self.entries
        total = 0
        for entry in entries:
            entry.current += entry.weight
            total += entry.weight
        best = max(entries, key=lambda entry: entry.current)
        best.current -= total
        return best.name


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Egress:
    """The sources and pools of one worker."""

    def __init__(
        self,
        sources: Mapping[str, Source],
        pools: Mapping[str, Mapping[str, int]],
        default_pool: str = "",
        report: Callable[[str], None] = _to_stderr,
    ) -> None:
        self._sources = {DEFAULT_NAME: DEFAULT, **sources}
        # A source is a pool of its own: PowerMTA's X-virtual-MTA names either.
        self._pools = {name: {name: 1} for name in sources} | dict(pools)
        self._default = self._pools.get(default_pool, NO_CHOICE)
        self._rotations: dict[tuple[str, str], Rotation] = {}
        self._report, self._unknown = report, set[str]()

    def __repr__(self) -> str:
        return f"<Egress {len(self._sources)} sources, {len(self._rotations)} rotations>"

    def source(self, name: str) -> Source | None:
        """The source of this name."""
        return self._sources.get(name)

    def sources(self, plan: Plan, message: Message) -> Sequence[str]:
        """The sources that a message may leave from by this plan."""
        return tuple(self._weights(plan, message))

    def choose(self, plan: Plan, message: Message, room: Callable[[str], bool]) -> str:
        """The source whose turn it is; `room` tells whether a source's lane takes one more."""
        weights = self._weights(plan, message)
        if len(weights) == 1:
            return next(iter(weights))
        key = plan.route.pool or message.pool, plan.site.key
        rotation = self._rotations.get(key)
        if rotation is None:
            if len(self._rotations) >= ROTATIONS:
                self._rotations.clear()
            rotation = self._rotations[key] = Rotation(weights)
        return rotation.next(room)

    def _weights(self, plan: Plan, message: Message) -> Mapping[str, int]:
        if plan.route.transport:
            return NO_CHOICE
        name = plan.route.pool or message.pool
        if not name:
            return self._default
        weights = self._pools.get(name)
        if weights is None:
            self._tell(name)
            return self._default
        return weights

    def _tell(self, name: str) -> None:
        if name not in self._unknown and len(self._unknown) < REPORTED:
            self._unknown.add(name)
            used = ", ".join(self._default)
            self._report(f'there is no pool "{name}": its mail leaves from source {used}')

    def changed(self, old: Egress) -> frozenset[str]:
        """Names of sources that `old` has otherwise, or that only one of the two has."""
        names = old._sources.keys() | self._sources.keys()
        return frozenset(n for n in names if old.source(n) != self.source(n))


def from_config(config: Config) -> Egress:
    """The sources and pools of the configuration."""
    sources = {
        name: Source(name, tuple(map(str.lower, one.address)), one.ehlo)
        for name, one in config.source.items()
    }
    pools = {name: pool.sources for name, pool in config.pool.items()}
    return Egress(sources, pools, config.delivery.default_pool)


def reachable(targets: Targets, source: Source) -> Targets:
    """Without the targets whose address family the source lacks."""
    kept = [target for target in targets if source.local(target.address) is not None]
    if targets and not kept:
        family = "IPv6" if ":" in targets[0].address else "IPv4"
        text = f"source {source.name} has no {family} address, and {targets[0].host} no other"
        targets.outcome = defer("4.4.1", text)
    targets[:] = kept
    return targets
