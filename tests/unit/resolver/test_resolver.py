from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mta.resolver import MxAnswer, ResolverOptions
from mta.testing.clock import FakeClock
from mta.testing.zones import FakeResolver

RECORDS = {
    "example.com": {"MX": ["20 mx2.example.com", "10 mx1.example.com"]},
    "mx1.example.com": {"A": "192.0.2.1", "AAAA": "2001:db8::1"},
    "mx2.example.com": {"A": ["192.0.2.2", "192.0.2.3"]},
    "implicit.example": {"A": "192.0.2.9"},
    "null.example": {"MX": "0 ."},
    "text.example": {"TXT": '"hello"'},
    "alias.example": {"CNAME": "alias2.example"},
    "alias2.example": {"CNAME": "example.com"},
    "xn--bcher-kva.example": {"MX": "10 mx1.example.com"},
    "other.test": {"SOA": "ns.test root.test 1 3600 600 86400 30", "MX": "5 mx.other.test"},
    "into.other.example": {"CNAME": "other.test"},
    "gone.other.example": {"CNAME": "gone.other.test"},
    "loop1.example": {"CNAME": "loop2.example"},
    "loop2.example": {"CNAME": "loop1.example"},
    "long.other.test": {"CNAME": "long.example"},
    "long.example": {"CNAME": "long.other.test"},
}
MX = ((10, "mx1.example.com"), (20, "mx2.example.com"))


def mx(resolver: FakeResolver, domain: str) -> MxAnswer:
    return asyncio.run(resolver.mx(domain))


@pytest.mark.parametrize(
    ("domain", "hosts"),
    [
        ("example.com", MX),
        ("EXAMPLE.com.", MX),
        ("alias.example", MX),
        ("into.other.example", ((5, "mx.other.test"),)),
        ("bücher.example", ((10, "mx1.example.com"),)),
        ("xn--bcher-kva.example", ((10, "mx1.example.com"),)),
    ],
)
def test_mx_hosts(domain: str, hosts: tuple[tuple[int, str], ...]) -> None:
    answer = mx(FakeResolver(RECORDS), domain)
    assert (answer.hosts, answer.status, answer.implicit, answer.null) == (
        hosts,
        "ok",
        False,
        False,
    )


def test_without_mx_the_domain_itself_is_the_host() -> None:
    answer = mx(FakeResolver(RECORDS), "implicit.example")
    assert (answer.hosts, answer.implicit) == (((0, "implicit.example"),), True)


def test_null_mx() -> None:
    answer = mx(FakeResolver(RECORDS), "null.example")
    assert (answer.hosts, answer.null, answer.status) == ((), True, "ok")


@pytest.mark.parametrize(
    ("domain", "status", "text"),
    [
        ("nowhere.example", "nxdomain", "nowhere.example does not exist"),
        ("gone.other.example", "nxdomain", "gone.other.test does not exist"),
        ("text.example", "nodata", "text.example has no MX and no address"),
        ("loop1.example", "temporary", "its CNAME chain does not end"),
        ("long.example", "temporary", "its CNAME chain does not end"),
        ("broken.example", "temporary", "SERVFAIL"),
        ("a..b", "nxdomain", "a..b is not a domain name"),
        (f"{'x' * 64}.example", "nxdomain", "is not a domain name"),
        ("with space.example", "nxdomain", "is not a domain name"),
        (f"{'ü' * 70}.example", "nxdomain", "is not a domain name"),
        ("", "nxdomain", "is not a domain name"),
    ],
)
def test_what_cannot_be_mailed_is_a_value(domain: str, status: str, text: str) -> None:
    answer = mx(FakeResolver(RECORDS, broken=["broken.example"]), domain)
    assert (answer.hosts, answer.status) == ((), status)
    assert text in answer.text


def test_an_implicit_mx_is_temporary_while_its_address_is() -> None:
    class HalfBroken(FakeResolver):
        def find_addresses(self, host: str, done: Any) -> None:
            self.zones.broken.add(host)
            super().find_addresses(host, done)

    assert mx(HalfBroken(RECORDS), "implicit.example").status == "temporary"


@pytest.mark.parametrize(
    ("options", "addresses"),
    [
        (ResolverOptions(), ["2001:db8::1", "192.0.2.1"]),
        (ResolverOptions(prefer="ipv4"), ["192.0.2.1", "2001:db8::1"]),
        (ResolverOptions(ipv6=False), ["192.0.2.1"]),
        (ResolverOptions(ipv4=False), ["2001:db8::1"]),
        (ResolverOptions(ipv4=False, ipv6=False), []),
    ],
)
def test_addresses_by_family(options: ResolverOptions, addresses: list[str]) -> None:
    resolver = FakeResolver(RECORDS, options=options)
    assert resolver.peek_addresses("mx1.example.com") is None
    assert asyncio.run(resolver.addresses("mx1.example.com")) == addresses
    assert resolver.peek_addresses("mx1.example.com") == addresses


def test_localhost_is_never_asked_for() -> None:
    resolver = FakeResolver({"localhost": {"A": "192.0.2.66"}})
    assert mx(resolver, "localhost").hosts == ((0, "localhost"),)
    assert asyncio.run(resolver.addresses("x.localhost")) == ["::1", "127.0.0.1"]
    assert resolver.zones.asked == []


