"""One shard of the spool: its parts and how it is; what messages do here is in `writes`, what is
read in `reads`.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from mta.alarms import Trouble
from mta.spool import keys, segments
from mta.spool.aside import Aside
from mta.spool.bodies import BodyReader, BodyStore
from mta.spool.corrupt import Corrupt
from mta.spool.cycle import CallLater, Cycle, ShardStats
from mta.spool.reads import Reads
from mta.spool.reclaim import Reclaim
from mta.spool.space import Space
from mta.spool.store import Store
from mta.spool.unread import UnreadRows
from mta.spool.upkeep import Upkeep
from mta.spool.young import Young

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mta.clock import Clock
    from mta.model import Message
    from mta.spool.bodies import ReadDone
    from mta.spool.changes import Changes, Done
    from mta.spool.committer import FrameLog
    from mta.spool.corrupt import OnCorrupt
    from mta.spool.cycle import Wake
    from mta.spool.doubts import Found
    from mta.spool.options import ShardOptions


class Shard(Reads):
    """See `Shard.open`. Every method is called on the loop."""

    def __init__(
        self,
        store: Store,
        bodies: BodyStore,
        log: FrameLog,
        options: ShardOptions,
        clock: Clock,
        wake: Wake,
        call_later: CallLater,
        reader: BodyReader | None,
    ) -> None:
        super().__init__()
        self.number, self.folder, self.epoch = store.number, store.folder, store.epoch
        self.log_end = log
        self.found = store.found  # what was there before it was opened
        self._store, self._clock, self._wake, self._reader = store, clock, wake, reader
        self._own_reader: BodyReader | None = None
        self._file_thread: Aside | None = None
        self._bodies = bodies
        self._cycle = Cycle(store, self._bodies, log, options, clock, wake, call_later)
        self._upkeep = Upkeep(store, self._bodies.segments, self._files, call_later)
        self._space = Space(store.folder, options, self._upkeep.uses, clock)
        store.ballast.on_given_up = self._space.spent
        self._corrupt = Corrupt(store, self._bodies, self._cycle, store.corrupt, call_later)
        self._unread = UnreadRows(store, clock)
        self._load_logged()
        self._young = Young(store, self._cycle, call_later, self._expires_ahead)
        # What may fail comes before what begins to run.
        self._reclaim = Reclaim(
            store,
            self._bodies,
            self._cycle,
            self._space,
            self._body_reader,
            self._files,
            clock,
            call_later,
        )
        self._cycle.start()

    @classmethod
    def open(
        cls,
        folder: Path,
        number: int,
        log: FrameLog,
        options: ShardOptions,
        clock: Clock,
        wake: Wake,
        call_later: CallLater,
        *,
        reader: BodyReader | None = None,
    ) -> Shard:
        """Lock and open a shard; one level above it in the order of calls comes `recover`.

        `wake` is `loop.call_soon_threadsafe`, `call_later` is `loop.call_later`. Raises
        SpoolLockedError, SpoolVersionError, SpoolDamagedError, ContentsMissingError or SpoolError.
        Without `reader` the shard has a thread of its own for bodies.
        """
        store = Store(folder, number, options, keys.parse_mark(log.mark))
        with contextlib.ExitStack() as stack:
            stack.callback(store.close)
            bodies = BodyStore(store, options, clock)
            stack.callback(bodies.close)
            shard = cls(store, bodies, log, options, clock, wake, call_later, reader)
            stack.pop_all()
        return shard

    def __repr__(self) -> str:
        state = self.problem or ("closing" if self._closing else "healthy")
        return f"<Shard {self.number} epoch {self.epoch}, {self._cycle.count()} pending, {state}>"

    # -- how it is

    @property
    def healthy(self) -> bool:
        """Whether new mail can be stored."""
        return self.problem is None

    @property
    def busy(self) -> bool:
        """Whether a cycle is under way or about to begin."""
        return self._cycle.busy

    @property
    def position(self) -> tuple[int, int]:
        """The log's position up to which the spool has applied it: recovery reads from there."""
        value = self._store.get(self._store.default, keys.LOG)
        return keys.parse_position(value) if value else (0, 0)

    @property
    def is_new(self) -> bool:
        """Whether no log was ever applied to it, and it holds no mail."""
        applied = self._store.get(self._store.default, keys.LOG)
        return applied is None and not self._store.last_record()

    @property
    def notes(self) -> list[str]:
        """What its opening has done to its files, for people."""
        return self._store.notes

    @property
    def hold(self) -> str | None:
        """Why nothing should be attempted now: what became of it could not be kept."""
        return self._cycle.hold

    @property
    def on_hold(self) -> Callable[[], None] | None:
        """Called when `hold` may have changed."""
        return self._cycle.on_hold

    @on_hold.setter
    def on_hold(self, call: Callable[[], None] | None) -> None:
        self._cycle.on_hold = call

    @property
    def on_corrupt(self) -> OnCorrupt | None:
        """Called with (id, rno, detail) for each recipient that was set aside."""
        return self._corrupt.report

    @on_corrupt.setter
    def on_corrupt(self, report: OnCorrupt | None) -> None:
        self._corrupt.report = report

    def troubles(self) -> Iterator[Trouble]:
        """What operators should know of."""
        yield from self._cycle.kept.troubles(self.number)
        if self.hold is not None:
            yield Trouble("attempts_held", f"shard {self.number}: nothing is sent: {self.hold}")
        trouble = self.log_end.trouble
        if trouble:
            yield Trouble("log_segments", f"shard {self.number}: {trouble}")
        if self._store.ballast.given_up:
            reason = f"{self.folder}: the disk is full: mail leaves, none is taken; make space"
            yield Trouble("full_disk", reason)
        yield from self._bodies.doubts.troubles()
        yield from self._unread.troubles()

    def require_free(self, octets: int) -> None:
        """Refuse new mail below so much free space, from now on."""
        self._space.require(octets)

    def stats(self) -> ShardStats:
        """Figures since the shard was opened."""
        self._cycle.stats.pending = self._cycle.count()
        self._cycle.stats.read_failures = self._bodies.doubts.failures
        self._cycle.stats.kept = self._cycle.kept.octets
        return self._cycle.stats

    # -- acts

    def set_cursor(self, sequence: int, cursor: bytes | None) -> None:
        """Keep how far an act's sweep is, behind what the sweep did so far; None forgets it."""
        self._frame().changes.set(keys.act(sequence), cursor)
        self._cycle.changed()

    def when_durable(self, done: Done) -> None:
        """Call `done(None)` when everything that was called before is synced."""
        self._frame().done.append(done)
        self._cycle.changed()

    def cursors(self) -> dict[int, bytes]:
        """The cursors of all acts."""
        self._readable()
        rows = self._store.settings(keys.ACT, keys.above(keys.ACT))
        return {keys.parse_u64(key[3:]): value for key, value in rows}

    def cover(self, sequence: int, newest: bytes | None) -> None:
        """Keep the id of the newest message that an act covers; None forgets it.

        It is written before, or with, whatever is accepted from now on.
        """
        self._cycle.moves.set(keys.covered(sequence), newest)
        self._cycle.kick()

    def note_alive(self, now_us: int) -> None:
        """Keep that the shard is served now, unless it has trouble."""
        if self._cycle.problem is None:
            self._cycle.moves.set(keys.ALIVE, keys.u64(now_us))
            self._cycle.kick()

    def alive_us(self) -> int:
        """When the shard was last known to be served, wall clock; 0: never."""
        value = self._store.get(self._store.default, keys.ALIVE)
        return keys.parse_u64(value) if value else 0

    def covered(self) -> dict[int, bytes]:
        """The newest message that each act covers."""
        self._readable()
        rows = self._store.settings(keys.COVERED, keys.above(keys.COVERED))
        return {keys.parse_u64(key[len(keys.COVERED) :]): value for key, value in rows}

    # -- recovery

    def write_now(self, changes: Changes | None) -> None:
        """Write changes at once; None syncs what was written. For a shard that is starting."""
        segments.write(self._bodies.take())
        self._bodies.written()
        if changes is None:
            self._store.sync()
            return
        batch = self._store.batch()
        changes.apply(batch, self._store, self._bodies)
        self._store.write(batch)

    def keep_mark(self) -> None:
        """Have the log keep how far the shard is synced, beside what frames tell later."""
        with contextlib.suppress(OSError):  # an older mark proves less, and is no less true
            self.log_end.append([], self._store.mark)

    def logged_meanwhile(self) -> list[bytes]:
        """Rows of frames that the log has taken, but a crash came before that was written."""
        kept = self._cycle.kept
        return kept.found(self.log_end.since(self.position)) if kept else []

    def kept_lines(self) -> Iterator[bytes]:
        """The records that wait in the spool for the log."""
        return self._cycle.kept.lines()

    def begin(self) -> None:
        """Recovery is over: from now on the loop commits, counts and looks after files.

        Before that it would change what recovery changes in another thread.
        """
        self._wake(self._begin)

    def _begin(self) -> None:
        self._cycle.begin()
        self._upkeep.start(self._space, self._reclaim)

    def recovered(self) -> None:
        """Begin to log what the spool has kept for the log."""
        kept = self._cycle.kept
        kept.waits = False
        if kept:
            self._wake(kept.kick)

    def record_keys(self, after: bytes, limit: int) -> list[bytes]:
        """Keys of envelopes and recipients above `after`."""
        return [key for key, _ in self._store.records(keys.after(after), keys.END, limit)]

    def logged(self) -> tuple[bytes, list[bytes]]:
        """The newest message whose Reception is logged, and older ones where it is not."""
        return self._cycle.newest_logged, list(self._cycle.unlogged)

    def newest_id(self) -> bytes:
        """The largest id that the shard knows of, b"" if none: new ids must be larger."""
        return max(self.newest_accepted(), self._store.last_record()[:16])

    def newest_accepted(self) -> bytes:
        """The largest id of a message that was given to the shard, whatever became of it."""
        newest, unlogged = self.logged()
        return max([newest, *unlogged, self._young.listed[:16]])

    def note_logged(self, newest: bytes, unlogged: list[bytes]) -> None:
        """Go on from what recovery found."""
        self._cycle.newest_logged = newest
        self._cycle.unlogged = dict.fromkeys(unlogged)

    # -- bodies

    def read_bodies(self, messages: list[Message], done: ReadDone) -> None:
        """Read bodies in the reader's thread; `done(what was found, by id)` on the loop.

        One that is Gone is proven so, and what is left of its message copied to `corrupt`.
        """
        self._cycle.settle()
        self._body_reader().read(self._bodies, messages, self._corrupt.keep, done)

    def body(self, message: Message, *, anew: bool = False) -> Found:
        """One reading of a content, here and now; `anew`: from the disk, whatever memory has."""
        self._cycle.settle()
        return self._bodies.look(message.id, message.place, message.size, anew)

    def set_aside(self, message: Message, why: str) -> bool:
        """Copy what is left of a message to the folder `corrupt`, and remove it; False: not now."""
        self._readable()
        key = keys.recipient(message.id, 0) if message.total == 1 else message.id
        value = self._store.get(self._store.messages, key)
        return value is None or self._corrupt.take(message.id, value, why)

    def _body_reader(self) -> BodyReader:
        if self._reader is None:
            self._reader = self._own_reader = BodyReader(self._wake)
        return self._reader

    def _files(self) -> Aside:
        if self._file_thread is None:
            self._file_thread = Aside(f"mta-files-{self.number}", self._wake)
        return self._file_thread

    # -- the end

    def flush_now(self) -> None:
        """Commit what waits without waiting for the interval."""
        self._cycle.flush_now()

    def close_shard(self, done: Callable[[BaseException | None], None]) -> None:
        """Commit everything that waits, close database and log, then `done(error or None)`."""
        self._closing = True
        self._young.close()
        self._stop_reading()
        self._cycle.close(done)

    def abandon(self) -> None:
        """Close a shard that could not be recovered, so that it can be opened anew."""
        self._closing = True
        self._cycle.abandon()
        self._stop_reading()
        self._store.close()
        self._bodies.close()
        self.log_end.close()

    def _stop_reading(self) -> None:
        self._upkeep.stop()
        self._reclaim.stop()
        if self._file_thread is not None:
            self._file_thread.close()
            self._file_thread = None
        if self._own_reader is not None:
            self._own_reader.close()
            self._own_reader = self._reader = None

    def _load_logged(self) -> None:
        """Take up the row `logged`: the newest id, then older ones that have no record yet."""
        value = self._store.get(self._store.default, keys.LOGGED) or b""
        self._cycle.newest_logged = value[:16]
        older = [value[at : at + 16] for at in range(16, len(value), 16)]
        self._cycle.unlogged.update(dict.fromkeys(older))
