from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from mta import sharedmem
from mta.model import Limit, Scope
from mta.shaping.gate import Denied, Gate
from mta.shaping.limits import Limits, LimitSpec, Rate
from mta.testing.clock import FakeClock


class Node:
    """Two workers' gates over one table, with a clock that jumps."""

    def __init__(self) -> None:
        fd, self.table = sharedmem.create(64, 2)
        os.close(fd)
        self.clock = FakeClock()
        self.eventfds = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2)]

    def gates(self, limits: Limits) -> tuple[Gate, Gate]:
        a, b = (Gate(self.table, w, limits, self.clock, self.eventfds) for w in range(2))
        return a, b

    def woken(self) -> list[int]:
        """The workers whose eventfd was written since the last call."""
        found = []
        for worker, fd in enumerate(self.eventfds):
            try:
                found += [worker] if os.eventfd_read(fd) else []
            except BlockingIOError:
                pass
        return found


@pytest.fixture
def node() -> Iterator[Node]:
    node = Node()
    yield node
    for fd in node.eventfds:
        os.close(fd)


def connections(limit: int, total: int | None = None) -> Limits:
    return Limits(default=LimitSpec(limit), total=LimitSpec(total))


def test_connections_are_counted_over_the_workers(node: Node) -> None:
    a, b = node.gates(connections(2))
    assert a.connect(a.site("x.example")) is None and b.connect(b.site("x.example")) is None
    denied = b.connect(b.site("x.example"))
    assert denied is not None and denied == b.denied
    assert denied == Denied(
        Scope.SITE, "x.example", Limit.CONNECTIONS, "limits.site.default.connections", "2", 2, 0.0
    )
    assert b.connect(b.site("y.example")) is None, "another site has its own"


def test_a_release_wakes_who_was_refused(node: Node) -> None:
    a, b = node.gates(connections(1))
    a.connect(a.site("x.example"))
    b.connect(b.site("x.example"))
    assert node.woken() == []
    a.disconnected(a.site("x.example"))
    assert node.woken() == [1]
    assert (a.on_wake(), b.on_wake(), b.on_wake()) == ([], ["x.example"], [])
    assert b.connect(b.site("x.example")) is None


def test_the_total_is_a_limit_over_sites_and_gives_the_sites_place_back(node: Node) -> None:
    a, b = node.gates(connections(5, total=2))
    a.connect(a.site("x.example"))
    a.connect(a.site("y.example"))
    denied = b.connect(b.site("z.example"))
    assert denied is not None and denied.rule == "delivery.max_connections"
    assert (denied.scope, denied.name, denied.use) == (Scope.NODE, "", 2)
    assert b.explain("z.example")["connections"] == {
        "limit": 5,
        "rule": "limits.site.default.connections",
        "open": 0,
        "by_worker": [0, 0],
        "waiting_workers": [],
        "shared_slot": False,
    }
    a.disconnected(a.site("y.example"))
    assert node.woken() == [1] and b.on_wake() == ["z.example"]
    assert b.connect(b.site("z.example")) is None


def test_excess_over_the_share_is_given_up_at_each_boundary(node: Node) -> None:
    a, b = node.gates(connections(10))
    assert all(a.connect(a.site("x.example")) is None for _ in range(10))
    assert not a.should_yield(a.site("x.example"))
    for mine in range(10, 5, -1):
        assert b.connect(b.site("x.example")) is not None
        assert a.should_yield(a.site("x.example")), mine
        a.disconnected(a.site("x.example"))
        assert not a.should_yield(a.site("x.example")), "one for each that waits"
        assert b.connect(b.site("x.example")) is None
    b.connect(b.site("x.example"))
    assert not a.should_yield(a.site("x.example")), "five and five are fair"


def test_a_connection_that_is_closing_counts_as_given_up(node: Node) -> None:
    a, b = node.gates(connections(10))
    assert all(a.connect(a.site("x.example")) is None for _ in range(7))
    assert all(b.connect(b.site("x.example")) is None for _ in range(3))
    assert b.connect(b.site("x.example")) is not None
    assert [a.should_yield(a.site("x.example")) for _ in range(4)] == [True, True, False, False]
    a.disconnected(a.site("x.example"))
    assert b.connect(b.site("x.example")) is None and b.connect(b.site("x.example")) is not None
    assert not a.should_yield(a.site("x.example")), "the second one closes yet"
    a.disconnected(a.site("x.example"))
    assert b.connect(b.site("x.example")) is None and b.connect(b.site("x.example")) is not None
    assert not a.should_yield(a.site("x.example"))


