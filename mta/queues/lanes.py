"""Ready queues: what may leave now, in fair order (compiled).

A *parcel* is one message and those of its recipients that go to one destination together. A ready
queue (egress source x site) holds parcels in lanes (class x tenant x campaign). Which lane is next:

- Among classes by credit: in a round a class may send `CLASS_CREDIT` parcels, the highest first.
  So a receipt leaves next, and bulk still moves while receipts never end.
- Among a class's tenants by deficit round robin (Shreedhar and Varghese, 1995), in octets.
- Among a tenant's campaigns in turn.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from mta.model import Class

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mta.model import Message, Recipient

CLASS_CREDIT = (32, 8, 1)
QUANTUM = 64 * 1024  # octets a tenant may send in its turn
OVERHEAD = 1024  # octets that an empty message counts for
_QUANTUM, _OVERHEAD = QUANTUM, OVERHEAD  # as C integers (lanes.pxd)


class Parcel:
    """One message and its recipients that go to one destination together."""

    __slots__ = ("message", "recipients", "ready", "queued_us", "dns_us", "cleared")

    def __init__(self, message: Message, recipients: list[Recipient], queued_us: int) -> None:
        self.message, self.recipients = message, recipients
        self.queued_us = queued_us  # wall clock from which waiting is counted
        self.dns_us = 0
        self.ready: ReadyQueue | None = None
        # Members of `choose` that took their time and need not be asked again, and what each said.
        self.cleared: dict[Any, Any] | None = None

    def __repr__(self) -> str:
        return f"<Parcel {self.message!r} to {len(self.recipients)} recipients>"


def _cost(parcel: Parcel) -> int:
    """What it counts for in its tenant's turn, octets."""
    return parcel.message.size + _OVERHEAD


class Lane:
    """Parcels of one campaign of one tenant, oldest first."""

    __slots__ = ("campaign", "parcels", "parked")

    def __init__(self, campaign: str) -> None:
        self.campaign = campaign
        self.parcels: deque[Parcel] = deque()
        self.parked = False  # a queue's rate denies it: not active until unparked


class TenantTurn:
    """A tenant's lanes within one class, and what is left of its turn."""

    __slots__ = ("tenant", "lanes", "active", "deficit", "parked")

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.lanes: dict[str, Lane] = {}
        self.active: list[Lane] = []  # lanes that hold something
        self.deficit = 0
        self.parked = False  # its own rate denies it: out of the ring until unparked


