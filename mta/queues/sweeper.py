"""Goes through a worker's queues in short turns, to apply acts to all that waits.

A sweep keeps its cursor in the shard, so a restart goes on where it stopped. It first takes what is
in memory, then the rows; a recipient that entered memory meanwhile was judged on its way in, and so
will be what waits for its commit. An act is reported as swept when all that it did is durable.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from mta.errors import SpoolBusyError
from mta.model import Where
from mta.queues.acts import KNOWN_SITES, Judge, Verb, obey, ordered
from mta.queues.pace import Pace
from mta.queues.unrouted import question
from mta.spool import keys

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from mta.model import Recipient
    from mta.queues.acts import Act
    from mta.queues.manager import QueueManager
    from mta.spool.shard import Shard

SLICE = 64  # recipients that are read at a time
ROWS = 1000  # rows that are looked at for them
FEW = 16  # recipients between two looks at the clock
PENDING = 1000  # records and moves that wait for their commit: a sweep waits, too
AGAIN = 0.2  # seconds until a spool that is being reopened, or an attempt, is looked at again
U64 = 8  # octets of a number in a cursor
SOON = 0.005  # seconds until commits are looked at again


def _place(cursor: bytes | None) -> tuple[bytes, int]:
    """Where a sweep goes on, and how many recipients it had touched by then."""
    cursor = cursor or bytes(U64)
    if len(cursor) in (keys.ID_SIZE, keys.KEY_SIZE):  # as versions wrote it that did not count
        return cursor, 0
    return cursor[U64:], keys.parse_u64(cursor[:U64])


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():  # cancelled
        future.set_result(None)


class _Job:
    """A sweep that is under way."""

    __slots__ = ("act", "judge", "pace", "learns", "sites", "flying", "passed")

    def __init__(self, act: Act, pace: Pace, site_of: Callable[[Recipient], str]) -> None:
        # Mail whose site is unknown meets a hold when its site is known: before it can leave.
        self.learns = bool(act.swept_by.site) and act.verb is not Verb.HOLD
        self.act, self.pace = act, pace
        self.judge = Judge(act.swept_by, site_of, guess=self.learns)
        self.sites: dict[object, str] = {}  # that were looked up
        self.flying: list[Recipient] = []  # in flight when it came
        self.passed: list[Recipient] = []  # in flight when their rows were passed


def _in_flight(job: _Job) -> bool:
    return any(r.flying and ordered(r, job.act) for r in job.flying)


class Sweeper:
    """The sweeps of one worker."""

    def __init__(
        self,
        manager: QueueManager,
        site_of: Callable[[Recipient], str],
        learn_site: Callable[[Recipient], Awaitable[str]],
        swept: Callable[[int, int], None],
    ) -> None:
        """`swept` is told the sequence of an act and how many recipients it touched."""
        self.manager = manager
        self._site_of, self._learn_site, self._swept = site_of, learn_site, swept
        self._sweeps: set[asyncio.Task[None]] = set()
        self._left: Counter[int] = Counter()  # by act: sweeps that have not ended

    def begin(self, acts: list[Act]) -> None:
        """Sweep for acts that are new to this worker, one after another by sequence."""
        for act in acts:
            self._begin(act, list(self.manager.shards.values()))

    def extend(self, shard: Shard) -> None:
        """Sweep a shard that was added for all acts that are under way or wait for it."""
        for act in self.manager.acts.active:
            self._begin(act, [shard])

    def _begin(self, act: Act, shards: list[Shard]) -> None:
        self._left[act.sequence] += 1
        work = self._sweep(act, shards, list(self._sweeps))
        task = asyncio.get_running_loop().create_task(work)
        self._sweeps.add(task)
        task.add_done_callback(self._sweeps.discard)

    def stop(self) -> None:
        """Leave the sweeps where they are; their cursors are stored."""
        for task in self._sweeps:
            task.cancel()

    async def _sweep(self, act: Act, shards: list[Shard], before: list[asyncio.Task[None]]) -> None:
        if before:
            await asyncio.wait(before)
        job = _Job(act, Pace(self.manager.ports.clock), self._site_of)
        await self._sweep_memory(job)
        for shard in shards:
            await self._sweep_shard(job, shard)
        await self._outcomes(job)
        for shard in shards:
            await self._durable(act, shard)
        self._left[act.sequence] -= 1
        if not self._left[act.sequence]:
            del self._left[act.sequence]
            if not self.manager.missing:  # else it stays in force until those have been swept
                self._swept(act.sequence, self.manager.acts.all_touched()[act.sequence])
                self.manager.acts.forget(act.sequence)

    async def _sweep_memory(self, job: _Job) -> None:
        manager = self.manager
        for number, key in enumerate(list(manager.memory)):
            if not manager.acts.is_active(job.act.sequence):
                return
            recipient = manager.memory.get(key)
            if recipient is not None and job.judge(recipient, self._site_of):
                self._obey(job, recipient)
            if number % FEW == 0 and job.pace.over:
                await self._rest(job, manager.shards.values())

    async def _sweep_shard(self, job: _Job, shard: Shard) -> None:
        act, acts, quiet = job.act, self.manager.acts, 0
        after, touched = _place(await self._cursor(act, shard))
        acts.touched_before(act.sequence, shard.number, touched)
        while acts.is_active(act.sequence):
            try:
                found, end = shard.search(after, job.judge, ROWS, SLICE)
            except SpoolBusyError:  # being reopened
                await asyncio.sleep(AGAIN)
                continue
            if job.learns and await self._learn(job, found):
                continue  # read again: they may have changed meanwhile
            stopped = self._sweep_found(job, shard, found)
            last = end if stopped is None else stopped
            after, quiet = last or keys.END, 0 if found else quiet + 1
            if quiet % FEW == 0 or last is None:  # worth a write where something was done
                touched = acts.touched(act.sequence, shard.number)
                shard.set_cursor(act.sequence, keys.u64(touched) + after)
            if last is None:
                return
            if job.pace.over:
                await self._rest(job, (shard,))

    async def _cursor(self, act: Act, shard: Shard) -> bytes | None:
        """How far the sweep of an earlier run was."""
        while True:
            try:
                return shard.cursors().get(act.sequence)
            except SpoolBusyError:
                await asyncio.sleep(AGAIN)

    async def _learn(self, job: _Job, found: list[Recipient]) -> bool:
        """Look up the sites that are not known of what was read, all at once; True if that took."""
        asked = {}
        for recipient in found:
            about = question(recipient)
            if about not in job.sites and not self._site_of(recipient):
                asked[about] = self._learn_site(recipient)
        if not asked:
            return False
        if len(job.sites) >= KNOWN_SITES:
            job.sites.clear()
        job.sites.update(zip(asked, await asyncio.gather(*asked.values()), strict=True))
        return True

    def _sweep_found(self, job: _Job, shard: Shard, found: list[Recipient]) -> bytes | None:
        """Obey for what was read; the key of the last one if the turn is over before the end.

        What is left must be read again: it may change while others have their turn.
        """
        for number, stored in enumerate(found):
            self._sweep_one(job, stored)
            if number % FEW == FEW - 1 and job.pace.over:
                return keys.recipient(stored.message.id, stored.number)
        return None

    def _sweep_one(self, job: _Job, stored: Recipient) -> None:
        """Obey for one recipient."""
        recipient = self._current(stored)
        if recipient is None or not job.judge.but_site(recipient):
            return
        if job.judge.select.site:
            site = self._site_of(recipient) or job.sites.get(question(recipient), "")
            if not job.judge.site(site):
                return
        if self._obey(job, recipient) and job.act.verb is Verb.HOLD:
            if recipient.flying:
                job.passed.append(recipient)
            elif recipient.where == Where.HELD:
                self.manager.acts.touch(job.act, recipient)

    def _obey(self, job: _Job, recipient: Recipient) -> bool:
        """Obey if the recipient is covered, and the act was not ended meanwhile; whether it is."""
        acts, act = self.manager.acts, job.act
        if not acts.is_active(act.sequence) or not acts.covers(act, recipient.message):
            return False
        obey(self.manager, recipient, act, swept=True)
        if recipient.flying:
            job.flying.append(recipient)
        return True

    def _current(self, stored: Recipient) -> Recipient | None:
        """A recipient as the manager knows it; None if it is not to be touched."""
        id = stored.message.id
        known = self.manager.memory.get((id, stored.number))
        if known is None and id in self.manager.arriving:
            return None
        recipient = known or stored
        return None if recipient.where == Where.CLOSED else recipient

    async def _rest(self, job: _Job, shards: Iterable[Shard]) -> None:
        """Let others have their turn, and commits keep up: large ones would block the loop."""
        await job.pace.rest()
        for shard in shards:
            while shard.stats().pending > PENDING:
                shard.flush_now()
                await asyncio.sleep(SOON)

    async def _outcomes(self, job: _Job) -> None:
        """Wait for what was in flight: a crash before its outcome must find the act in force."""
        act, acts = job.act, self.manager.acts
        while acts.is_active(act.sequence) and _in_flight(job):  # noqa: ASYNC110 (rare)
            await asyncio.sleep(AGAIN)
        for recipient in job.passed:
            if recipient.where == Where.HELD:
                acts.touch(act, recipient)

    async def _durable(self, act: Act, shard: Shard) -> None:
        """Forget the cursor, and wait until all that was done is synced."""
        shard.set_cursor(act.sequence, None)
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        shard.when_durable(lambda error: _set(durable))
        await durable
