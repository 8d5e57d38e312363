"""A log that takes nothing: outcomes are safe all the same, and logged once, in order, later."""

from __future__ import annotations

import errno
import os
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mta.errors import SpoolBusyError
from mta.maillog import LogWriter, RecordWriter, read
from mta.model import Recipient, Stages, Where
from mta.spool import ShardOptions, kept, keys, recover
from mta.testing.clock import FakeClock
from mta.testing.spool import SpoolBench
from tests.unit.spool.test_failures import Fault, addresses, busy
from tests.unit.spool.test_with_log import OK, PEER, entries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NO_SPACE = OSError(errno.ENOSPC, "No space left on device")
OPTIONS = ShardOptions(memory_bytes=16 << 20, min_free_bytes=0, segment_bytes=1 << 20)


def rows(bench: SpoolBench) -> int:
    store = bench.shard._store
    return len(store.sizes(store.default, keys.FRAME, keys.above(keys.FRAME)))


def killed(bench: SpoolBench, tmp_path: Path) -> SpoolBench:
    """The shard as a crash leaves it, opened and recovered; the log is what it was."""
    shutil.copytree(bench.folder, tmp_path / "killed")
    again = SpoolBench(tmp_path / "killed", log=bench.memory_log)
    recover(again.shard, [])
    return again


def test_outcomes_are_safe_and_mail_is_taken(bench: SpoolBench, tmp_path: Path) -> None:
    one, two = bench.stored("a@x", "b@x")
    bench.memory_log.fail = NO_SPACE
    bench.shard.close(one, b"delivered")
    bench.shard.defer(two, b"deferred", Where.DUE, 77)
    answers: list[object] = []
    bench.shard.when_durable(answers.append)
    bench.commit()
    assert answers == [None]  # within the interval, as ever
    assert bench.shard.healthy
    bench.stored("c@x")
    again = killed(bench, tmp_path)
    assert [(r.address, r.where) for r in again.shard.scan(b"", 9)[0]] == [
        ("b@x", Where.DUE),
        ("c@x", Where.FRESH),
    ]
    assert rows(again) == 1
    assert again.shard.stats().kept == bench.shard.stats().kept > 0
    again.loop.advance(6, again.shard)
    assert (bench.memory_log.frames, rows(again)) == ([], 1)
    bench.memory_log.fail = None
    again.loop.advance(6, again.shard)
    assert bench.memory_log.frames == [[b"delivered", b"deferred"]]
    assert rows(again) == again.shard.stats().kept == 0
    assert again.shard.position == (1, 1)
    again.close()


def test_the_log_gets_its_frames_in_order(bench: SpoolBench) -> None:
    (one,) = bench.stored("a@x")
    bench.memory_log.fail = NO_SPACE
    for line in (b"1", b"2", b"3"):
        bench.shard.log(line)
        bench.commit()
    bench.shard.close(one, b"4")
    bench.memory_log.fail = None
    bench.shard.flush_now()
    bench.run()
    bench.shard.log(b"5")
    bench.loop.advance(6, bench.shard)
    bench.shard.log(b"6")
    bench.commit()
    assert b"".join(bench.memory_log.lines) == b"123456"
    assert rows(bench) == 0
    assert bench.shard.position == bench.memory_log.position == bench.memory_log.safe


def test_it_is_tried_with_back_off(bench: SpoolBench) -> None:
    (one,) = bench.stored("a@x")
    fault = Fault(bench.memory_log, "append", NO_SPACE)
    for _ in range(600):  # a minute
        bench.shard.log(b"x")
        bench.loop.advance(0.1, bench.shard)
    assert fault.calls < 25
    fault.on = False
    bench.loop.advance(6, bench.shard)
    assert len(bench.memory_log.lines) == 600
    assert len(bench.memory_log.frames) < 20  # many rows in one
    assert addresses(bench) == [one.address]


def test_a_crash_after_the_log_has_them_and_before_the_spool_knows(
    bench: SpoolBench, tmp_path: Path
) -> None:
    bench.memory_log.fail = NO_SPACE
    for line in (b"1", b"2", b"3"):
        bench.shard.log(line)
        bench.commit()
    bench.memory_log.fail = None
    bench.memory_log.append([b"1"])  # as a write whose sync failed may leave it
    bench.memory_log.append([b"2"])
    again = killed(bench, tmp_path)
    assert rows(again) == 1
    again.run()
    assert bench.memory_log.lines == [b"1", b"2", b"3"]
    again.close()