def test_an_odd_place_is_used_for_longer_where_it_took_long_to_get_ready(node: Node) -> None:
    a, b = node.gates(connections(1))
    a.connect(a.site("x.example"))
    b.connect(b.site("x.example"))
    node.clock.advance(0.5)
    a.connected(a.site("x.example"))
    assert not a.should_yield(a.site("x.example")), "it has sent nothing yet"
    node.clock.advance(1.9)
    assert not a.should_yield(a.site("x.example"))
    node.clock.advance(0.2)
    assert a.should_yield(a.site("x.example"))
    a.disconnected(a.site("x.example"))
    assert b.connect(b.site("x.example")) is None
    node.clock.advance(60)
    a.connect(a.site("x.example"))
    b.connected(b.site("x.example"))
    node.clock.advance(5.1)
    assert b.should_yield(b.site("x.example")), "not for ever"


def test_an_odd_place_is_passed_on_in_turns(node: Node) -> None:
    a, b = node.gates(connections(1))
    assert a.connect(a.site("x.example")) is None and b.connect(b.site("x.example")) is not None
    assert not a.should_yield(a.site("x.example")), "it has only just got it"
    node.clock.advance(0.2)
    assert a.should_yield(a.site("x.example"))
    a.disconnected(a.site("x.example"))
    denied = a.connect(a.site("x.example"))
    assert denied is not None and denied.retry == pytest.approx(0.2)
    assert b.connect(b.site("x.example")) is None
    node.clock.advance(0.2)
    assert a.connect(a.site("x.example")) is not None and b.should_yield(b.site("x.example"))
    b.disconnected(b.site("x.example"))
    assert 0 in node.woken() and a.on_wake() == ["x.example"]
    assert a.connect(a.site("x.example")) is None


class Ticking(FakeClock):
    """Each look at it takes a little."""

    def monotonic(self) -> float:
        self.advance(0.001)
        return super().monotonic()


def yielded(node: Node) -> tuple[Gate, Gate]:
    """The first has left the only place of a site to the second."""
    a, b = node.gates(connections(1))
    a.connect(a.site("x.example"))
    b.connect(b.site("x.example"))
    node.clock.advance(1)
    assert a.should_yield(a.site("x.example"))
    a.disconnected(a.site("x.example"))
    return a, b


def test_who_asks_when_the_others_turn_ends_is_told_when_or_woken(node: Node) -> None:
    node.clock = Ticking()
    a, b = yielded(node)
    assert b.connect(b.site("x.example")) is None
    until = a._sites["x.example"].turn_until
    node.clock.advance(until - node.clock.monotonic() - 0.0015)
    waits = []
    for _ in range(3):
        denied = a.connect(a.site("x.example"))
        assert denied is not None
        waits.append(denied.retry)
        asked = bool(node.table.counts(node.table.slot(b"site:x.example"))[2] & 1)
        assert asked == (denied.retry == 0.0), waits
    assert waits[0] > 0 and waits[-1] == 0


def test_a_place_left_to_others_comes_back_if_nobody_takes_it(node: Node) -> None:
    a, _ = yielded(node)
    assert a.connect(a.site("x.example")) is not None
    node.clock.advance(0.21)
    assert a.connect(a.site("x.example")) is None


def test_messages_leave_at_the_rate_over_both_workers(node: Node) -> None:
    a, b = node.gates(Limits(default=LimitSpec(rate=Rate(10, burst=3))))
    assert [
        a.message(a.site("x.example")),
        b.message(b.site("x.example")),
        a.message(a.site("x.example")),
    ] == [0.0] * 3
    assert b.message(b.site("x.example")) == pytest.approx(0.1)
    assert b.denied is not None and b.denied[:6] == (
        Scope.SITE, "x.example", Limit.RATE, "limits.site.default.rate", "10/s, burst=3", 0
    )  # fmt: skip
    assert b.denied.retry == pytest.approx(0.1)
    assert b.message(b.site("y.example")) == 0.0
    node.clock.advance(0.1001)
    assert b.message(b.site("x.example")) == 0.0
    assert a.message(a.site("x.example")) > 0