class ReadyQueue:
    """The parcels for one site from one source, in fair order."""

    __slots__ = (
        "name", "key", "plan", "source", "count", "lane_items", "pool", "_tenants", "_rings",
        "_credit",
    )  # fmt: skip

    def __init__(
        self, key: object, name: str, plan: Any, lane_items: int, source: str = "default"
    ) -> None:
        self.key, self.name, self.plan, self.source = key, name, plan, source
        self.lane_items = lane_items
        self.count = 0  # parcels held
        self.pool: object = None  # the delivery pool that empties it
        self._tenants: tuple[dict[str, TenantTurn], ...] = ({}, {}, {})
        # Lists, though they turn: an empty deque has 760 octets, and most rings have one tenant.
        self._rings: tuple[list[TenantTurn], ...] = ([], [], [])
        self._credit = list(CLASS_CREDIT)

    def __len__(self) -> int:
        return self.count

    def room(self, message: Message) -> int:
        """How many more parcels the lane of `message` takes."""
        turn = self._tenants[message.klass].get(message.tenant)
        lane = turn.lanes.get(message.campaign) if turn else None
        return self.lane_items - len(lane.parcels) if lane else self.lane_items

    def push(self, parcel: Parcel) -> None:
        """Put a parcel at the end of its lane."""
        message = parcel.message
        turns = self._tenants[message.klass]
        turn = turns.get(message.tenant)
        if turn is None:
            turn = turns[message.tenant] = TenantTurn(message.tenant)
        lane = turn.lanes.get(message.campaign)
        if lane is None:
            lane = turn.lanes[message.campaign] = Lane(message.campaign)
        if not lane.parcels:
            if not turn.active and not turn.parked:
                self._rings[message.klass].append(turn)
            turn.active.append(lane)
        lane.parcels.append(parcel)
        parcel.ready = self
        self.count += 1

    def put_back(self, parcel: Parcel) -> None:
        """Undo a `pop`: the parcel is the next again, and its class and tenant have their turn."""
        message = parcel.message
        klass, ring = message.klass, self._rings[message.klass]
        self.push(parcel)
        turn = self._tenants[klass][message.tenant]
        lane = turn.lanes[message.campaign]
        lane.parcels.rotate(1)
        if lane.parked:
            return
        if turn.active[0] is not lane:
            turn.active.remove(lane)
            turn.active.insert(0, lane)
        if turn.parked:
            return
        self._credit[klass] = min(self._credit[klass] + 1, CLASS_CREDIT[klass])
        turn.deficit = min(turn.deficit + _cost(parcel), max(QUANTUM, _cost(parcel)))
        if ring[0] is not turn:
            ring.remove(turn)
            ring.insert(0, turn)

    def pop(self) -> Parcel | None:
        """The parcel whose turn it is, or None when no lane may send."""
        rings, credit = self._rings, self._credit
        for klass in range(3):
            if rings[klass] and credit[klass] > 0:
                credit[klass] -= 1
                return self._take(klass)
        credit[:] = CLASS_CREDIT
        for klass in range(3):
            if rings[klass]:
                credit[klass] -= 1
                return self._take(klass)
        return None

    def _take(self, klass: int) -> Parcel:
        """The next parcel of a class whose ring is not empty."""
        ring = self._rings[klass]
        turn = ring[0]
        lane = turn.active[0]
        if len(ring) > 1:
            cost = _cost(lane.parcels[0])
            while turn.deficit < cost:
                turn.deficit += _QUANTUM
                ring.append(ring.pop(0))
                turn = ring[0]
                lane = turn.active[0]
                cost = _cost(lane.parcels[0])
            turn.deficit -= cost
        parcel = lane.parcels.popleft()
        self.count -= 1
        if not lane.parcels:
            turn.active.pop(0)
            del turn.lanes[lane.campaign]
            if not turn.active:
                ring.pop(0)
                if not turn.lanes:  # else they are parked
                    del self._tenants[klass][turn.tenant]
        elif len(turn.active) > 1:
            turn.active.append(turn.active.pop(0))
        return parcel

    def park(self, parcel: Parcel) -> None:
        """Put `parcel` back and keep its tenant's class out of the ring until `unpark`."""
        message = parcel.message
        self.put_back(parcel)
        turn = self._tenants[message.klass][message.tenant]
        if not turn.parked:
            turn.parked = True
            self._rings[message.klass].remove(turn)

    def unpark(self, tenant: str | None = None) -> None:
        """Let a parked tenant send again, or all of them."""
        for klass, turns in enumerate(self._tenants):
            for turn in list(turns.values()) if tenant is None else [turns.get(tenant)]:
                if turn is not None and turn.parked:
                    turn.parked = False
                    if turn.active:
                        self._rings[klass].append(turn)

    def park_lane(self, parcel: Parcel) -> None:
        """Put `parcel` back and keep its lane from sending until `unpark_lane`."""
        message = parcel.message
        self.put_back(parcel)
        turn = self._tenants[message.klass][message.tenant]
        lane = turn.lanes[message.campaign]
        if not lane.parked:
            lane.parked = True
            turn.active.remove(lane)
            if not turn.active and not turn.parked:
                self._rings[message.klass].remove(turn)

    def unpark_lane(self, message: Message) -> None:
        """Let the parked lane of a message send again."""
        turn = self._tenants[message.klass].get(message.tenant)
        lane = turn.lanes.get(message.campaign) if turn else None
        if turn is None or lane is None or not lane.parked:
            return
        lane.parked = False
        if not turn.active and not turn.parked:
            self._rings[message.klass].append(turn)
        turn.active.append(lane)

    def waiting(self) -> int:
        """How many classes and tenants may send now."""
        rings = self._rings
        return len(rings[0]) + len(rings[1]) + len(rings[2])

    def highest(self) -> int:
        """The highest class that waits, or 3."""
        rings = self._rings
        return 0 if rings[0] else 1 if rings[1] else 2 if rings[2] else 3

    def parcels(self) -> Iterator[Parcel]:
        """All parcels, lane by lane."""
        for turns in self._tenants:
            for turn in turns.values():
                for lane in turn.lanes.values():
                    yield from lane.parcels

    def drain(self) -> list[Parcel]:
        """Take everything out."""
        everything = list(self.parcels())
        for klass in Class:
            self._tenants[klass].clear()
            self._rings[klass].clear()
        self.count = 0
        return everything

    def __repr__(self) -> str:
        return f"<ReadyQueue {self.name} from {self.source}: {self.count} parcels>"
