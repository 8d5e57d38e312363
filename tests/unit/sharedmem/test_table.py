from __future__ import annotations

import mmap
import os
import struct

import pytest

from mta import sharedmem
from mta._speedups.sharedtable import Bucket, SharedTable, format_table, table_size
from mta.errors import MailraceError


def make(capacity: int = 64, workers: int = 2) -> tuple[mmap.mmap, SharedTable]:
    memory = mmap.mmap(-1, table_size(capacity, workers))
    format_table(memory, capacity, workers, 7)
    return memory, SharedTable(memory, workers)


def test_a_key_has_one_slot_for_every_process_that_maps_the_table() -> None:
    fd, table = sharedmem.create(1000, 4)
    other = sharedmem.attach(os.dup(fd))
    os.close(fd)
    keys = [f"site:{i}".encode() for i in range(300)]
    slots = [table.slot(key) for key in keys]
    assert slots == [other.slot(key) for key in reversed(keys)][::-1]
    assert len(set(slots)) == other.used == 300
    assert (other.workers, other.capacity) == (4, 1024)


def test_a_full_table_shares_slots_and_their_limits() -> None:
    _, table = make(64)
    slots = [table.slot(f"{i}".encode()) for i in range(500)]
    own, shared = set(slots[:64]), slots[64:]
    assert len(own) == 64 and not any(table.is_overflow(slot) for slot in own)
    assert all(table.is_overflow(slot) for slot in shared)
    assert shared == [table.slot(f"{i}".encode()) for i in range(64, 500)]
    assert table.used == 64
    assert all(table.acquire(shared[0], 0, 3) for _ in range(3))
    same = next(slot for slot in shared[1:] if slot == shared[0])
    assert not table.acquire(same, 1, 3)


def test_a_workers_death_gives_back_what_it_held_and_wakes_the_others() -> None:
    _, table = make()
    for slot, worker, times in ((3, 0, 2), (3, 1, 1), (9, 0, 4)):
        assert all(table.acquire(slot, worker, 9) for _ in range(times))
    table.wait(3, 0)
    assert table.reclaim(0) == 0b10
    assert table.counts(3)[:3] == (1, (0, 1), 0)
    assert table.counts(9)[:2] == (0, (0, 0))


WORKER, SLOT, LINE = struct.Struct("=QQQQII"), struct.Struct("=QqQIII"), 64


@pytest.mark.parametrize(("total", "column"), [(3, 2), (3, 1), (2, 2), (1, 0)])
def test_a_death_between_two_steps_leaks_nothing(total: int, column: int) -> None:
    """Worker 0 died inside an operation on slot 5: total and its column may differ by one."""
    memory, table = make()
    for _ in range(2):
        table.acquire(5, 1, 9)
    SLOT.pack_into(memory, 16384 + 5 * LINE, 0, 0, 0, 2 + total, column, 2)
    WORKER.pack_into(memory, 4096, 7, 5, 0, 0, 0, 1)  # an odd sequence
    table.reclaim(0)
    assert table.counts(5)[:2] == (2, (0, 2))
    assert table.repair() == 0


def test_a_leak_is_mended_later_if_another_worker_was_inside_the_slot() -> None:
    memory, table = make()
    SLOT.pack_into(memory, 16384 + 5 * LINE, 0, 0, 0, 2, 1, 0)
    WORKER.pack_into(memory, 4096, 7, 5, 0, 0, 0, 1)
    WORKER.pack_into(memory, 4096 + LINE, 3, 5, 0, 0, 0, 1)  # stopped in the middle
    table.reclaim(0)
    assert table.counts(5)[:2] == (1, (0, 0)) and table.repair() == 1
    WORKER.pack_into(memory, 4096 + LINE, 4, 5, 0, 0, 0, 1)
    assert table.repair() == 0 and table.counts(5)[:2] == (0, (0, 0))


def test_an_acquired_place_ends_the_wait() -> None:
    _, table = make()
    assert table.acquire_or_wait(1, 0, 1)
    assert not table.acquire_or_wait(1, 1, 1)
    assert table.counts(1)[2] == 0b10
    assert table.release(1, 0) == 0b10 and table.counts(1)[2] == 0
    table.wait(1, 1)
    assert table.acquire(1, 1, 1) and table.counts(1)[2] == 0
    table.wait(1, 0)
    table.unwait(1, 0)
    assert table.release(1, 1) == 0


