"""What the queue manager is given: its settings, and what its neighbours lend it (compiled)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mta.clock import Clock
    from mta.model import Message, Outcome, Peer, Recipient, Refusal
    from mta.queues.lanes import ReadyQueue
    from mta.queues.retry import RetryPolicy


EVENTS = ("received", "delivered", "deferred", "bounced", "expired", "removed")


class Site(Protocol):
    """The part of `mta.routing.site.SitePlan` that queues look at."""

    @property
    def key(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def mx(self) -> bool: ...


class Route(Protocol):
    """The part of `mta.routing.rules.Route` that queues look at."""

    @property
    def retry(self) -> str: ...
    @property
    def pool(self) -> str: ...
    @property
    def klass(self) -> int | None: ...


class Plan(Protocol):
    """What routing says of a destination (`mta.routing.planner.Plan`)."""

    @property
    def site(self) -> Site: ...
    @property
    def route(self) -> Route: ...


class Hand(Protocol):
    """Where the message is noted that is handled at this instant (`mta.supervisor.poison`)."""

    def hold(self, id: bytes, /) -> None: ...
    def drop(self) -> None: ...


class Egress(Protocol):
    """The part of `mta.routing.egress.Egress` that queues ask."""

    def sources(self, plan: Any, message: Message) -> Sequence[str]: ...
    def choose(self, plan: Any, message: Message, room: Callable[[str], bool]) -> str: ...


class Failed(Protocol):
    """Makes the notification of an outcome, or None where its sender wants none."""

    def __call__(
        self,
        message: Message,
        recipient: Recipient,
        outcome: Outcome,
        peer: Peer | None,
        action: str = "failed",
        /,
    ) -> Message | None: ...


class Settings:
    """The `[queue]` section and what belongs to it."""

    __slots__ = (
        "lane_items", "memory_items", "body_memory", "per_transaction", "retries", "delay_after",
        "delay_unasked", "by_domain",
    )  # fmt: skip

    def __init__(
        self,
        *,
        lane_items: int = 2000,
        memory_items: int = 200_000,
        body_memory: int = 256 << 20,
        per_transaction: int = 100,
        retries: dict[str, RetryPolicy] | None = None,
        delay_after: float = 0,
        delay_unasked: bool = False,
        by_domain: bool = True,
    ) -> None:
        self.lane_items = lane_items  # parcels a lane holds in memory
        self.memory_items = memory_items  # recipients in memory
        self.body_memory = body_memory  # octets of content in memory
        self.per_transaction = per_transaction  # recipients of one parcel
        self.retries: dict[str, RetryPolicy] = retries or {}  # "" is the default
        self.delay_after = delay_after  # seconds after which a sender is told of it; 0: never
        self.delay_unasked = delay_unasked  # also where nothing was said of notifications
        self.by_domain = by_domain  # no transaction to MX hosts has recipients of two domains


class Ports:
    """What the worker lends the queue manager."""

    __slots__ = (
        "clock", "random", "peek", "resolve", "wake", "failed", "bury", "memory", "take_memory",
        "receiving", "loading", "egress",
    )  # fmt: skip

    def __init__(
        self,
        *,
        clock: Clock,
        random: Callable[[], float],
        peek: Callable[[Message, Recipient], Plan | Refusal | None],
        resolve: Callable[[Message, Recipient, Callable[[Plan | Refusal], None]], None],
        wake: Callable[[ReadyQueue], None],
        failed: Failed,
        bury: Callable[[Message, Recipient, Outcome, Callable[[], None]], None],
        memory: Callable[[int], None] | None = None,
        take_memory: Callable[[int], bool] | None = None,
        receiving: Hand | None = None,
        loading: Hand | None = None,
        egress: Egress | None = None,
    ) -> None:
        self.clock, self.random = clock, random
        self.peek, self.resolve, self.wake = peek, resolve, wake
        self.failed, self.bury = failed, bury
        self.memory = memory  # told of octets of content kept, or dropped: < 0
        self.take_memory = take_memory  # room for content that is read back
        self.receiving = receiving  # for messages that come in
        self.loading = loading  # for messages that are loaded
        self.egress = egress  # None: everything leaves from the default source

    def count_memory(self, octets: int) -> None:
        """So many octets of content are in memory now; below 0, no longer."""
        if self.memory is not None:
            self.memory(octets)

    def take_room(self, octets: int) -> bool:
        """Count content that is to be read back, if there is room for it."""
        return self.take_memory is None or self.take_memory(octets)


class Counters:
    """Events since the worker started, one a recipient."""

    __slots__ = EVENTS

    def __init__(self) -> None:
        self.received = self.delivered = self.deferred = 0
        self.bounced = self.expired = self.removed = 0

    def figures(self) -> dict[str, int]:
        """All of them, by name."""
        return {name: getattr(self, name) for name in EVENTS}
