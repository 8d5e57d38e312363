from __future__ import annotations

import asyncio
from collections import Counter
from random import Random

import pytest

from mta.model import Kind
from mta.routing.hosts import HostBook, HostOptions, Target, Targets
from mta.routing.rules import Hop
from mta.routing.site import SitePlan, mx_site, static_site
from mta.testing.clock import FakeClock
from mta.testing.zones import FakeResolver

RECORDS = {
    "a.example": {"A": ["192.0.2.1", "192.0.2.2"], "AAAA": ["2001:db8::1", "2001:db8::2"]},
    "b.example": {"A": "192.0.2.3"},
    "zero.example": {"A": "0.0.0.0", "AAAA": "::"},
    "ours.example": {"A": "192.0.2.7"},
    **{f"h{number}.example": {"A": f"198.51.100.{number}"} for number in range(100)},
}
OURS = frozenset({("192.0.2.7", 25)})


def book(
    clock: FakeClock | None = None, broken: tuple[str, ...] = (), **options: object
) -> HostBook:
    clock = clock or FakeClock()
    resolver = FakeResolver(RECORDS, broken=broken, clock=clock)
    settings = HostOptions(local_endpoints=OURS, **options)  # type: ignore[arg-type]
    return HostBook(resolver, clock, settings, Random(7))


def mx(*hosts: str, port: int = 25) -> SitePlan:
    return mx_site(tuple((10 * number, host) for number, host in enumerate(hosts)), port)


def targets(hosts: HostBook, site: SitePlan) -> Targets:
    return asyncio.run(hosts.connect_targets(site))


def addresses(found: list[Target]) -> list[str]:
    return [target.address for target in found]


def test_families_take_turns_and_the_preferred_one_leads() -> None:
    seen = set()
    hosts = book()
    for _ in range(50):
        found = addresses(targets(hosts, mx("a.example")))
        assert [":" in address for address in found] == [True, False, True, False]
        assert len(set(found)) == 4
        seen.add(tuple(found))
    assert len(seen) == 4


def test_hosts_go_by_preference() -> None:
    found = targets(book(), mx("b.example", "a.example"))
    assert found[0] == Target("b.example", "192.0.2.3", 25)
    assert {target.host for target in found[1:]} == {"a.example"}
    assert (found.notes, found.outcome) == ({}, None)


def test_a_hundred_equals_share_the_first_place() -> None:
    hosts = book()
    site = mx_site(tuple((10, f"h{number}.example") for number in range(100)), 25)
    firsts = Counter(targets(hosts, site)[0].host for _ in range(1000))
    assert len(firsts) > 95
    assert max(firsts.values()) <= 30  # 10 expected, 3.1 its deviation


def test_of_many_hosts_only_as_many_as_needed_are_looked_up() -> None:
    clock = FakeClock()
    resolver = FakeResolver(RECORDS, clock=clock)
    site = mx_site(tuple((number, f"h{number}.example") for number in range(100)), 25)
    found = targets(HostBook(resolver, clock), site)
    assert [target.host for target in found] == [f"h{number}.example" for number in range(10)]
    assert {name for name, _ in resolver.zones.asked} == {f"h{n}.example" for n in range(10)}


def test_candidates_of_known_addresses() -> None:
    hosts = book()
    site = mx("a.example", "b.example")
    known = {"a.example": ["192.0.2.1"], "b.example": ["0.0.0.0", "192.0.2.3"]}
    assert hosts.candidates(site, known) == [
        Target("a.example", "192.0.2.1", 25),
        Target("b.example", "192.0.2.3", 25),
    ]
    hosts.failed("192.0.2.1", "connection refused")
    assert addresses(hosts.candidates(site, known)) == ["192.0.2.3"]
    assert addresses(hosts.candidates(site, {"a.example": ["192.0.2.1"]})) == ["192.0.2.1"]


def test_a_dead_address_is_skipped_until_its_time() -> None:
    clock = FakeClock()
    hosts = book(clock, dead_initial=10.0)
    site = mx("b.example", "h1.example")
    hosts.failed("192.0.2.3", "no route to host")
    assert addresses(targets(hosts, site)) == ["198.51.100.1"]
    clock.advance(9.9)
    assert addresses(targets(hosts, site)) == ["198.51.100.1"]
    clock.advance(0.1)
    assert addresses(targets(hosts, site)) == ["192.0.2.3", "198.51.100.1"]


def test_when_all_are_dead_all_are_tried_the_first_to_return_first() -> None:
    clock = FakeClock()
    hosts = book(clock)
    site = mx("b.example", "h1.example")
    hosts.failed("192.0.2.3", "refused")
    hosts.failed("192.0.2.3", "refused")
    clock.advance(1)
    hosts.failed("198.51.100.1", "refused")
    assert addresses(targets(hosts, site)) == ["192.0.2.3", "198.51.100.1"]
    hosts.worked("192.0.2.3")
    assert addresses(targets(hosts, site)) == ["192.0.2.3"]


