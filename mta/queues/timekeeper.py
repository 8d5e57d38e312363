"""What a worker's queues do when the clock was set, or time passed that nobody saw.

Times in the spool are those of the wall clock. The clock that the queues live by follows it late
and tells by how much it moved (`mta.clock`); once a second this is asked.

*Set back.* Next attempts were planned by a clock that was ahead. Watermarks and stamps begin anew,
and a pass over the rows of that instant (`Pass`) brings each next attempt nearer by the step. Every
start makes a pass, too: over what a crash has left, or a clock that was set with the server down.

*Set forward.* No mail has grown older by that: a pass (`Longer`) has what came before live longer
by the step.

*Set forward, missed, or a start.* What expired meanwhile could not be tried, and the clock may yet
turn out to be wrong. Those recipients are attempted as any other until a grace is over: a tenth of
the shortest max age, at most `GRACE`. Each has it once: a start goes on from `alive`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from mta.errors import SpoolBusyError, SpoolDamagedError, SpoolError
from mta.model import Where
from mta.queues.retry import next_attempt_us
from mta.spool import keys

if TYPE_CHECKING:
    from collections.abc import Callable

    from mta.clock import Change
    from mta.model import Recipient
    from mta.queues.loader import Loader
    from mta.queues.manager import QueueManager
    from mta.spool.store import Rows

    CallLater = Callable[[float, Callable[[], None]], object]

LOOK_EVERY = 1.0  # seconds
ALIVE_EVERY = 60.0  # seconds between two notes that a shard is served
GRACE = 4 * 3600.0  # seconds that expiry waits at most
SLICE = 32  # rows between two looks at the clock
TURN, LONGEST = 0.001, 0.02  # seconds of work, and of rest: as long, at most so long
PENDING = 1000  # moves that wait for their commit: a pass waits, too
SMALL = 60.0  # seconds forward that no age is mended for: a pass writes every row
AGAIN = 0.2  # seconds until a spool that is being reopened is looked at again


class Timekeeper:
    """Moves rows and due times when the clock was set; one per worker."""

    def __init__(
        self,
        manager: QueueManager,
        look: Callable[[], Change],
        call_later: CallLater,
        say: Callable[[str], None],
    ) -> None:
        """`look` tells what became of the time since it was last called."""
        self._manager, self._look = manager, look
        self._loaders: list[Loader] = []
        self._call_later, self._say = call_later, say
        self._clock = manager.ports.clock
        self._passes: list[Pass] = []
        self._grace_ends = 0.0  # monotonic time
        self._next_note = self._clock.monotonic() + ALIVE_EVERY
        self._settled = self._stopped = False  # settled: this run counts as one that served

    def start(self) -> None:
        """Begin to look."""
        self._tick()

    def join(self, loader: Loader) -> None:
        """A shard is about to be loaded: it may have missed much."""
        now, alive = self._clock.wall_us(), loader.shard.alive_us()
        if alive:
            self._forgive(alive, now)
        self._loaders.append(loader)
        self._begin([loader], 0, everything=alive > now)

    def stop(self) -> None:
        """No further look, and no pass."""
        self._stopped = True
        for one in self._passes:
            one.stop()
        if self._settled:
            self._note_alive()

    def _tick(self) -> None:
        if self._stopped:
            return
        self._call_later(LOOK_EVERY, self._tick)
        change, now = self._look(), self._clock.wall_us()
        if change.moved < 0:
            self._back(round(-change.moved * 1_000_000))
        elif change.moved or change.missed:
            self._forgive(now - round((change.moved + change.missed) * 1_000_000), now)
            if change.moved >= SMALL:
                self._live_longer(round(change.moved * 1_000_000))
        monotonic = self._clock.monotonic()
        if self._grace_ends and monotonic >= self._grace_ends:
            self._end_grace()
        if monotonic >= self._next_note:
            self._next_note, self._settled = monotonic + ALIVE_EVERY, True
            self._note_alive()

    def _note_alive(self) -> None:
        for loader in self._loaders:
            loader.shard.note_alive(self._clock.wall_us())

    # ------------------------------------------------------------------ expiry

    def _forgive(self, since_us: int, now_us: int) -> None:
        """What expired between these lives on for a while; a short gap makes no grace longer."""
        manager = self._manager
        shortest = min(policy.max_age for policy in manager.settings.retries.values())
        grace = min(GRACE, shortest / 10)
        lasting, gap = bool(self._grace_ends), now_us - since_us
        manager.missed_from = min(since_us, manager.missed_from) if lasting else since_us
        manager.missed_to = now_us
        if lasting and gap < grace * 1_000_000:
            return
        manager.grace_us = now_us + round(grace * 1_000_000)
        self._grace_ends = self._clock.monotonic() + grace

    def _end_grace(self) -> None:
        self._grace_ends = 0.0
        self._manager.missed_from = self._manager.missed_to = 0
        for loader in self._loaders:
            loader.expire_again()

    def _live_longer(self, step_us: int) -> None:
        self._passes = [one for one in self._passes if one.under_way]
        self._passes += [
            Longer(self._manager, loader, step_us, True, self._call_later, self._say)
            for loader in self._loaders
        ]

    # ------------------------------------------------------------------ set back

    def _back(self, step_us: int) -> None:
        manager, now = self._manager, self._clock.wall_us()
        manager.rewind()
        manager.grace_us -= step_us
        manager.missed_from = min(manager.missed_from, now)
        manager.missed_to = min(manager.missed_to, now)
        for loader in self._loaders:
            loader.rewind()
        under_way = any(one.under_way for one in self._passes)
        for one in self._passes:
            one.stop()
        self._passes = []
        # What the last pass has moved already is not to be moved by this step, too.
        self._begin(self._loaders, 0 if under_way else step_us, everything=True)
        self._note_alive()

    def _begin(self, loaders: list[Loader], step_us: int, *, everything: bool) -> None:
        self._passes += [
            Pass(self._manager, loader, step_us, everything, self._call_later, self._say)
            for loader in loaders
        ]


class Pass:
    """Goes through the rows of a shard whose times are ahead, as they are at one instant.

    - A next attempt comes nearer by the step: never into the past, and never later than the longest
      wait of its retry policy allows from now. One that waits for the release that its client asked
      for stays: that is a time of the wall clock.
    - Mail that was accepted in what is the future now expires earlier by as much.
    - What lives longer than its policy says, by a step forward, does so by this step less.
    - A backlog's rows of the future are stamped anew, so that later mail does not overtake them.
    """

    def __init__(
        self,
        manager: QueueManager,
        loader: Loader,
        step_us: int,
        everything: bool,
        call_later: CallLater,
        say: Callable[[str], None],
    ) -> None:
        """`step_us` = 0: it is not known. Not `everything`: what no policy can have put there."""
        self._manager, self._shard, self._clock = manager, loader.shard, manager.ports.clock
        self._step_us, self._everything = step_us, everything
        self._call_later, self._say = call_later, say
        self._began_us, self._newest = self._clock.wall_us(), self._shard.newest_accepted()
        self._rows: Rows | None = None
        self._ranges: list[tuple[bytes, bytes]] = []  # what is left to be gone through
        self._count = 0  # next attempts that were moved
        self.under_way = True
        # Changes that wait for their log frame are no rows yet.
        self._shard.when_durable(lambda error: self._turn())

    def stop(self) -> None:
        """Leave the rest: a database that is to be closed must have no iterator."""
        self.under_way, self._rows = False, None

    def _turn(self) -> None:
        if not self.under_way:
            return
        began, pause = self._clock.monotonic(), AGAIN
        try:
            if self._shard.readable:
                self._work(began + TURN)
                pause = min(max(TURN, self._clock.monotonic() - began), LONGEST)
            else:
                self._interrupt()
        except SpoolBusyError:  # it was reopened since
            self._interrupt()
        except SpoolError:
            if self._shard.readable:  # damage, which is told elsewhere
                self._end()
        if self._rows is not None and not self._ranges:
            self._end()
        if self._shard.stats().pending > PENDING:
            self._shard.flush_now()
        if self.under_way:
            self._call_later(pause, self._turn)

    def _interrupt(self) -> None:
        """Begin anew; what was moved so far must not be moved by the step once more."""
        self._rows, self._ranges, self._step_us = None, [], 0

    def _work(self, until: float) -> None:
        """Some slices, one at least."""
        if self._rows is None:
            self._rows = self._shard.timed_rows()
            self._ranges = self._ranges or self._all_ranges()
        while self._ranges and self._shard.stats().pending <= PENDING:
            (start, stop), *_ = self._ranges
            rows = self._rows.take(start, stop, SLICE)
            for row in rows:
                self._one(row)
                self._ranges[0] = keys.after(row), stop
            if len(rows) < SLICE:
                self._ranges.pop(0)
            if self._clock.monotonic() >= until:
                break

    def _all_ranges(self) -> list[tuple[bytes, bytes]]:
        now, policies = self._clock.wall_us(), self._manager.settings.retries.values()
        waits, ages = [p.longest for p in policies], [p.max_age for p in policies]
        wait, age = (0.0, min(ages)) if self._everything else (max(waits), max(ages))
        found = [
            (b"d" + keys.u64(now + round(wait * 1_000_000) + 1), b"e"),
            (b"e" + keys.u64(now + round(age * 1_000_000) + 1), b"f"),
        ]
        return [(b"b", b"c"), *found] if self._everything else found

    def _end(self) -> None:
        self.stop()
        if self._count:
            self._say(f"the clock was set back: {self._count} next attempts follow it")

    # ------------------------------------------------------------------ one row

    def _one(self, row: bytes) -> None:
        manager, kind = self._manager, row[:1]
        if kind == b"b" and keys.parse_backlog(row)[2] <= self._clock.wall_us():
            return
        id, number = keys.parse_recipient(row)
        known = manager.memory.get((id, number))
        if id in manager.arriving or (known is not None and kind != b"e"):
            return  # it is about to be attempted
        try:
            recipient = known or self._shard.get(id, number)
        except SpoolDamagedError:  # which is told elsewhere
            return
        if recipient is None:
            return
        key = keys.recipient(id, number)
        if kind == b"e":
            if row == keys.expiry(recipient.expires_us, key):  # else it was moved meanwhile
                self._expiry(recipient)
        elif row == keys.row(recipient, key):
            self._attempt(recipient)

    def _attempt(self, recipient: Recipient) -> None:
        if recipient.where == Where.BACKLOG:
            self._shard.move(recipient, Where.BACKLOG, self._manager.stamp())
            self._manager.on_backlog(recipient)
        elif (due := self._due(recipient)) != recipient.due_us:
            self._shard.move(recipient, Where.DUE, due)
            self._count += 1

    def _due(self, recipient: Recipient) -> int:
        """When the next attempt is to be made."""
        now, release = self._clock.wall_us(), recipient.message.release_us
        if recipient.attempts:  # an operator had it attempted before
            release = 0
        if now < release and recipient.due_us <= release:
            return recipient.due_us
        policy = self._manager.policy_of(recipient)
        due = recipient.due_us - self._step_us
        if due > now + round(policy.longest * 1_000_000):
            attempts, random = max(1, recipient.attempts), self._manager.ports.random
            due = next_attempt_us(policy, attempts, now, recipient.expires_us, random) or now
        return max(due, now, release)

    def _expiry(self, recipient: Recipient) -> None:
        """It is to live as long as it was to, from now on, if its acceptance lies in the future."""
        message, expires = recipient.message, recipient.expires_us
        ahead = message.received_us - self._clock.wall_us()
        begins = max(message.received_us, message.release_us)
        limit = begins + self._manager.policy_of(recipient).max_age_us
        if ahead <= 0 and expires > limit:
            expires = max(expires - self._step_us, limit)
        elif ahead > 0 and message.received_us > message.release_us:
            expires -= ahead
        if expires != recipient.expires_us:
            self._shard.expire_at(recipient, expires)


class Longer(Pass):
    """Has mail that came before the clock was set forward by the step expire later by as much.

    What waits for the release that its client asked for has its age from that time on. Ranges as
    long as the step are gone through from the latest to the earliest: what is moved goes to where
    the pass has been, so after an interruption it goes on where it was.
    """

    def _interrupt(self) -> None:
        self._rows = None

    def _all_ranges(self) -> list[tuple[bytes, bytes]]:
        ages = [policy.max_age_us for policy in self._manager.settings.retries.values()]
        latest = self._began_us + 2 * max(ages)  # of what a step had live longer before, too
        times = range(self._began_us - self._step_us, latest, self._step_us)
        bounds = [b"f", *(b"e" + keys.u64(time) for time in reversed(times))]
        return [(start, stop) for stop, start in pairwise(bounds)]

    def _end(self) -> None:
        self.stop()

    def _expiry(self, recipient: Recipient) -> None:
        message = recipient.message
        if message.id <= self._newest and message.release_us <= self._began_us:
            self._shard.expire_at(recipient, recipient.expires_us + self._step_us)
