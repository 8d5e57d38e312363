"""Room for content in memory, shared by workers."""

from __future__ import annotations

import mmap
import random
from collections.abc import Callable

import pytest

from mta._speedups.sharedtable import SharedTable, format_table, table_size
from mta.reception.budget import AHEAD, POLL, READ, Budget
from mta.reception.client import Client

MB = 1 << 20
SMALL = 4096  # octets of a read where memory is tight


class Session(Client):
    """Content of so many octets, read in pieces."""

    def __init__(self, budget: Budget, size: int, address: str = "192.0.2.1") -> None:
        super().__init__(address, "s-1")
        self.budget, self.size, self.got = budget, size, 0
        self.waits = self.dropped = False

    def more_room(self) -> None:
        self.waits = False

    def held(self) -> int:
        return self.got

    def give_way(self) -> None:
        self.dropped = True
        self.end()

    def end(self) -> None:
        self.got = 0
        self.budget.forget(self)
        self.budget.release(self)

    def send(self, octets: int) -> None:
        """Octets come, as far as we read, and are not the last."""
        while octets > 0 and not self.waits and not self.dropped:
            piece = min(octets, SMALL if self.budget.tight else READ)
            octets -= piece
            self.got += piece
            if self.got > self.reserved:
                self.waits = not self.budget.grow(self, self.got)

    def step(self) -> bool:
        """Read one piece; True at the end of the content."""
        if not self.waits:
            self.send(SMALL if self.budget.tight else READ)
            if self.got >= self.size:
                self.end()
                return True
        return False


class Node:
    def __init__(self, octets: int, largest: int, workers: int = 2) -> None:
        memory = mmap.mmap(-1, table_size(64, workers))
        format_table(memory, 64, workers, 7)
        self.table, self.now = SharedTable(memory, workers), 0.0
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.budgets = [
            Budget(self.table, n, octets, largest, self.call_later) for n in range(workers)
        ]

    def call_later(self, delay: float, call: Callable[[], None]) -> None:
        self.timers.append((self.now + delay, call))

    def run(self, seconds: float = POLL, step: Callable[[], None] | None = None) -> None:
        """Time passes; `step` is what clients do in each twentieth of a second."""
        for _ in range(round(seconds / POLL)):
            self.now += POLL
            due = [call for when, call in self.timers if when <= self.now + 1e-9]
            self.timers = [(w, call) for w, call in self.timers if w > self.now + 1e-9]
            for call in due:
                call()
            if step is not None:
                step()


def test_nothing_is_held_before_content_comes() -> None:
    node = Node(20 * MB, 5 * MB)
    strangers = [Session(node.budgets[n % 2], 5 * MB, f"198.51.100.{n}") for n in range(500)]
    assert all(one.budget.has(one) for one in strangers)
    assert node.table.memory() == 0 and node.timers == []


def test_what_is_held_follows_what_has_come() -> None:
    node = Node(64 * MB, 5 * MB)
    slow = [Session(node.budgets[n % 2], MB) for n in range(2000)]
    for one in slow:
        one.send(100)
    assert node.table.memory() <= 2000 * (100 + AHEAD) and not any(one.waits for one in slow)
    large = Session(node.budgets[0], 5 * MB)
    before = node.table.memory()
    large.send(2 * MB)
    assert 2 * MB <= large.reserved <= 2 * MB * 5 // 4 + READ
    assert node.table.memory() == before + large.reserved
    for one in [*slow, large]:
        one.end()
    assert node.table.memory() == 0
    node.run(5)
    assert node.timers == [], "nobody is looked at"


def test_what_the_queues_keep_counts() -> None:
    node = Node(15 * MB, 5 * MB)
    node.budgets[0].count(10 * MB)
    session = Session(node.budgets[1], 3 * MB)
    assert not session.budget.has(session) and not session.budget.reserve(session, 3 * MB)
    node.budgets[0].count(-8 * MB)
    assert session.budget.has(session) and session.budget.reserve(session, 3 * MB)
    with pytest.raises(ValueError, match="has not taken"):
        node.budgets[0].count(-3 * MB)


def test_a_dead_worker_has_nothing_and_wants_nothing() -> None:
    node = Node(15 * MB, 5 * MB)
    session = Session(node.budgets[1], 3 * MB)
    assert session.budget.reserve(session, 3 * MB)
    node.table.want_memory(1, 7)
    node.table.reclaim(1)
    assert node.table.memory() == 0 and node.table.wanting() == [0, 0]