def test_periods_grow_to_a_limit_and_end_with_success() -> None:
    clock = FakeClock()
    hosts = book(clock, dead_initial=10.0, dead_max=35.0)
    periods = []
    for _ in range(4):
        for _ in range(20):  # as many connections fail at once
            hosts.failed("192.0.2.3", "refused")
        dead = hosts.dead("192.0.2.3")
        assert dead is not None and dead.reason == "refused"
        periods.append(dead.until - clock.monotonic())
        clock.advance(periods[-1])
        assert hosts.dead("192.0.2.3") is None
    assert periods == [10.0, 20.0, 35.0, 35.0]
    hosts.worked("192.0.2.3", 25)
    hosts.failed("192.0.2.3", "refused")
    assert hosts.dead("192.0.2.3").until - clock.monotonic() == 10.0  # type: ignore[union-attr]


def test_one_port_may_be_dead_alone() -> None:
    hosts = book()
    hosts.failed("127.0.0.1", "refused", 2526)
    assert hosts.dead("127.0.0.1", 2526) and not hosts.dead("127.0.0.1", 2527)
    hosts.worked("127.0.0.1", 2527)
    assert hosts.dead("127.0.0.1", 2526)
    hosts.worked("127.0.0.1", 2526)
    assert hosts.dead("127.0.0.1", 2526) is None


def test_memory_is_bounded() -> None:
    hosts = book(size=3)
    for number in range(10):
        hosts.failed(f"192.0.2.{number}", "refused")
    assert repr(hosts) == "<HostBook 3 addresses noted>"
    assert hosts.dead("192.0.2.9") and not hosts.dead("192.0.2.6")


def test_named_servers_need_no_lookup_and_keep_their_ports() -> None:
    site = static_site([Hop("127.0.0.1", 2526, False), Hop("b.example", 587, False)])
    assert targets(book(), site) == [
        Target("127.0.0.1", "127.0.0.1", 2526),
        Target("b.example", "192.0.2.3", 587),
    ]


def test_a_host_that_cannot_be_looked_up_is_noted() -> None:
    hosts = book(broken=("x.example",))
    found = targets(hosts, mx("x.example", "b.example", "gone.example"))
    assert addresses(found) == ["192.0.2.3"]
    assert "SERVFAIL" in found.notes["x.example"]
    assert found.notes["gone.example"] == "gone.example does not exist"


@pytest.mark.parametrize(
    ("site", "kind", "enhanced"),
    [
        (mx("gone.example", "x.example"), Kind.DEFERRED, "4.4.3"),
        (mx("gone.example"), Kind.BOUNCED, "5.4.4"),
        (mx("zero.example"), Kind.BOUNCED, "5.4.4"),
        (mx("ours.example", "b.example"), Kind.BOUNCED, "5.4.6"),
        (static_site([Hop("gone.example", 25, False)]), Kind.DEFERRED, "4.3.5"),
        (static_site([Hop("x.example", 25, False)]), Kind.DEFERRED, "4.4.3"),
    ],
)
def test_without_a_target_the_outcome_says_why(site: SitePlan, kind: Kind, enhanced: str) -> None:
    found = targets(book(broken=("x.example",)), site)
    assert found == []
    assert found.outcome is not None and found.outcome.text
    assert (found.outcome.kind, found.outcome.enhanced) == (kind, enhanced)


def test_our_own_address_ends_the_list_there() -> None:
    found = targets(book(), mx("b.example", "ours.example", "h1.example"))
    assert addresses(found) == ["192.0.2.3"]


def test_our_own_address_is_fine_on_another_port_and_by_name() -> None:
    assert addresses(targets(book(), mx("ours.example", port=2525))) == ["192.0.2.7"]
    named = static_site([Hop("192.0.2.7", 25, False)])
    assert addresses(targets(book(), named)) == ["192.0.2.7"]


def test_what_one_source_meets_says_nothing_of_another() -> None:
    hosts, site = book(), mx("b.example", "h1.example")
    hosts.failed("192.0.2.3", "refused", 25, "ip1")
    assert addresses(asyncio.run(hosts.connect_targets(site, "ip1"))) == ["198.51.100.1"]
    assert addresses(asyncio.run(hosts.connect_targets(site, "ip2"))) == [
        "192.0.2.3", "198.51.100.1",
    ]  # fmt: skip
    assert hosts.dead("192.0.2.3", 25, "ip2") is None
    hosts.worked("192.0.2.3", 25, "ip2")
    assert hosts.dead("192.0.2.3", 25, "ip1") is not None
