"""A DNS server that is gone or silent: a temporary answer within bounded time (M-24)."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator

import pytest
import uvloop

from mta.resolver import MxAnswer, Resolver, ResolverOptions
from mta.testing.dns import DnsServer, free_port
from tests.peers import require


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes questions and never answers."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield "127.0.0.1:%d" % sock.getsockname()[1]  # noqa: UP031


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


def test_a_silent_server_costs_attempts_times_timeout(silent: str) -> None:
    options = ResolverOptions(nameservers=(silent,), timeout=0.2, attempts=2)
    (answer,), took = ask(["example.com"], options)
    assert (answer.status, answer.hosts) == ("temporary", ())
    assert answer.text == f"looking up MX of example.com: {silent}: no answer in time"
    assert 0.35 <= took < 3


def test_a_closed_port_is_known_at_once() -> None:
    server = f"127.0.0.1:{free_port()}"
    options = ResolverOptions(nameservers=(server,), timeout=30, attempts=2)
    (answer,), took = ask(["example.com"], options)
    assert answer.status == "temporary"
    assert "connection refused" in answer.text
    assert took < 5


def test_many_names_at_a_silent_server_end_by_the_lifetime(silent: str) -> None:
    options = ResolverOptions(
        nameservers=(silent,), timeout=0.2, attempts=2, lifetime=0.6, concurrency=10
    )
    answers, took = ask([f"d{number}.example" for number in range(300)], options)
    assert {answer.status for answer in answers} == {"temporary"}
    assert took < 5


@pytest.mark.peer
def test_the_next_server_answers_and_the_silent_one_is_asked_last(silent: str) -> None:
    program = require("nsd")
    with DnsServer({"example.com": {"MX": "10 mx.example.com"}}, program=program) as server:
        options = ResolverOptions(nameservers=(silent, server.address), timeout=0.5)
        (answer,), took = ask(["example.com"], options)
        assert (answer.status, answer.hosts) == ("ok", ((10, "mx.example.com"),))
        assert took >= 0.45

        async def later() -> float:
            resolver = Resolver(options)
            await resolver.mx("example.com")
            begin = time.monotonic()
            await resolver.mx("nowhere.example")
            await resolver.close()
            return time.monotonic() - begin

        assert uvloop.run(later()) < 0.45
