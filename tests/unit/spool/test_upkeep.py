"""A shard on a disk that is short: what gives way, and what comes back."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from mta.errors import SpoolError
from mta.model import Recipient
from mta.spool import ShardOptions, keys
from mta.spool.segments import KEPT_FREE
from mta.spool.shard import Shard
from mta.testing.spool import MemoryLog, SpoolBench

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mta.spool.keys import Mark
    from mta.spool.look import Look

MB = 1 << 20
KB = 1 << 10
OPTIONS = ShardOptions(
    16 * MB, min_free_bytes=0, segment_bytes=64 * KB, segment_from=1024, ballast_bytes=64 * KB
)
FULL = 10  # bodies in a segment
NO_SPACE = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Disk:
    """A disk with so many octets free."""

    def __init__(self, free: int) -> None:
        self.free, self.files = free, 1000

    def __call__(self, folder: Path) -> os.statvfs_result:
        found = SimpleNamespace(
            f_bavail=self.free // 512, f_frsize=512, f_favail=self.files, f_files=2000
        )
        return cast("os.statvfs_result", found)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[SpoolBench]:
    bench = SpoolBench(tmp_path / "one", options=OPTIONS)
    settle(bench)
    yield bench
    if not bench.memory_log.closed:
        assert bench.close() is None


def settle(bench: SpoolBench) -> None:
    """Let the loop and both threads do all they were asked for."""
    bench.run()
    for thread in (bench.shard._files, bench.shard._body_reader, bench.shard._files):
        done: list[int] = []
        thread().work(lambda done=done: lambda: done.append(1))  # type: ignore[misc]
        while not done:
            bench.loop.wait()
        bench.run()


def look(bench: SpoolBench, disk: Disk) -> None:
    """Let a second pass on such a disk."""
    bench.shard._space.statvfs = disk
    bench.loop.advance(1.1, bench.shard)
    settle(bench)


def send(bench: SpoolBench, count: int) -> list[Recipient]:
    """Store messages in segments."""
    sent = []
    for _ in range(count):
        if bench.shard._bodies.segments.low():
            bench.shard._reclaim._prepare()
            settle(bench)
        (one,) = bench.message("a@x", body=os.urandom(6000))
        assert bench.accept([one]) == [None]
        sent.append(one)
    return sent


def close(bench: SpoolBench, recipients: list[Recipient]) -> None:
    for one in recipients:
        bench.shard.close(one, b"end")
    bench.commit()
    bench.commit()
    settle(bench)


def short(bench: SpoolBench) -> Disk:
    """A disk that has a little less than this shard wants."""
    return Disk(bench.shard._upkeep.uses().spool - MB)


def test_the_ballast_is_made_where_there_is_room(tmp_path: Path) -> None:
    bench = SpoolBench(tmp_path, options=replace(OPTIONS, ballast_bytes=64 * KB))
    bench.shard._space.statvfs = Disk(10)
    settle(bench)
    ballast = bench.shard._store.ballast
    assert ballast.missing == 64 * KB
    look(bench, Disk(1 << 40))
    assert ballast.missing == 0
    bench.close()


def test_free_files_go_while_the_disk_is_short(bench: SpoolBench) -> None:
    sent = send(bench, 4 * FULL)
    close(bench, sent)
    segments = bench.shard._bodies.segments
    assert len(segments.free) == KEPT_FREE
    look(bench, short(bench))
    assert len(segments.free) == int(segments.low())
    assert len(list(segments.folder.iterdir())) == (
        len(segments.free) + len(segments.table) + (segments.spare is not None)
    )


def test_no_file_is_made_on_a_short_disk(bench: SpoolBench) -> None:
    segments = bench.shard._bodies.segments
    assert segments.low()
    assert segments.wanted() == 64 * KB
    look(bench, short(bench))
    bench.shard._reclaim._prepare()
    settle(bench)
    assert segments.spare is None
    assert not list(segments.folder.iterdir())
    look(bench, Disk(1 << 40))
    bench.shard._reclaim._prepare()
    settle(bench)
    assert segments.spare is not None
    assert segments.wanted() == 0


def test_a_file_that_is_wanted_counts_before_it_is_made(bench: SpoolBench) -> None:
    """Room was enough until the active segment was half full: nothing has looked since."""
    look(bench, Disk(1 << 40))
    send(bench, 1)
    segments = bench.shard._bodies.segments
    assert not segments.low()
    enough = Disk(bench.shard._upkeep.uses().spool + 32 * KB)
    look(bench, enough)
    assert not bench.shard._space.short
    while not segments.low():
        (one,) = bench.message("a@x", body=os.urandom(6000))
        bench.shard._bodies.place(one.message.id, one.message.body or b"")
    settle(bench)
    assert segments.spare is None


def test_sparse_segments_are_emptied_sooner(bench: SpoolBench) -> None:
    sent = send(bench, 4 * FULL)
    left = sent[::FULL]
    close(bench, [one for one in sent if one not in left])
    reclaim, segments = bench.shard._reclaim, bench.shard._bodies.segments
    settle(bench)
    assert reclaim._moving is None  # as little waste as that is left alone
    before = len(segments.table)
    for _ in range(6):
        look(bench, short(bench))
    assert len(segments.table) < before
    for one in left:
        assert bench.shard.body(one.message) == one.message.body


def test_nothing_is_emptied_where_that_has_no_room(bench: SpoolBench) -> None:
    sent = send(bench, 4 * FULL)
    close(bench, [one for at, one in enumerate(sent) if at % FULL])
    look(bench, Disk(1000))
    assert bench.shard._reclaim._moving is None


def test_what_is_in_memory_is_flushed_on_a_short_disk(tmp_path: Path) -> None:
    bench = SpoolBench(tmp_path, options=replace(OPTIONS, ballast_bytes=8 * MB))
    look(bench, Disk(1 << 40))
    for _ in range(20):
        bench.accept(bench.message("a@x", body=os.urandom(50_000)))
    store = bench.shard._store
    look(bench, Disk(1 << 40))
    assert store.held().active > 900_000  # where there is room it stays
    look(bench, short(bench))
    store.messages.flush(True)
    assert store.held().active < 100_000
    bench.close()


def test_a_full_log_gives_the_ballast_up(bench: SpoolBench) -> None:
    look(bench, Disk(1 << 40))
    ballast = bench.shard._store.ballast
    assert ballast.missing == 0
    (one,) = bench.stored("a@x")
    bench.memory_log.fail = NO_SPACE
    bench.shard.close(one, b"end")
    bench.commit()
    assert ballast.missing == 64 * KB
    assert [trouble.alarm for trouble in bench.shard.troubles()] == ["log_kept", "full_disk"]
    bench.memory_log.fail = None
    bench.loop.advance(1, bench.shard)
    bench.commit()
    assert bench.memory_log.lines == [b"end"]
    look(bench, Disk(1 << 40))
    assert ballast.missing == 0
    assert list(bench.shard.troubles()) == []


def test_opening_on_a_full_disk_gives_the_ballast_up(
    bench: SpoolBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    look(bench, Disk(1 << 40))
    bench.stored("a@x")
    folder = bench.folder.with_name("crashed")
    shutil.copytree(bench.folder, folder)
    with monkeypatch.context() as patch:
        patch.setattr(os, "statvfs", Disk(1000))
        again = SpoolBench(folder, options=OPTIONS)
    assert again.shard._store.ballast.missing == 64 * KB
    assert len(again.shard.scan(b"", 9)[0]) == 1
    again.close()


def test_a_database_that_cannot_be_opened_for_want_of_room_is_tried_again(
    bench: SpoolBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    look(bench, Disk(1 << 40))
    store, tries = bench.shard._store, list[int]()
    really = store._open_once

    def fails_once(mark: Mark | None) -> Look:
        tries.append(1)
        if len(tries) == 1:
            raise SpoolError("x: IO error: No space left on device: y")
        return really(mark)

    monkeypatch.setattr(store, "_open_once", fails_once)
    store.reopen()
    assert len(tries) == 2
    assert store.ballast.missing == 64 * KB
    tries.clear()
    with pytest.raises(SpoolError, match="No space left"):
        store.reopen()  # there is none left to give
    store.reopen()


def test_a_shard_that_closes_looks_no_more(bench: SpoolBench) -> None:
    bench.close()
    bench.shard._upkeep.start(bench.shard._space, bench.shard._reclaim)
    assert bench.shard._upkeep._timer is None


def test_nothing_is_written_beside_recovery(tmp_path: Path) -> None:
    """What an opening finds to do waits until recovery is over, however much that reads."""
    bench = SpoolBench(tmp_path, options=OPTIONS)
    bench.run()
    bench.shard._cycle.moves.set(keys.moving(99), b"")  # the file is gone
    bench.commit()
    bench.close()
    called: list[object] = []
    shard = Shard.open(
        tmp_path / "spool" / "shard-0001", 1, MemoryLog(), OPTIONS, bench.clock,
        called.append, lambda delay, call: called.append(call),
    )  # fmt: skip
    written = shard._store.written
    assert list(shard.covered()) == list(shard.cursors()) == []
    assert (called, shard._store.written) == ([], written)
    shard.abandon()


def test_nothing_is_looked_after_while_a_shard_recovers(tmp_path: Path) -> None:
    """Recovery changes the shard in a thread of its own; the loop must not, beside it."""
    woken: list[Callable[[], None]] = []
    bench = SpoolBench(tmp_path, options=OPTIONS)
    bench.close()
    shard = Shard.open(
        tmp_path / "spool" / "shard-0001", 1, MemoryLog(), OPTIONS, bench.clock,
        woken.append, bench.loop.call_later,
    )  # fmt: skip
    assert woken == []
    shard.begin()
    assert len(woken) == 1
    shard.abandon()
