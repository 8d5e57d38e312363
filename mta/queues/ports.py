"""What the queue manager is given: its settings, and what its neighbours lend it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mta.clock import Clock
    from mta.model import Message, Outcome, Peer, Recipient, Refusal
    from mta.queues.lanes import ReadyQueue
    from mta.queues.retry import RetryPolicy


class Site(Protocol):
    """The part of `mta.routing.site.SitePlan` that queues look at."""

    @property
    def key(self) -> str: ...
    @property
    def name(self) -> str: ...


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


@dataclass(slots=True)
class Settings:
    """The `[queue]` section and what belongs to it."""

    lane_items: int = 2000  # parcels a lane holds in memory
    memory_items: int = 200_000  # recipients in memory
    body_memory: int = 256 << 20  # octets of content in memory
    per_transaction: int = 100  # recipients of one parcel
    retries: dict[str, RetryPolicy] = field(default_factory=dict)  # "" is the default
    delay_after: float = 0  # seconds after which a sender is told of a delay; 0: never
    delay_unasked: bool = False  # also where nothing was said of notifications


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


@dataclass(slots=True)
class Ports:
    """What the worker lends the queue manager."""

    clock: Clock
    random: Callable[[], float]
    peek: Callable[[Message, Recipient], Plan | Refusal | None]
    resolve: Callable[[Message, Recipient, Callable[[Plan | Refusal], None]], None]
    wake: Callable[[ReadyQueue], None]
    failed: Failed
    bury: Callable[[Message, Recipient, Outcome, Callable[[], None]], None]
    memory: Callable[[int], None] | None = None  # told of octets of content kept, or dropped: < 0
    hand: Hand | None = None  # for messages that are loaded
    egress: Egress | None = None  # None: everything leaves from the default source


@dataclass(slots=True)
class Counters:
    """Events since the worker started, one a recipient."""

    received: int = 0
    delivered: int = 0
    deferred: int = 0
    bounced: int = 0
    expired: int = 0
    removed: int = 0
