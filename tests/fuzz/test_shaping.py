"""The shared table and GCRA against their twins, under arbitrary orders of operations."""

from __future__ import annotations

import mmap

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mta._speedups.gcra import LocalBucket, gcra
from mta._speedups.sharedtable import SharedTable, format_table, table_size
from tests.reference.gcra import TokenBucket, most_in_a_window
from tests.reference.sharedtable import Table

steps = st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 4)), max_size=80)


@given(st.integers(1, 3000), st.integers(4, 20), steps)
def test_bucket_grants_what_its_twin_grants(interval: int, burst: int, asked: list) -> None:
    ours, twin, tat, now = LocalBucket(interval, burst), TokenBucket(interval, burst), 0, 0
    for pause, n in asked:
        now += pause
        wait, tat = gcra(tat, now, interval, burst, n)
        assert ours.take(now, n) == wait == twin.take(now, n)


@given(st.integers(1, 3000), st.integers(4, 20), steps, st.sets(st.integers(0, 79)))
def test_no_window_has_more_than_rate_times_t_plus_burst(
    interval: int, burst: int, asked: list, returned: set[int]
) -> None:
    bucket, now, grants = LocalBucket(interval, burst), 0, []
    for i, (pause, n) in enumerate(asked):
        now += pause
        if bucket.take(now, n) == 0:
            if i in returned:
                bucket.give_back(n)
            else:
                grants.append((now, n))
    assert most_in_a_window(grants, interval) <= burst


@given(st.integers(1, 3000), st.integers(1, 20), st.integers(1, 20))
def test_what_is_told_to_wait_may_go_then_and_not_before(
    interval: int, burst: int, taken: int
) -> None:
    bucket = LocalBucket(interval, burst)
    waits = [bucket.take(1000) for _ in range(burst + taken)]
    wait = waits[-1]
    assert waits[:burst] == [0] * burst and wait > 0
    assert bucket.take(1000 + wait - 1) == 1
    assert bucket.take(1000 + wait) == 0


WORKERS, LIMIT = 3, 5
slots = st.sampled_from([0, 1, 70])
workers = st.integers(0, WORKERS - 1)


class TableMachine(RuleBasedStateMachine):
    """Whatever is done by whom: the table counts as its twin does."""

    def __init__(self) -> None:
        super().__init__()
        memory = mmap.mmap(-1, table_size(64, WORKERS))
        format_table(memory, 64, WORKERS, 7)
        self.ours, self.twin, self.now = SharedTable(memory), Table(WORKERS), 0

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
        self.now += pause
        ours = self.ours.take_rate(slot, self.now, 10 + slot, 4, n)
        assert ours == self.twin.take_rate(slot, self.now, 10 + slot, 4, n)

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