def test_an_address_answer_tells_nothing_there_from_not_now() -> None:
    resolver = FakeResolver(RECORDS, broken=["broken.example"])
    statuses = [
        asyncio.run(resolver.address_answer(host)).status
        for host in ("mx1.example.com", "text.example", "no.example", "broken.example", "a..b")
    ]
    assert statuses == ["ok", "nodata", "nxdomain", "temporary", "nxdomain"]
    assert asyncio.run(resolver.addresses("broken.example")) == []


def times_asked(resolver: FakeResolver, clock: FakeClock, domain: str, wait: float) -> int:
    """How many questions a second look-up asks, so long after the first."""
    mx(resolver, domain)
    before = len(resolver.zones.asked)
    clock.advance(wait)
    mx(resolver, domain)
    return len(resolver.zones.asked) - before


@pytest.mark.parametrize(
    ("domain", "wait", "questions"),
    [
        ("example.com", 299.9, 0),
        ("example.com", 300.0, 1),
        ("nowhere.example", 59.9, 0),  # the SOA's minimum
        ("nowhere.example", 60.0, 1),
        ("nowhere.other.test", 29.9, 0),
        ("nowhere.other.test", 30.0, 1),
        ("broken.example", 14.9, 0),
        ("broken.example", 15.0, 1),
        ("a..b", 3599.0, 0),
        ("text.example", 59.9, 0),
        ("text.example", 60.0, 3),
    ],
)
def test_an_answer_holds_for_its_ttl(domain: str, wait: float, questions: int) -> None:
    clock = FakeClock()
    resolver = FakeResolver(RECORDS, broken=["broken.example"], clock=clock)
    assert times_asked(resolver, clock, domain, wait) == questions


@pytest.mark.parametrize(
    ("ttl", "options", "holds"),
    [
        (0, ResolverOptions(), 5.0),
        (1, ResolverOptions(min_ttl=20), 20.0),
        (500_000, ResolverOptions(), 86_400.0),
        (500, ResolverOptions(max_ttl=100), 100.0),
    ],
)
def test_ttl_floor_and_ceiling(ttl: int, options: ResolverOptions, holds: float) -> None:
    answer = mx(FakeResolver(RECORDS, options=options, ttl=ttl), "example.com")
    assert answer.ttl_until == FakeClock().monotonic() + holds


def test_the_shortest_ttl_of_a_chain_counts() -> None:
    resolver = FakeResolver(RECORDS, ttl=1000)
    assert mx(resolver, "gone.other.example").ttl_until == FakeClock().monotonic() + 30


def test_identical_lookups_are_shared() -> None:
    async def run() -> None:
        gate = asyncio.Event()
        resolver = FakeResolver(RECORDS, gate=gate)
        names = ["example.com", "Example.COM", "example.com."] * 30
        tasks = [asyncio.create_task(resolver.mx(name)) for name in names]
        await asyncio.sleep(0)
        tasks[0].cancel()  # the one that began it gives up: the others still get their answer
        gate.set()
        answers = await asyncio.gather(*tasks[1:])
        assert {answer.hosts for answer in answers} == {MX}
        assert resolver.zones.asked == [("example.com", "MX")]
        assert (resolver.stats.lookups, resolver.stats.shared) == (1, 89)

    asyncio.run(run())


def test_a_fault_of_one_who_waits_is_its_alone() -> None:
    async def run() -> None:
        gate, faults = asyncio.Event(), list[object]()
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
        resolver = FakeResolver(RECORDS, gate=gate)
        for name in ("example.com", "example.com"):
            resolver.find_mx(name, lambda answer: 1 // 0)
        waiting = [asyncio.create_task(resolver.mx("example.com")) for _ in range(3)]
        await asyncio.sleep(0)
        gate.set()
        assert {answer.hosts for answer in await asyncio.gather(*waiting)} == {MX}
        assert faults and "0 under way" in repr(resolver)

    asyncio.run(run())


def test_the_cache_is_bounded_and_drops_the_least_recently_used() -> None:
    resolver = FakeResolver(RECORDS, options=ResolverOptions(cache_size=2))
    for domain in ("example.com", "null.example", "example.com", "nowhere.example"):
        mx(resolver, domain)
    assert resolver.peek_mx("example.com") is not None
    assert resolver.peek_mx("null.example") is None
    assert "2 cached" in repr(resolver)


def test_forget_and_hits() -> None:
    resolver = FakeResolver(RECORDS)
    mx(resolver, "example.com")
    assert resolver.peek_mx("example.com.") is resolver.peek_mx("example.com")
    assert resolver.stats.hits == 2
    resolver.forget()
    assert resolver.peek_mx("example.com") is None


def test_close_ends_what_is_under_way() -> None:
    async def run() -> None:
        resolver = FakeResolver(RECORDS, gate=asyncio.Event())
        waiting = asyncio.create_task(resolver.mx("example.com"))
        await asyncio.sleep(0)
        await resolver.close()
        assert "0 under way" in repr(resolver)
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(run())


def test_a_lookup_that_takes_too_long_is_temporary() -> None:
    resolver = FakeResolver(RECORDS, gate=asyncio.Event(), options=ResolverOptions(lifetime=0.0))
    answer = mx(resolver, "example.com")
    assert (answer.status, answer.text) == (
        "temporary",
        "looking up MX of example.com: gave up after 0 s",
    )
    assert resolver.stats.failures == 1
