"""The connections of one ready queue: how many, and what if none opens (compiled).

A pool opens connections when more parcels wait than those it has will soon take
(`mta.delivery.growth`). Each needs a lease from the gate (node-wide limits); a pool without one
waits until somebody's release wakes it. The connection that was used last is used next, so those
that are not needed are idle until their time is over.

A *dial* is one attempt to get a connection: the site's hosts in order, until one is ready. When
every host fails and no other connection lives, what waits is deferred with the last reason and
the site rests until the host book says that a host may be tried again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mta.delivery.growth import STUCK, Growth
from mta.model import Kind, Outcome, Peer, Stages
from mta.queues.unread import settle

if TYPE_CHECKING:
    import asyncio

    from mta.delivery.ahead import Ready
    from mta.delivery.dispatcher import Dispatcher, Missed
    from mta.delivery.feeder import Connection
    from mta.queues.lanes import Parcel, ReadyQueue
    from mta.routing.hosts import Target, Targets

_READ_AHEAD = 32  # contents asked for at once
_READ_OCTETS = 4 << 20  # but not much more than this
FULL = 0.05  # seconds until memory that had no room for content is asked again
_READS_AT_ONCE = 2  # batches under way for one pool


class Dial:
    """The hosts of one new connection, and what is to be known of it while it lives."""

    __slots__ = ("pool", "targets", "place", "target", "last", "began", "ready_at", "turn")

    def __init__(self, pool: Pool, targets: Targets, began: float) -> None:
        self.pool, self.began = pool, began
        self.targets: Targets | None = targets  # None once it is ready
        self.place = 0  # of the next one to try
        self.target: Target | None = None  # the one it is, or was last
        self.ready_at = 0.0  # loop time at which its connection was ready
        self.turn = 0.0  # seconds it is used before another site may get its lease
        self.last = targets.outcome  # why there is none, then what the last one said


class Pool:
    """Keeps as many connections open as its ready queue is worth; one for each ready queue."""

    __slots__ = (
        "dispatcher", "ready", "connections", "idle", "dialling", "reading", "woken", "waits",
        "starved", "rested_until", "paced", "again", "again_at", "moved_at", "growth",
        "in_flight", "target", "peer", "limits", "prepared",
    )  # fmt: skip

    def __init__(self, dispatcher: Dispatcher, ready: ReadyQueue) -> None:
        self.dispatcher, self.ready = dispatcher, ready
        self.connections: dict[Connection, None] = {}  # a third of a set's memory
        self.idle: dict[Connection, None] = {}  # the one used last at the end
        self.limits = dispatcher.gate.site(ready.name)
        self.limits.users += 1
        self.prepared: Ready | None = None  # contents that were prepared ahead
        self.growth = Growth()
        self.dialling = 0  # connections being opened
        self.in_flight = 0  # attempts
        self.reading = 0  # batches of contents being read
        self.woken = False  # in the dispatcher's list of pools to work
        self.waits = False  # for a lease
        self.starved = False  # it is one of the node's leases that was missing
        self.paced: asyncio.TimerHandle | None = None  # wakes it when its rate allows
        self.again: asyncio.Handle | None = None  # wakes it to look at its connections
        self.again_at = 0.0  # loop time
        self.moved_at = 0.0  # loop time at which a connection last took something
        self.rested_until = 0.0  # no dialling before this monotonic time
        self.target: Target | None = None  # of the connection that was ready last
        self.peer: Peer | None = None

    def work(self) -> None:
        """Give idle connections something to do, and open more where that is not enough."""
        idle = self.idle
        if self.paced or not self.waiting():
            return
        for _ in range(min(len(idle), self.count())):
            connection = idle.popitem()[0]
            connection.kick()
            if self.paced or not self.waiting() or connection in idle:
                return  # what is left waits for a rate, a hook or its content
        if idle:
            return
        if not self.waits:
            self._grow()
        if self.connections:
            self.dispatcher.look_again(self, STUCK)

    def rests(self) -> bool:
        """True while a rate lets nothing leave."""
        return self.paced is not None

    def waiting(self) -> bool:
        """True when something may be sent, as far as its lanes and what is prepared know."""
        prepared = self.prepared
        return self.ready.waiting() > 0 or prepared is not None and len(prepared.attempts) > 0

    def count(self) -> int:
        """Parcels that wait in its lanes, or are being prepared."""
        prepared = self.prepared
        return self.ready.count if prepared is None else self.ready.count + len(prepared)

    def _grow(self) -> None:
        """Open connections for what waits, unless the site rests."""
        dispatcher, growth = self.dispatcher, self.growth
        now = dispatcher.clock.monotonic()
        if now < self.rested_until:
            dispatcher.look_again(self, self.rested_until - now)
            return
        now = dispatcher.loop.time()
        growth.learn(now)
        waiting, still = self.count(), now - self.moved_at
        while growth.wanted(waiting, len(self.connections), self.dialling, still):
            if not dispatcher.open(self):
                return

    def next_parcel(self) -> Parcel | None:
        """The next parcel with its content in memory; asks for contents that are not."""
        manager = self.dispatcher.manager
        parcel = manager.take(self.ready)
        if parcel is None or parcel.message.body is not None:
            return parcel
        cold, octets = [parcel], parcel.message.size
        while len(cold) < _READ_AHEAD and octets < _READ_OCTETS and self.reading < _READS_AT_ONCE:
            parcel = manager.take(self.ready)
            if parcel is None or parcel.message.body is not None:
                break
            cold.append(parcel)
            octets += parcel.message.size
        else:
            parcel = None
        self._read(cold)
        return parcel

    def _read(self, cold: list[Parcel]) -> None:
        """Read contents back where there is room, or one of a pool that has none in flight."""
        manager = self.dispatcher.manager
        octets = sum(parcel.message.size for parcel in cold)
        if self.reading >= _READS_AT_ONCE or not manager.ports.take_room(octets):
            first = cold.pop(0)
            for parcel in reversed(cold):
                manager.give_back(parcel)
            if self.reading or self.in_flight or not self.dispatcher.exceed(self, first.message):
                manager.give_back(first)
                if self.reading < _READS_AT_ONCE:
                    self.dispatcher.look_again(self, FULL)
                return
            cold, octets = [first], first.message.size
            manager.ports.count_memory(octets)
        self.reading += 1

        def arrived(unread: Missed) -> None:
            self.reading -= 1
            manager.ports.count_memory(-octets)  # those that have come are counted one by one
            if self.dispatcher.draining:
                return
            for parcel in reversed(cold):
                message = parcel.message
                if message.body is None and message.id in unread:
                    settle(manager, parcel, unread[message.id])
                else:
                    manager.give_back(parcel)
            self.dispatcher.wake(self.ready)

        self.dispatcher.read_bodies([parcel.message for parcel in cold], arrived)

    def share(self, connection: Connection) -> None:
        """Have a connection that is ready keep what others to the same host have already."""
        dial: Dial = connection.dial
        dial.targets = dial.last = None
        if dial.target == self.target and connection.peer == self.peer:
            dial.target, connection.peer = self.target, self.peer
        else:
            self.target, self.peer = dial.target, connection.peer

    def dial_failed(self, dial: Dial) -> None:
        """No host answered: rest, and defer what waits unless a connection lives."""
        self.dialling -= 1
        dispatcher = self.dispatcher
        outcome = dial.last or Outcome(Kind.DEFERRED, 0, "4.4.1", "no host to try", "connect")
        self.rested_until = dispatcher.rested_until(dial)
        if not (self.connections or dispatcher.halted):
            self.defer_all(outcome)
        dispatcher.wake(self.ready)

    def defer_all(self, outcome: Outcome) -> None:
        """Everything that waits in memory gets this outcome."""
        manager, peer = self.dispatcher.manager, Peer(self.ready.name, "", self.ready.source)
        decider = self.dispatcher.decider
        decider.ahead.undo(self)
        while (parcel := manager.take(self.ready)) is not None:
            decider.settle(parcel, [outcome] * len(parcel.recipients), peer, Stages())

    def __repr__(self) -> str:
        return (
            f"<Pool {self.ready.name}: {len(self.connections)} connections, {len(self.idle)} idle,"
            f" {self.dialling} opening, {self.ready.count} parcels wait>"
        )
