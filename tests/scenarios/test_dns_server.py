"""The resolver against a real DNS server: UDP, TCP after truncation, SERVFAIL, CNAMEs (M-27)."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest
import uvloop

from mta.resolver import Resolver, ResolverOptions
from mta.testing.dns import DnsServer
from tests.peers import require
from tests.waiting import PATIENCE

pytestmark = pytest.mark.peer

MANY = [f"10 a-rather-long-host-name-{number:03}.many.example" for number in range(200)]
RECORDS = {
    "example.com": {"MX": ["20 mx2.example.com", "10 mx1.example.com"]},
    "mx1.example.com": {"A": ["127.0.0.2", "127.0.0.3"], "AAAA": "::1"},
    "many.example": {"MX": MANY},
    "null.example": {"MX": "0 ."},
    "implicit.example": {"A": "127.0.0.4"},
    "text.example": {"TXT": '"no mail here"'},
    "alias.example": {"CNAME": "alias2.example"},
    "alias2.example": {"CNAME": "example.com"},
    "other.test": {"SOA": "ns.test root.test 1 3600 600 86400 30", "MX": "5 mx.other.test"},
    "into.other.example": {"CNAME": "other.test"},
    "loop1.example": {"CNAME": "loop2.example"},
    "loop2.example": {"CNAME": "loop1.example"},
    "bücher.example": {"MX": "10 mx1.example.com"},
}


@pytest.fixture(scope="module")
def server() -> Iterator[DnsServer]:
    with DnsServer(RECORDS, program=require("nsd"), broken=["broken.test"]) as server:
        yield server


def run(server: DnsServer, work: Any) -> Any:
    """What `work(resolver)` returns, with a resolver of its own on uvloop."""

    async def inside() -> Any:
        options = ResolverOptions((server.address,), timeout=PATIENCE, lifetime=PATIENCE)
        resolver = Resolver(options)
        try:
            result: Coroutine[Any, Any, Any] = work(resolver)
            return await result
        finally:
            await resolver.close()

    return uvloop.run(inside())


@pytest.mark.parametrize(
    ("domain", "status", "hosts"),
    [
        ("example.com", "ok", ((10, "mx1.example.com"), (20, "mx2.example.com"))),
        ("alias.example", "ok", ((10, "mx1.example.com"), (20, "mx2.example.com"))),
        ("into.other.example", "ok", ((5, "mx.other.test"),)),
        ("BÜCHER.example", "ok", ((10, "mx1.example.com"),)),
        ("implicit.example", "ok", ((0, "implicit.example"),)),
        ("null.example", "ok", ()),
        ("text.example", "nodata", ()),
        ("nowhere.example", "nxdomain", ()),
        ("nowhere.other.test", "nxdomain", ()),
        ("broken.test", "temporary", ()),
        ("loop1.example", "temporary", ()),
    ],
)
def test_mx(server: DnsServer, domain: str, status: str, hosts: object) -> None:
    answer = run(server, lambda resolver: resolver.mx(domain))
    assert (answer.status, answer.hosts) == (status, hosts)
    assert answer.implicit == (domain == "implicit.example")
    assert answer.null == (domain == "null.example")
    assert ("SERVFAIL" in answer.text) == (domain == "broken.test")


def test_addresses(server: DnsServer) -> None:
    addresses = run(server, lambda resolver: resolver.addresses("mx1.example.com"))
    assert addresses[0] == "::1"
    assert sorted(addresses[1:]) == ["127.0.0.2", "127.0.0.3"]


def test_a_long_answer_comes_over_tcp(server: DnsServer) -> None:
    answer = run(server, lambda resolver: resolver.mx("many.example"))
    assert answer.hosts == tuple((10, value.split()[1]) for value in MANY)


def test_a_thousand_names_at_once_one_question_each(server: DnsServer) -> None:
    async def work(resolver: Resolver) -> int:
        names = [f"n{number}.example" for number in range(1000)]
        answers = await asyncio.gather(*(resolver.mx(name) for name in names * 2))
        assert {answer.status for answer in answers} == {"nxdomain"}
        assert all(resolver.peek_mx(name) is not None for name in names)
        return resolver.stats.questions

    assert run(server, work) == 1000
