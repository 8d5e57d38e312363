"""From a recipient's domain to connection targets, through a real DNS server (M-14, M-15)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator

import pytest
import uvloop

from mta.model import Kind, Message, Outcome
from mta.resolver import Resolver, ResolverOptions
from mta.routing.hosts import HostBook, Target
from mta.routing.planner import Failure, Planner, PlannerOptions
from mta.routing.rules import Router, parse_route
from mta.testing.dns import DnsServer
from tests.peers import require
from tests.waiting import PATIENCE

pytestmark = pytest.mark.peer

RECORDS = {
    "example.com": {"MX": ["20 mx2.example.com", "10 mx1.example.com"]},
    "mx1.example.com": {"A": ["127.0.0.2", "127.0.0.3"]},
    "mx2.example.com": {"A": "127.0.0.4"},
    "alias.example": {"CNAME": "example.com"},
    "implicit.example": {"A": "127.0.0.5"},
    "null.example": {"MX": "0 ."},
    "dangling.example": {"MX": "10 gone.example"},
    "loop.example": {"MX": ["10 mail.ours.example", "20 mx1.example.com"]},
    "mail.ours.example": {"A": "127.0.0.9"},
    "many.example": {"MX": [f"10 h{n}.many.example" for n in range(100)]},
    **{f"h{n}.many.example": {"A": f"127.0.1.{n}"} for n in range(100)},
    "smart.example": {"MX": "5 mx2.example.com"},
}
MESSAGE = Message(bytes(16), "a@sender.example")
Result = list[Target] | Outcome


@pytest.fixture(scope="module")
def server() -> Iterator[DnsServer]:
    with DnsServer(RECORDS, program=require("nsd"), broken=["broken.example"]) as server:
        yield server


async def results(server: str, domains: list[str], *routes: str) -> list[Result]:
    """The targets of each domain, or what becomes of its mail, all planned at once."""
    resolver = Resolver(ResolverOptions((server,), timeout=PATIENCE, lifetime=PATIENCE))
    ours = frozenset({"mail.ours.example"})
    planner = Planner(
        Router([parse_route(route) for route in routes]), resolver, PlannerOptions(ours)
    )
    book = HostBook(resolver)

    async def one(domain: str) -> Result:
        plan = await planner.plan(MESSAGE, domain)
        if isinstance(plan, Failure):
            return plan.outcome
        targets = await book.connect_targets(plan.site)
        return targets.outcome or targets

    try:
        return list(await asyncio.gather(*(one(domain) for domain in domains)))
    finally:
        await resolver.close()


def addresses(result: Result) -> list[str]:
    assert isinstance(result, list)
    return [target.address for target in result]


@pytest.mark.parametrize(
    ("domain", "groups"),
    [
        ("example.com", [{"127.0.0.2", "127.0.0.3"}, {"127.0.0.4"}]),
        ("alias.example", [{"127.0.0.2", "127.0.0.3"}, {"127.0.0.4"}]),
        ("implicit.example", [{"127.0.0.5"}]),
        ("[127.0.0.6]", [{"127.0.0.6"}]),
    ],
)
def test_targets(server: DnsServer, domain: str, groups: list[set[str]]) -> None:
    found = addresses(uvloop.run(results(server.address, [domain]))[0])
    for group in groups:
        assert set(found[: len(group)]) == group
        del found[: len(group)]
    assert found == []


@pytest.mark.parametrize(
    ("domain", "kind", "enhanced"),
    [
        ("null.example", Kind.BOUNCED, "5.1.10"),
        ("nowhere.example", Kind.BOUNCED, "5.1.2"),
        ("dangling.example", Kind.BOUNCED, "5.4.4"),
        ("loop.example", Kind.BOUNCED, "5.4.6"),
        ("broken.example", Kind.DEFERRED, "4.4.3"),
    ],
)
def test_what_cannot_be_delivered(
    server: DnsServer, domain: str, kind: Kind, enhanced: str
) -> None:
    (outcome,) = uvloop.run(results(server.address, [domain]))
    assert isinstance(outcome, Outcome)
    assert (outcome.kind, outcome.enhanced) == (kind, enhanced)


def test_a_hundred_equal_servers_share_the_load(server: DnsServer) -> None:
    found = uvloop.run(results(server.address, ["many.example"] * 1000))
    firsts = Counter(addresses(result)[0] for result in found)
    assert len(firsts) > 95
    assert max(firsts.values()) <= 30  # 10 expected, 3.1 its deviation


def test_a_smarthost_with_and_without_mx(server: DnsServer) -> None:
    found = uvloop.run(
        results(
            server.address,
            ["a.example", "b.example", "example.com"],
            "a.example=smart.example:2526",
            "b.example=[mx1.example.com]:2527,127.0.0.8:2528",
            "*=mx:2529",
        )
    )
    a, b, c = (result if isinstance(result, list) else [] for result in found)
    assert a == [Target("mx2.example.com", "127.0.0.4", 2526)]
    assert {target.port for target in b[:2]} == {2527}
    assert b[2:] == [Target("127.0.0.8", "127.0.0.8", 2528)]
    assert {target.port for target in c} == {2529}
