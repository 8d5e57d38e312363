from __future__ import annotations

import pytest

from mta.config.schema import Match as MatchSection
from mta.config.schema import Route as RouteSection
from mta.errors import ConfigError
from mta.model import Class, Message
from mta.routing.rules import (
    MX_ROUTE,
    Hop,
    Match,
    Router,
    RouteRule,
    from_config,
    glob,
    parse_hop,
    parse_next_hop,
    parse_route,
)


def message(tenant: str = "", campaign: str = "", sender: str = "a@sender.example") -> Message:
    return Message(bytes(16), sender, tenant=tenant, campaign=campaign)


@pytest.mark.parametrize(
    ("text", "hop"),
    [
        ("[192.0.2.1]:25", Hop("192.0.2.1", 25, False)),
        ("[192.0.2.1]", Hop("192.0.2.1", 587, False)),
        ("192.0.2.1", Hop("192.0.2.1", 587, False)),
        ("127.0.0.1:2526", Hop("127.0.0.1", 2526, False)),
        ("[::1]:25", Hop("::1", 25, False)),
        ("[IPv6:2001:DB8::1]:2525", Hop("2001:db8::1", 2525, False)),
        ("[IPv6:::1]:25", Hop("::1", 25, False)),
        ("2001:db8::1", Hop("2001:db8::1", 587, False)),
        ("smtp.example.net", Hop("smtp.example.net", 587, True)),
        ("smtp.Example.net:2525", Hop("smtp.example.net", 2525, True)),
        ("[smtp.example.net]:2525", Hop("smtp.example.net", 2525, False)),
        (" bücher.example ", Hop("xn--bcher-kva.example", 587, True)),
        ("localhost:2526", Hop("localhost", 2526, True)),
    ],
)
def test_a_hop(text: str, hop: Hop) -> None:
    assert parse_hop(text, 587) == hop


@pytest.mark.parametrize(
    "text",
    ["", ":25", "[]:25", "a b", "192.0.2.1:0", "192.0.2.1:70000", "192.0.2.300", "host:x",
     "[192.0.2.1", "192.0.2.1]:25", "a..b", "user@example.com", "[::1]25", "[::1]:", "http://x"],
)  # fmt: skip
def test_what_is_no_hop_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a next hop") as error:
        parse_hop(text)
    assert "write it like [192.0.2.1]:25" in str(error.value)


@pytest.mark.parametrize(
    ("text", "next_hop", "port"),
    [
        ("mx", (), 25),
        ("mx:2525", (), 2525),
        ("[mx]:25", (Hop("mx", 25, False),), 25),
        (
            "[192.0.2.1]:25, smtp.example.net:587",
            (Hop("192.0.2.1", 25, False), Hop("smtp.example.net", 587, True)),
            25,
        ),
    ],
)
def test_next_hops(text: str, next_hop: tuple[Hop, ...], port: int) -> None:
    assert parse_next_hop(text) == (next_hop, port)


def test_mx_stands_alone() -> None:
    with pytest.raises(ConfigError, match="stands alone"):
        parse_next_hop("192.0.2.1,mx")


def test_a_route_of_the_command_line() -> None:
    rule = parse_route("*.example.org = smtp.example.net")
    assert (rule.name, rule.match) == ("*.example.org", Match(domain="*.example.org"))
    assert rule.next_hop == (Hop("smtp.example.net", 25, True),)
    assert parse_route("*=mx:2526") == RouteRule("*", Match(), (), port=2526)


@pytest.mark.parametrize("text", ["", "example.com", "=127.0.0.1", "example.com="])
def test_what_is_no_route_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"is not a route .*\*=127.0.0.1:2526"):
        parse_route(text)


def test_routes_of_the_configuration() -> None:
    rules = from_config(
        [
            RouteSection(
                match=MatchSection(tenant="acme", domain="*.example.org"),
                next_hop=("[192.0.2.1]", "smtp.example.net"),
                port=587,
                pool="bulk",
                klass="bulk",
                retry="slow",
            ),
            RouteSection(port=2525),
        ]
    )
    assert rules[0] == RouteRule(
        "*.example.org,tenant=acme",
        Match(domain="*.example.org", tenant="acme"),
        (Hop("192.0.2.1", 587, False), Hop("smtp.example.net", 587, True)),
        "bulk",
        Class.BULK,
        "slow",
        587,
    )
    assert rules[1] == RouteRule("*", Match(), (), port=2525)


