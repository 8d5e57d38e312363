"""The table between real processes: hard limits, no lost wake-up, no leak after kill -9."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator

import pytest

from mta import sharedmem
from mta._speedups.sharedtable import SharedTable
from tests.waiting import PATIENCE

START = "import os, select, sys; from mta.sharedmem import attach; table = attach(int(sys.argv[1]))"
WORKER = "me = int(sys.argv[2]); fds = [int(fd) for fd in sys.argv[3:]]"


class Node:
    """A table of three workers, their eventfds, and the processes that run code as them."""

    def __init__(self) -> None:
        self.fd, self.table = sharedmem.create(64, 3)
        self.eventfds = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(3)]
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, worker: int, code: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", f"{START}\n{WORKER}\n{code}"]
            + [str(n) for n in (self.fd, worker, *self.eventfds)],
            pass_fds=[self.fd, *self.eventfds],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()
        for fd in (self.fd, *self.eventfds):
            os.close(fd)


@pytest.fixture
def node() -> Iterator[Node]:
    node = Node()
    yield node
    node.close()


def results(processes: list[subprocess.Popen[str]]) -> list[int]:
    found = [int(process.communicate(timeout=PATIENCE)[0]) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return found


TAKE = """
granted = 0
for now in range(0, 20_000_000, 1000):
    granted += table.take_rate(1, now, 7000, 50) == 0
print(granted)
"""


def test_the_rate_holds_over_all_processes(node: Node) -> None:
    granted = sum(results([node.start(worker, TAKE) for worker in range(3)]))
    most = 20_000_000 // 7000 + 50
    assert most - 3 <= granted <= most


WAITING = """
places = 0
for _ in range(400):
    while not table.acquire_or_wait(2, me, 2):
        if not select.select([fds[me]], [], [], 170)[0]:
            sys.exit(1)
        os.eventfd_read(fds[me])
    total, columns = table.counts(2)[:2]
    assert total <= 2 and columns[me] >= 1
    places += 1
    woken = table.release(2, me)
    for worker, fd in enumerate(fds):
        if woken >> worker & 1:
            os.eventfd_write(fd, 1)
print(places)
"""


def test_places_are_hard_and_no_wake_up_is_lost(node: Node) -> None:
    assert results([node.start(worker, WAITING) for worker in range(3)]) == [400] * 3
    assert node.table.counts(2)[:3] == (0, (0, 0, 0), 0)


TOGETHER = """
def together(count):
    table.bump(0)
    while table.generation(0) < count:
        os.sched_yield()
"""
GIVER = """
for i in range(20000):
    assert table.acquire(3, me, 1)
    together(6 * i + 2)
    for _ in range(i % 60):
        pass
    table.bump(2 if table.release(3, me) else 3)
    together(6 * i + 4)
    last = table.generation(4)
    together(6 * i + 6)
    if last:
        break
print(table.generation(2))
"""
# On a busy machine a round takes milliseconds.
WAITER = """
import time
refused, end = 0, time.monotonic() + 2
for i in range(20000):
    together(6 * i + 2)
    for _ in range(20):
        pass
    got = table.acquire_or_wait(3, me, 1)
    refused += not got
    last = i > 100 and refused > 10 and time.monotonic() > end
    if last:
        table.bump(4)
    together(6 * i + 4)
    if got:
        table.release(3, me)
    elif table.generation(2) < refused:
        sys.exit(f"round {i}: refused, and nobody will wake us")
    table.unwait(3, me)
    together(6 * i + 6)
    if last:
        break
print(refused)
"""


def test_whoever_is_refused_while_a_place_is_given_back_is_woken(node: Node) -> None:
    both = [node.start(0, TOGETHER + GIVER), node.start(1, TOGETHER + WAITER)]
    woken, refused = results(both)
    assert woken >= refused > 0


CHURN = """
print(1, flush=True)
while True:
    for slot in (4, 4, 5):
        if table.acquire(slot, me, 100) and table.counts(slot)[1][me] > 20:
            while table.counts(slot)[1][me]:
                table.release(slot, me)
"""


def test_nothing_leaks_from_workers_that_are_killed(node: Node) -> None:
    table: SharedTable = node.table
    survivor = node.start(2, CHURN)
    for worker in (0, 1, 0, 1):
        victim = node.start(worker, CHURN)
        assert victim.stdout is not None
        victim.stdout.readline()
        for _ in range(random.randrange(2000)):
            table.counts(4)
        victim.kill()
        victim.wait()
        assert table.reclaim(worker) == 0b111 & ~(1 << worker)
    survivor.kill()
    survivor.wait()
    table.reclaim(2)
    assert table.repair() == 0
    assert table.counts(4)[:2] == table.counts(5)[:2] == (0, (0, 0, 0))
