from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from mta.model import Message
from mta.routing.egress import DEFAULT, Egress, Rotation, Source, reachable
from mta.routing.hosts import Target, Targets

IP1 = Source("ip1", ("192.0.2.1",))
IP2 = Source("ip2", ("192.0.2.2", "2001:db8::2"), "two.example")
POOLS = {"bulk": {"ip1": 3, "ip2": 1}, "one": {"ip2": 1}}


def plan(pool: str = "", site: str = "k", transport: str = "") -> Any:
    route = SimpleNamespace(pool=pool, transport=transport)
    return SimpleNamespace(route=route, site=SimpleNamespace(key=site))


def message(pool: str = "") -> Message:
    return Message(bytes(16), "s@a.example", pool=pool)


def egress(default: str = "", told: list[str] | None = None) -> Egress:
    report = print if told is None else told.append
    return Egress({"ip1": IP1, "ip2": IP2}, POOLS, default, report)


def anywhere(source: str) -> bool:
    return True


def test_weights_are_spread_smoothly() -> None:
    rotation = Rotation({"a": 5, "b": 1, "c": 1})
    assert "".join(rotation.next(anywhere) for _ in range(7)) == "aabacaa"


def test_a_source_without_room_leaves_its_turn_and_returns_to_its_weight() -> None:
    rotation = Rotation({"a": 3, "b": 1})
    assert [rotation.next(lambda s: s == "b") for _ in range(5)] == ["b"] * 5
    assert Counter(rotation.next(anywhere) for _ in range(40)) == {"a": 30, "b": 10}
    assert Counter(rotation.next(lambda s: False) for _ in range(40)) == {"a": 30, "b": 10}


def test_each_site_sees_the_weights_of_the_pool() -> None:
    made = egress()
    for site in ("x", "y"):
        taken = [made.choose(plan("bulk", site), message(), anywhere) for _ in range(4)]
        assert taken == ["ip1", "ip1", "ip2", "ip1"]


@pytest.mark.parametrize(
    ("route", "own", "default", "expected"),
    [
        ("", "", "", ("default",)),
        ("", "", "one", ("ip2",)),
        ("bulk", "", "", ("ip1", "ip2")),
        ("bulk", "one", "", ("ip1", "ip2")),  # the route's counts before the message's
        ("", "one", "", ("ip2",)),
        ("", "ip1", "", ("ip1",)),  # a source's name stands for a pool of it alone
        ("", "nothing", "", ("default",)),
        ("", "nothing", "one", ("ip2",)),
    ],
)
def test_whose_pool_counts(route: str, own: str, default: str, expected: tuple[str, ...]) -> None:
    assert tuple(egress(default).sources(plan(route), message(own))) == expected


def test_a_transport_has_no_source() -> None:
    assert egress("bulk").choose(plan(transport="box"), message("one"), anywhere) == "default"


def test_an_unknown_pool_is_told_once() -> None:
    told: list[str] = []
    made = egress("bulk", told)
    for _ in range(3):
        made.choose(plan(), message("lost"), anywhere)
    assert told == ['there is no pool "lost": its mail leaves from source ip1, ip2']


def test_the_local_address_is_of_the_remotes_family() -> None:
    assert IP2.local("198.51.100.1") == "192.0.2.2"
    assert IP2.local("2001:db8::9") == "2001:db8::2"
    assert IP1.local("2001:db8::9") is None
    assert DEFAULT.local("2001:db8::9") == ""


def test_targets_of_the_other_family_are_left_out() -> None:
    targets = Targets()
    four, six = Target("mx", "198.51.100.1", 25), Target("mx", "2001:db8::9", 25)
    targets += [six, four]
    assert reachable(targets, IP1) == [four]
    assert targets.outcome is None
    targets[:] = [six]
    assert reachable(targets, IP1) == []
    assert targets.outcome is not None
    assert targets.outcome.text == "source ip1 has no IPv6 address, and mx no other"


def test_a_reload_tells_which_sources_changed() -> None:
    new = Egress({"ip1": IP1, "ip2": IP2._replace(ehlo="new.example"), "ip3": Source("ip3")}, {})
    assert new.changed(egress()) == {"ip2", "ip3"}
    assert egress().changed(new) == {"ip2", "ip3"}
    assert not new.changed(new)
