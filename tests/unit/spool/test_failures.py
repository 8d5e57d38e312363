from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING

import pytest

from mta.errors import SpoolBusyError, SpoolError
from mta.model import Where
from mta.spool import ShardOptions, Unreadable, keys
from mta.spool import segments as module
from mta.spool.rocks import StallError
from mta.testing.spool import SpoolBench
from tests.waiting import wait

if TYPE_CHECKING:
    from pathlib import Path

    from mta.spool.doubts import Found
    from mta.spool.segments import Run

SEGMENTED = ShardOptions(
    16 << 20, min_free_bytes=0, segment_bytes=64 << 10, segment_from=1024, ballast_bytes=0
)
PATIENCE = 60.0  # seconds that nothing takes
NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


class Fault:
    """Makes a method of the store or the log fail while it is set."""

    def __init__(self, thing: object, name: str, error: Exception) -> None:
        self._method, self.on, self._error, self.calls = getattr(thing, name), True, error, 0
        setattr(thing, name, self)

    def __call__(self, *arguments: object) -> object:
        self.calls += 1
        if self.on:
            raise self._error
        return self._method(*arguments)


def busy(bench: SpoolBench) -> bool:
    recipients = bench.message("z@x")
    try:
        bench.shard.accept(recipients[0].message, recipients, lambda error: None)
    except SpoolBusyError:
        return True
    return False


def addresses(bench: SpoolBench) -> list[str]:
    return [r.address for r in bench.shard.scan(b"", 100)[0]]


def test_a_stall_is_waited_out(bench: SpoolBench) -> None:
    fault = Fault(bench.shard._store, "write", StallError("stall"))
    recipients, answers = bench.message("a@x"), list[object]()
    bench.shard.accept(recipients[0].message, recipients, answers.append)
    bench.run()
    assert (answers, busy(bench), bench.shard.problem) == ([], True, "stall")
    fault.on = False
    bench.loop.advance(0.02, bench.shard)
    assert answers == [None]
    assert bench.shard.healthy


def test_a_long_stall_refuses_mail_and_keeps_outcomes(bench: SpoolBench) -> None:
    (one,) = bench.stored("a@x")
    fault = Fault(bench.shard._store, "write", StallError("stall"))
    recipients, answers = bench.message("b@x"), list[object]()
    bench.shard.accept(recipients[0].message, recipients, answers.append)
    bench.shard.close(one, b"delivered")
    for _ in range(10):
        bench.loop.advance(0.3, bench.shard)
    assert isinstance(answers[0], SpoolBusyError)
    fault.on = False
    bench.loop.advance(10, bench.shard)
    bench.commit()
    assert bench.memory_log.lines == [b"delivered"]
    assert addresses(bench) == []
    assert bench.shard.healthy


@pytest.mark.parametrize("method", ["write", "sync"])
def test_a_failing_disk_refuses_mail_keeps_outcomes_and_heals(
    bench: SpoolBench, method: str
) -> None:
    one, two = bench.stored("a@x", "b@x")
    bench.shard.close(one, b"delivered")
    due = bench.clock.wall_us() + 60_000_000
    bench.shard.defer(two, b"deferred", Where.DUE, due)
    fault = Fault(bench.shard._store, method, SpoolError("No space left on device"))
    recipients, answers = bench.message("c@x"), list[object]()
    bench.shard.accept(recipients[0].message, recipients, answers.append)
    for _ in range(3):
        bench.loop.advance(1, bench.shard)
    assert answers == []  # it may be on the disk
    assert bench.shard.stats().failures >= 2
    assert busy(bench)
    fault.on = False
    for _ in range(3):
        bench.loop.advance(10, bench.shard)
    assert isinstance(answers[0], SpoolBusyError)
    assert "No space left" in str(answers[0])
    assert bench.shard.healthy
    assert bench.memory_log.lines == [b"delivered", b"deferred"]
    assert [(r.address, r.due_us) for r in bench.shard.scan(b"", 9)[0]] == [("b@x", due)]
    assert not busy(bench)


def test_mail_that_was_written_but_not_synced_is_taken_out(bench: SpoolBench) -> None:
    fault = Fault(bench.shard._store, "sync", SpoolError("I/O error"))
    recipients = bench.message("a@x")
    answers = bench.accept(recipients)
    fault.on = False
    bench.loop.advance(1, bench.shard)
    assert isinstance(answers[0], SpoolBusyError)
    store = bench.shard._store
    assert store.rows(b"", b"\xff", 9) == []
    assert store.records(b"", b"\xff" * 21, 9) == []
    assert store.get(store.bodies, recipients[0].message.id) is None


