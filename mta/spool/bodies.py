"""Where the contents of messages are kept: in segment files, or in RocksDB (compiled).

RocksDB has those that are small or larger than half a segment, those that came while no segment
was ready, and those that were left in a segment when it was emptied (`reclaim`). So a body whose
segment is gone is looked for there. A reading gives what `mta.spool.doubts` tells of.
"""

from __future__ import annotations

import errno
from functools import partial
from typing import TYPE_CHECKING

from mta._speedups import bodylog
from mta.errors import SpoolBusyError, SpoolError
from mta.spool import keys, segments, stock
from mta.spool.aside import Aside
from mta.spool.doubts import FIRST, Doubts, Gone, Unreadable
from mta.spool.segments import Run, Segment, Segments

if TYPE_CHECKING:
    from collections.abc import Callable

    from rocksdict import WriteBatch

    from mta.clock import Clock
    from mta.model import Message
    from mta.spool.changes import Changes
    from mta.spool.doubts import Found
    from mta.spool.options import ShardOptions
    from mta.spool.store import Store

    ReadDone = Callable[[dict[bytes, Found]], None]
    Keep = Callable[[Message, Gone], Gone | Unreadable]

FOLDER = "bodies"


class BodyStore:
    """The bodies of a shard; what is durable follows the batch of the spool's other rows."""

    def __init__(self, store: Store, options: ShardOptions, clock: Clock) -> None:
        """ContentsMissingError where files are missing that mail needs."""
        self._store = store
        self._smallest = options.segment_from
        folder = store.folder / FOLDER
        newest, self._lost = stock.take(store, folder)
        self.segments = Segments(folder, options.segment_bytes, newest)
        self.doubts = Doubts(store.number, clock)
        self._doubted = self.doubts.known
        self._largest = options.segment_bytes // 2
        self.on_low: Callable[[], None] | None = None  # a segment is wanted
        self._runs: list[Run] = []  # placed, to be written with the next job
        self._writing: list[Run] = []  # taken by a job
        self._leaving: list[Run] = []  # could not be written, on the way to RocksDB
        self._run: Run | None = None  # the last of `_runs`, to be gone on with

    # -- on the loop

    def place(self, id: bytes, body: bytes) -> int:
        """Room for a body in a segment, into which the next job writes it; 0: put it with the
        other rows."""
        size = len(body)
        if size < self._smallest or size > self._largest:
            return 0
        unit = self.segments.place(bodylog.units(size))
        if self.segments.low() and self.on_low is not None:
            self.on_low()
        if unit < 0:
            return 0
        segment, run = self.segments.active, self._run
        assert segment is not None, "a place has been found in it"
        if run is None or run.segment is not segment:
            run = self._run = Run(segment, unit)
            self._runs.append(run)
        run.records.append((id, body))
        return segment.number << 32 | unit

    def delete(self, batch: WriteBatch, id: bytes, place: int) -> None:
        """Forget a body with the batch; `release` follows when that is durable."""
        if self._doubted:
            self.doubts.over(id)
        if place:
            segment = self.segments.of(place)
            if segment is not None and not segment.moving:
                return
        batch.delete(id, self._store.in_bodies)

    def release(self, place: int, size: int) -> None:
        """A deletion is durable."""
        if place:
            self.segments.clear(place, bodylog.units(size))

    def take(self) -> list[Run]:
        """What is to be written now, for `segments.write`."""
        runs, self._runs, self._run = self._runs, [], None
        self._writing = runs
        return runs

    def written(self) -> None:
        """What was taken is on the disk."""
        runs, self._writing = self._writing, []
        for run in runs:
            self.segments.unpin(run.segment)

    def elsewhere(self, refused: set[bytes], changes: Changes) -> None:
        """What was taken cannot be written: RocksDB gets what is not refused, with `changes`, and
        new bodies go into another file, since this one's blocks may stay bad.
        """
        bad = {run.segment for run in self._writing}
        moved = [*self._writing, *(run for run in self._runs if run.segment in bad)]
        self._runs = [run for run in self._runs if run.segment not in bad]
        self._run, self._writing = None, []
        for segment in bad:
            self.segments.give_up(segment)
            changes.set(keys.moving(segment.number), b"")
        for run in moved:
            for id, body in run.records:
                if id not in refused:
                    changes.put_body(id, body)
        self._leaving += moved
        changes.after.append(partial(self._moved, moved))

    def _moved(self, moved: list[Run]) -> None:
        for run in moved:
            self._leaving.remove(run)
            self.segments.unpin(run.segment)

    # -- in any thread

    def get_many(self, messages: list[Message]) -> list[Found]:
        """Bodies in the order of their messages, or what stands in their way."""
        small = self._small([one.id for one in messages if not one.place])
        return [small.get(one.id) or self._judged(one) for one in messages]

    def _small(self, ids: list[bytes]) -> dict[bytes, bytes]:
        """Those of RocksDB, as far as they can be read at once and nobody doubts them."""
        if not ids or self._doubted:
            return {}
        try:
            found = zip(ids, self._store.get_many(self._store.bodies, ids), strict=True)
        except SpoolError:  # one of them: each is read alone
            return {}
        return {id: body for id, body in found if body is not None}

    def _judged(self, message: Message) -> Found:
        id = message.id
        anew = bool(self._doubted) and self.doubts.second(id)
        found = self.look(id, message.place, message.size, anew)
        if not isinstance(found, bytes):
            if message.open <= 0:  # it has ended, and may be forgotten already
                return Unreadable("its message has ended", FIRST)
            return self.doubts.judge(id, found, anew=anew)
        if self._doubted:
            self.doubts.over(id)
        return found

    def look(self, id: bytes, place: int, size: int, anew: bool = False) -> Found:
        """One reading of a body; `anew`: from the disk, whatever memory has."""
        found: Found | None = None
        segment = self.segments.of(place) if place else None
        if segment is not None:
            found = self._in_segment(segment, place, id, size, anew)
            if isinstance(found, bytes) or isinstance(found, Unreadable) and not segment.moving:
                return found
        elsewhere = self._in_rocksdb(id)
        if elsewhere is not None:
            return elsewhere
        if found is not None:
            return found
        if place and place >> 32 not in self._lost:
            return Unreadable(f"the file of segment {place >> 32} is missing", 0.0, place >> 32)
        return Gone("the spool has no content of it")

    def salvage(self, id: bytes, place: int, size: int) -> bytes | Unreadable | None:
        """A body, or what is left of it, of a size that may be wrong; None: there is nothing."""
        segment = self.segments.of(place) if place else None
        left = b""
        if segment is not None:
            try:
                found = segments.read_any(segment, place)
                if found is not None and found[0] == id:
                    return found[1]
                left = segments.instead(segment, place, id, size)[2]
            except OSError as error:
                return _unreadable(segment, error)
        return self._in_rocksdb(id) or left or None

    def _in_segment(self, segment: Segment, place: int, id: bytes, size: int, anew: bool) -> Found:
        if segment.pins and (body := self._waiting(id)) is not None:
            return body
        if not 0 <= size <= max(segment.room * bodylog.UNIT, 2 * self._largest):
            return Gone(f"its envelope says that it has {size} octets")
        try:
            if anew:
                segments.pass_cache(segment, place, size)
            found = segments.read(segment, place, id, size)
            if found is not None:
                return found
            number, why, _ = segments.instead(segment, place, id, size)
            exchanged = number in self.segments.table or segments.is_foreign(segment, id)
        except OSError as error:
            if error.errno == errno.ENODATA and segment.number in self._lost:
                return Gone("its file was cut short")
            return _unreadable(segment, error)
        if exchanged:
            return Unreadable(f"{segment.path.name}: {why}: was it exchanged? Put its own back")
        return Gone(why)

    def _waiting(self, id: bytes) -> bytes | None:
        for run in [*self._runs, *self._writing, *self._leaving]:
            for known, body in run.records:
                if known == id:
                    return body
        return None

    def _in_rocksdb(self, id: bytes) -> bytes | Unreadable | None:
        try:
            return self._store.get(self._store.bodies, id)
        except SpoolBusyError as error:
            return Unreadable(str(error), FIRST)
        except SpoolError as error:
            return Unreadable(str(error))

    def close(self) -> None:
        """Close the files."""
        self.segments.close()


