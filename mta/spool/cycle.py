"""The two commits of a shard: one cycle at a time, driven from the loop (compiled).

A cycle writes what is ready (loop, unsynced), then its job makes that durable and logs the frame
that is due (thread), then the callbacks run (loop). A frame's changes are written in the cycle
after the one that synced the frame. docs/design.md, "The two commits".

After a failure new mail is refused, outcomes are kept, and the cycle is tried again with back-off:
a write stall waits, a full or failing disk has the database reopened by the thread. What had been
written but not synced is written again. A log that takes nothing stops no cycle: the frame is kept
as a row of the spool (`kept`). Mail whose batch or sync failed may be on the disk: it is
taken out, and refused once that is synced. Where this takes too long nobody learns what became of
it, as if the connection had been lost.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Protocol

import msgspec

from mta.errors import SpoolBusyError, SpoolError, SpoolUnknownError
from mta.metrics import COMMIT_TIMES
from mta.spool import keys
from mta.spool.changes import Changes, Frame, Stored, apply, undo
from mta.spool.committer import Committer, FrameLog, Job
from mta.spool.kept import Kept
from mta.spool.rocks import StallError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rocksdict import WriteBatch

    from mta.clock import Clock
    from mta.model import Recipient
    from mta.spool.bodies import BodyStore
    from mta.spool.changes import Done
    from mta.spool.options import ShardOptions
    from mta.spool.store import Store

    Wake = Callable[[Callable[[], None]], None]

GATHER = 0.001  # s that a cycle waits for company
PATIENCE = 30.0  # s in which mail that may be on the disk is to be taken out
SLOW = 5.0  # s that a commit may take before nothing more is attempted
FIRST_RETRY, LAST_RETRY = 0.01, 5.0  # s between attempts after a failure
UNKNOWN = "the spool failed while it stored a message; whether it has it is not known: {}"
CLOSE_ATTEMPTS = 5  # failures after which a closing shard leaves the rest to recovery


class Timer(Protocol):
    """What `call_later` gives back."""

    def cancel(self) -> None:
        """Do not call."""
        ...


class CallLater(Protocol):
    """`loop.call_later`."""

    def __call__(self, delay: float, callback: Callable[[], None], /) -> Timer:
        """Call back after `delay` seconds."""
        ...


class ShardStats(msgspec.Struct):
    """Counts since the shard was opened; times in seconds."""

    commits: int = 0  # syncs of the spool that succeeded
    messages: int = 0  # messages they made durable
    largest_group: int = 0  # messages in one commit
    commit_seconds: float = 0.0  # spent in the committer thread
    commit_seconds_max: float = 0.0
    commit_times: list[int] = msgspec.field(  # commits by time, as `metrics.COMMIT_TIMES`
        default_factory=lambda: [0] * (len(COMMIT_TIMES) + 1)
    )
    frames: int = 0  # log frames written
    records: int = 0  # log records in them
    failures: int = 0  # cycles that failed
    refused: int = 0  # messages refused
    kept: int = 0  # octets of records that wait for the log
    corrupt: int = 0  # records set aside
    read_failures: int = 0  # readings of contents that gave none
    pending: int = 0  # messages and records that wait for a commit


class Cycle:
    """Everything between a call on the shard and its place on the disk."""

    def __init__(
        self,
        store: Store,
        bodies: BodyStore,
        log: FrameLog,
        options: ShardOptions,
        clock: Clock,
        wake: Wake,
        call_later: CallLater,
    ) -> None:
        self._store, self._bodies, self._log = store, bodies, log
        self._clock, self._call_later = clock, call_later
        self._outcome_interval, self._frame_records = (
            options.outcome_interval,
            options.frame_records,
        )
        self._stall_patience = options.stall_patience
        self.kept = Kept(store, options.kept_bytes, call_later, self.kick)
        self._committer = Committer(store, bodies, log, clock, wake, self._finished)
        self.problem: str | None = None  # why new mail is refused; until all is synced again
        self.stats = ShardStats()
        self.frame = Frame()  # takes records and the changes that follow from them
        self.moves = Changes()  # changes that need no record
        self.unlogged: dict[bytes, None] = {}  # accepted, Reception record not yet in a frame
        self.newest_logged = b""
        self.on_durable: Callable[[list[Stored]], None] | None = None  # before those who wait know
        self.on_hold: Callable[[], None] | None = None  # `hold` may have changed
        self._began = 0.0  # monotonic time of the job
        self._expected = 0  # messages of the last cycle
        self._gathering = False
        self.incoming: list[Stored] = []  # to be written
        self._frozen: deque[Frame] = deque()  # to be logged; at most one, but after a failure
        self._logged: deque[Frame] = deque()  # synced in the log, to be written
        self._again: list[Changes] = []  # written, but the sync failed
        self._again_frames: list[Frame] = []  # the frames of `_again`
        self._job = Job()  # what is written and waits for the next sync
        self._busy = False
        self._frame_due = False
        self._timer: Timer | None = None
        self._kicked = False
        self._retry: Timer | None = None
        self._retry_delay = FIRST_RETRY
        self._halted = True  # no cycle before `begin`, or before the next attempt
        self._reopen = False
        self._stale = False  # the database lacks what `_again` has: nobody may read it
        self._doubtful: list[list[Stored]] = []  # refused, not taken out yet, not told
        self._write_error: SpoolError | None = None  # of a write while a job was under way
        self._stalled_since: float | None = None
        self._closing: Done | None = None
        self._attempts_left = CLOSE_ATTEMPTS
        self.closed = False

    # -- calls of the shard

    def accept(self, message: Stored) -> None:
        """Commit a message with the next cycle."""
        self.incoming.append(message)
        self.kick()

    def kick(self) -> None:
        """Start a cycle with the loop's next turn, so that this turn's calls share it."""
        if not (self._kicked or self._busy or self._halted):
            self._kicked = True
            self._call_later(0, self._kick)

    def changed(self) -> None:
        """The open frame has grown: see to it that it is written in time."""
        if self._frame_due:
            return
        if len(self.frame.lines) >= self._frame_records:
            self.flush_now()
        elif self._timer is None:
            self._timer = self._call_later(self._outcome_interval, self._tick)

    def flush_now(self) -> None:
        """Have the open frame written with the next cycle."""
        self._frame_due = True
        self.kick()

    def pending(self, key: bytes) -> tuple[bool, Recipient | None]:
        """Whether a recipient has unwritten changes; what it is now, None where closed."""
        for frame in self.frames():
            if key in frame.changing:
                return True, frame.changing[key]
        return False, None

    def is_closed(self, key: bytes) -> bool:
        """Whether a recipient's terminal record is called and not written yet."""
        if key in self.frame.changing:
            return self.frame.changing[key] is None
        return bool(self._frozen or self._logged) and self.pending(key) == (True, None)

    def frames(self) -> list[Frame]:
        """Frames whose changes are not written, newest first."""
        return [self.frame, *reversed(self._frozen), *reversed(self._logged)]

    @property
    def busy(self) -> bool:
        """Whether a job is under way or about to begin."""
        return self._busy or self._kicked

    @property
    def readable(self) -> bool:
        """Whether the database has what it should have."""
        return self._store.is_open and not self._stale

    @property
    def hold(self) -> str | None:
        """Why nothing should be attempted: what became of it could not be kept now."""
        if self.problem is not None:
            return self.problem
        if self.kept.full:
            return f"{self.kept.octets >> 20} MB of records wait for the log: {self.kept.error}"
        if self._busy and (took := self._clock.monotonic() - self._began) > SLOW:
            return f"a commit has not ended for {took:.0f} s"
        return None

    def settle(self) -> bool:
        """Write what may be written, for a read to see it; False when the spool cannot be read."""
        if not self._halted and (self.moves or self.incoming):
            self._write()
            self.kick()
        return self.readable

    def count(self) -> int:
        """Messages and records that wait for a commit."""
        waiting = len(self.incoming) + len(self._job.accepted) + len(self.moves.ops)
        return waiting + sum(len(frame.lines) for frame in self.frames())

    def start(self) -> None:
        """Start the thread; RuntimeError where none can be had."""
        self._committer.start()

    def begin(self) -> None:
        """Recovery, in another thread, is over: begin cycles."""
        self._halted = False
        self.kick()

    def abandon(self) -> None:
        """Run no cycle any more; what is open stays so."""
        self.closed = True
        self._committer.abandon()

    def close(self, done: Done) -> None:
        """Commit everything, then close database and log."""
        self._closing = done
        self.flush_now()

    # -- the cycle

    def _kick(self) -> None:
        self._kicked = False
        self._turn()

    def _tick(self) -> None:
        self._timer = None
        self._frame_due = True
        self._turn()

    def _turn(self) -> None:
        """Begin a cycle if the last one has ended and something waits."""
        if self._busy or self._halted or self.closed or self._gathers():
            return
        if not self._write():
            return
        if (self._frame_due or self._closing) and not self._frozen:
            self._freeze()
        job = self._job
        if self.kept.idle:
            job.frame = self._frozen[0] if self._frozen else None
        else:
            self._plan(job)
        if not (job.written or job.frame is not None or job.backlog):
            self._well()
            if self._closing:
                self._submit_special(Job(close=True))
            return
        self._submit(job)

    def _plan(self, job: Job) -> None:
        """What of the frames goes to the log: those that are kept first, while it rests none."""
        kept = self.kept
        job.backlog = [] if self._closing else kept.take()
        job.keep = kept.resting or len(kept) > len(job.backlog)
        job.frame = None
        if self._frozen and (self._closing or not kept.brimful):
            job.frame = self._frozen[0]

    def _gathers(self) -> bool:
        """True while it pays to wait for as many messages as the last cycle had.

        Each cycle costs a thread's turn and its syncs, so many sessions share one gladly; a lone
        session finds its message alone in each cycle and never waits.
        """
        have = len(self.incoming) + len(self._job.accepted)
        if not have or self._frame_due or self._closing or self._again:
            return False
        if have >= self._expected:
            return False
        if not self._gathering:
            self._gathering = True
            self._call_later(GATHER, self._gathered)
        return True

    def _gathered(self) -> None:
        self._gathering = False
        self._expected = 0
        self._turn()

    def _submit(self, job: Job) -> None:
        self._busy = True
        self._began = self._clock.monotonic()
        self._expected = len(job.accepted)
        self._job = Job()
        job.runs = self._bodies.take()
        self._committer.submit(job)

    def _submit_special(self, job: Job) -> None:
        """A job that is nothing but `close` or `reopen`."""
        self._busy = True
        self._began = self._clock.monotonic()
        self._committer.submit(job)

    def _freeze(self) -> None:
        """End the open frame: it goes to the log with this cycle."""
        self._frame_due = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.frame:
            self.frame.freeze()
            self._note_logged(self.frame)
            self._frozen.append(self.frame)
            self.frame = Frame()

    def _note_logged(self, frame: Frame) -> None:
        """Keep which messages have their Reception record, for the row `logged`."""
        if not frame.logged:
            return
        for id in frame.logged:
            self.unlogged.pop(id, None)
        self.newest_logged = newest = max(self.newest_logged, *frame.logged)
        older = [id for id in self.unlogged if id < newest]
        frame.changes.set(keys.LOGGED, b"".join([newest, *older]))

    def _write(self) -> bool:
        """Write what is ready, unsynced: it belongs to the next job. False after a failure."""
        ready: list[Changes] = [*self._again]
        if self.moves:
            ready.append(self.moves)
        frames, position = list(self._logged), None
        for frame in frames:
            ready.append(frame.changes)
            position = frame.position or position
        if not (ready or self.incoming):
            self._stale = False
            return True
        if position:
            last = Changes()
            last.set(keys.LOG, keys.position(*position))
            ready.append(last)
        batch = self._store.batch()
        for changes in ready:
            changes.apply(batch, self._store, self._bodies)
        for one in self.incoming:
            apply(one.ops, batch, self._store.handles)
        if not self._try(batch):
            return False
        self._written(ready, frames)
        return True

    def _try(self, batch: WriteBatch) -> bool:
        try:
            # point: a batch is about to be written
            self._store.write(batch)
        except StallError as error:
            self._stalled(error)
            return False
        except SpoolError as error:
            self._stale = True
            if self._busy:  # what the job has written comes first in `_again`
                self._write_error, self.problem, self._halted = error, str(error), True
            else:
                self._broken(error, None, written=True)
            return False
        self._stalled_since = None
        return True

    def _written(self, ready: list[Changes], frames: list[Frame]) -> None:
        """Move what was written into the next job."""
        # point: a batch is written, not synced
        self._job.changes += ready
        self._job.frames += [*self._again_frames, *frames]
        self._job.accepted += self.incoming
        self._again, self._again_frames = [], []
        self._stale = False
        self.moves, self.incoming = Changes(), []
        for _ in frames:
            self._logged.popleft()

    def _finished(self, job: Job) -> None:
        """A job is back: say so to those who wait, and go on."""
        self._busy = False
        if job.close:
            self.closed = True
            for messages in self._doubtful:
                self._give_up(messages)
        elif job.reopen:
            self._reopened(job)
        else:
            self._settled(job)
        ok = not (job.error or job.close)
        if ok and self._closing:  # what the callbacks add is still taken along
            self._durable(job)
        self._turn()
        if ok and not self._closing:
            self._durable(job)
        if self.closed and self._closing:
            error = self.problem and SpoolError(
                f"closed with work left to recovery: {self.problem}"
            )
            self._closing(error or None)

    def _settled(self, job: Job) -> None:
        """Sort out what became of a job's frame and of its sync."""
        if job.placed:
            self._bodies.written()
        self._logs(job)
        error = job.error or self._write_error
        if error:
            written = self._write_error is not None
            self._broken(error, job if job.error else None, written=written)
        elif job.frame is not None and not job.logged and job.packed is None:
            self._fail(job.frame_error or SpoolError("no memory"), reopen=False)
        elif job.written:
            self._well()

    def _logs(self, job: Job) -> None:
        """Sort out what the log has taken and what the spool keeps."""
        if job.drained is not None:
            self._drained(job.drained, len(job.backlog))
        if job.frame is not None and (job.logged or job.packed is not None):
            self._frame_done(job)
        if job.frame_error is not None:
            self.kept.failed(job.frame_error)
        elif self.kept.error is not None and (job.drained or job.position):
            self.kept.worked()

    def _frame_done(self, job: Job) -> None:
        """A frame is in the log, or goes with its changes."""
        frame = self._frozen.popleft()
        frame.position = job.position
        if job.packed is not None:
            self._keep(frame, job.packed)
        self._logged.append(frame)
        if frame.lines:
            self.stats.frames += job.logged
            self.stats.records += len(frame.lines)

    def _keep(self, frame: Frame, packed: bytes) -> None:
        full = self.kept.full
        self.kept.keep(frame, packed)
        if self.kept.full is not full:
            self._tell_hold()

    def _drained(self, position: tuple[int, int], rows: int) -> None:
        """Rows are in the log: they go with the batch that has its position."""
        full = self.kept.full
        changes = self.kept.logged(rows)
        changes.set(keys.LOG, keys.position(*position))
        self.moves.ops += changes.ops
        self.moves.after.append(partial(self._log.applied, position))
        self.stats.frames += 1
        if self.kept.full is not full:
            self._tell_hold()

    def _tell_hold(self) -> None:
        if self.on_hold is not None:
            self.on_hold()

    def _durable(self, job: Job) -> None:
        """Tell everybody whose changes are safe."""
        # point: a commit is synced, its replies have not left
        if job.written:
            self._count(job)
        position = None
        for frame in job.frames:
            position = frame.position or position
        if position:
            self._log.applied(position)
        for changes in job.changes:
            self._applied(changes)
        if job.accepted and self.on_durable is not None:
            self.on_durable(job.accepted)
        for one in job.accepted:
            if one.done is not None:
                one.done(None)
        for frame in job.frames:
            for done in frame.done:
                done(None)

    def _applied(self, changes: Changes) -> None:
        """Changes are durable: the bodies that they delete may go."""
        for message in changes.ended:
            self._bodies.release(message.place, message.size)
        for call in changes.after:
            call()

    def _count(self, job: Job) -> None:
        stats, size = self.stats, len(job.accepted)
        stats.commits += 1
        stats.messages += size
        stats.largest_group = max(stats.largest_group, size)
        stats.commit_seconds += job.seconds
        stats.commit_times[bisect_left(COMMIT_TIMES, job.seconds)] += 1
        stats.commit_seconds_max = max(stats.commit_seconds_max, job.seconds)

    # -- failures

    def _stalled(self, error: StallError) -> None:
        """Wait for RocksDB; those who wait too long are refused."""
        now = self._clock.monotonic()
        if self._stalled_since is None:
            self._stalled_since = now
        if now - self._stalled_since >= self._stall_patience:
            self._refuse(error)
        self._fail(error, reopen=False)

    def _fail(self, error: Exception, *, reopen: bool) -> None:
        """Stop cycles until the next attempt."""
        self.problem, self._halted = str(error) or repr(error), True
        self.stats.failures += 1
        self._reopen = self._reopen or reopen
        if self._closing:
            self._attempts_left -= 1
        self._tell_hold()
        if self._retry is None:
            self._retry = self._call_later(self._retry_delay, self._again_now)
            self._retry_delay = min(self._retry_delay * 2, LAST_RETRY)

    def _again_now(self) -> None:
        """Try again; a database that failed is reopened first."""
        self._retry = None
        if self._closing and self._attempts_left <= 0:
            self._submit_special(Job(close=True))
        elif self._reopen:
            self._store.is_open = False  # nobody reads while the thread reopens it
            self._submit_special(Job(reopen=True))
        else:
            self._halted = False
            self._turn()

    def _well(self) -> None:
        """Everything that was written is synced."""
        if self.problem is not None:
            self.problem, self._retry_delay = None, FIRST_RETRY
            self._tell_hold()

    def _broken(self, error: Exception, job: Job | None, *, written: bool) -> None:
        """The database failed: keep what must be written again, refuse new mail, reopen.

        `written`: it was a batch with `incoming` that failed.
        """
        self._write_error = None
        early, self._job = self._job, Job()
        doubtful = []
        for one in (job, early) if job is not None else (early,):
            self._again += one.changes
            self._again_frames += one.frames
            doubtful += one.accepted
        if job is not None and job.runs and not job.placed:
            refused = {one.message.id for one in [*doubtful, *self.incoming]}
            moved = Changes()
            self._bodies.elsewhere(refused, moved)
            self._again.insert(0, moved)
        if written:
            doubtful += self.incoming
            self.incoming = []
        if doubtful:
            self._take_out(doubtful, error)
        self._refuse(error)
        self._fail(error, reopen=True)

    def _reopened(self, job: Job) -> None:
        if job.error:
            self._fail(job.error, reopen=True)
        else:
            self._reopen = self._halted = False

    def _refuse(self, error: Exception) -> None:
        """Refuse what was not written."""
        for one in self.incoming:
            self._bodies.release(one.message.place, one.message.size)
            self.unlogged.pop(one.message.id, None)
        self._tell(self.incoming, _busy(error))

    def _take_out(self, messages: list[Stored], error: Exception) -> None:
        """Delete messages that may be on the disk; they are refused when that is synced."""
        gone = undo(messages)
        ids = [one.message.id for one in messages]
        gone.after.append(partial(self._taken_out, messages, ids, error))
        self._again.append(gone)
        self._doubtful.append(messages)
        self._call_later(PATIENCE, partial(self._give_up, messages))

    def _taken_out(self, messages: list[Stored], ids: list[bytes], error: Exception) -> None:
        for id in ids:
            self.unlogged.pop(id, None)
        self._doubtful.remove(messages)
        self._tell(messages, _busy(error))

    def _give_up(self, messages: list[Stored]) -> None:
        """Nobody waits longer; a crash from now on may still leave a message in the spool."""
        self._tell(messages, SpoolUnknownError(UNKNOWN.format(self.problem)))

    def _tell(self, messages: list[Stored], error: SpoolError) -> None:
        """Give those who wait the error; the list is empty then."""
        told, messages[:] = list(messages), []
        self.stats.refused += len(told)
        for one in told:
            if one.done is not None:
                one.done(error)


def _busy(error: Exception) -> SpoolBusyError:
    refusal = SpoolBusyError(f"the spool cannot store mail now: {error}")
    refusal.__cause__ = error
    return refusal
