from __future__ import annotations

import pytest

from mta.routing.rules import Hop
from mta.routing.site import mx_site, pretty_name, smarthost_site, static_site


@pytest.mark.parametrize(
    ("hosts", "name"),
    [
        (["aspmx.l.google.com", "alt1.aspmx.l.google.com"], "aspmx.l.google.com"),
        (["mx1.google.com", "mx2.google.com"], "google.com"),
        (["mx.example.com"], "mx.example.com"),
        (["mx.one.example", "mx.two.example"], "mx.one.example"),
        (["mx.one.co.uk", "mx.two.co.uk"], "mx.one.co.uk"),
        (["mx1.one.co.uk", "mx2.one.co.uk"], "one.co.uk"),
        (["localhost"], "localhost"),
    ],
)
def test_names_for_people(hosts: list[str], name: str) -> None:
    assert pretty_name(tuple(enumerate(hosts))) == name


def test_domains_that_share_servers_share_a_site() -> None:
    one = mx_site(((10, "a.example"), (20, "b.example")), 25)
    two = mx_site(((5, "b.example"), (5, "a.example"), (7, "a.example")), 25)
    assert one.key == two.key
    assert two.hosts == ((5, "a.example"), (5, "b.example"))
    others = [mx_site(one.hosts, 2525), mx_site(one.hosts[:1], 25), static_site([Hop("a", 25, 0)])]  # type: ignore[arg-type]
    assert one.key not in {site.key for site in others}


def test_a_key_is_the_same_everywhere() -> None:
    assert mx_site(((10, "mx.example.com"),), 25).key == "ee81588dcfc2f7c9"


def test_named_servers() -> None:
    site = static_site([Hop("127.0.0.1", 2526, False)])
    assert (site.name, site.hosts) == ("127.0.0.1:2526", ((0, "127.0.0.1"),))
    assert (site.port, site.addresses, site.ports, site.mx) == (2526, ("127.0.0.1",), (), False)


def test_servers_with_ports_of_their_own() -> None:
    hops = [Hop("::1", 25, False), Hop("b.example", 587, False), Hop("::1", 25, False)]
    site = static_site(hops)
    assert site.name == "[::1]:25,b.example:587"
    assert (site.hosts, site.addresses) == (((0, "::1"), (1, "b.example")), ("::1",))
    assert [site.port_of(*host) for host in site.hosts] == [25, 587]


def test_the_order_of_named_servers_is_part_of_the_site() -> None:
    hops = [Hop("192.0.2.1", 25, False), Hop("192.0.2.2", 25, False)]
    assert static_site(hops).key != static_site(hops[::-1]).key


def test_a_smarthost_keeps_the_order_of_its_mx() -> None:
    found = [(10, Hop("a.example", 587, False)), (20, Hop("b.example", 587, False))]
    site = smarthost_site("smtp.example:587", found)
    assert (site.name, site.hosts) == ("smtp.example:587", ((10, "a.example"), (20, "b.example")))
    assert (site.port, site.mx) == (587, False)


def test_one_address_with_two_ports_is_two_hosts() -> None:
    hops = [Hop("192.0.2.1", 25, False), Hop("192.0.2.1", 587, False)]
    site = static_site(hops)
    assert [site.port_of(*host) for host in site.hosts] == [25, 587]
