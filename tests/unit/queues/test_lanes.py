from __future__ import annotations

import gc
import sys
from collections import Counter

from mta.model import Class, Message, Recipient
from mta.queues.lanes import CLASS_CREDIT, Parcel, ReadyQueue


def parcel(
    klass: int = Class.NORMAL, tenant: str = "", campaign: str = "", size: int = 0
) -> Parcel:
    message = Message(bytes(16), "s@a.example", klass=klass, tenant=tenant, campaign=campaign)
    message.size = size
    return Parcel(message, [Recipient(message, 0, "r@b.example")], 0)


def queue(lane_items: int = 1000) -> ReadyQueue:
    return ReadyQueue("k", "b.example", None, lane_items)


def taken(ready: ReadyQueue, count: int) -> list[Parcel]:
    parcels = [ready.pop() for _ in range(count)]
    return [p for p in parcels if p is not None]


def test_one_lane_is_first_in_first_out_and_ends() -> None:
    ready = queue()
    parcels = [parcel() for _ in range(5)]
    for one in parcels:
        ready.push(one)
    assert taken(ready, 9) == parcels
    assert len(ready) == ready.waiting() == 0


def test_a_parcel_given_back_is_the_next() -> None:
    ready = queue()
    first, second = parcel(), parcel()
    ready.push(first)
    ready.push(second)
    ready.put_back(taken(ready, 1)[0])
    assert taken(ready, 2) == [first, second]


def test_a_receipt_overtakes_bulk_that_came_before() -> None:
    ready = queue()
    for _ in range(100):
        ready.push(parcel(Class.BULK))
    receipt = parcel(Class.TRANSACTIONAL)
    ready.push(receipt)
    assert receipt in taken(ready, 2)


def test_bulk_moves_while_receipts_never_end() -> None:
    ready = queue(10_000)
    for _ in range(500):
        ready.push(parcel(Class.TRANSACTIONAL))
        ready.push(parcel(Class.NORMAL))
        ready.push(parcel(Class.BULK))
    order = Counter(p.message.klass for p in taken(ready, sum(CLASS_CREDIT) * 5))
    assert [order[klass] for klass in Class] == [5 * credit for credit in CLASS_CREDIT]


def test_tenants_share_by_octets_whatever_their_messages_weigh() -> None:
    ready = queue(10_000)
    for _ in range(2000):
        ready.push(parcel(tenant="small", size=10_000))
    for _ in range(200):
        ready.push(parcel(tenant="large", size=100_000))
    sent = Counter[str]()
    for one in taken(ready, 1100):
        sent[one.message.tenant] += one.message.size
    assert 0.8 < sent["small"] / sent["large"] < 1.25


def test_campaigns_of_a_tenant_take_turns() -> None:
    ready = queue()
    for name in ("a", "b"):
        for _ in range(10):
            ready.push(parcel(campaign=name))
    assert [p.message.campaign for p in taken(ready, 6)] == ["a", "b"] * 3


def test_a_parked_tenant_waits_and_the_others_go_on() -> None:
    ready = queue()
    for name in ("a", "b"):
        for _ in range(3):
            ready.push(parcel(tenant=name))
    first = taken(ready, 1)[0]
    ready.park(first)
    ready.push(parcel(tenant=first.message.tenant))
    other = {"a": "b", "b": "a"}[first.message.tenant]
    assert [p.message.tenant for p in taken(ready, 9)] == [other] * 3
    assert len(ready) == 4
    ready.unpark(first.message.tenant)
    assert taken(ready, 1) == [first]
    assert len(taken(ready, 9)) == 3


def test_room_is_counted_by_lane() -> None:
    ready = queue(lane_items=2)
    ready.push(parcel(campaign="a"))
    assert ready.room(parcel(campaign="a").message) == 1
    assert ready.room(parcel(campaign="b").message) == 2


def test_drain_takes_everything() -> None:
    ready = queue()
    for klass in Class:
        ready.push(parcel(klass))
    assert len(ready.drain()) == 3
    assert ready.pop() is None
    ready.push(parcel())
    assert len(taken(ready, 2)) == 1


def test_a_parcel_put_back_costs_neither_its_tenant_nor_its_class_a_turn() -> None:
    def filled() -> ReadyQueue:
        ready = queue()
        for number in range(60):
            ready.push(parcel(tenant="big", campaign=f"c{number % 3}", size=10_000))
        ready.push(parcel(tenant="small", size=10_000))
        for klass in (Class.TRANSACTIONAL, Class.BULK):
            for _ in range(60):
                ready.push(parcel(klass))
        return ready

    def names(parcels: list[Parcel]) -> list[tuple[int, str, str]]:
        return [(p.message.klass, p.message.tenant, p.message.campaign) for p in parcels]

    straight, hesitant = filled(), filled()
    order = []
    for _ in range(181):
        denied = hesitant.pop()
        assert denied is not None
        hesitant.put_back(denied)
        order.append(hesitant.pop())
        assert order[-1] is denied
    assert names(order) == names(taken(straight, 181))  # type: ignore[arg-type]
    assert hesitant.pop() is None and len(hesitant) == 0


def test_a_parked_lane_waits_and_the_others_go_on() -> None:
    ready = queue()
    slow, quick = [parcel(campaign="slow") for _ in range(3)], [parcel(campaign="q") for _ in "ab"]
    other = parcel(tenant="t")
    for one in [*slow, *quick, other]:
        ready.push(one)
    first = ready.pop()
    assert first is slow[0]
    ready.park_lane(first)
    ready.put_back(taken(ready, 1)[0])
    assert {*taken(ready, 9)} == {*quick, other}
    assert (ready.waiting(), len(ready), ready.room(first.message)) == (0, 3, 997)
    ready.push(parcel(campaign="slow"))
    assert ready.pop() is None
    ready.unpark_lane(first.message)
    ready.unpark_lane(first.message)
    assert taken(ready, 9)[:3] == slow
    assert len(ready) == ready.waiting() == 0


def test_a_lane_is_parked_while_its_tenant_is() -> None:
    ready = queue()
    one, two = parcel(campaign="c"), parcel(campaign="c")
    ready.push(one)
    ready.push(two)
    assert ready.pop() is one
    ready.park_lane(one)
    ready.push(parcel(campaign="d"))
    ready.park(taken(ready, 1)[0])
    ready.unpark_lane(one.message)
    assert ready.pop() is None
    ready.unpark("")
    assert len(taken(ready, 9)) == 3


def test_what_comes_back_to_a_parked_lane_is_its_first() -> None:
    ready = queue()
    one, two, three = parcel(), parcel(), parcel()
    for each in (one, two, three):
        ready.push(each)
    assert taken(ready, 2) == [one, two]
    ready.park_lane(two)
    ready.put_back(one)
    assert ready.drain() == [one, two, three]
    ready.unpark_lane(one.message)
    assert ready.pop() is None


def test_a_ready_queue_is_small_when_it_is_empty() -> None:
    ready = ReadyQueue("key", "site", None, 10)
    ready.push(parcel())
    ready.pop()
    parts = [ready, *gc.get_referents(ready)]
    parts += [part for held in parts if isinstance(held, tuple) for part in held]
    assert sum(map(sys.getsizeof, parts)) < 2000  # there is one for each next hop