@pytest.mark.parametrize(
    ("pattern", "matches", "others"),
    [
        ("example.com", ["example.com", "EXAMPLE.com"], ["a.example.com", "example.comx"]),
        ("*.example.com", ["a.example.com", "a.b.Example.com"], ["example.com", "aexample.com"]),
        ("*", ["", "anything"], []),
        ("mail?.example", ["mail1.example"], ["mail.example", "mail10.example"]),
        ("a*b*c", ["abc", "a1b2c"], ["ab", "abcd"]),
        ("[192.0.2.1]", ["[192.0.2.1]"], ["1", "."]),
        ("[*]", ["[192.0.2.1]"], ["192.0.2.1"]),
        ("x+y.example", ["x+y.example"], ["xxy.example"]),
    ],
)
def test_patterns(pattern: str, matches: list[str], others: list[str]) -> None:
    test = glob(pattern)
    assert all(test is None or test(value) for value in matches)
    assert not any(test is None or test(value) for value in others)


RULES = [
    RouteRule("acme", Match(tenant="acme", domain="*.example.org"), pool="bulk"),
    RouteRule("spring", Match(campaign="spring-*")),
    RouteRule("vip", Match(sender="*@vip.example")),
    RouteRule("org", Match(domain="*.example.org")),
    RouteRule("buecher", Match(domain="*.bücher.example")),
]


@pytest.mark.parametrize(
    ("tenant", "campaign", "sender", "domain", "name"),
    [
        ("acme", "", "a@vip.example", "mx.example.org", "acme"),
        ("acme", "spring-1", "a@b.example", "example.com", "spring"),
        ("other", "", "a@VIP.example", "mx.example.org", "vip"),
        ("other", "", "a@b.example", "mx.example.org", "org"),
        ("other", "", "a@b.example", "x.xn--bcher-kva.example", "buecher"),
        ("other", "", "a@b.example", "x.bücher.example", "buecher"),
        ("other", "", "a@b.example", "ü..example", "mx"),
        ("other", "", "", "example.com", "mx"),
    ],
)
def test_the_first_match_wins(
    tenant: str, campaign: str, sender: str, domain: str, name: str
) -> None:
    router = Router(RULES)
    envelope = message(tenant, campaign, sender)
    route = router.route(envelope, domain)
    assert route.name == name
    assert router.route(envelope, domain) is route


def test_no_rules_mean_mx_and_one_star_means_nothing_is_remembered() -> None:
    assert Router().route(message(), "example.com") is MX_ROUTE
    router = Router([parse_route("*=127.0.0.1:2526"), *RULES])
    assert router.route(message("acme"), "mx.example.org") is router.routes[0]
    assert "0 remembered" in repr(router)


def test_memory_is_bounded() -> None:
    router = Router(RULES[:2], memo=10)
    for number in range(25):
        assert router.route(message(), f"d{number}.example") is MX_ROUTE
    assert "5 remembered" in repr(router)


def test_rules_that_name_a_domain_keep_their_place_among_patterns() -> None:
    patterns = ["*.a.example", "b.example", "B.a.example", "*", "c.example", "b.example"]
    tenants = ["*", "other", "*", "one", "*", "*"]
    router = Router([
        RouteRule(f"{number}", Match(pattern, tenant))
        for number, (pattern, tenant) in enumerate(zip(patterns, tenants, strict=True))
    ])  # fmt: skip
    found = {
        (tenant, domain): router.route(message(tenant), domain).name
        for tenant in ("", "one", "other")
        for domain in ("b.a.example", "b.example", "c.example", "d.example")
    }
    assert found == {
        ("", "b.a.example"): "0", ("one", "b.a.example"): "0", ("other", "b.a.example"): "0",
        ("", "b.example"): "5", ("one", "b.example"): "3", ("other", "b.example"): "1",
        ("", "c.example"): "4", ("one", "c.example"): "3", ("other", "c.example"): "4",
        ("", "d.example"): "mx", ("one", "d.example"): "3", ("other", "d.example"): "mx",
    }  # fmt: skip
