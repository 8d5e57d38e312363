"""Handing accepted connections to the worker that has the fewest sessions."""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import socket
from pathlib import Path

import uvloop

from mta._speedups.sharedtable import SharedTable, format_table, table_size
from mta.smtpd.bind import bind
from mta.smtpd.handover import SESSIONS, Handover, pair, receive
from mta.supervisor.inboxes import Inboxes
from mta.testing.clock import FakeClock
from tests.waiting import PATIENCE


class Node:
    """A table and the inboxes of workers that are all alive."""

    def __init__(self, workers: int = 2) -> None:
        memory = mmap.mmap(-1, table_size(64, workers))
        format_table(memory, 64, workers, 7)
        self.table = SharedTable(memory, workers)
        self.pairs = [pair() for _ in range(workers)]
        self.slot = self.table.slot(SESSIONS)
        self.clock = FakeClock()
        self.workers = self.handovers()
        for number in range(workers):
            self.enter(number)

    def handovers(self) -> list[Handover]:
        """Every worker's part, over the pairs that there are."""
        to = [one for one, _ in self.pairs]
        inboxes = [out for _, out in self.pairs]
        return [Handover(self.table, n, to, out, self.clock) for n, out in enumerate(inboxes)]

    def enter(self, worker: int) -> None:
        self.table.enter(worker, self.clock.monotonic())

    def connect(self, worker: int) -> tuple[socket.socket, bool]:
        """A client that meets this worker; whether it was handed on."""
        client, accepted = socket.socketpair()
        handed = self.workers[worker].offer(3, accepted, "192.0.2.1")
        if not handed:
            self.table.acquire(self.slot, worker, 1000)
            client.close()
            accepted.close()
        return client, handed

    def sessions(self) -> tuple[int, ...]:
        return self.table.counts(self.slot)[1]

    def take_all(self, worker: int) -> list[bytes]:
        labels = []
        while (found := receive(self.pairs[worker][1])) is not None:
            label, fd = found
            socket.socket(fileno=fd).close()
            self.table.acquire(self.slot, worker, 1000)
            self.table.handed(worker)
            labels.append(label)
        return labels


def test_each_gets_its_share_wherever_connections_arrive() -> None:
    for arrivals in range(256):
        node = Node()
        for bit in range(8):
            node.connect(arrivals >> bit & 1)
            if bit % 3 == 0:  # taken out sooner or later: what is under way counts too
                node.take_all(0)
                node.take_all(1)
        node.take_all(0)
        node.take_all(1)
        assert abs(node.sessions()[0] - node.sessions()[1]) <= 1, arrivals


def test_four_connections_that_meet_one_worker_are_two_and_two() -> None:
    node = Node()
    assert [node.connect(0)[1] for _ in range(4)] == [False, True, False, True]
    assert node.take_all(1) == [b"3 192.0.2.1"] * 2
    assert node.sessions() == (2, 2)


def test_a_small_surplus_of_many_stays() -> None:
    node = Node()
    for _ in range(80):
        node.table.acquire(node.slot, 1, 1000)
    for _ in range(90):
        node.table.acquire(node.slot, 0, 1000)
    assert node.connect(0)[1] is False
    assert node.connect(0)[1] is True


def test_a_worker_that_is_gone_gets_nothing() -> None:
    node = Node(3)
    node.table.leave(1)
    assert [node.connect(0)[1] for _ in range(3)] == [False, True, False]
    assert len(node.take_all(2)) == 1
    node.table.leave(2)
    assert not any(node.connect(0)[1] for _ in range(3))


def test_a_worker_that_hangs_gets_nothing_until_it_gives_a_sign() -> None:
    node = Node(3)
    node.clock.advance(3)
    node.workers[2].sign()
    node.clock.advance(1)  # worker 1 has given none for four seconds
    assert [node.connect(0)[1] for _ in range(3)] == [False, True, False]
    assert len(node.take_all(2)) == 1 and node.take_all(1) == []
    node.workers[1].sign()
    assert node.connect(0)[1] is True
    assert len(node.take_all(1)) == 1


def test_a_full_inbox_keeps_the_connection_where_it_is() -> None:
    node = Node()
    for _ in range(5000):
        node.table.acquire(node.slot, 0, 10_000)
    kept = [node.connect(0) for _ in range(1000)]
    handed = [client for client, done in kept if done]
    assert 0 < len(handed) < 1000
    assert node.workers[0].passed == len(handed)
    assert len(node.take_all(1)) == len(handed)
    assert node.connect(0)[1] is True
    for client in handed:
        assert client.recv(1) == b""
        client.close()