def test_closing_leaves_them_to_the_next_start(bench: SpoolBench) -> None:
    (one,) = bench.stored("a@x")
    bench.memory_log.fail = NO_SPACE
    bench.shard.close(one, b"delivered")
    assert bench.close() is None
    again = SpoolBench(bench.folder)
    assert addresses(again) == []
    again.run()
    assert again.memory_log.lines == []  # recovery comes first
    recover(again.shard, [])
    again.run()
    assert again.memory_log.lines == [b"delivered"]
    again.close()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[SpoolBench]:
    bench = SpoolBench(tmp_path, options=replace(OPTIONS, kept_bytes=4000))
    yield bench
    bench.memory_log.fail = None
    for _ in range(8):
        bench.loop.advance(6, bench.shard)
    assert bench.close() is None


def grown(bench: SpoolBench, octets: int) -> None:
    """Records are kept until they make so many octets."""
    while bench.shard.stats().kept < octets:
        bench.shard.log(os.urandom(200).hex().encode())
        bench.commit()


def test_beyond_the_bound_nothing_is_attempted_and_then_no_mail_taken(small: SpoolBench) -> None:
    told: list[str | None] = []
    small.shard.on_hold = lambda: told.append(small.shard.hold)
    small.memory_log.fail = NO_SPACE
    grown(small, 3000)
    assert small.shard.hold is None
    assert [t.alarm for t in small.shard.troubles()] == ["log_kept"]
    grown(small, 4000)
    assert "No space left on device" in str(small.shard.hold)
    assert told == [small.shard.hold]
    assert [t.alarm for t in small.shard.troubles()] == ["log_kept", "attempts_held"]
    small.stored("a@x")
    grown(small, 8000)
    kept_then = small.shard.stats().kept
    assert not small.shard.healthy
    assert busy(small)
    for _ in range(5):  # what comes all the same waits in memory
        small.shard.log(b"x")
        small.loop.advance(1, small.shard)
    assert small.shard.stats().kept == kept_then
    small.memory_log.fail = None
    for _ in range(3):
        small.loop.advance(6, small.shard)
    assert small.shard.hold is None
    assert told[-1] is None
    assert small.shard.healthy
    assert small.memory_log.lines[-5:] == [b"x"] * 5
    assert list(small.shard.troubles()) == []


def test_an_idle_shard_logs_what_it_kept_before_it_was_opened(
    bench: SpoolBench, tmp_path: Path
) -> None:
    bench.memory_log.fail = NO_SPACE
    bench.shard.log(b"1")
    bench.commit()
    bench.memory_log.fail = None
    again = killed(bench, tmp_path)
    again.run()
    assert bench.memory_log.lines == [b"1"]
    again.close()


def test_neither_log_nor_spool(bench: SpoolBench) -> None:
    """Attempts stop at once, and what was under way is kept in memory until one of them works."""
    (one,) = bench.stored("a@x")
    bench.memory_log.fail = NO_SPACE
    fault = Fault(bench.shard._store, "sync", SpoolBusyError("I/O error"))
    bench.shard.close(one, b"delivered")
    for _ in range(3):
        bench.loop.advance(1, bench.shard)
    assert "I/O error" in str(bench.shard.hold)
    fault.on = False
    bench.loop.advance(6, bench.shard)
    assert bench.shard.hold is None
    assert addresses(bench) == []
    bench.memory_log.fail = None
    bench.loop.advance(6, bench.shard)
    assert bench.memory_log.lines == [b"delivered"]


def test_a_commit_that_hangs_holds_attempts(bench: SpoolBench) -> None:
    bench.run()
    recipients = bench.message("a@x")
    bench.shard.accept(recipients[0].message, recipients, lambda error: None)
    bench.loop._run_timer()  # its sync is in the thread
    assert bench.shard.hold is None
    bench.clock.advance(6)
    assert bench.shard.hold == "a commit has not ended for 6 s"
    bench.run()
    assert bench.shard.hold is None


