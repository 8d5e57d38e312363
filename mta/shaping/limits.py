"""What is limited to how much, and by which line of the configuration; pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

UNLIMITED = 0xFFFF_FFFF  # more connections than a node can have
Lifted = Literal["none"]  # a site is to have no limit, whatever the default says


class RateLike(Protocol):
    """A rate as shaping reads it; `str()` is what people see."""

    @property
    def interval_ns(self) -> int:
        """Nanoseconds from one to the next, rounded up."""
        ...

    @property
    def burst(self) -> int:
        """How many at once, 1 or more."""
        ...


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` every `per` seconds: at most `count / per * T + burst` in every window T."""

    count: float
    per: float = 1.0
    burst: int = 1

    @property
    def interval_ns(self) -> int:
        """Nanoseconds from one to the next, rounded up, so that the limit stays a limit."""
        return math.ceil(self.per * 1e9 / self.count)

    def __str__(self) -> str:
        per = "s" if self.per == 1 else f"{self.per:g}s"
        return f"{self.count:g}/{per}, burst={self.burst}"


@dataclass(frozen=True, slots=True)
class LimitSpec:
    """Connections at once and messages per time; None = what the default says, or no limit."""

    connections: int | Lifted | None = None
    rate: RateLike | Lifted | None = None

    def __post_init__(self) -> None:
        if isinstance(self.connections, int) and not 1 <= self.connections < UNLIMITED:
            raise ValueError(f"connections = {self.connections}: 1 or more are needed")


class Resolved(NamedTuple):
    """The limits of one site, each with the key of the setting that gave it ("" = none did)."""

    connections: int
    connections_rule: str
    rate: RateLike | None
    rate_rule: str


@dataclass(frozen=True, slots=True)
class Limits:
    """All limits of a node, as the configuration has them.

    `sites`: limits by a site's name, a domain or `*.suffix`; `tenants`: a rate by tenant.
    """

    default: LimitSpec = LimitSpec()
    sites: Mapping[str, LimitSpec] = field(default_factory=dict)
    total: LimitSpec = LimitSpec()
    total_rule: str = "delivery.max_connections"  # the setting that `total` comes from
    tenants: Mapping[str, RateLike] = field(default_factory=dict)

    def site(self, names: Sequence[str]) -> Resolved:
        """The limits of a site that goes by these names: of several that fit, the strictest.

        The default counts only where no name has a setting of its own.
        """
        connections, connections_rule = UNLIMITED, ""
        rate: RateLike | None = None
        rate_rule = ""
        for key, spec in self._first(names, "connections"):
            if isinstance(spec.connections, int) and spec.connections < connections:
                connections, connections_rule = spec.connections, f"limits.site.{key}.connections"
        for key, spec in self._first(names, "rate"):
            found = spec.rate
            if found is None or found == "none":
                continue
            if rate is None or found.interval_ns > rate.interval_ns:
                rate, rate_rule = found, f"limits.site.{key}.rate"
        return Resolved(connections, connections_rule, rate, rate_rule)

    def _first(self, names: Iterable[str], what: str) -> list[tuple[str, LimitSpec]]:
        """Of each name the most particular setting of this limit; of none, the default."""
        found = []
        for name in names:
            of_name = (one for one in self._specs(name) if getattr(one[1], what) is not None)
            found += [one for one in (next(of_name, None),) if one is not None]
        return found or [("default", self.default)]

    def _specs(self, name: str) -> Iterator[tuple[str, LimitSpec]]:
        """What is set for one name, the most particular first."""
        labels = name.lower().split(".")
        patterns = [".".join(labels)]
        patterns += ["*." + ".".join(labels[i:]) for i in range(1, len(labels))]
        for pattern in [*patterns, "*"]:
            spec = self.sites.get(pattern)
            if spec is not None:
                yield f'"{pattern}"', spec

    def tenant(self, name: str) -> tuple[RateLike | None, str]:
        """A tenant's rate and the key of its setting."""
        rate = self.tenants.get(name)
        return rate, f"tenant.{name}.rate" if rate is not None else ""
