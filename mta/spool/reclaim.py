"""Segment files made, counted and emptied: all that keeps their disk space bounded.

A segment of which little is live, while much of the disk is wasted, is emptied: its bodies go to
RocksDB, which is made for what stays long. While that lasts (`moving`, kept as a row for a
restart) deletions name both places. One step at a time; reading is the reader thread's, and files
are made and removed in a thread of their own, so that no read waits for that.
"""

from __future__ import annotations

import contextlib
import os
import threading
from functools import partial
from typing import TYPE_CHECKING

from mta._speedups import bodylog
from mta.errors import SpoolBusyError, SpoolError
from mta.spool import keys, record, segments
from mta.spool.changes import BODIES
from mta.spool.doubts import Unreadable
from mta.spool.segments import KEPT_FREE

if TYPE_CHECKING:
    from collections.abc import Callable

    from mta.clock import Clock
    from mta.spool.aside import Aside
    from mta.spool.bodies import BodyReader, BodyStore
    from mta.spool.cycle import CallLater, Cycle
    from mta.spool.segments import Segment
    from mta.spool.space import Space
    from mta.spool.store import Store

COUNTED = 250  # rows between two turns of the loop
PAUSE = 0.001  # s between slices
AGAIN = 1.0  # s until what failed is tried again
LATER = 60.0  # s until a segment is emptied again of which bodies could not be read
STEP = 32  # bodies read and moved at a time
SPARSE = 4  # a segment is emptied when less than 1/4 of it is live
ALLOWED = 4  # segments of waste that are left alone
REST = 3.0  # times what a step of a preparation took: the disk is the others' meanwhile
LONGEST_REST = 1.0  # s