def test_a_frame_that_cannot_be_packed_either_is_kept_in_memory(
    bench: SpoolBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = bench.stored("a@x")
    bench.memory_log.fail = NO_SPACE
    real = kept.zstandard.ZstdCompressor

    def broken(**_: object) -> object:
        raise MemoryError

    monkeypatch.setattr(kept.zstandard, "ZstdCompressor", broken)
    bench.shard.close(one, b"delivered")
    bench.commit()
    assert not bench.shard.healthy
    monkeypatch.setattr(kept.zstandard, "ZstdCompressor", real)
    bench.loop.advance(6, bench.shard)
    bench.memory_log.fail = None
    bench.loop.advance(6, bench.shard)
    assert bench.memory_log.lines == [b"delivered"]
    assert bench.shard.healthy


# -- the real log, every call of it failing in turn, and a kill at every turn of the loop


class Calls:
    """Lets the calls of one function of `os` from the `first` to before the `last` fail."""

    def __init__(
        self, patch: pytest.MonkeyPatch, name: str, first: int, last: int, error: OSError
    ) -> None:
        self._real: Callable[..., Any] = getattr(os, name)
        self._failing, self._error, self.count = range(first, last), error, 0
        patch.setattr(os, name, self._call)

    def _call(self, *arguments: Any) -> Any:
        self.count += 1
        if self.count - 1 in self._failing:
            if self._real is os.pwrite or self._real.__name__ == "pwrite":
                self._real(arguments[0], arguments[1][:20], arguments[2])  # a part is written
            raise self._error
        return self._real(*arguments)


class Story:
    """Recipients end one after the other; each turn of the loop may be the last."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bench = self.opened(folder / "now")
        self.records = RecordWriter("node", 1, self.bench.clock)
        self.recipients: list[Recipient] = []
        self.kills = 0

    def opened(self, folder: Path) -> SpoolBench:
        log = LogWriter(folder / "log", clock=FakeClock(), segment_bytes=600)
        return SpoolBench(folder, log=log, options=OPTIONS)

    def play(self) -> None:
        for number in range(5):
            (one,) = self.bench.stored(f"{number}@x")
            self.recipients.append(one)
            self.bench.shard.close(one, self.records.delivery(one, OK, PEER, Stages()))
            self.bench.clock.advance(0.06)
            self.turns()
        for _ in range(4):
            self.bench.clock.advance(3)
            self.turns()

    def turns(self) -> None:
        loop = self.bench.loop
        while loop._run_timer() or loop._run_woken(self.bench.shard.busy):
            self.kill()

    def kill(self) -> None:
        """What a kill at this instant leaves: each recipient is open or has one record."""
        self.kills += 1
        copy = self.folder / "killed"
        shutil.copytree(self.bench.folder, copy)
        again = self.opened(copy)
        recover(again.shard, entries(again.shard, copy / "log"))
        again.run()
        self.check(again, copy)
        shutil.rmtree(copy)

    def check(self, bench: SpoolBench, folder: Path) -> None:
        found = Counter(r.message.id.hex() for r in bench.shard.scan(b"", 99)[0])
        assert rows(bench) == 0
        bench.close()
        found.update(record["id"] for _, record in read(folder / "log"))
        assert found == Counter(one.message.id.hex() for one in self.recipients)


@pytest.mark.parametrize("last", [1, 3])
@pytest.mark.parametrize("first", [0, 1, 2])
@pytest.mark.parametrize("name", ["pwrite", "fdatasync", "ftruncate", "open"])
def test_every_call_of_the_log_fails_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, first: int, last: int
) -> None:
    story = Story(tmp_path)
    error = OSError(errno.EIO, "Input/output error")
    with monkeypatch.context() as patch:
        failing = Calls(patch, name, first, first + last, error)
        if name == "ftruncate":  # what follows from another failure
            Calls(patch, "pwrite", 1, 2 + first, error)
        log = story.bench.shard.log_end
        patch.setattr(story, "kill", lambda: None)
        patch.setattr(log, "retire", lambda: None)
        story.play()
        assert failing.count
    story.bench.loop.advance(6, story.bench.shard)
    story.check(story.bench, story.bench.folder)


def test_a_kill_at_every_turn_while_the_log_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = Story(tmp_path)
    writer = story.bench.shard.log_end
    real, calls = writer._sync, [0]  # type: ignore[attr-defined]

    def sync() -> None:
        calls[0] += 1
        if 1 < calls[0] < 8:
            raise OSError(errno.EIO, "Input/output error")
        real()

    monkeypatch.setattr(writer, "_sync", sync)
    story.play()
    assert story.kills > 20
    story.check(story.bench, story.bench.folder)