def test_a_message_larger_than_the_budget_goes_alone() -> None:
    node = Node(MB, 5 * MB)
    first, second = Session(node.budgets[0], 5 * MB), Session(node.budgets[1], 1)
    assert first.budget.reserve(first, 5 * MB)
    assert not second.budget.has(second)
    first.budget.release(first)
    assert second.budget.has(second) and second.budget.reserve(second, 1)
    assert not first.budget.reserve(first, 5 * MB)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("budget", "largest"), [(20 * MB, 5 * MB), (10 * MB, 5 * MB)])
def test_all_content_is_read_to_its_end_within_the_budget(
    seed: int, budget: int, largest: int
) -> None:
    node, rng = Node(budget, largest), random.Random(seed)
    sessions = [Session(node.budgets[n % 2], rng.randrange(largest)) for n in range(30)]
    waiting, busy, peak, most = list(sessions), [], 0, 0
    for _ in range(40_000):
        if waiting and rng.random() < 0.5 and waiting[0].budget.has(waiting[0]):
            busy.append(waiting.pop(0))
        most = max(most, len(busy))
        if busy:
            one = rng.choice([one for one in busy if not one.waits] or busy)
            if one.step():
                busy.remove(one)
        if rng.random() < 0.05:
            node.run()
        peak = max(peak, node.table.memory())
        busy = [one for one in busy if not one.dropped]
        if not waiting and not busy:
            break
    assert not waiting and not busy, (len(waiting), len(busy))
    assert peak <= budget + len(sessions) * SMALL + 2 * READ and most > 2
    assert node.table.memory() == 0 and node.table.elder() == -1


def test_one_that_leaves_waits_no_more() -> None:
    node = Node(10 * MB, 5 * MB)
    holder = Session(node.budgets[0], MB)
    node.budgets[1].count(10 * MB)
    holder.send(READ)
    assert holder.waits and holder.reserved == SMALL or holder.reserved == READ
    holder.end()
    node.budgets[1].count(-10 * MB)
    node.run(10)
    assert node.timers == [] and node.table.memory() == 0 and node.budgets[0].waits == 1


def test_what_the_queues_keep_beyond_the_budget_stops_nobody_for_ever() -> None:
    node = Node(20 * MB, 5 * MB, workers=1)
    (budget,) = node.budgets
    busy = [Session(budget, 5 * MB) for _ in range(8)]
    kept = 0
    for step in range(60_000):
        if step % 40 == 10:
            budget.count(kept := 10 * MB)
        elif step % 40 == 30:
            budget.count(-kept)
        busy = [session for session in busy if not session.step() and not session.dropped]
        if step % 10 == 0:
            node.run()
        if not busy:
            break
    assert not busy


def test_the_elder_never_waits_for_room_again() -> None:
    node = Node(20 * MB, 5 * MB, workers=1)
    (budget,) = node.budgets
    others = [Session(budget, 5 * MB) for _ in range(3)]
    assert all(budget.reserve(other, 5 * MB) for other in others)
    elder = Session(budget, 5 * MB)
    elder.send(READ)
    assert elder.waits
    node.run()
    elder.send(5 * MB)
    assert not elder.waits and elder.got > 5 * MB and budget.waits == 1
    assert node.table.memory() <= 15 * MB + READ, "what is kept back for it is nobody else's"


def test_what_is_read_back_leaves_room_for_new_mail() -> None:
    node = Node(20 * MB, 4 * MB)
    assert not node.budgets[0].take(15 * MB), "not even alone"
    assert node.budgets[0].take(14 * MB) and not node.budgets[1].take(1)
    new = Session(node.budgets[1], MB)
    assert new.budget.has(new) and new.budget.reserve(new, new.size)
    node.budgets[0].count(-10 * MB)
    assert node.budgets[1].take(8 * MB)


def test_reads_are_small_while_memory_is_tight() -> None:
    node, told = Node(20 * MB, 4 * MB, workers=1), []
    (budget,) = node.budgets
    budget.on_tight = told.append
    large = [Session(budget, 4 * MB, f"192.0.2.{n}") for n in range(6)]
    for one in large:
        one.send(4 * MB)
    assert budget.tight and told == [True] and any(one.waits for one in large)
    assert node.table.memory() <= budget.limit
    for one in large:
        one.end()
    node.run(3)
    assert told == [True, False]


# Who gives way.