def test_more_than_a_share_is_given_up_only_when_another_waits() -> None:
    _, table = make(workers=3)
    assert all(table.acquire(1, 0, 10) for _ in range(8))
    assert table.acquire(1, 1, 10)
    assert not table.should_yield(1, 0, 10)
    table.wait(1, 2)
    assert table.interested(1) == 3
    assert table.should_yield(1, 0, 10) and not table.should_yield(1, 1, 10)
    table.unwait(1, 2)
    table.wait(1, 0)
    assert not table.should_yield(1, 0, 10), "its own wish is no reason to yield"


def test_rates_are_taken_from_all_buckets_or_from_none() -> None:
    _, table = make()
    wide, narrow = Bucket(1, 10, 5, "wide"), Bucket(2, 100, 2, "narrow")
    assert [table.take_rates((wide, narrow), 1.0) for _ in range(2)] == [0.0, 0.0]
    assert table.take_rates((wide, narrow), 1.0) == pytest.approx(100e-9)
    assert (wide, narrow)[table.denied].rule == "narrow"
    assert table.take_rate(1, 10**9, 10, 5, 3) == 0, "the refused one took nothing from `wide`"
    table.give_back_rates((wide, narrow), 2)
    assert table.take_rate(2, 10**9, 100, 2, 2) == 0


def test_workers_that_live_and_generations() -> None:
    _, table = make()
    table.enter(1, 50.0)
    assert table.living(50.5) == [False, True]
    table.reclaim(1)
    assert table.living(50.5) == [False, False]
    assert (table.bump(3), table.bump(3), table.generation(3), table.generation(0)) == (1, 2, 2, 0)


def test_a_worker_is_alive_while_it_gives_signs() -> None:
    _, table = make()
    table.enter(0, 0.2)  # the machine may have been started just now
    table.enter(1, 7e4)
    assert table.living(3.9) == [True, True] and table.living(5.0) == [False, True]
    assert table.living(7e4 + 3.9) == [False, True] and table.living(7e4 + 4.0) == [False, False]
    table.sign(1, 7e4 + 4.0)
    assert table.living(7e4 + 7.0) == [False, True]
    table.leave(1)
    table.sign(1, 7e4 + 8.0)
    assert table.living(7e4 + 8.0) == [False, False], (
        "one that has left does not come back by a sign"
    )


def test_one_that_hangs_is_handed_nothing() -> None:
    _, table = make(workers=3)
    for worker in range(3):
        table.enter(worker, 100.0)
    for _ in range(2):
        table.acquire(1, 0, 9)
        table.acquire(1, 2, 9)
    assert table.hand_to(1, 0, 103.0, True) == 1
    table.handed(1)
    table.sign(2, 104.0)
    assert table.hand_to(1, 0, 104.0, True) == 2, "its own sign matters to the others alone"
    assert table.hand_to(1, 0, 108.0, True) == -1
    table.sign(1, 108.0)
    assert table.hand_to(1, 0, 108.0, True) == 1


def test_wrong_use_is_refused() -> None:
    memory, table = make()
    for call in (
        lambda: table.acquire(10**6, 0, 1),
        lambda: table.acquire(0, 2, 1),
        lambda: table.acquire(0, -1, 1),
        lambda: table.reclaim(64),
        lambda: table.generation(8),
        lambda: table.enter(2, 1.0),
        lambda: table.sign(-1, 1.0),
    ):
        with pytest.raises(IndexError):
            call()
    for bad in (
        lambda: table.release(0, 0),
        lambda: table.take_rate(0, 0, 10, 2, 3),
        lambda: table.take_rate(0, 0, 2**40, 2**23),
        lambda: table.take_rates((Bucket(0, 1, 1, ""),), 0.0, 2),
        lambda: Bucket(0, 0, 1, ""),
        lambda: SharedTable(memory, 3),
        lambda: SharedTable(bytearray(16384)),
        lambda: SharedTable(bytearray(memory[:9000])),
        lambda: format_table(bytearray(100), 64, 2, 0),
        lambda: format_table(bytearray(100000), 64, 65, 0),
    ):
        with pytest.raises(ValueError):
            bad()


def test_a_table_of_another_version_or_none_is_named() -> None:
    memory, _ = make()
    memory[8] = 9
    with pytest.raises(ValueError, match="version 9"):
        SharedTable(memory)
    fd = os.memfd_create("other")
    os.ftruncate(fd, 20000)
    with pytest.raises(MailraceError, match=f"descriptor {fd} holds no shared table"):
        sharedmem.attach(fd)
    os.close(fd)


def test_the_memory_cannot_be_cut_under_its_users() -> None:
    fd, table = sharedmem.create(64, 1)
    with pytest.raises(PermissionError):
        os.ftruncate(fd, 4096)
    assert not os.get_inheritable(fd)
    os.close(fd)
    assert table.acquire(0, 0, 1)
