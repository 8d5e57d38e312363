"""Segment files: preallocated, appended to, used again once no body in them is needed (compiled).

A place is the segment's number (u32) and the body's first unit in it (u32), never 0. A number is
used once: a file gets a new one with each use, so a place that is known nowhere else leads to
nothing. Which records are live is a bit for each unit; setting or clearing one twice is harmless.
A file that is empty is free once its row is gone (`mta.spool.stock`).

All methods are called on the loop, but `prepare`, `due`, `write`, `read` and `remove`.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from mta._speedups import bodylog
from mta.errors import SpoolError
from mta.model import id_shard
from mta.spool import zeros
from mta.spool.stock import SUFFIX, number_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mta.clock import Clock

    Rest = Callable[[float, float], None]  # see `zeros.make`

KEPT_FREE = 2  # empty files kept for use while there is room; others are removed
PAGE = 4096


class Segment:
    """One file in one use of it."""

    __slots__ = ("path", "number", "file", "room", "end", "bits", "live", "units", "pins", "moving")

    def __init__(self, path: Path, number: int, file: int, room: int) -> None:
        self.path, self.number, self.file = path, number, file
        self.room = room  # units that the file has
        self.end = 0  # the first unit that nothing was put to
        self.bits = bytearray(-(-room // 8))  # set where a live record begins
        self.live = self.units = 0  # records and units that are live
        self.pins = 0  # runs that are not on the disk yet, and the emptying while it lasts
        self.moving = False  # its bodies are being taken to RocksDB

    def __repr__(self) -> str:
        full = f"{self.units} of {self.room} units live"
        return f"<Segment {self.number}: {self.live} bodies, {full}{', moving' * self.moving}>"

    def mark(self, unit: int, units: int) -> None:
        """A record begins at `unit`."""
        at, bit = unit >> 3, 1 << (unit & 7)
        if unit < self.room and not self.bits[at] & bit:
            self.bits[at] |= bit
            self.live += 1
            self.units += units

    def clear(self, unit: int, units: int) -> None:
        """The record at `unit` is not needed any more."""
        at, bit = unit >> 3, 1 << (unit & 7)
        if unit < self.room and self.bits[at] & bit:
            self.bits[at] ^= bit
            self.live -= 1
            self.units -= units

    def places(self) -> list[int]:
        """Where live records begin."""
        found = (at * 8 + bit for at, byte in enumerate(self.bits) if byte for bit in range(8)
                 if byte >> bit & 1)  # fmt: skip
        return [self.number << 32 | unit for unit in found]


class Run:
    """Bodies that lie one behind the other, to be written at once."""

    __slots__ = ("segment", "start", "records")

    def __init__(self, segment: Segment, start: int) -> None:
        self.segment, self.start = segment, start
        self.records: list[tuple[bytes, bytes]] = []
        segment.pins += 1


class Segments:
    """The segment files of a shard."""

    def __init__(self, folder: Path, octets: int, newest: int = 0) -> None:
        """`newest` is the largest number that was ever given."""
        folder.mkdir(exist_ok=True, mode=0o700)
        self.folder = folder
        self.room = octets // PAGE * PAGE // bodylog.UNIT
        self.table: dict[int, Segment] = {}  # by number; not the free ones
        self.free: list[Segment] = []
        self.leaving: list[Segment] = []  # empty, until `let_go`
        self.on_empty: Callable[[Segment], None] = self.let_go
        self.active: Segment | None = None
        self.spare: Segment | None = None
        self.counted = True  # whether the bits of old segments are complete
        self.on_free: Callable[[], None] | None = None  # a file has become free
        self.allocated = False  # the file that is being prepared has its blocks
        self._last = newest
        try:
            for path in sorted(folder.iterdir()):
                if number := number_of(path.name):
                    self._take_up(path, number)
        except OSError as error:
            self.close()
            raise SpoolError(f"{error.filename} cannot be opened: {error.strerror}") from error

    def _take_up(self, path: Path, number: int) -> None:
        """A file of an earlier run: full, until it is found to be empty."""
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        room = os.fstat(file).st_size // bodylog.UNIT
        segment = Segment(path, number, file, room)
        segment.end, self.counted = room, False
        self.table[number] = segment
        self._last = max(self._last, number)

    @property
    def octets(self) -> int:
        """What the files take on the disk."""
        used = [*self.table.values(), *self.free, *([self.spare] if self.spare else [])]
        return sum(segment.room for segment in used) * bodylog.UNIT

    # -- places

    def place(self, units: int) -> int:
        """Room for a record in the active segment: its first unit; -1 where there is none now."""
        segment = self.active
        if segment is None or segment.end + units > segment.room:
            segment = self._following(units)
            if segment is None:
                return -1
        unit = segment.end
        segment.end = unit + units
        segment.mark(unit, units)
        return unit

    def _following(self, units: int) -> Segment | None:
        """The spare segment in place of the active one, if it has room."""
        if self.spare is None or units > self.spare.room:
            return None
        old, self.active, self.spare = self.active, self.spare, None
        self.table[self.active.number] = self.active
        # point: bodies go on in another segment
        if old is not None:
            self.look(old)
        return self.active

    def give_up(self, segment: Segment) -> None:
        """Nothing more is written to a file, and what is in it goes to RocksDB."""
        segment.moving = True
        if segment is self.active:
            self.active = None

    def low(self) -> bool:
        """Whether a spare segment is wanted."""
        active = self.active
        return self.spare is None and (active is None or active.end * 2 > active.room)

    def of(self, place: int) -> Segment | None:
        """The segment of a place; None if it has been emptied."""
        return self.table.get(place >> 32)

    def clear(self, place: int, units: int) -> None:
        """A body is not needed any more, and that is on the disk."""
        segment = self.table.get(place >> 32)
        if segment is not None:
            segment.clear(place & 0xFFFFFFFF, units)
            if not segment.live:
                self.look(segment)

    def unpin(self, segment: Segment) -> None:
        """A run was written."""
        segment.pins -= 1
        if not segment.live:
            self.look(segment)

    def look(self, segment: Segment) -> None:
        """Take a segment out of use if nothing in it is needed."""
        if segment.live or segment.pins or not self.counted:
            return
        if segment is not self.active and self.table.pop(segment.number, None) is not None:
            self.leaving.append(segment)
            self.on_empty(segment)

    def let_go(self, segment: Segment) -> None:
        """An empty file may be used again, or removed: it has no row any more."""
        self.leaving.remove(segment)
        self.free.append(segment)
        if self.on_free is not None:
            self.on_free()

    def all_counted(self) -> None:
        """Every live record has its bit: what has none may go."""
        self.counted = True
        for segment in list(self.table.values()):
            self.look(segment)

    # -- files

    def claim(self) -> tuple[int, Segment | None]:
        """The next number, and a free file to be used again."""
        self._last += 1
        return self._last, self.free.pop() if self.free else None

    def surplus(self, kept: int) -> list[Segment]:
        """Free files beyond `kept`, which are to be removed."""
        taken, self.free = self.free[kept:], self.free[:kept]
        return taken

    def wanted(self) -> int:
        """Octets that the next segment will take, 0 where it has them or none is wanted."""
        if self.allocated or self.free or not self.low():
            return 0
        return self.room * bodylog.UNIT

    def due(self) -> float:
        """The share of the next segment that should be prepared by now: it is wanted at 1."""
        active = self.active
        return 1.0 if active is None else active.end * 2 / active.room - 1

    def prepare(self, number: int, old: Segment | None, rest: Rest, clock: Clock) -> Segment:
        """A segment whose blocks are all written once, so that syncing it moves no metadata."""
        path = self.folder / f"{number:010}{SUFFIX}"
        if old is not None:
            old.path.rename(path)
            # point: a segment has its new name, unsynced
            old.path = path
            file, room = old.file, old.room
        else:
            file = zeros.make(path, self.room * bodylog.UNIT, rest, clock)
            room = self.room
        sync_folder(self.folder)
        return Segment(path, number, file, room)

    def close(self) -> None:
        """Close every file."""
        spare = [self.spare] if self.spare is not None else []
        for segment in [*self.table.values(), *self.leaving, *self.free, *spare]:
            os.close(segment.file)
        self.table.clear()
        self.leaving, self.free, self.active, self.spare = [], [], None, None


def write(runs: list[Run]) -> None:
    """Put runs on the disk and sync them; OSError."""
    for run in runs:
        at = run.start * bodylog.UNIT
        bodylog.append(run.segment.file, at, run.segment.number, run.records)


def read(segment: Segment, place: int, id: bytes, size: int) -> bytes | None:
    """A body; None if it is not there, torn or damaged; OSError."""
    at = (place & 0xFFFFFFFF) * bodylog.UNIT
    return bodylog.read(segment.file, at, place >> 32, id, size)


def read_any(segment: Segment, place: int) -> tuple[bytes, bytes] | None:
    """(id, body) of the record at a place; None if there is none; OSError."""
    at = (place & 0xFFFFFFFF) * bodylog.UNIT
    limit = max(0, segment.room * bodylog.UNIT - at - bodylog.HEADER)
    return bodylog.read_any(segment.file, at, segment.number, limit)


def pass_cache(segment: Segment, place: int, size: int) -> None:
    """Have what follows read a body from the disk: its pages may be what is wrong; OSError."""
    at = (place & 0xFFFFFFFF) * bodylog.UNIT
    start, end = at & -PAGE, at + bodylog.HEADER + size
    os.fdatasync(segment.file)  # pages that are not on the disk stay
    os.posix_fadvise(segment.file, start, end - start + PAGE, os.POSIX_FADV_DONTNEED)


def instead(segment: Segment, place: int, id: bytes, size: int) -> tuple[int, str, bytes]:
    """What is where `read` finds no body: its segment's number if that is another, what it is for
    people, and what may be left of the body; OSError.
    """
    at = (place & 0xFFFFFFFF) * bodylog.UNIT
    data = os.pread(segment.file, bodylog.HEADER + size, at)
    found, rest = bodylog.header(data), data[bodylog.HEADER :]
    if found is None:
        return 0, "there is no record in its place", rest if any(rest) else b""
    number, other, length = found
    if number != segment.number:
        return number, f"a record of segment {number} is in its place", b""
    if id_shard(other) != id_shard(id):
        return number, f"a record of shard {id_shard(other)} is in its place", b""
    if other != id:
        return 0, f"the record of message {other.hex()} is in its place", b""
    if length != size:
        return 0, f"its record has {length} octets instead of {size}", rest
    return 0, "its hash is wrong", rest


def is_foreign(segment: Segment, id: bytes) -> bool:
    """Whether a file begins with a record of another shard than the id's; OSError."""
    found = bodylog.header(os.pread(segment.file, bodylog.HEADER, 0))
    return found is not None and id_shard(found[1]) != id_shard(id)


def remove(segment: Segment) -> None:
    """Remove a file that is not needed and give back its blocks; its descriptor stays open."""
    segment.path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # closing it does the same
        os.ftruncate(segment.file, 0)


def sync_folder(folder: Path) -> None:
    """Make new names in a folder durable."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
