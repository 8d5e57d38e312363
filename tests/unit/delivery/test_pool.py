"""A pool's connections: which is used next, and when more are opened."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mta.delivery import feeder
from mta.delivery.growth import FIRST, SAMPLES, STUCK
from mta.delivery.pool import Dial, Pool
from mta.model import Message, Peer, Recipient
from mta.queues.lanes import Parcel, ReadyQueue
from mta.routing.hosts import Target, Targets
from mta.shaping.gate import SiteLimits
from mta.spool import Gone, Unreadable


class Connection:
    """Takes a parcel at each kick, or finds nothing it may take."""

    def __init__(self, pool: Pool, *, takes: bool = True) -> None:
        self.pool, self.takes, self.kicks = pool, takes, 0
        pool.connections[self] = None  # type: ignore[index]
        self.rest()

    def rest(self) -> None:
        self.pool.idle[self] = None  # type: ignore[index]

    def kick(self) -> None:
        self.kicks += 1
        if self.takes:
            self.pool.ready.pop()
        else:
            self.rest()


class Dispatcher:
    """Opens all that is asked for."""

    def __init__(self) -> None:
        self.now, self.opened, self.looks, self.room = 50.0, 0, list[float](), 1000
        self.loop = SimpleNamespace(time=lambda: self.now)
        self.clock = SimpleNamespace(monotonic=lambda: self.now)
        self.may_exceed = True
        self.gate = SimpleNamespace(site=lambda name: SiteLimits(name, 0))

    def open(self, pool: Pool) -> bool:
        if self.opened >= self.room:
            pool.waits = True
            return False
        self.opened += 1
        pool.dialling += 1
        return True

    def look_again(self, pool: Pool, seconds: float) -> None:
        self.looks.append(seconds)

    def exceed(self, pool: Pool, message: Message) -> bool:
        return self.may_exceed


@pytest.fixture
def pool() -> Pool:
    dispatcher: Any = Dispatcher()
    pool = Pool(dispatcher, ReadyQueue("k", "site", None, 100_000))
    pool.moved_at = dispatcher.now
    return pool


def put(pool: Pool, count: int) -> None:
    for number in range(count):
        message = Message(number.to_bytes(16, "big"), "a@x", size=10)
        pool.ready.push(Parcel(message, [Recipient(message, 0, "b@y")], 0))


def test_the_connection_used_last_is_used_next_so_that_others_may_end(pool: Pool) -> None:
    one, two = Connection(pool), Connection(pool)
    for _ in range(3):
        put(pool, 1)
        pool.work()
        two.rest()
    assert (one.kicks, two.kicks) == (0, 3)
    put(pool, 2)
    pool.work()
    assert (one.kicks, two.kicks) == (1, 4)


def test_nothing_is_opened_while_a_connection_is_idle(pool: Pool) -> None:
    one = Connection(pool, takes=False)
    put(pool, 500)
    pool.work()
    assert one.kicks == 1 and pool.dispatcher.opened == 0  # type: ignore[attr-defined]


def test_what_waits_opens_connections_step_by_step(pool: Pool) -> None:
    dispatcher: Any = pool.dispatcher
    put(pool, 200)
    pool.work()
    assert (pool.dialling, dispatcher.looks) == (1, [])
    pool.connections[object()] = None  # type: ignore[index]
    pool.dialling, pool.growth.messages, pool.growth.spent_us = 0, SAMPLES, SAMPLES * 200_000
    pool.work()
    assert (pool.dialling, dispatcher.looks) == (FIRST, [STUCK])


def test_a_pool_that_waits_for_a_lease_does_not_ask_again(pool: Pool) -> None:
    dispatcher: Any = pool.dispatcher
    dispatcher.room = 0
    put(pool, 200)
    pool.work()
    dispatcher.room = 1
    pool.work()
    assert dispatcher.opened == 0
    pool.waits = False  # a release
    pool.work()
    assert dispatcher.opened == 1


def test_a_site_that_rests_is_looked_at_when_it_may_be_tried_again(pool: Pool) -> None:
    dispatcher: Any = pool.dispatcher
    pool.rested_until = dispatcher.now + 15
    put(pool, 1)
    pool.work()
    assert (dispatcher.opened, dispatcher.looks) == (0, [15.0])


class Memory:
    """A manager with contents on disk and so many octets of room for them."""

    def __init__(self, pool: Pool, room: int) -> None:
        self.ready, self.left, self.given_back = pool.ready, room, 0
        self.ports = SimpleNamespace(take_room=self._take, count_memory=self._count)
        self.asked: list[list[Message]] = []
        self.arrived: list[Any] = []
        dispatcher: Any = pool.dispatcher
        dispatcher.manager, dispatcher.read_bodies = self, self._read
        dispatcher.draining, dispatcher.wake = False, lambda ready: None

    def _take(self, octets: int) -> bool:
        if octets > self.left:
            return False
        self.left -= octets
        return True

    def _count(self, octets: int) -> None:
        self.left -= octets

    def _read(self, messages: list[Message], arrived: Any) -> None:
        self.asked.append(messages)
        self.arrived.append(arrived)

    def take(self, ready: ReadyQueue) -> Parcel | None:
        return ready.pop()

    def give_back(self, parcel: Parcel) -> None:
        self.given_back += 1
        self.ready.put_back(parcel)


def fill(pool: Pool, sizes: list[int]) -> None:
    for number, size in enumerate(sizes):
        message = Message(bytes([number]) * 16, "s@x", size=size, total=1)
        pool.ready.push(Parcel(message, [Recipient(message, 0, "a@x")], 0))


def test_contents_are_read_back_while_there_is_room(pool: Pool) -> None:
    fill(pool, [100, 100, 100])
    memory = Memory(pool, 1000)
    assert pool.next_parcel() is None
    assert [len(messages) for messages in memory.asked] == [3] and memory.left == 700
    for parcel in [*pool.ready.parcels()]:
        parcel.message.body = b"x"
    memory.arrived[0]({})
    assert memory.left == 1000 and pool.ready.count == 3


def test_only_what_was_not_read_leaves_its_lane(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled: list[tuple[Message, object]] = []
    monkeypatch.setattr(
        "mta.delivery.pool.settle", lambda m, parcel, found: settled.append((parcel.message, found))
    )
    fill(pool, [100, 100, 100, 100])
    memory = Memory(pool, 1000)
    pool.next_parcel()
    ((read, broken, gone, late),) = memory.asked
    read.body = late.body = b"x"  # the last one for another parcel of its message
    unread = {broken.id: Unreadable("EIO", 1.0), gone.id: Gone("hash"), late.id: Unreadable("EIO")}
    memory.arrived[0](unread)
    assert settled == [(gone, unread[gone.id]), (broken, unread[broken.id])]
    assert [parcel.message for parcel in pool.ready.parcels()] == [read, late]
    assert memory.left == 1000


def test_without_room_one_message_is_read_if_nothing_is_in_flight(pool: Pool) -> None:
    fill(pool, [100, 100])
    memory = Memory(pool, 50)
    assert pool.next_parcel() is None
    assert [len(messages) for messages in memory.asked] == [1] and memory.left == -50
    assert pool.ready.count == 1
    assert pool.next_parcel() is None and len(memory.asked) == 1, "one is under way"
    memory.arrived[0]({})
    assert memory.left == 50 and pool.ready.count == 2


def test_without_room_nothing_is_read_where_another_pool_has_done_so(pool: Pool) -> None:
    fill(pool, [100])
    memory = Memory(pool, 50)
    dispatcher: Any = pool.dispatcher
    dispatcher.may_exceed = False
    assert pool.next_parcel() is None
    assert memory.asked == [] and memory.left == 50 and pool.ready.count == 1
    assert len(dispatcher.looks) == 1, "it asks again a little later"


def test_without_room_nothing_is_read_beside_an_attempt(pool: Pool) -> None:
    fill(pool, [100])
    memory = Memory(pool, 50)
    pool.in_flight = 1
    assert pool.next_parcel() is None
    assert memory.asked == [] and memory.left == 50 and pool.ready.count == 1
    dispatcher: Any = pool.dispatcher
    assert len(dispatcher.looks) == 1, "it asks again a little later"


def ready(pool: Pool, host: str) -> feeder.Connection:
    """A connection to `host` that has become ready, made of values of its own."""
    connection = feeder.Connection()
    connection.dial = dial = Dial(pool, Targets(), 0.0)
    dial.target = Target(host, "192.0.2.1", 25)
    connection.peer = Peer(host, "192.0.2.1:25", "default")
    pool.share(connection)
    return connection


def test_connections_to_one_host_share_what_is_known_of_it(pool: Pool) -> None:
    first, second = ready(pool, "mx1.example"), ready(pool, "mx1.example")
    assert second.peer is first.peer
    assert second.dial.target is first.dial.target
    assert second.dial.targets is None

    third = ready(pool, "mx2.example")
    assert (third.peer.name, third.dial.target.host) == ("mx2.example", "mx2.example")


def test_a_host_that_says_more_of_itself_shares_no_peer(pool: Pool) -> None:
    first = ready(pool, "mx1.example")
    second = ready(pool, "mx1.example")
    second.peer = first.peer._replace(success="")
    pool.share(second)
    assert (first.peer.success, second.peer.success) == ("relayed", "")
