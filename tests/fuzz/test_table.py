"""The shared table against its twin, under arbitrary orders of operations."""

from __future__ import annotations

import mmap

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mta._speedups.sharedtable import Bucket, SharedTable, format_table, table_size
from tests.reference.sharedtable import Table

WORKERS, LIMIT = 3, 5
TICK = 5**9  # ns: a 512th of a second, so that seconds are exact as floats
slots = st.sampled_from([0, 1, 70])
workers = st.integers(0, WORKERS - 1)
asked = st.lists(slots, max_size=3, unique=True)


class TableMachine(RuleBasedStateMachine):
    """Whatever is done by whom: the table counts as its twin does."""

    def __init__(self) -> None:
        super().__init__()
        memory = mmap.mmap(-1, table_size(64, WORKERS))
        format_table(memory, 64, WORKERS, 7)
        self.ours, self.twin, self.now = SharedTable(memory), Table(WORKERS), 0
        self.second = 1000.0  # for signs of life: on one clock with these, buckets would be full

    @rule(slot=slots, worker=workers)
    def acquire(self, slot: int, worker: int) -> None:
        ours = self.ours.acquire(slot, worker, LIMIT)
        assert ours == self.twin.acquire(slot, worker, LIMIT)

    @rule(slot=slots, worker=workers)
    def acquire_or_wait(self, slot: int, worker: int) -> None:
        ours = self.ours.acquire_or_wait(slot, worker, LIMIT)
        assert ours == self.twin.acquire_or_wait(slot, worker, LIMIT)

    @precondition(lambda self: any(self.twin.held.values()))
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        held = sorted(place for place, n in self.twin.held.items() if n)
        slot, worker = data.draw(st.sampled_from(held))
        woken = self.ours.release(slot, worker)
        assert {w for w in range(64) if woken >> w & 1} == self.twin.release(slot, worker)

    @rule(worker=workers)
    def reclaim(self, worker: int) -> None:
        assert self.ours.reclaim(worker) == 0b111 & ~(1 << worker)
        self.twin.reclaim(worker)

    @rule(slot=slots, pause=st.integers(0, 30), n=st.integers(1, 3))
    def take_rate(self, slot: int, pause: int, n: int) -> None:
        self.now += pause * TICK
        ours = self.ours.take_rate(slot, self.now, (10 + slot) * TICK, 4, n)
        assert ours == self.twin.take_rate(slot, self.now, (10 + slot) * TICK, 4, n)

    @rule(places=asked, pause=st.integers(0, 30), n=st.integers(1, 3), back=st.booleans())
    def take_rates(self, places: list[int], pause: int, n: int, back: bool) -> None:
        self.now += pause * TICK
        rates = [(slot, (10 + slot) * TICK, 4) for slot in places]
        buckets = tuple(Bucket(*rate, "") for rate in rates)
        ours = self.ours.take_rates(buckets, self.now / 1e9, n)
        twin = self.twin.take_rates(rates, self.now, n)
        assert ours == twin * 1e-9
        assert not ours or self.ours.denied == self.twin.denied
        if back and not ours:
            self.ours.give_back_rates(buckets, n)
            self.twin.give_back(rates, n)

    @rule(worker=workers, octets=st.integers(0, 60), limit=st.sampled_from([0, 50, 100]))
    def take_memory(self, worker: int, octets: int, limit: int) -> None:
        assert self.ours.fits_memory(octets, limit) == self.twin.fits_memory(octets, limit)
        ours = self.ours.take_memory(worker, octets, limit)
        assert ours == self.twin.take_memory(worker, octets, limit)

    @rule(worker=workers, octets=st.integers(-40, 40))
    def count_memory(self, worker: int, octets: int) -> None:
        if self.twin.octets[worker] + octets < 0:
            with pytest.raises(ValueError, match="has not taken"):
                self.ours.count_memory(worker, octets)
        else:
            self.ours.count_memory(worker, octets)
            self.twin.octets[worker] += octets

    @rule(worker=workers, who=st.integers(0, 1 << 63))
    def want_memory(self, worker: int, who: int) -> None:
        self.ours.want_memory(worker, who)
        self.twin.wants[worker] = who

    @rule(worker=workers, take=st.booleans())
    def elder(self, worker: int, take: bool) -> None:
        if take:
            assert self.ours.take_elder(worker) == self.twin.take_elder(worker)
        else:
            self.ours.give_elder(worker)
            self.twin.give_elder(worker)

    @rule(worker=workers, does=st.sampled_from(["enter", "sign", "sign", "leave"]))
    def give_or_take_a_sign(self, worker: int, does: str) -> None:
        if does == "leave":
            self.ours.leave(worker)
            self.twin.signs.pop(worker, None)
        elif does == "enter" or worker in self.twin.signs:
            getattr(self.ours, does)(worker, self.second)
            self.twin.signs[worker] = int(self.second)
        else:
            self.ours.sign(worker, self.second)

    @rule(slot=slots, worker=workers, pause=st.sampled_from([0.0, 0.7, 1.5]), away=st.booleans())
    def hand_to(self, slot: int, worker: int, pause: float, away: bool) -> None:
        self.second += pause
        ours = self.ours.hand_to(slot, worker, self.second, away)
        assert ours == self.twin.hand_to(slot, worker, self.second, away)

    @rule(worker=workers)
    def handed(self, worker: int) -> None:
        self.ours.handed(worker)
        self.twin.coming[worker] = max(0, self.twin.coming[worker] - 1)

    @rule(
        worker=workers, hand=st.integers(0, 3), id=st.none() | st.binary(min_size=16, max_size=16)
    )
    def hold(self, worker: int, hand: int, id: bytes | None) -> None:
        ours = self.ours.hand(worker, hand)
        if id is None:
            ours.drop()
            self.twin.hands.pop((worker, hand), None)
        else:
            ours.hold(id)
            self.twin.hands[worker, hand] = id

    @invariant()
    def the_rest_is_the_twins(self) -> None:
        assert self.ours.memory() == sum(self.twin.octets)
        assert self.ours.elder() == self.twin.elder
        assert self.ours.wanting() == self.twin.wants
        assert self.ours.living(self.second) == [
            self.twin.alive(worker, self.second) for worker in range(WORKERS)
        ]
        for worker in range(WORKERS):
            held = [
                self.twin.hands[place] for place in sorted(self.twin.hands) if place[0] == worker
            ]
            assert self.ours.in_hand(worker) == held

    @invariant()
    def counts_are_the_twins(self) -> None:
        for slot in (0, 1, 70):
            total, columns, waiters, _ = self.ours.counts(slot)
            assert total == sum(columns) == self.twin.total(slot) <= LIMIT
            assert columns == tuple(self.twin.held[slot, w] for w in range(WORKERS))
            assert {w for w in range(64) if waiters >> w & 1} == self.twin.waiters[slot]
            for worker in range(WORKERS):
                yields = self.ours.should_yield(slot, worker, LIMIT)
                assert yields == self.twin.should_yield(slot, worker, LIMIT)


TestTable = TableMachine.TestCase
TestTable.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