def test_a_write_that_fails_while_a_sync_is_under_way(bench: SpoolBench) -> None:
    (one,) = bench.stored("a@x")
    bench.shard.move(one, Where.HELD)
    bench.loop._run_timer()  # the sync is in the thread
    fault = Fault(bench.shard._store, "write", SpoolError("I/O error"))
    bench.shard.move(one, Where.DUE, 99)
    with pytest.raises(SpoolBusyError):
        bench.shard.held(b"", 10)  # writes the move
    assert fault.calls == 1
    bench.run()
    fault.on = False
    bench.loop.advance(1, bench.shard)
    found, _ = bench.shard.scan(b"", 10)
    assert [(r.where, r.due_us) for r in found] == [(Where.DUE, 99)]
    assert [row[:1] for row in bench.shard._store.rows(b"", b"\xff", 9)] == [b"d", b"e"]


def test_a_log_that_cannot_be_written_keeps_the_records(bench: SpoolBench) -> None:
    (one,) = bench.stored("a@x")
    bench.memory_log.fail = NO_SPACE
    bench.shard.close(one, b"delivered")
    bench.commit()
    assert bench.shard.healthy
    assert bench.shard._store.records(one.message.id, keys.END, 9) == []
    bench.shard.log(b"later")
    bench.memory_log.fail = None
    bench.loop.advance(1, bench.shard)
    bench.commit()
    assert bench.memory_log.frames == [[b"delivered"], [b"later"]]
    assert addresses(bench) == []


def test_reading_while_the_database_is_down(bench: SpoolBench) -> None:
    (one,) = bench.stored("a@x")
    reopen = Fault(bench.shard._store, "reopen", SpoolError("No space left on device"))
    sync = Fault(bench.shard._store, "sync", SpoolError("No space left on device"))
    bench.accept(bench.message("b@x"))
    bench.loop.advance(1, bench.shard)
    assert reopen.calls
    assert not bench.shard.readable
    for read in (
        lambda: bench.shard.due(b"", 10**18, 10),
        lambda: bench.shard.fresh(b"", b"\xff", 10),
        lambda: bench.shard.scan(b"", 10),
        bench.shard.next_due,
        lambda: next(iter(bench.shard.backlog_lanes())),
        lambda: bench.shard.get(one.message.id, 0),
    ):
        with pytest.raises(SpoolBusyError, match="being reopened"):
            read()
    reopen.on = sync.on = False
    for _ in range(3):
        bench.loop.advance(10, bench.shard)
    assert addresses(bench) == ["a@x"]


def test_the_dsn_of_a_failed_batch_is_confirmed_after_it_heals(bench: SpoolBench) -> None:
    (one,) = bench.stored("a@x")
    answers: list[object] = []
    dsn = bench.message("from@example.com")
    bench.shard.close(one, b"bounce", (dsn[0].message, dsn, answers.append))
    fault = Fault(bench.shard._store, "sync", SpoolError("I/O error"))
    for _ in range(3):
        bench.loop.advance(1, bench.shard)
    assert answers == []
    fault.on = False
    bench.loop.advance(10, bench.shard)
    assert answers == [None]
    assert addresses(bench) == ["from@example.com"]


def test_closing_a_shard_that_cannot_write_ends_and_says_so(bench: SpoolBench) -> None:
    (one,) = bench.stored("a@x")
    Fault(bench.shard._store, "write", SpoolError("No space left on device"))
    bench.shard.close(one, b"delivered")
    error = bench.close()
    assert isinstance(error, SpoolError)
    assert "No space left" in str(error)
    again = SpoolBench(bench.folder)
    assert addresses(again) == ["a@x"]
    again.close()


def test_closing_ends_whatever_cannot_be_closed(bench: SpoolBench) -> None:
    for part in (bench.shard._store, bench.memory_log):
        fault = Fault(part, "close", OSError(errno.EIO, "Input/output error"))
    assert bench.close() is None
    assert fault.calls == 1
    bench.memory_log.closed = True


