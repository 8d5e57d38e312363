"""A DNS server that is gone or silent: a temporary answer within bounded time (M-24)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator

import dns.message
import pytest
import uvloop

from mta.resolver import MxAnswer, Resolver, ResolverOptions
from mta.testing.dns import DnsServer
from mta.testing.ports import free_port
from tests.peers import require
from tests.waiting import PATIENCE


class Silent(socket.socket):
    """A server that takes questions and never answers."""

    def __init__(self) -> None:
        super().__init__(type=socket.SOCK_DGRAM)
        self.bind(("127.0.0.1", 0))
        self.setblocking(False)
        self.address = "{}:{}".format(*self.getsockname())

    def asked(self) -> list[str]:
        """The names that it was asked for since the last time."""
        names = []
        with contextlib.suppress(BlockingIOError):
            while True:
                names.append(str(dns.message.from_wire(self.recv(4096)).question[0].name))
        return names


@pytest.fixture
def silent() -> Iterator[Silent]:
    with Silent() as sock:
        yield sock


def ask(domains: list[str], options: ResolverOptions) -> tuple[list[MxAnswer], float]:
    """The answers to all at once, and how long they took."""

    async def inside() -> list[MxAnswer]:
        resolver = Resolver(options)
        try:
            return list(await asyncio.gather(*(resolver.mx(domain) for domain in domains)))
        finally:
            await resolver.close()

    begin = time.monotonic()
    return uvloop.run(inside()), time.monotonic() - begin


def test_a_silent_server_costs_attempts_times_timeout(silent: Silent) -> None:
    options = ResolverOptions(nameservers=(silent.address,), timeout=0.2, attempts=2)
    (answer,), took = ask(["example.com"], options)
    assert (answer.status, answer.hosts) == ("temporary", ())
    assert answer.text == f"looking up MX of example.com: {silent.address}: no answer in time"
    assert took >= 0.35
    assert silent.asked() == ["example.com."] * 2


def test_a_closed_port_is_known_without_a_wait() -> None:
    server = f"127.0.0.1:{free_port()}"
    options = ResolverOptions(nameservers=(server,), timeout=3600, attempts=20, lifetime=7200)
    (answer,), _ = ask(["example.com"], options)
    assert answer.status == "temporary"
    assert "connection refused" in answer.text


def test_many_names_at_a_silent_server_end_by_the_lifetime(silent: Silent) -> None:
    options = ResolverOptions(
        nameservers=(silent.address,), timeout=0.2, attempts=2, lifetime=0.6, concurrency=10
    )
    answers, took = ask([f"d{number}.example" for number in range(3000)], options)
    assert {answer.status for answer in answers} == {"temporary"}
    assert took < 60  # one after another they would take 120 s


@pytest.mark.peer
def test_the_next_server_answers_and_the_silent_one_is_asked_last(silent: Silent) -> None:
    async def two(options: ResolverOptions) -> list[MxAnswer]:
        resolver = Resolver(options)
        answers = [await resolver.mx("example.com"), await resolver.mx("nowhere.example")]
        await resolver.close()
        return answers

    program = require("nsd")
    with DnsServer({"example.com": {"MX": "10 mx.example.com"}}, program=program) as server:
        nameservers = (silent.address, server.address)
        options = ResolverOptions(nameservers=nameservers, timeout=4.0, lifetime=PATIENCE)
        first, second = uvloop.run(two(options))
    assert (first.status, first.hosts) == ("ok", ((10, "mx.example.com"),))
    assert second.status == "nxdomain"
    assert silent.asked() == ["example.com."]
