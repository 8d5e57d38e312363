"""Where the contents of messages are kept: in segment files, or in RocksDB.

RocksDB has those that are small or larger than half a segment, those that came while no segment
was ready, and those that were left in a segment when it was emptied (`reclaim`). So a body whose
segment is gone is looked for there.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from mta._speedups import bodylog
from mta.errors import SpoolDamagedError, SpoolError
from mta.spool import segments
from mta.spool.aside import Aside
from mta.spool.segments import Run, Segments

if TYPE_CHECKING:
    from collections.abc import Callable

    from rocksdict import WriteBatch

    from mta.model import Message
    from mta.spool.options import ShardOptions
    from mta.spool.store import Store

    Bodies = dict[bytes, bytes]
    ReadDone = Callable[[Bodies, BaseException | None], None]

FOLDER = "bodies"


class BodyStore:
    """The bodies of a shard; what is durable follows the batch of the spool's other rows."""

    def __init__(self, store: Store, options: ShardOptions) -> None:
        self._store = store
        self._smallest = options.segment_from
        self.segments = Segments(store.folder / FOLDER, options.segment_bytes)
        self._largest = options.segment_bytes // 2
        self.on_low: Callable[[], None] | None = None  # a segment is wanted
        self._runs: list[Run] = []  # placed, to be written with the next job
        self._writing: list[Run] = []  # taken by a job
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

    def failed(self) -> None:
        """What was taken is not on the disk: the next job writes it."""
        self._runs[:0], self._writing = self._writing, []

    # -- in any thread

    def get(self, id: bytes, place: int, size: int) -> bytes | None:
        """A body, or None: gone or damaged."""
        return self.get_many([(id, place, size)])[0]

    def get_many(self, wanted: list[tuple[bytes, int, int]]) -> list[bytes | None]:
        """Bodies for (id, place, size), in their order; a damaged one counts as gone."""
        found = [self._in_segment(*one) if one[1] else None for one in wanted]
        missing = [at for at, body in enumerate(found) if body is None]
        if missing:
            rest = self._in_rocksdb([wanted[at][0] for at in missing])
            for at, body in zip(missing, rest, strict=True):
                found[at] = body
        return found

    def salvage(self, id: bytes, place: int) -> bytes | None:
        """The body at a place that may be wrong, of a size that nobody knows."""
        segment = self.segments.of(place)
        if segment is not None:
            found = segments.read_any(segment, place)
            if found is not None and found[0] == id:
                return found[1]
        return self._in_rocksdb([id])[0]

    def _in_segment(self, id: bytes, place: int, size: int) -> bytes | None:
        segment = self.segments.of(place)
        if segment is None:
            return None
        if segment.pins and (body := self._waiting(id)) is not None:
            return body
        try:
            return segments.read(segment, place, id, size)
        except OSError:
            return None

    def _waiting(self, id: bytes) -> bytes | None:
        for run in [*self._runs, *self._writing]:
            for known, body in run.records:
                if known == id:
                    return body
        return None

    def _in_rocksdb(self, ids: list[bytes]) -> list[bytes | None]:
        try:
            return self._store.get_many(self._store.bodies, ids)
        except SpoolDamagedError:
            return [self._readable(id) for id in ids]

    def _readable(self, id: bytes) -> bytes | None:
        try:
            return self._store.get(self._store.bodies, id)
        except SpoolDamagedError:
            return None

    def close(self) -> None:
        """Close the files."""
        self.segments.close()


class BodyReader(Aside):
    """A thread that reads bodies ahead, for any number of shards of a worker.

    Point reads of RocksDB hold the GIL, so a request is read in slices: the loop gets its turn.
    """

    SLICE = 8

    def __init__(self, wake: Callable[[Callable[[], None]], None]) -> None:
        super().__init__("mta-bodies", wake)

    def read(self, store: BodyStore, messages: list[Message], done: ReadDone) -> None:
        """Read bodies; `done(bodies by id, error)` runs on the loop; what is gone is left out."""
        wanted = [(message.id, message.place, message.size) for message in messages]
        self.work(partial(self._read, store, wanted, done))

    def _read(
        self, store: BodyStore, wanted: list[tuple[bytes, int, int]], done: ReadDone
    ) -> Callable[[], None]:
        bodies: Bodies = {}
        error = None
        try:
            for at in range(0, len(wanted), self.SLICE):
                part = wanted[at : at + self.SLICE]
                found = zip(part, store.get_many(part), strict=True)
                bodies.update((one[0], body) for one, body in found if body is not None)
        except SpoolError as problem:
            error = problem
        return partial(done, bodies, error)