def _unreadable(segment: Segment, error: OSError) -> Unreadable:
    return Unreadable(f"{segment.path.name}: {error.strerror}")


class BodyReader(Aside):
    """A thread that reads bodies ahead, for any number of shards of a worker.

    Point reads of RocksDB hold the GIL, so a request is read in slices: the loop gets its turn.
    """

    SLICE = 8

    def __init__(self, wake: Callable[[Callable[[], None]], None]) -> None:
        super().__init__("mta-bodies", wake)

    def read(self, store: BodyStore, messages: list[Message], keep: Keep, done: ReadDone) -> None:
        """Read bodies; `done(what was found, by id)` runs on the loop.

        `keep` copies here what is left of a message whose content is gone; it is Gone after that.
        """
        self.work(partial(self._read, store, messages, keep, done))

    def _read(
        self, store: BodyStore, messages: list[Message], keep: Keep, done: ReadDone
    ) -> Callable[[], None]:
        found: dict[bytes, Found] = {}
        try:
            for at in range(0, len(messages), self.SLICE):
                part = messages[at : at + self.SLICE]
                for message, body in zip(part, store.get_many(part), strict=True):
                    found[message.id] = keep(message, body) if isinstance(body, Gone) else body
        except Exception as error:  # noqa: BLE001 - whoever asked waits for an answer
            why = Unreadable(f"{type(error).__name__}: {error}", FIRST)
            found = {one.id: why for one in messages} | found
            return partial(_answer_and_raise, partial(done, found), error)
        return partial(done, found)


def _answer_and_raise(answer: Callable[[], None], error: Exception) -> None:
    answer()
    raise error