def test_a_short_disk_refuses_mail_and_lets_outcomes_through(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    bench = SpoolBench(tmp_path, options=ShardOptions(16 << 20, min_free_bytes=0))
    (one,) = bench.stored("a@x")
    bench.shard._space._minimum = free * 2
    bench.clock.advance(0.5)
    assert not busy(bench)  # looked at once a second
    bench.run()
    bench.clock.advance(0.6)
    recipients = bench.message("b@x")
    with pytest.raises(SpoolBusyError, match="MB are kept free"):
        bench.shard.accept(recipients[0].message, recipients, lambda error: None)
    assert not bench.shard.healthy
    bench.shard.close(one, b"delivered")
    bench.commit()
    assert bench.memory_log.lines == [b"delivered"]
    bench.shard._space._minimum = 0
    bench.clock.advance(1)
    assert not busy(bench)
    bench.close()


def test_bodies_asked_for_while_the_database_is_down(bench: SpoolBench) -> None:
    (one,) = bench.stored("a@x")
    bench.shard._store._close_database()
    answers: list[dict[bytes, Found]] = []
    bench.shard.read_bodies([one.message], answers.append)
    bench.loop.wait()
    (found,) = answers[0].values()
    assert isinstance(found, Unreadable) and "being reopened" in found.why
    assert list(bench.shard.troubles()) == []  # the shard has its own word for that
    bench.shard._store.reopen()
    bench.shard.read_bodies([one.message], answers.append)
    bench.loop.wait()
    assert answers[1] == {one.message.id: one.message.body}


def test_a_stall_of_rocksdb_itself(tmp_path: Path) -> None:
    bench = SpoolBench(tmp_path, options=ShardOptions(1 << 20, min_free_bytes=0))
    bench.run()
    answers: list[object] = []
    while bench.shard.healthy:  # write faster than the buffers are flushed
        assert len(answers) < 1000
        recipients = bench.message("a@x", body=bytes(400_000))
        bench.shard.accept(recipients[0].message, recipients, answers.append)
        bench.shard.next_due()
    assert "stalls writes" in str(bench.shard.problem)
    assert busy(bench)
    bench.shard._store.bodies.flush(True)
    bench.loop.advance(0.02, bench.shard)
    assert bench.shard.healthy
    assert answers.count(None) == len(answers) == len(addresses(bench)) > 1
    assert bench.close() is None


def test_bodies_go_elsewhere_when_their_file_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block that stays bad refuses what came with it, and nothing that comes after."""
    bench = SpoolBench(tmp_path, options=SEGMENTED)
    bench.run()
    content = b"Subject: x\r\n\r\n" + b"y" * 5000 + b"\r\n"
    (one,) = bench.message("a@x", body=content)
    assert bench.accept([one]) == [None]  # in RocksDB, and a segment is made
    segments, write = bench.shard._bodies.segments, module.write
    wait(lambda: bench.run() or segments.spare)
    bad = segments.spare

    def broken(runs: list[Run]) -> None:
        if any(run.segment is bad for run in runs):
            raise OSError(errno.EIO, "I/O error")
        write(runs)

    monkeypatch.setattr(module, "write", broken)
    (dsn,), (refused,) = bench.message("from@x", body=content), bench.message("c@x", body=content)
    stored: list[object] = []
    bench.shard.close(one, b"bounce", (dsn.message, [dsn], stored.append))
    answers = bench.accept([refused])
    assert dsn.message.place >> 32 == refused.message.place >> 32 == bad.number
    bench.loop.advance(5, bench.shard)
    assert [type(error) for error in answers] == [SpoolBusyError]
    assert (stored, addresses(bench)) == ([None], ["from@x"])
    assert bench.shard.body(dsn.message) == content
    assert bench.shard.body(refused.message) != content
    (after,) = bench.message("d@x", body=content)
    assert bench.accept([after]) == [None]
    assert bench.shard.body(after.message) == content
    assert after.message.place >> 32 != bad.number
    bench.close()

    bench = SpoolBench(tmp_path, options=SEGMENTED)
    for message in (dsn.message, after.message):
        assert bench.shard.body(message) == content
    bench.close()


def test_no_iterator_keeps_a_database_open_that_is_reopened(bench: SpoolBench) -> None:
    bench.stored("a@x", "b@x")
    store = bench.shard._store
    places, rows = store.places(), store.index_rows()
    store.reopen()
    for read in (lambda: places.step(9), lambda: rows.take(b"", b"\xff", 9)):
        with pytest.raises(SpoolBusyError, match="reopened meanwhile"):
            read()
    assert store.index_rows().take(b"", b"\xff", 9) == store.rows(b"", b"\xff", 9)


def test_a_database_is_closed_when_the_flush_in_another_thread_is_over(bench: SpoolBench) -> None:
    store, calls = bench.shard._store, list[str]()
    inside, go = threading.Event(), threading.Event()

    class Family:
        def flush(self, wait: bool) -> None:
            inside.set()
            assert go.wait(PATIENCE)
            calls.append("flushed")

        def close(self) -> None:
            calls.append("closed")

    families, store._families = store._families, [Family()]
    flush = threading.Thread(target=store.begin_flush)
    flush.start()
    assert inside.wait(PATIENCE)
    close = threading.Thread(target=store._close_database)
    close.start()
    close.join(0.05)  # it does not end, however long
    go.set()
    for thread in (close, flush):
        thread.join(PATIENCE)
    assert calls == ["flushed", "closed"]
    for family in families:
        family.close()
    store.reopen()
