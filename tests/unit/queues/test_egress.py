"""Ready queues of several sources for one site."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from mta.queues.lanes import ReadyQueue
from mta.routing.egress import Egress, Source
from tests.unit.queues.desk import OK, Desk

Make = Callable[..., Desk]
POOLS = {"bulk": {"ip1": 3, "ip2": 1}, "one": {"ip1": 1}}


def with_sources(desk: Desk, pools: Mapping[str, Mapping[str, int]] = POOLS) -> Desk:
    desk.manager.ports.egress = Egress({name: Source(name) for name in ("ip1", "ip2")}, pools)
    return desk


def counts(desk: Desk) -> dict[str, int]:
    return {ready.source: ready.count for ready in desk.manager.ready.values() if ready.count}


def of(desk: Desk, source: str) -> ReadyQueue:
    return next(ready for ready in desk.manager.ready.values() if ready.source == source)


def deliver(desk: Desk, source: str) -> int:
    """Everything that this source has; how much it was."""
    count = 0
    while (parcel := desk.manager.take(of(desk, source))) is not None:
        desk.end(parcel, OK)
        count += 1
    return count


def test_parcels_are_shared_out_by_weight(make: Make) -> None:
    desk = with_sources(make())
    for number in range(8):
        desk.accept(f"r{number}@b.example", pool="bulk")
    desk.accept("x@b.example")
    desk.accept("y@b.example", pool="one")
    assert counts(desk) == {"ip1": 7, "ip2": 2, "default": 1}
    assert {ready.name for ready in desk.manager.ready.values()} == {"b.example"}


def test_recipients_of_one_message_and_site_leave_together(make: Make) -> None:
    desk = with_sources(make())
    desk.accept("a@b.example", "b@b.example", "c@b.example", pool="bulk")
    assert counts(desk) == {"ip1": 1}


def test_a_source_that_is_stuck_does_not_hold_up_its_pool(make: Make) -> None:
    desk = with_sources(make(lane_items=4))
    for number in range(40):
        desk.accept(f"r{number}@b.example", pool="bulk")
    assert counts(desk) == {"ip1": 4, "ip2": 4}
    delivered = 0
    for _ in range(40):
        delivered += deliver(desk, "ip2")
        desk.run(0.2)
    assert delivered == 36
    assert counts(desk) == {"ip1": 4}
    assert deliver(desk, "ip1") == 4
    assert desk.ends() == {"Delivery": 40}


def test_the_backlog_of_one_pool_is_not_read_by_the_room_of_another(make: Make) -> None:
    desk = with_sources(make(lane_items=4))
    for number in range(12):
        desk.accept(f"r{number}@b.example", pool="one")
    desk.run(1)
    shard, moved = desk.bench.shard, Counter[str]()
    real = shard.move

    def move(*args: object) -> None:
        moved["moves"] += 1
        real(*args)  # type: ignore[arg-type]

    shard.move = move  # type: ignore[method-assign,assignment]
    desk.run(5)
    assert moved["moves"] == 0  # the lanes of "one" are full, the default source's empty
    assert counts(desk) == {"ip1": 4}


def test_what_waits_for_a_source_that_is_gone_is_placed_again(make: Make) -> None:
    desk = with_sources(make())
    for number in range(8):
        desk.accept(f"r{number}@b.example", pool="bulk")
    flying = desk.manager.take(of(desk, "ip2"))
    assert flying is not None
    with_sources(desk, {"bulk": {"ip1": 1}})
    desk.manager.place_again(of(desk, "ip2"))
    assert counts(desk) == {"ip1": 7}
    desk.manager.give_back(flying)
    assert counts(desk) == {"ip1": 8}
    assert deliver(desk, "ip1") == 8
    assert desk.ends() == {"Delivery": 8}