def crowd(node: Node, count: int, octets: int, address: str = "198.51.100.{}") -> list[Session]:
    """Contents that have sent so many octets and then send nothing."""
    found = [
        Session(node.budgets[n % len(node.budgets)], 5 * MB, address.format(n % 250))
        for n in range(count)
    ]
    for one in found:
        assert one.budget.has(one) or one.waits is False
        one.send(octets)
    return found


@pytest.mark.parametrize("address", ["198.51.100.{}", "192.0.2.9"])
@pytest.mark.parametrize("octets", [10_000, 300_000])
def test_idle_holders_give_way_to_a_newcomer(octets: int, address: str) -> None:
    node = Node(20 * MB, 5 * MB)
    idle = crowd(node, 3000, octets, address)
    node.run(5)
    new = Session(node.budgets[0], 10_000, "192.0.2.77")
    tried = 0
    while not new.budget.has(new):
        tried += 1
        assert tried < 40, "two seconds"
        node.run()
    assert sum(one.dropped for one in idle) <= 3000 * 3 // 4, "no more than was needed"
    assert node.budgets[0].dropped + node.budgets[1].dropped == sum(one.dropped for one in idle)


def test_a_newcomer_is_let_in_at_once_where_a_holder_here_is_idle() -> None:
    node = Node(20 * MB, 5 * MB, workers=1)
    idle = crowd(node, 1000, 40_000)
    node.run(8)
    new = Session(node.budgets[0], 10_000, "192.0.2.77")
    assert new.budget.has(new) and any(one.dropped for one in idle)


def test_drips_buy_no_time_and_flowing_content_stays() -> None:
    node = Node(40 * MB, 5 * MB)
    idle = crowd(node, 300, 100_000)
    flowing = [Session(node.budgets[n % 2], 5 * MB, f"192.0.2.{n}") for n in range(2)]

    def step() -> None:
        for one in idle:
            one.send(1)
        for one in flowing:
            one.send(20_000)
            if one.got >= one.size:
                one.end()

    node.run(5, step)
    new = Session(node.budgets[0], 10_000, "203.0.113.1")
    for _ in range(60):
        if new.budget.has(new):
            break
        node.run(POLL, step)
    assert new.budget.has(new)
    assert not any(one.dropped for one in flowing)


def test_idle_holders_of_another_worker_give_way() -> None:
    node = Node(20 * MB, 5 * MB)
    idle = [Session(node.budgets[1], 5 * MB, f"198.51.100.{n % 250}") for n in range(60)]
    for one in idle:
        one.send(300_000)
    node.run(5)
    new = Session(node.budgets[0], 10_000, "192.0.2.77")
    large = Session(node.budgets[0], 4 * MB, "192.0.2.78")
    large.send(4 * MB)
    for _ in range(300):
        node.run(POLL, lambda: large.send(50_000))
        if large.got >= large.size and new.budget.has(new):
            break
    assert new.budget.has(new) and large.got >= large.size
    assert any(one.dropped for one in idle)


def test_one_network_alone_may_hold_everything() -> None:
    node = Node(20 * MB, 5 * MB)
    busy = [Session(node.budgets[n % 2], 5 * MB) for n in range(20)]
    ended = 0

    def step() -> None:
        nonlocal ended
        for one in busy:
            if one.got < one.size:
                one.send(200_000)
                if one.got >= one.size:
                    one.end()
                    one.got = one.size
                    ended += 1

    node.run(1, step)
    assert node.table.memory() > 12 * MB, "nobody else wants it"
    node.run(60, step)
    assert ended == 20 and not any(one.dropped for one in busy)


def test_a_network_above_its_share_is_cut_to_it_when_others_wait() -> None:
    node = Node(40 * MB, 5 * MB, workers=1)
    (budget,) = node.budgets
    greedy = [Session(budget, 5 * MB, "198.51.100.1") for _ in range(20)]
    for one in greedy:
        one.send(5 * MB)
    assert all(one.waits for one in greedy[-5:])
    other = Session(budget, 4 * MB, "192.0.2.5")
    other.send(4 * MB)
    for _ in range(300):
        node.run(POLL, lambda: other.send(200_000))
        if other.got >= other.size:
            break
    assert other.got >= other.size and not other.dropped
    assert any(one.dropped for one in greedy)
    held = sum(one.reserved for one in greedy if not one.dropped)
    assert held >= 10 * MB, "no more was taken from it than was wanted"
