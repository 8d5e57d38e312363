"""Room for content in memory, shared by workers."""

from __future__ import annotations

import mmap
import random
from collections.abc import Callable

import pytest

from mta._speedups.sharedtable import SharedTable, format_table, table_size
from mta.reception.budget import FIRST, STEP, Budget
from mta.reception.client import Client

MB = 1 << 20


class Session(Client):
    """Content of so many octets, read in pieces of 64 KiB."""

    def __init__(self, budget: Budget, size: int) -> None:
        super().__init__("192.0.2.1", "s-1")
        self.budget, self.size, self.got = budget, size, 0
        self.waits = False

    def more_room(self) -> None:
        self.waits = False

    def step(self) -> bool:
        """Read one piece; True at the end of the content."""
        if not self.waits:
            self.got += 65_536
            if self.got >= self.size:
                self.budget.release(self)
                return True
            if self.got > self.reserved:
                self.waits = not self.budget.grow(self, self.got)
        return False


class Node:
    def __init__(self, octets: int, largest: int, workers: int = 2) -> None:
        memory = mmap.mmap(-1, table_size(64, workers))
        format_table(memory, 64, workers, 7)
        self.table = SharedTable(memory, workers)
        self.timers: list[Callable[[], None]] = []
        self.budgets = [
            Budget(self.table, n, octets, largest, lambda _, call: self.timers.append(call))
            for n in range(workers)
        ]

    def tick(self) -> None:
        due, self.timers = self.timers, []
        for call in due:
            call()


def test_declared_sizes_never_pass_the_budget_over_all_workers() -> None:
    node = Node(15 * MB, 5 * MB)
    sessions = [Session(node.budgets[n % 2], 3 * MB) for n in range(4)]
    assert [s.budget.reserve(s, 3 * MB) for s in sessions] == [True, True, True, False]
    assert node.table.memory() == 9 * MB and sessions[3].reserved == 0
    sessions[0].budget.release(sessions[0])
    assert sessions[3].budget.reserve(sessions[3], 3 * MB)
    node.table.reclaim(1)
    assert node.table.memory() == 3 * MB, "a dead worker has nothing"


def test_what_the_queues_keep_counts() -> None:
    node = Node(15 * MB, 5 * MB)
    node.budgets[0].count(8 * MB)
    session = Session(node.budgets[1], 3 * MB)
    assert not session.budget.reserve(session, 3 * MB)
    node.budgets[0].count(-8 * MB)
    assert session.budget.reserve(session, 3 * MB)
    with pytest.raises(ValueError, match="has not taken"):
        node.budgets[0].count(-1)


def test_a_message_larger_than_the_budget_goes_alone() -> None:
    node = Node(MB, 5 * MB)
    first, second = Session(node.budgets[0], 5 * MB), Session(node.budgets[1], 1)
    assert first.budget.reserve(first, 5 * MB)
    assert not second.budget.reserve(second, 1)
    first.budget.release(first)
    assert second.budget.reserve(second, 1)
    assert not first.budget.reserve(first, 5 * MB)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("budget", "largest"), [(20 * MB, 5 * MB), (10 * MB, 5 * MB)])
def test_all_undeclared_content_is_read_to_its_end_within_the_budget(
    seed: int, budget: int, largest: int
) -> None:
    node, rng = Node(budget, largest), random.Random(seed)
    sessions = [Session(node.budgets[n % 2], rng.randrange(largest)) for n in range(30)]
    waiting, busy, peak, most = list(sessions), [], 0, 0
    for _ in range(20_000):
        if waiting and rng.random() < 0.5 and waiting[0].budget.reserve(waiting[0], FIRST):
            busy.append(waiting.pop(0))
        most = max(most, len(busy))
        if busy:
            one = rng.choice(busy)
            if one.step():
                busy.remove(one)
        if rng.random() < 0.05:
            node.tick()
        peak = max(peak, node.table.memory())
        if not waiting and not busy:
            break
    assert not waiting and not busy, (len(waiting), len(busy))
    assert peak <= budget and most > 2
    assert node.table.memory() == 0 and node.table.elder() == -1


def test_declared_sizes_leave_the_elder_its_part() -> None:
    node = Node(20 * MB, 5 * MB)
    grown = Session(node.budgets[0], 5 * MB)
    other = Session(node.budgets[1], 15 * MB - STEP)
    assert (
        STEP > FIRST
        and other.budget.reserve(other, other.size)
        and grown.budget.reserve(grown, FIRST)
    )
    assert not grown.budget.grow(grown, FIRST + 1)
    node.tick()
    assert node.table.elder() == 0 and grown.reserved > FIRST
    late = Session(node.budgets[1], 4 * MB)
    assert not late.budget.reserve(late, late.size)
    grown.budget.release(grown)
    assert node.table.elder() == -1
    other.budget.release(other)
    assert late.budget.reserve(late, late.size)


def test_one_that_leaves_waits_no_more() -> None:
    node = Node(10 * MB, 5 * MB)
    holder = Session(node.budgets[0], MB)
    node.budgets[1].count(10 * MB)
    assert not node.budgets[0].grow(holder, 1)
    node.budgets[0].forget(holder)
    node.budgets[1].count(-10 * MB)
    node.tick()
    assert node.timers == [] and holder.reserved == 0 and node.budgets[0].waits == 1


def test_what_the_queues_keep_beyond_the_budget_stops_nobody_for_ever() -> None:
    node = Node(20 * MB, 5 * MB, workers=1)
    (budget,) = node.budgets
    busy = [Session(budget, 5 * MB) for _ in range(8)]
    assert all(budget.reserve(session, FIRST) for session in busy)
    kept = 0
    for step in range(2_000):
        if step % 40 == 10:
            budget.count(kept := 10 * MB)
        elif step % 40 == 30:
            budget.count(-kept)
        busy = [session for session in busy if not session.step()]
        node.tick()
    assert not busy


def test_the_elder_never_waits_for_room_again() -> None:
    node = Node(20 * MB, 5 * MB, workers=1)
    (budget,) = node.budgets
    others = [Session(budget, 5 * MB) for _ in range(3)]
    assert all(budget.reserve(other, 5 * MB) for other in others)
    elder = Session(budget, 5 * MB)
    assert not budget.grow(elder, 1)
    node.tick()
    assert elder.reserved == 5 * MB and budget.waits == 1


def test_what_is_read_back_leaves_room_for_new_mail() -> None:
    node = Node(20 * MB, 4 * MB)
    assert not node.budgets[0].take(15 * MB), "not even alone"
    assert node.budgets[0].take(14 * MB) and not node.budgets[1].take(1)
    new = Session(node.budgets[1], 2 * MB)
    assert new.budget.reserve(new, new.size)
    node.budgets[0].count(-10 * MB)
    assert node.budgets[1].take(8 * MB)
