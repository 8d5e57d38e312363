from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from mta.resolver import wire
from mta.resolver.exchange import DOWN_TIME, PORTS, QUERIES_PER_PORT, NetworkExchange, Trouble
from mta.resolver.options import ResolverOptions, Server
from mta.testing.clock import FakeClock
from mta.testing.zones import ZoneExchange

ONE, TWO = "192.0.2.1:53", "192.0.2.2:53"
GOOD = wire.Reply(0, False, ((10, "mx.example.com"),), "example.com", 300)
SILENT, DEAD = "silent", "dead"
TIMEOUT = 0.01


@functools.cache
def _answer(name: str) -> bytes:
    return ZoneExchange({name: {"MX": "10 mx.example.com"}}).response(name, wire.MX).to_wire()


def response(query: bytes, name: str = "example.com", rcode: int = 0) -> bytes:
    """An MX answer to a query."""
    answer = _answer(name)
    return query[:2] + answer[2:3] + bytes((answer[3] | rcode,)) + answer[4:]


class Network:
    """Stands in for the network: pairs of sockets, and what each server says."""

    def __init__(self, says: Callable[[bytes], bytes | None] = response, **options: Any) -> None:
        self.says: dict[str, Callable[[bytes], bytes | None] | str] = {ONE: says, TWO: says}
        self.asked: list[str] = []
        self.queries: list[bytes] = []
        self.places: list[socket.socket] = []  # at which each query came
        self._arrived = asyncio.Event()
        self.clock = FakeClock()
        self.far: list[socket.socket] = []
        self.near: list[socket.socket] = []
        settings = ResolverOptions(
            nameservers=("192.0.2.1", "192.0.2.2"), **{"timeout": TIMEOUT, **options}
        )
        self.exchange = NetworkExchange(settings, self.clock, self._open)

    def _open(self, server: Server) -> socket.socket:
        name = str(server)
        if self.says[name] == DEAD:
            self.asked.append(name)
            raise ConnectionRefusedError(111, "Connection refused")
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        near.setblocking(False)
        far.setblocking(False)
        self.near.append(near)
        self.far.append(far)
        asyncio.get_running_loop().add_reader(far, self._serve, name, far)
        return near

    def _serve(self, name: str, far: socket.socket) -> None:
        try:
            query = far.recv(4096)
        except ConnectionResetError:
            query = b""
        if not query:  # the other end was closed
            asyncio.get_running_loop().remove_reader(far)
            return
        self.asked.append(name)
        self.queries.append(query)
        self.places.append(far)
        self._arrived.set()
        said = self.says[name]
        answer = said(query) if callable(said) else None
        if answer is not None:
            far.send(answer)

    async def ask(self, name: str = "example.com") -> wire.Reply | Trouble:
        """One question; who was asked begins anew."""
        self.asked.clear()
        return await asyncio.wait_for(self.begin(name), 60)

    def begin(self, name: str = "example.com") -> asyncio.Future[Any]:
        """What a question is answered with."""
        future = asyncio.get_running_loop().create_future()
        self.exchange.ask(name, wire.MX, future.set_result)
        return future

    async def came(self, count: int) -> None:
        """Until so many queries have come."""
        while len(self.queries) < count:
            self._arrived.clear()
            await self._arrived.wait()

    @property
    def open(self) -> int:
        """How many of our sockets are open."""
        return sum(sock.fileno() >= 0 for sock in self.near)


def with_network(
    work: Callable[[Network], Coroutine[Any, Any, None]], *args: Any, **options: Any
) -> None:
    """Run a test in a loop."""

    async def inside() -> None:
        network = Network(*args, **options)
        try:
            await work(network)
        finally:
            for sock in network.far:
                with contextlib.suppress(ValueError):
                    asyncio.get_running_loop().remove_reader(sock)
                sock.close()
            for sock in network.near:
                if sock.fileno() >= 0:
                    asyncio.get_running_loop().remove_reader(sock)
                    sock.close()

    asyncio.run(inside())


def test_a_useful_answer_ends_the_search() -> None:
    async def work(network: Network) -> None:
        assert await network.ask() == GOOD
        network.says[ONE] = lambda query: response(query, rcode=wire.NXDOMAIN)
        reply = await network.ask()
        assert isinstance(reply, wire.Reply) and reply.rcode == wire.NXDOMAIN
        assert network.asked == [ONE]

    with_network(work, timeout=60)


@pytest.mark.parametrize("rcode", [1, 2, 4, 5, 9])
def test_another_server_may_know_better(rcode: int) -> None:
    async def work(network: Network) -> None:
        network.says[ONE] = lambda query: response(query, rcode=rcode)
        assert await network.ask() == GOOD
        assert network.asked == [ONE, TWO]

    with_network(work, timeout=60)


