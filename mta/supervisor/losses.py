"""What a worker's shards have lost: compared with their logs beside the service, recorded, told.

A comparison reads the log in a thread that rests as long as it reads, asks the shard on the loop
for what has no end there, and records as Lost what the shard does not have. A crash in the middle
has it begin again; what is recorded already has its end then.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from typing import TYPE_CHECKING, Any

from mta.alarms import Trouble
from mta.audit import losses, unended
from mta.errors import MailraceError, SpoolBusyError, SpoolDamagedError
from mta.queues.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mta.audit.losses import Loss, Losses
    from mta.audit.unended import Walk
    from mta.clock import Clock
    from mta.maillog.records import Fields, RecordWriter
    from mta.spool.shard import Shard
    from mta.supervisor.shards import Opened

    Fault = Callable[[Exception], object]

TURN = 0.001  # s of reading after which the thread rests as long
AT_ONCE = 500  # records between two waits for their commit
AGAIN = 1.0  # s until a shard that cannot be read now is asked again
AFTER_TROUBLE = 30.0  # s until a comparison is begun again
REASON = "the spool has lost it: {}"


class Comparison:
    """Holds one shard against its log, from the position that a loss names."""

    def __init__(
        self, opened: Opened, folder: Path, loss: Loss, clock: Clock, fault: Fault
    ) -> None:
        self._shard: Shard = opened.shard
        self._lines: RecordWriter = opened.lines
        self._losses: Losses = opened.losses
        self._folder, self.loss, self._clock, self._fault = folder, loss, clock, fault
        self.recorded = 0  # in this run
        self.stopped = False

    async def run(self) -> None:
        """Compare to the log's end, again and again where the disk does not allow it."""
        while True:
            before = self.recorded
            try:
                await self._compare(before)
            except (OSError, MailraceError) as error:
                self._fault(error)
                await asyncio.sleep(AFTER_TROUBLE)
            else:
                return

    async def _compare(self, before: int) -> None:
        walk = unended.Walk(self._folder, self.loss.since, lost_from_us=self.loss.found_us)
        while True:
            await self._read(walk)
            missing = await self._missing(walk)
            await self._durable()  # what has ended meanwhile is in the log now
            await self._read(walk)
            await self._record(walk, missing)
            self.loss.recipients = walk.lost + self.recorded - before
            if not walk.next():
                break
            self._losses.save()
        self.loss.compared = True
        if self.loss.recipients or self.loss.certain:
            self._losses.save()
        else:
            self._losses.forget(self.loss)

    async def _read(self, walk: Walk) -> None:
        await asyncio.to_thread(self._read_in_turns, walk)

    def _read_in_turns(self, walk: Walk) -> None:
        began = time.monotonic()
        for _ in walk.more():
            worked = time.monotonic() - began
            if worked >= TURN:
                time.sleep(worked)
                began = time.monotonic()
            if self.stopped:
                return

    async def _missing(self, walk: Walk) -> dict[bytes, array[int]]:
        """By message the recipients without an end that the shard does not have."""
        pace = Pace(self._clock)
        missing: dict[bytes, array[int]] = {}
        for id, one in walk.open.items():
            for number in one.numbers():
                if not await self._has(id, number):
                    missing.setdefault(id, array("L")).append(number)
                if pace.over:
                    await pace.rest()
        return missing

    async def _has(self, id: bytes, number: int) -> bool:
        while True:
            try:
                return self._shard.get(id, number) is not None
            except SpoolBusyError:
                await asyncio.sleep(AGAIN)
            except SpoolDamagedError:
                return True  # what cannot be read is told, and not gone

    async def _durable(self) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def tell(error: BaseException | None) -> None:
            if not done.cancelled():  # by `stop`
                done.set_result(None)

        self._shard.when_durable(tell)
        await done
        while self._shard.stats().kept:  # noqa: ASYNC110 (durable, but not in the log yet)
            await asyncio.sleep(AGAIN)

    async def _record(self, walk: Walk, missing: dict[bytes, array[int]]) -> None:
        """Record as Lost what the shard did not have, and has not ended meanwhile."""
        wanted = {id: walk.open[id] for id in missing if id in walk.open}
        found = unended.receptions(self._folder, wanted)
        while one := await asyncio.to_thread(next, found, None):
            id, reception = one
            for number in missing[id]:
                if not wanted[id].has_end(number):
                    await self._lost(reception, number)
        await self._durable()

    async def _lost(self, reception: Fields, number: int) -> None:
        self._shard.log(self._lines.lost(reception, number, REASON.format(self.loss.what)))
        self.recorded += 1
        if self.recorded % AT_ONCE == 0:
            await self._durable()


class LossWatch:
    """The losses of a worker's shards; `fault(error)` tells of what nobody foresaw."""

    def __init__(self, log_dir: Path, clock: Clock, fault: Fault) -> None:
        self._log_dir, self._clock, self._fault = log_dir, clock, fault
        self._losses: dict[int, Losses] = {}
        self._running: dict[asyncio.Task[None], Comparison] = {}
        self.recorded = 0  # recipients recorded as Lost by this process

    def begin(self, opened: Opened) -> None:
        """Take in a shard, and compare what was not compared yet."""
        number = opened.shard.number
        self._losses[number] = opened.losses
        for loss in opened.losses.pending:
            if not loss.compared:
                folder = self._log_dir / f"shard-{number:04}"
                comparison = Comparison(opened, folder, loss, self._clock, self._fault)
                task = asyncio.ensure_future(comparison.run())
                self._running[task] = comparison
                task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        comparison = self._running.pop(task)
        self.recorded += comparison.recorded
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self._fault(error)

    def stop(self) -> None:
        """Leave comparisons where they are: the next start begins them again."""
        for task, comparison in self._running.items():
            comparison.stopped = True
            task.cancel()

    def accept(self, by: str, reason: str) -> list[dict[str, Any]]:
        """Somebody has seen what was lost."""
        now, accepted = self._clock.wall_us(), []
        for number, one in self._losses.items():
            for loss in one.accept(by, reason, now):
                accepted.append(losses.row(number, loss))
        return accepted

    def lines(self) -> list[str]:
        """What was lost and not accepted, for people."""
        return [losses.said(number, loss) for number, loss in self._pending()]

    def troubles(self) -> Iterator[Trouble]:
        """The same as alarms."""
        for number, loss in self._pending():
            reason = f"{losses.said(number, loss)}; `mta spool accept-loss` when you have seen it"
            yield Trouble("lost_mail", reason, max(1, loss.recipients))

    def figures(self) -> dict[str, Any]:
        """What a worker reports."""
        running = sum(one.recorded for one in self._running.values())
        return {"lost": self.recorded + running, "losses": self.lines()}

    def _pending(self) -> Iterator[tuple[int, Loss]]:
        for number, one in self._losses.items():
            for loss in one.pending:
                yield number, loss
