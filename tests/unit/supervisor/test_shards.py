"""Opening a worker's shards: what is refused, what is tried again, what the others do meanwhile."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mta.clock import SystemClock
from mta.config.load import complete
from mta.config.schema import Config
from mta.errors import (
    RecordError,
    SpoolBusyError,
    SpoolDamagedError,
    SpoolError,
    SpoolLockedError,
    SpoolVersionError,
)
from mta.supervisor.refusals import Refusals
from mta.supervisor.shards import BACKOFF, Cause, Opened, Refused, Shards, open_shard, refusal

DAMAGED = SpoolDamagedError("shard-0001 is damaged")


class Disk:
    """Opens shards as it is told: errors by shard, one after the other, then it works."""

    def __init__(self, **errors: list[Exception]) -> None:
        self.errors = {int(name[1:]): list(given) for name, given in errors.items()}
        self.asked: list[int] = []

    def __call__(self, number: int) -> Opened:
        self.asked.append(number)
        if left := self.errors.get(number):
            raise left.pop(0)
        opened: Any = SimpleNamespace(number=number)
        return opened


class Bench:
    """Shards over a disk, with time that passes when it is told to."""

    def __init__(self, disk: Disk, numbers: list[int]) -> None:
        self.told: list[tuple[list[int], list[int]]] = []
        self.faults: list[Exception] = []
        self.slept: list[float] = []
        self.go, self.sleeps = asyncio.Event(), asyncio.Event()
        self.shards = Shards(numbers, disk, self._tell, self.faults.append, self._sleep)

    def _tell(self) -> None:
        self.told.append((sorted(self.shards.serving), sorted(self.shards.refused)))

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.sleeps.set()
        await self.go.wait()


def numbers(opened: list[Any]) -> list[int]:
    return [one.number for one in opened]


def test_all_open() -> None:
    async def run() -> None:
        bench = Bench(Disk(), [3, 5])
        assert numbers(await bench.shards.first()) == [3, 5]
        bench.shards.join(lambda opened: None)
        assert bench.told == [([3, 5], [])] and bench.slept == []

    asyncio.run(run())


def test_those_that_open_serve_and_the_others_join_later() -> None:
    async def run() -> None:
        disk = Disk(_0=[OSError(errno.ENOSPC, "full"), SpoolBusyError("busy")])
        bench, joined = Bench(disk, [0, 1, 2]), list[Any]()
        assert numbers(await bench.shards.first()) == [1, 2]
        assert bench.told == [([1, 2], [0])]
        done = asyncio.Event()

        def take(opened: Any) -> None:
            joined.append(opened)
            done.set()

        bench.shards.join(take)
        bench.go.set()
        await done.wait()
        assert numbers(joined) == [0] and bench.slept == list(BACKOFF[:2])
        assert bench.told[-1] == ([0, 1, 2], []) and disk.asked.count(1) == 1

    asyncio.run(run())


def test_a_worker_without_a_shard_waits_for_the_first_that_opens() -> None:
    async def run() -> None:
        bench = Bench(Disk(_0=[DAMAGED], _1=[DAMAGED] * 20), [0, 1])
        first = asyncio.ensure_future(bench.shards.first())
        await bench.sleeps.wait()
        assert not first.done() and bench.told == [([], [0, 1])]
        bench.go.set()
        assert numbers(await first) == [0]
        joined: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        bench.shards.join(joined.set_result)
        assert (await joined).number == 1
        assert bench.slept.count(BACKOFF[-1]) >= 10  # it is tried for ever

    asyncio.run(run())


def test_a_stop_ends_the_trying() -> None:
    async def run() -> None:
        disk = Disk(_0=[DAMAGED])
        bench = Bench(disk, [0, 1])
        await bench.shards.first()
        bench.shards.join(lambda opened: None)
        bench.shards.stop()
        bench.go.set()
        for _ in range(5):
            await asyncio.sleep(0)
        assert disk.asked == [0, 1]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("error", "cause", "problem"),
    [
        (OSError(errno.EIO, "Input/output error", "/s/bodies"), Cause.TROUBLE,
         "/s/bodies: Input/output error"),
        (OSError(errno.EMFILE, "Too many open files", "/s"), Cause.TROUBLE, "Too many"),
        (SpoolError("IO error: No space left on device"), Cause.TROUBLE, "No space"),
        (SpoolLockedError("in use by process 7"), Cause.TROUBLE, "process 7"),
        (MemoryError(), Cause.TROUBLE, "MemoryError"),
        (RuntimeError("can't start new thread"), Cause.TROUBLE, "thread"),
        (DAMAGED, Cause.DAMAGE, "is damaged"),
        (RecordError("no record"), Cause.DAMAGE, "no record"),
        (ValueError("what is\nthis"), Cause.DAMAGE, "ValueError: what is this"),
        (SpoolVersionError("layout 9"), Cause.VERSION, "layout 9"),
    ],
)  # fmt: skip
def test_the_kind_of_error_decides(error: Exception, cause: Cause, problem: str) -> None:
    found = refusal(4, error)
    assert (found.shard, found.cause) == (4, cause) and problem in found.problem


def test_an_error_that_nobody_foresaw_is_recorded_once() -> None:
    async def run() -> None:
        bench = Bench(Disk(_0=[ValueError("a")] * 3 + [KeyError("b")]), [0])
        bench.go.set()
        await bench.shards.first()
        assert [type(error) for error in bench.faults] == [ValueError, KeyError]

    asyncio.run(run())


def test_what_is_told_of_refused_shards() -> None:
    said, told = list[str](), list[str]()
    refusals = Refusals(said.append, told.append)
    full, broken = Refused(1, Cause.TROUBLE, "full"), Refused(1, Cause.DAMAGE, "broken")
    refusals.take([0], [full])
    refusals.take([0], [full])  # the successor of its worker says so, too
    assert said == ["shard 1 is refused: full"] and told == []
    assert refusals.of(1) == said[0] and refusals.of(0) == ""
    refusals.take([0], [broken])
    assert said[1:] == ["shard 1 is refused: broken"] == refusals.lines()
    refusals.take([0, 1], [])
    assert told == ["shard 1 serves again"] and refusals.lines() == []


# ---------------------------------------------------------------------- real shards


def opening(home: Path, loop: asyncio.AbstractEventLoop) -> Callable[[int], Opened]:
    config = complete(Config(), home)
    (home / "spool").mkdir(exist_ok=True)  # as the supervisor does
    return lambda number: open_shard(config, number, 1, SystemClock(), loop, lambda *_: None)


def closed(opened: Opened) -> asyncio.Future[None]:
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    opened.shard.close_shard(lambda error: done.set_result(None))
    return done


def test_a_shard_whose_recovery_fails_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        open_one = opening(tmp_path, asyncio.get_running_loop())
        monkeypatch.setattr("mta.supervisor.shards.recover", _broken)
        with pytest.raises(OSError, match="recovery"):
            await asyncio.to_thread(open_one, 0)
        monkeypatch.undo()
        await closed(await asyncio.to_thread(open_one, 0))

    asyncio.run(run())


def _broken(*args: object, **named: object) -> None:
    raise OSError("recovery")


def test_a_shard_that_cannot_be_set_up_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        open_one = opening(tmp_path, asyncio.get_running_loop())
        await closed(await asyncio.to_thread(open_one, 0))
        bodies = tmp_path / "spool" / "shard-0000" / "bodies"
        (bodies / "0000000001.bodies").write_bytes(bytes(1 << 16))
        monkeypatch.setattr("mta.spool.shard.Young", _broken)
        with pytest.raises(OSError, match="recovery"):
            await asyncio.to_thread(open_one, 0)
        before = len(list(Path("/proc/self/fd").iterdir()))
        with pytest.raises(OSError, match="recovery"):
            await asyncio.to_thread(open_one, 0)
        assert len(list(Path("/proc/self/fd").iterdir())) == before
        monkeypatch.undo()
        await closed(await asyncio.to_thread(open_one, 0))

    asyncio.run(run())


def test_a_shard_with_garbage_in_its_manifest_opens_when_that_is_put_back(tmp_path: Path) -> None:
    async def run() -> None:
        open_one = opening(tmp_path, asyncio.get_running_loop())
        await closed(await asyncio.to_thread(open_one, 0))
        current = tmp_path / "spool" / "shard-0000" / "CURRENT"
        kept = current.read_bytes()
        for _ in range(2):
            current.write_bytes(b"garbage")
            with pytest.raises(SpoolError):
                await asyncio.to_thread(open_one, 0)
        current.write_bytes(kept)
        await closed(await asyncio.to_thread(open_one, 0))

    asyncio.run(run())