def test_a_tenants_rate_holds_over_all_sites(node: Node) -> None:
    a, b = node.gates(Limits(tenants={"acme": Rate(5, burst=1)}))
    assert a.message(a.site("x.example"), "acme") == 0.0
    assert b.message(b.site("y.example"), "acme") == pytest.approx(0.2)
    assert b.denied is not None and b.denied.rule == "tenant.acme.rate"
    assert (b.denied.scope, b.denied.name) == (Scope.TENANT, "acme")
    assert b.message(b.site("y.example"), "other") == 0.0


def test_a_refused_message_uses_up_nothing_and_a_refund_restores(node: Node) -> None:
    limits = Limits(
        default=LimitSpec(rate=Rate(1, burst=1)),
        total=LimitSpec(rate=Rate(1000, burst=100)),
        tenants={"acme": Rate(1, burst=2)},
    )
    a, _ = node.gates(limits)
    assert a.message(a.site("x.example"), "acme") == 0.0
    assert a.message(a.site("x.example"), "acme") == pytest.approx(1.0)
    assert a.denied is not None and a.denied.rule == "limits.site.default.rate"
    assert a.denied.scope is Scope.SITE
    assert a.message(a.site("y.example"), "acme") == 0.0, "the refused one left the tenant's token"
    assert a.message(a.site("z.example"), "acme") == pytest.approx(1.0)
    a.refund(a.site("y.example"), "acme")
    assert a.message(a.site("y.example"), "acme") == 0.0
    rates = a.explain("y.example", "acme")["rates"]
    assert isinstance(rates, list)
    assert [(rate["rule"], rate["left_now"]) for rate in rates] == [
        ("tenant.acme.rate", 0),
        ("limits.site.default.rate", 0),
        ("delivery.max_connections", 98),
    ]


def test_a_sites_further_names_find_its_limits(node: Node) -> None:
    limits = Limits(sites={"example.com": LimitSpec(1)})
    a, _ = node.gates(limits)
    assert a.connect(a.site("5f3a")) is None and a.connect(a.site("5f3a")) is None
    a.define("5f3a", ["mx.example.net", "example.com"])
    denied = a.connect(a.site("5f3a"))
    assert denied is not None and denied.use == 2


def test_names_that_change_no_limit_are_not_kept(node: Node) -> None:
    limits = Limits(LimitSpec(5), {"*.example.org": LimitSpec(3), "a.example.org": LimitSpec(2)})
    a, _ = node.gates(limits)
    a.define("s", (f"d{i}.example.com" for i in range(50)))
    assert a.explain("s")["names"] == ["s"]
    a.define("s", (f"d{i}.example.org" for i in range(50)))
    a.define("s", ("a.example.org", "b.example.org"))
    assert a.explain("s")["names"] == ["s", "d0.example.org", "a.example.org"]


def test_idle_sites_are_forgotten_but_not_those_in_use(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mta.shaping.gate.MAX_SITES", 8)
    a, _ = node.gates(Limits(LimitSpec(1), {"named": LimitSpec(rate=Rate(1))}))
    a.connect(a.site("used"))
    a.connect(a.site("waits")), a.connect(a.site("waits"))
    a.define("by-name", ("named",))
    for i in range(20):
        assert a.message(a.site(f"site{i}")) == 0.0
    assert len(a._sites) <= 8
    a.disconnected(a.site("used"))
    assert a.message(a.site("by-name")) == 0.0 and a.message(a.site("by-name")) > 0


def test_a_reload_counts_what_is_open(node: Node) -> None:
    a, b = node.gates(Limits())
    assert all(a.connect(a.site("x.example")) is None for _ in range(3))
    for gate in (a, b):
        assert gate.reload(connections(4)) == []
    assert b.connect(b.site("x.example")) is None and b.connect(b.site("x.example")) is not None
    assert b.reload(Limits()) == ["x.example"]
    assert b.connect(b.site("x.example")) is None


def test_a_dead_workers_connections_come_back(node: Node) -> None:
    a, b = node.gates(connections(1))
    a.connect(a.site("x.example"))
    b.connect(b.site("x.example"))
    assert node.table.reclaim(0) == 0b10
    assert b.connect(b.site("x.example")) is None
