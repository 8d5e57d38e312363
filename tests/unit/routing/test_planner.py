from __future__ import annotations

import asyncio

import pytest

from mta.model import Kind, Message
from mta.routing.planner import Failure, Plan, Planner, PlannerOptions
from mta.routing.rules import Router, parse_route
from mta.testing.clock import FakeClock
from mta.testing.zones import FakeResolver

RECORDS = {
    "one.example": {"MX": ["10 mx1.shared.example", "20 mx2.shared.example"]},
    "two.example": {"MX": ["10 mx1.shared.example", "20 mx2.shared.example"]},
    "null.example": {"MX": "0 ."},
    "us.example": {"MX": ["10 mx1.shared.example", "20 Mail.US.example", "30 z.example"]},
    "ours.example": {"A": "192.0.2.7"},
    "smtp.example": {"MX": ["10 a.smtp.example", "20 b.smtp.example"]},
}
SHARED = ((10, "mx1.shared.example"), (20, "mx2.shared.example"))
OPTIONS = PlannerOptions(
    frozenset({"mail.us.example", "OURS.example."}), frozenset({("192.0.2.7", 25)})
)
MESSAGE = Message(bytes(16), "a@sender.example")


def planner(*routes: str, broken: tuple[str, ...] = (), clock: FakeClock | None = None) -> Planner:
    router = Router([parse_route(route) for route in routes])
    return Planner(router, FakeResolver(RECORDS, broken=broken, clock=clock), OPTIONS)


def plan(made_by: Planner, domain: str, reroute: str = "") -> Plan:
    found = asyncio.run(made_by.plan(MESSAGE, domain, reroute))
    assert isinstance(found, Plan)
    return found


def failure(made_by: Planner, domain: str, reroute: str = "") -> tuple[Kind, str]:
    found = asyncio.run(made_by.plan(MESSAGE, domain, reroute))
    assert isinstance(found, Failure)
    assert made_by.peek(MESSAGE, domain, reroute) == found
    return Kind(found.outcome.kind), found.outcome.enhanced


def test_a_static_route_needs_no_lookup() -> None:
    made_by = planner("*=127.0.0.1:2526")
    found = made_by.peek(MESSAGE, "one.example")
    assert isinstance(found, Plan)
    assert (found.site.name, found.route.name) == ("127.0.0.1:2526", "*")
    assert made_by.peek(MESSAGE, "two.example") is found


def test_mx_is_looked_up_once_and_then_known() -> None:
    made_by = planner()
    assert made_by.peek(MESSAGE, "one.example") is None
    found = plan(made_by, "one.example")
    assert (found.site.hosts, found.site.port, found.site.mx) == (SHARED, 25, True)
    assert made_by.peek(MESSAGE, "one.example") is found


def test_domains_with_the_same_servers_share_the_very_site() -> None:
    made_by = planner()
    assert plan(made_by, "one.example").site is plan(made_by, "two.example").site


def test_a_plan_lives_as_long_as_its_answer() -> None:
    clock = FakeClock()
    made_by = planner(clock=clock)
    plan(made_by, "one.example")
    clock.advance(300)
    assert made_by.peek(MESSAGE, "one.example") is None


def test_a_route_may_give_mx_another_port() -> None:
    made_by = planner("one.example=mx:2526", "*=192.0.2.1")
    found = plan(made_by, "one.example")
    assert (found.site.hosts, found.site.port) == (SHARED, 2526)
    assert plan(made_by, "two.example").site.addresses == ("192.0.2.1",)


def test_callers_at_the_same_time_share_the_lookup() -> None:
    async def run() -> None:
        gate = asyncio.Event()
        resolver = FakeResolver(RECORDS, gate=gate)
        made_by = Planner(Router(), resolver, OPTIONS)
        tasks = [asyncio.create_task(made_by.plan(MESSAGE, "one.example")) for _ in range(50)]
        await asyncio.sleep(0)
        gate.set()
        assert len({id(found) for found in await asyncio.gather(*tasks)}) == 1
        assert resolver.zones.asked == [("one.example", "MX")]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("domain", "kind", "enhanced"),
    [
        ("null.example", Kind.BOUNCED, "5.1.10"),
        ("nowhere.example", Kind.BOUNCED, "5.1.2"),
        ("mx1..example", Kind.BOUNCED, "5.1.2"),
        ("broken.example", Kind.DEFERRED, "4.4.3"),
        ("ours.example", Kind.BOUNCED, "5.4.6"),
        ("[192.0.2.7]", Kind.BOUNCED, "5.4.6"),
        ("[192.0.2.300]", Kind.BOUNCED, "5.1.2"),
    ],
)
def test_where_mail_cannot_go(domain: str, kind: Kind, enhanced: str) -> None:
    assert failure(planner(broken=("broken.example",)), domain) == (kind, enhanced)


def test_a_failure_is_forgotten_with_its_answer() -> None:
    clock = FakeClock()
    made_by = planner(broken=("one.example",), clock=clock)
    failure(made_by, "one.example")
    clock.advance(15)
    assert made_by.peek(MESSAGE, "one.example") is None


def test_our_own_place_in_the_mx_ends_the_list() -> None:
    assert plan(planner(), "us.example").site.hosts == ((10, "mx1.shared.example"),)


def test_address_literals_go_where_they_say() -> None:
    found = planner().peek(MESSAGE, "[IPv6:2001:db8::1]")
    assert isinstance(found, Plan)
    assert (found.site.name, found.site.addresses) == ("[2001:db8::1]:25", ("2001:db8::1",))


def test_a_smarthost_by_mx_then_a_named_one() -> None:
    made_by = planner("*=smtp.example:587,[192.0.2.9]:25")
    assert made_by.peek(MESSAGE, "one.example") is None
    site = plan(made_by, "one.example").site
    assert [host for _, host in site.hosts] == ["a.smtp.example", "b.smtp.example", "192.0.2.9"]
    assert [preference for preference, _ in site.hosts] == [10, 20, 65536]
    assert [site.port_of(*host) for host in site.hosts] == [587, 587, 25]
    assert site.addresses == ("192.0.2.9",)
    assert made_by.peek(MESSAGE, "two.example") is plan(made_by, "other.example")


def test_a_hop_that_fails_leaves_the_others() -> None:
    made_by = planner("*=broken.example,[192.0.2.9]", broken=("broken.example",))
    assert plan(made_by, "one.example").site.addresses == ("192.0.2.9",)


@pytest.mark.parametrize(
    ("route", "enhanced"),
    [("*=nowhere.example", "4.3.5"), ("*=null.example", "4.3.5"), ("*=broken.example", "4.4.3")],
)
def test_a_smarthost_that_is_not_there_defers(route: str, enhanced: str) -> None:
    made_by = planner(route, broken=("broken.example",))
    assert failure(made_by, "one.example") == (Kind.DEFERRED, enhanced)


def test_an_operator_may_send_it_elsewhere() -> None:
    made_by = planner("*=127.0.0.1:2526")
    found = made_by.peek(MESSAGE, "one.example", "[192.0.2.5]:2525")
    assert isinstance(found, Plan)
    assert (found.site.name, found.route.name) == ("192.0.2.5:2525", "[192.0.2.5]:2525")
    assert made_by.peek(MESSAGE, "two.example", "[192.0.2.5]:2525") is found
    assert plan(made_by, "one.example", "mx").site.hosts == SHARED
    assert failure(made_by, "one.example", "no hop") == (Kind.DEFERRED, "4.3.5")