def test_servers_that_fail_are_not_asked_twice_silent_ones_are() -> None:
    async def work(network: Network) -> None:
        network.says[ONE] = lambda query: response(query, rcode=wire.SERVFAIL)
        network.says[TWO] = SILENT
        assert await network.ask() == Trouble(f"{TWO}: no answer in time")
        assert network.asked == [ONE, TWO, TWO, TWO]
        network.says[TWO] = network.says[ONE]
        assert await network.ask() == Trouble(f"{TWO}: SERVFAIL")
        assert len(network.asked) == 2

    with_network(work, attempts=3)


def test_a_malformed_answer_is_a_failure() -> None:
    async def work(network: Network) -> None:
        network.says = dict.fromkeys(network.says, lambda query: response(query)[:-3])
        reply = await network.ask()
        assert isinstance(reply, Trouble) and reply.text.startswith(f"{TWO}: malformed answer")

    with_network(work, timeout=60)


def test_a_server_without_a_socket_is_a_failure() -> None:
    async def work(network: Network) -> None:
        network.says = dict.fromkeys(network.says, DEAD)
        waiting = [network.begin() for _ in range(2000)]  # deeper than calls may be nested
        assert {await one for one in waiting} == {Trouble(f"{TWO}: connection refused")}

    with_network(work)


def test_what_waits_at_a_dead_port_fails_at_once() -> None:
    async def work(network: Network) -> None:
        network.says = dict.fromkeys(network.says, SILENT)
        first = [network.begin() for _ in range(50)]
        await network.came(50)
        for far in network.far:
            asyncio.get_running_loop().remove_reader(far)
            far.close()
        network.says = dict.fromkeys(network.says, DEAD)
        while not all(one.done() for one in first):  # each port learns of it as it sends
            await network.ask()
        assert {one.result().text for one in first} == {f"{TWO}: connection refused"}

    with_network(work, timeout=3600, attempts=1)


def test_a_silent_server_is_asked_last_for_a_while() -> None:
    async def work(network: Network) -> None:
        network.says[ONE] = SILENT
        await network.ask()
        network.says[ONE] = response
        await network.ask()
        assert network.asked == [TWO]
        network.clock.advance(DOWN_TIME)
        await network.ask()
        assert network.asked == [ONE]

    with_network(work)


def test_only_the_answer_to_the_question_is_taken() -> None:
    async def work(network: Network) -> None:
        network.says[ONE] = SILENT
        asking = network.begin()
        await network.came(1)
        (query,), (far,) = network.queries, network.far
        other = bytes((query[0] ^ 1, query[1]))
        for forged in (b"", b"\0", query[:2], response(other), response(query, "example.org"),
                       query):  # fmt: skip
            far.send(forged)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not asking.done()
        far.send(response(query))
        far.send(response(query))  # a copy is late
        assert await asking == GOOD

    with_network(work, timeout=60)


def test_a_port_is_left_after_its_questions() -> None:
    async def work(network: Network) -> None:
        for _ in range(3 * PORTS * QUERIES_PER_PORT):
            assert await network.ask() == GOOD
        assert 2 * PORTS <= len(network.near) <= 4 * PORTS
        assert network.open <= PORTS
        assert len({query[:2] for query in network.queries}) > 2.9 * PORTS * QUERIES_PER_PORT

    with_network(work, timeout=60)


def test_ids_that_wait_differ_and_sockets_run_dry() -> None:
    async def work(network: Network) -> None:
        network.says[ONE] = SILENT
        waiting = [network.begin() for _ in range(PORTS * QUERIES_PER_PORT)]
        await network.came(PORTS * QUERIES_PER_PORT)
        network.exchange.close()
        assert network.open == len(network.near)  # something waits at each
        for far in network.far:
            sent = [
                q[:2] for q, at in zip(network.queries, network.places, strict=True) if at is far
            ]
            assert len(set(sent)) == len(sent) <= QUERIES_PER_PORT
        for far, query in zip(network.places, network.queries, strict=True):
            far.send(response(query))
        assert {await one for one in waiting} == {GOOD}
        assert network.open == 0

    with_network(work, timeout=60, concurrency=10_000)


def test_questions_take_turns() -> None:
    async def work(network: Network) -> None:
        network.says[ONE] = SILENT
        waiting = [network.begin() for _ in range(10)]
        given_up = network.exchange.ask("other.example", wire.MX, waiting[0].set_exception)
        last = network.begin()
        given_up.cancel()
        await network.came(3)
        await asyncio.sleep(0)
        assert len(network.queries) == 3
        network.says[ONE] = response
        for far, query in zip(network.places[:], network.queries[:], strict=True):
            far.send(response(query))
        assert [await one for one in [*waiting, last]] == [GOOD] * 11
        assert all(wire.question("other.example", wire.MX) not in q for q in network.queries)

    with_network(work, timeout=60, concurrency=3)


def test_what_is_given_up_is_not_answered_and_frees_its_turn() -> None:
    async def work(network: Network) -> None:
        answers: list[object] = []
        question = network.exchange.ask("example.com", wire.MX, answers.append)
        question.cancel()
        question.cancel()
        assert await network.ask() == GOOD
        assert answers == []

    with_network(work, timeout=60, concurrency=1)