class Reclaim:
    """Keeps the disk space of a shard's segments bounded, one step at a time, from `start` on."""

    def __init__(
        self,
        store: Store,
        bodies: BodyStore,
        cycle: Cycle,
        space: Space,
        reader: Callable[[], BodyReader],
        files: Callable[[], Aside],
        clock: Clock,
        call_later: CallLater,
    ) -> None:
        """`reader` and `files` give the threads of those names."""
        self._store, self._bodies, self._cycle, self._space = store, bodies, cycle, space
        self._reader, self._files = reader, files
        self._clock, self._call_later = clock, call_later
        self._segments = bodies.segments
        self._preparing = self._stopped = False
        self._ended = threading.Event()  # as `_stopped`, for the thread
        self._moving: Segment | None = None
        self._left: set[int] = set()  # segments with bodies that could not be read
        self._unsure: dict[int, tuple[bytes, int]] = {}  # a row and its place, by segment
        self._segments.on_empty = self._drop_row
        for key, _ in store.settings(keys.MOVING, keys.above(keys.MOVING)):
            segment = self._segments.table.get(keys.parse_u32(key[-4:]))
            if segment is not None:
                segment.moving = True
            else:
                cycle.moves.set(key, None)

    def start(self) -> None:
        """Begin, on the loop."""
        self._bodies.on_low = self._prepare
        self._segments.on_free = self.trim
        if not self._segments.counted:
            self._count(b"")

    def stop(self) -> None:
        """Begin nothing more, and give up what is being prepared: the shard is closing."""
        self._stopped = True
        self._ended.set()

    # -- files

    def _prepare(self) -> None:
        """Begin to prepare the next segment, if there is a file or room for one."""
        if self._preparing or self._stopped:
            return
        if not self._segments.free:
            self._space.look()  # it is counted since one is wanted
            if self._space.left < 0:
                return
        self._preparing = True
        number, old = self._segments.claim()
        self._segments.allocated = old is not None
        self._files().work(partial(self._make, number, old))

    def _make(self, number: int, old: Segment | None) -> Callable[[], None]:
        """In the thread for files."""
        try:
            made = self._segments.prepare(number, old, self._rest, self._clock)
        except (OSError, _EndedError):
            return partial(self._not_made, old)
        return partial(self._made, made)

    def _rest(self, done: float, took: float) -> None:
        """Leave the disk to others between two steps, unless mail wants the segment soon."""
        if self._ended.is_set():
            raise _EndedError
        self._segments.allocated = True
        if done > self._segments.due():
            self._ended.wait(min(took * REST, LONGEST_REST))

    def _not_made(self, old: Segment | None) -> None:
        """Without a segment bodies go to RocksDB."""
        self._segments.allocated = False
        if old is not None:
            self._not_removed(old)
        self._call_later(AGAIN, self._allow)

    def _allow(self) -> None:
        self._preparing = False

    def _made(self, segment: Segment) -> None:
        self._preparing = self._segments.allocated = False
        if self._stopped:
            os.close(segment.file)
            return
        moves = self._cycle.moves  # written before anything that names the segment
        moves.set(keys.segment(segment.number), keys.u32(segment.room))
        moves.set(keys.NEWEST, keys.u32(segment.number))
        self._segments.spare = segment
        self.look()

    def trim(self) -> None:
        """Remove files that are not needed; on a short disk all but one that is wanted at once."""
        if not self._stopped:
            kept = int(self._segments.low()) if self._space.short else KEPT_FREE
            for surplus in self._segments.surplus(kept):
                self._files().work(partial(self._remove, surplus))

    def _remove(self, segment: Segment) -> Callable[[], None]:
        """In the thread for files."""
        try:
            segments.remove(segment)
        except OSError:
            return partial(self._not_removed, segment)
        return partial(self._removed, segment)

    def _removed(self, segment: Segment) -> None:
        """Close it behind whatever is being read."""
        if self._stopped:
            os.close(segment.file)
        else:
            self._reader().work(partial(_close, segment))

    def _not_removed(self, segment: Segment) -> None:
        """The file stays free, to be used again."""
        if self._stopped:
            os.close(segment.file)
        else:
            self._segments.free.append(segment)

    def _drop_row(self, segment: Segment) -> None:
        """A file is empty: it is free when nothing says any more that it must be there."""
        moves = self._cycle.moves
        moves.set(keys.segment(segment.number), None)
        moves.after.append(partial(self._segments.let_go, segment))
        self._cycle.kick()

    # -- what a restart has to find out

    def _count(self, after: bytes) -> None:
        """One slice of the envelopes: which places are live."""
        if self._stopped:
            return
        try:
            rows = self._store.records(keys.after(after), keys.END, COUNTED)
        except SpoolBusyError:
            self._call_later(AGAIN, partial(self._count, after))
            return
        except SpoolError:  # what cannot be counted is kept
            self._call_later(LATER, partial(self._count, after))
            return
        for key, value in rows:
            if record.has_envelope(key, value):
                self._mark(key, *record.place(value))
        if len(rows) == COUNTED:
            self._call_later(PAUSE, partial(self._count, rows[-1][0]))
        else:
            self._segments.all_counted()
            self._reader().work(self._look_up)
            self.look()

    def _mark(self, key: bytes, place: int, units: int) -> None:
        segment = self._segments.of(place)
        if segment is not None:
            segment.mark(place & 0xFFFFFFFF, units)
        elif place:
            self._unsure.setdefault(place >> 32, (key, place))

    def _look_up(self) -> Callable[[], None]:
        """In the reader's thread: where the file of a segment is not there, has it been emptied?

        One message of each is looked for; without a file, what is not in RocksDB is missing.
        """
        unsure, self._unsure = self._unsure, {}
        for number, (key, place) in unsure.items():
            with contextlib.suppress(SpoolError):
                found = self._bodies.look(key[: keys.ID_SIZE], place, 0)
                ended = self._store.get(self._store.messages, key) is None
                if isinstance(found, Unreadable) and found.missing and not ended:
                    self._bodies.doubts.missing.add(number)
        return _nothing

    # -- emptying

    def look(self) -> None:
        """Begin to empty a segment if that is worth it, or was begun before a restart."""
        if self._moving is not None or self._stopped or not self._segments.counted:
            return
        victim = self._victim()
        if victim is None:
            return
        self._moving, victim.moving = victim, True
        victim.pins += 1
        self._cycle.moves.set(keys.moving(victim.number), b"")
        self._cycle.kick()
        self._step(victim, victim.places())

    def _victim(self) -> Segment | None:
        table = self._segments.table.values()
        closed = [one for one in table if one is not self._segments.active and not one.pins]
        closed = [one for one in closed if one.number not in self._left]
        begun = next((one for one in closed if one.moving), None)
        room, used = sum(one.room for one in closed), sum(one.units for one in closed)
        spare = 0 if self._space.short else ALLOWED * self._segments.room
        if begun is not None or not closed or room < 2 * used + spare:
            return begun
        least = min(closed, key=lambda one: one.units)
        worth = least.units * SPARSE < least.room
        return least if worth and self._affordable(least) else None

    def _affordable(self, segment: Segment) -> bool:
        """Whether there is room for its bodies in the WAL, in a table and in the next one."""
        return not self._space.short or 3 * segment.units * bodylog.UNIT <= self._space.loan

    def _step(self, segment: Segment, left: list[int]) -> None:
        if self._stopped:
            return
        if left:
            now, later = left[:STEP], left[STEP:]
            self._reader().work(partial(self._read, segment, now, later))
        else:
            self._emptied(segment)

    def _read(self, segment: Segment, now: list[int], later: list[int]) -> Callable[[], None]:
        """In the reader's thread."""
        found = []
        for place in now:
            with contextlib.suppress(OSError):  # it stays where it is
                one = segments.read_any(segment, place)
                if one is not None:
                    found.append((place, *one))
        return partial(self._move, segment, found, later)

    def _move(
        self, segment: Segment, found: list[tuple[int, bytes, bytes]], later: list[int]
    ) -> None:
        """Put the bodies that are needed with the next batch."""
        if self._stopped:
            return
        if not self._cycle.settle():
            again = [*(place for place, *_ in found), *later]
            self._call_later(AGAIN, partial(self._step, segment, again))
            return
        moves = self._cycle.moves
        try:
            for _, id, body in found:
                if self._store.get(self._store.messages, id) or self._alone(id):
                    moves.ops.append((BODIES, id, body))
        except SpoolError:
            self._call_later(AGAIN, partial(self._step, segment, later))
            return
        moves.after.append(partial(self._moved, segment, found, later))
        self._cycle.kick()

    def _alone(self, id: bytes) -> bytes | None:
        return self._store.get(self._store.messages, keys.recipient(id, 0))

    def _moved(
        self, segment: Segment, found: list[tuple[int, bytes, bytes]], later: list[int]
    ) -> None:
        """They are durable in RocksDB."""
        # point: bodies are copied out of a segment
        for place, _, body in found:
            self._segments.clear(place, bodylog.units(len(body)))
        self._step(segment, later)

    def _emptied(self, segment: Segment) -> None:
        """What could not be read stays, until it can be or its messages end."""
        self._moving = None
        if segment.live:
            self._left.add(segment.number)
            self._call_later(LATER, partial(self._try_again, segment.number))
        else:
            self._cycle.moves.set(keys.moving(segment.number), None)
            self._cycle.kick()
        self._segments.unpin(segment)
        self.look()

    def _try_again(self, number: int) -> None:
        self._left.discard(number)
        self.look()


class _EndedError(Exception):
    """The shard is closing."""


def _close(segment: Segment) -> Callable[[], None]:
    os.close(segment.file)
    return _nothing


def _nothing() -> None:
    pass