def test_one_that_retires_tries_a_full_inbox_again() -> None:
    node = Node()
    taken = 0

    async def run() -> None:
        nonlocal taken
        loop = asyncio.get_running_loop()
        node.workers[0].start(loop, lambda *one: None, lambda: None)
        node.workers[0].retire(loop)
        clients = [node.connect(0) for _ in range(1000)]
        assert all(done for _, done in clients) and node.workers[0].passed < 1000
        end = loop.time() + PATIENCE
        while taken < 1000 and loop.time() < end:
            taken += len(node.take_all(1))
            await asyncio.sleep(0.01)
        node.table.leave(1)
        late, _ = node.connect(0)
        await node.workers[0].finish(loop.time())
        assert late.recv(100).startswith(b"421 4.3.2 ")
        late.close()
        for client, _ in clients:
            client.close()

    uvloop.run(run())
    assert taken == 1000


def test_what_is_taken_out_is_served() -> None:
    node = Node()
    node.connect(0)
    client, handed = node.connect(0)
    assert handed

    async def run() -> None:
        loop = asyncio.get_running_loop()
        arrived: asyncio.Future[tuple[int, str]] = loop.create_future()

        def take(listener: int, sock: socket.socket, address: str) -> None:
            node.table.acquire(node.slot, 1, 1000)
            sock.send(b"220 here\r\n")
            sock.close()
            arrived.set_result((listener, address))

        node.workers[1].start(loop, take, lambda: None)
        assert await asyncio.wait_for(arrived, PATIENCE) == (3, "192.0.2.1")
        node.workers[1].retire(loop)

    uvloop.run(run())
    assert client.recv(100) == b"220 here\r\n"
    client.close()
    assert node.workers[1].away is True
    assert node.connect(0)[1] is False
    assert node.connect(1)[1] is True, "one that retires passes everything on"


def test_the_last_worker_passes_nothing_on() -> None:
    node = Node()
    node.table.leave(0)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        node.workers[1].start(loop, lambda *one: None, lambda: None)
        node.workers[1].retire(loop)

    uvloop.run(run())
    assert node.workers[1].away is False


def test_one_that_ends_beside_one_that_hangs_leaves_connections_where_they_are() -> None:
    """They wait for its successor, as with a single worker."""
    node = Node()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        node.clock.advance(4)
        node.workers[1].start(loop, lambda *one: None, lambda: None)
        node.workers[1].retire(loop)

    uvloop.run(run())
    assert node.workers[1].away is False
    node.workers[1].sign()
    node.workers[0].sign()
    assert not any(node.connect(0)[1] for _ in range(3)), "a sign does not undo that it has left"


def node_of_inboxes() -> tuple[Node, Inboxes]:
    node = Node(3)
    inboxes = Inboxes(node.table, 3, node.clock)
    node.pairs = [
        (socket.socket(fileno=socket.dup(to)), socket.socket(fileno=socket.dup(out)))
        for to, out in zip(inboxes.to, inboxes.out, strict=True)
    ]
    node.workers = node.handovers()
    return node, inboxes


def test_what_a_dead_worker_did_not_take_out_is_passed_on() -> None:
    node, inboxes = node_of_inboxes()
    node.workers[0].away = True
    clients = [node.connect(0)[0] for _ in range(6)]
    node.table.reclaim(1)
    inboxes.died(1)
    assert receive(node.pairs[1][1]) is None
    assert len(node.take_all(0)) == 3 and len(node.take_all(2)) == 3
    assert node.sessions() == (3, 0, 3)
    for client in clients:
        client.close()
    inboxes.close()


def test_what_a_dead_worker_left_does_not_go_to_one_that_hangs() -> None:
    node, inboxes = node_of_inboxes()
    node.workers[0].away = True
    clients = [node.connect(0)[0] for _ in range(4)]
    node.clock.advance(4)
    node.workers[0].sign()
    node.table.reclaim(1)
    inboxes.died(1)
    assert len(node.take_all(0)) == 2 and len(node.take_all(2)) == 2  # what it was handed before
    for client in clients:
        client.close()
    inboxes.close()


def test_what_waits_for_one_that_hangs_is_passed_on(tmp_path: Path) -> None:
    node, inboxes = node_of_inboxes()
    listeners = [[bind(f"unix:{tmp_path}/{place}-{n}") for n in range(3)] for place in range(2)]

    def connect(place: int, worker: int) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.connect(listeners[place][worker].getsockname())
        return client

    clients = [connect(place, worker) for place in range(2) for worker in (1, 1, 2)]
    clients += [node.connect(0)[0] for _ in range(2)]
    assert inboxes.relieve(listeners) == 0, "all workers are alive"
    node.clock.advance(4)
    assert inboxes.relieve(listeners) == 0, "nobody else is"
    node.workers[0].sign()
    node.workers[2].sign()
    assert inboxes.relieve(listeners) == 5 and inboxes.relieve(listeners) == 0
    assert sorted(node.take_all(0) + node.take_all(2)) == [
        b"0 unix", b"0 unix", b"1 unix", b"1 unix", b"3 192.0.2.1",
    ]  # fmt: skip
    assert node.sessions() == (3, 0, 3)
    node.workers[1].sign()
    assert node.connect(2)[1] is True, "nothing is counted as under way to it any more"
    for one in (*clients, *listeners[0], *listeners[1]):
        one.close()
    inboxes.close()


def test_the_successor_takes_what_nobody_else_can() -> None:
    node, inboxes = node_of_inboxes()
    node.workers[0].away = True
    client, _ = node.connect(0)
    for worker in range(3):
        node.table.reclaim(worker)
    inboxes.died(1)
    node.enter(1)
    assert node.take_all(1) == [b"3 192.0.2.1"]
    node.table.handed(1)
    assert node.table.hand_to(node.slot, 1, node.clock.monotonic()) == -1
    client.close()
    inboxes.close()


def test_at_the_end_those_who_wait_are_told() -> None:
    node, inboxes = node_of_inboxes()
    node.workers[0].away = True
    client, _ = node.connect(0)
    inboxes.close()
    assert client.recv(100).startswith(b"421 4.3.2 ")
    client.close()


# ---------------------------------------------------------------------- nobody serves


class Watch:
    """Looks at inboxes and at one listening socket of each worker, as often as it is told."""

    def __init__(self, node: Node, inboxes: Inboxes, folder: Path) -> None:
        self.node, self.inboxes = node, inboxes
        self.sockets = [bind(f"unix:{folder}/{n}") for n in range(3)]
        self.waiting, self.slept = 0, list[float]()

    def connect(self, worker: int) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.connect(self.sockets[worker].getsockname())
        client.setblocking(False)
        return client

    def look(self, looks: int, signs: tuple[int, ...] = ()) -> None:
        """Let so many looks pass; workers that live give their signs meanwhile."""
        left = looks

        async def sleep(seconds: float) -> None:
            nonlocal left
            self.slept.append(seconds)
            self.node.clock.advance(seconds)
            for worker in signs:
                self.node.workers[worker].sign()
            left -= 1
            if not left:
                raise asyncio.CancelledError

        async def run() -> None:
            with contextlib.suppress(asyncio.CancelledError):
                await self.inboxes.watch([self.sockets], lambda: self.waiting, sleep)

        asyncio.run(run())

    def close(self, *clients: socket.socket) -> None:
        for one in (*clients, *self.sockets):
            one.close()
        self.inboxes.close()


def said(client: socket.socket) -> bytes:
    try:
        return client.recv(100)
    except BlockingIOError:
        return b""


def test_where_all_workers_lack_a_shard_clients_are_refused_at_once(tmp_path: Path) -> None:
    watch = Watch(*node_of_inboxes(), tmp_path)
    for worker in range(3):
        watch.node.table.leave(worker)
    clients = [watch.connect(worker) for worker in range(3)]
    watch.waiting = 2  # the third one is starting
    watch.look(2)
    assert [said(client) for client in clients] == [b"", b"", b""]
    watch.waiting = 3
    watch.look(1)
    assert all(said(client).startswith(b"421 4.3.0 ") for client in clients)
    assert watch.slept == [0.05] * 3
    watch.close(*clients)


def test_a_worker_without_a_shard_passes_its_connections_on(tmp_path: Path) -> None:
    watch = Watch(*node_of_inboxes(), tmp_path)
    watch.node.table.leave(0)
    clients = [watch.connect(0) for _ in range(4)]
    watch.waiting = 1
    watch.look(1, signs=(1, 2))
    assert len(watch.node.take_all(1)) == 2 and len(watch.node.take_all(2)) == 2
    watch.close(*clients)


def test_where_nobody_serves_for_long_clients_are_refused(tmp_path: Path) -> None:
    watch = Watch(*node_of_inboxes(), tmp_path)
    for worker in range(3):
        watch.node.table.leave(worker)
    client = watch.connect(1)
    watch.look(10)
    assert said(client) == b"", "a worker that starts may serve it yet"
    watch.look(11)
    assert said(client).startswith(b"421 4.3.0 ")
    watch.close(client)


def test_a_suspended_node_does_not_refuse_when_it_wakes(tmp_path: Path) -> None:
    """Its workers have had no chance to give a sign of life."""
    watch = Watch(*node_of_inboxes(), tmp_path)
    client = watch.connect(1)
    watch.node.clock.advance(86_400)
    watch.look(3)
    assert said(client) == b""
    watch.close(client)
