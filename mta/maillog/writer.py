"""Writing the log of one shard: frames are appended and synced, segments rotate and retire.

All methods but `applied`, `position` and `trouble` are called in the committer's thread.

What was synced is written once: nothing that may fail stands between the sync of a frame and its
place in the bookkeeping. After a sync that failed nobody knows what the disk has, and a second one
would say nothing of pages that the kernel has dropped: the frame is cut off, that is synced, and
then it is written anew, to another segment.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from typing import TYPE_CHECKING, BinaryIO

import zstandard

from mta.clock import Ages
from mta.errors import SpoolLockedError
from mta.maillog import segments
from mta.maillog.records import decode, mark_line, split_mark

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mta.clock import Clock

Position = tuple[int, int]

LOCK_FILE = "log.lock"
RETENTION_INTERVAL = 60.0  # s between two looks at old segments
MARKED = 3  # so many segments, the last ones, are looked through for a mark


class LogWriter:
    """The log in `folder`; its position is (segment, byte offset)."""

    def __init__(
        self,
        folder: Path,
        *,
        clock: Clock,
        segment_bytes: int = 64 << 20,
        segment_age: float = 3600.0,
        retain_bytes: int = 10 << 30,
        retain_age: float = 30 * 86400.0,
        level: int = 1,
    ) -> None:
        """Find the end of the last segment; a torn last frame is cut off.

        A segment is closed at `segment_bytes` or after `segment_age` seconds. Closed segments go
        when they make more than `retain_bytes` or were last written `retain_age` seconds ago (0
        keeps all), but never one that recovery needs (see `applied`). SpoolLockedError if another
        writer has it: what looks torn may be a frame that is being written. A log that can be read
        but not written is opened; `append` tries again.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _lock(folder / LOCK_FILE)
        self._folder, self._clock = folder, clock
        self._segment_bytes, self._segment_age = segment_bytes, segment_age
        self._retain_bytes, self._retain_age = retain_bytes, retain_age
        self._compress = zstandard.ZstdCompressor(level=level, write_checksum=True).compress
        self._needed = 0  # segments from this one on are kept; 0: all
        self._next_look = 0.0
        self._file = -1
        self._segment = self._offset = 0
        self._began_us = clock.wall_us()
        self._ages = Ages(clock)
        self.mark = b""  # the one that was synced last; b"" if there is none
        self._tail = b""  # the last frame, if nobody knows whether it was synced
        self._dirty = False  # what is behind `_offset` could not be cut off yet
        self._spoilt = False  # a sync of this segment failed
        self._not_rotated = self._not_retired = ""
        try:
            self._find_end()
            with contextlib.suppress(OSError):
                self._open()
        except BaseException:
            self.close()
            raise

    @property
    def position(self) -> Position:
        """The end of the log: where the next frame begins."""
        return self._segment, self._offset

    @property
    def trouble(self) -> str | None:
        """What goes wrong with segments, for people; records are safe."""
        return self._not_rotated or self._not_retired or None

    def append(self, lines: list[bytes], mark: bytes = b"") -> Position:
        """Write and sync one frame; the position after it. On an OSError nothing was added.

        `mark` is kept with it: what it tells must be on the disk already.
        """
        if mark:
            lines = [*lines, mark_line(self._clock.wall_us(), mark)]
        frame = self._compress(b"\n".join(lines) + b"\n")
        self._open()
        if self._spoilt or self._is_full():
            self._rotate()
        try:
            self._write(frame, self._offset)
            # point: a log frame is written, not synced
            self._sync()
        except OSError:
            self._dirty = True
            with contextlib.suppress(OSError):
                self._clean()
            raise
        # point: a log frame is synced, the spool does not know
        self._offset += len(frame)
        self.mark = mark or self.mark
        return self.position

    def since(self, position: Position) -> Iterator[bytes]:
        """The contents of the frames behind a position; in any thread."""
        for number in segments.numbers(self._folder):
            if number < position[0]:
                continue
            with open(self._folder / segments.name(number), "rb") as file:
                begin = position[1] if number == position[0] else 0
                for _, _, content in segments.frames(file, begin):
                    yield content

    def applied(self, position: Position) -> None:
        """Everything before `position` is in the spool: older segments may be removed."""
        self._needed = max(self._needed, position[0])

    def retire(self) -> None:
        """Remove old segments, now and then. What fails is `trouble`, and is tried again."""
        now = self._clock.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + RETENTION_INTERVAL
        self._not_retired = ""
        try:
            for number in self._old():
                self._remove(number)
        except OSError as error:
            self._cannot_go(error)

    def close(self) -> None:
        """Close the segment; what was torn by a failure is cut off at the next open."""
        files, self._file, self._lock = (self._file, self._lock), -1, -1
        for file in files:
            if file >= 0:
                with contextlib.suppress(OSError):
                    os.close(file)

    # -- the open segment

    def _find_end(self) -> None:
        """Go to the last whole frame of the last segment, which may never have been synced."""
        existing = segments.numbers(self._folder)
        if not existing:
            return
        self._segment, self._dirty = existing[-1], True
        written = (self._folder / segments.name(self._segment)).stat().st_mtime_ns // 1000
        self._ages = Ages(self._clock, written)
        with open(self._folder / segments.name(self._segment), "rb") as file:
            start, self._offset = segments.last(file)
            file.seek(start)
            self._tail = file.read(self._offset - start)
            self.mark = _mark(file, start)
            for _, _, content in segments.frames(file, 0):
                first = decode(content.partition(b"\n")[0])
                self._began_us = first["time"] if first else self._began_us
                break
        for number in reversed(existing[-MARKED:-1]):  # the last one may just have been begun
            if not self.mark:
                with open(self._folder / segments.name(number), "rb") as file:
                    self.mark = _mark(file, segments.last(file)[0])

    def _open(self) -> None:
        """See to a segment that is whole and can be appended to; OSError."""
        if self._file < 0 and self._segment:
            path = self._folder / segments.name(self._segment)
            with contextlib.suppress(FileNotFoundError):
                self._file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        if self._file < 0 or not os.fstat(self._file).st_nlink:  # somebody has removed it
            self._begin()
        self._clean()

    def _rotate(self) -> None:
        """Begin the next segment; where that is not possible, go on with this one."""
        # point: the log goes on with another segment
        try:
            self._begin()
            self._not_rotated = ""
        except OSError as error:
            self._not_rotated = f"the log cannot begin a new segment: {_said(error)}"

    def _begin(self) -> None:
        """Begin the next segment."""
        number = max(self._segment, *segments.numbers(self._folder), 0) + 1
        path = self._folder / segments.name(number)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            self._sync_folder()
        except OSError:
            os.close(file)
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.close(self._file)
        self._file, self._segment, self._offset = file, number, 0
        self._tail, self._dirty, self._spoilt = b"", False, False
        self._began_us = self._clock.wall_us()

    def _sync_folder(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _is_full(self) -> bool:
        if self._offset == 0:
            return False
        age = self._clock.wall_us() - self._began_us
        return self._offset >= self._segment_bytes or age >= self._segment_age * 1e6

    def _write(self, data: bytes, at: int) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._file, view, at)
            if not written:
                raise OSError(errno.EIO, "nothing was written")
            view, at = view[written:], at + written

    def _sync(self) -> None:
        try:
            os.fdatasync(self._file)
        except OSError:
            self._spoilt = True
            raise

    def _clean(self) -> None:
        """Cut off what a failed append left, so that trying again adds it once."""
        if self._dirty:
            os.ftruncate(self._file, self._offset)
            self._write(self._tail, self._offset - len(self._tail))
            self._sync()
            self._dirty, self._tail = False, b""

    # -- closed segments

    def _old(self) -> list[int]:
        """Closed segments that are to go, the oldest first."""
        oldest_us = self._clock.wall_us() - self._retain_age * 1e6
        believed = self._ages.believed()
        total, old = 0, list[int]()
        for number in reversed(segments.numbers(self._folder)):
            if number >= self._segment:
                continue
            try:
                found = (self._folder / segments.name(number)).stat()
            except FileNotFoundError:  # somebody was quicker
                continue
            total += found.st_size
            too_much = self._retain_bytes and total > self._retain_bytes
            too_old = believed and self._retain_age and found.st_mtime * 1e6 < oldest_us
            if (too_much or too_old) and number < self._needed:
                old.insert(0, number)
        return old

    def _remove(self, number: int) -> None:
        try:
            (self._folder / segments.name(number)).unlink(missing_ok=True)
        except OSError as error:
            self._cannot_go(error)

    def _cannot_go(self, error: OSError) -> None:
        self._not_retired = f"old segments of the log cannot be removed: {_said(error)}"


def _mark(file: BinaryIO, start: int) -> bytes:
    """The mark of the frame that begins at `start`, b"" if it has none."""
    for _, _, content in segments.frames(file, start):
        return split_mark(content)[1]
    return b""


def _said(error: OSError) -> str:
    where = f": {error.filename}" if error.filename else ""
    return f"{error.strerror}{where}"


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """The lock of a log's folder is held meanwhile; SpoolLockedError if a writer has it."""
    descriptor = _lock(path)
    try:
        yield
    finally:
        os.close(descriptor)


def _lock(path: Path) -> int:
    """A descriptor that holds the lock of a log's folder."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise SpoolLockedError(f"{path.parent} is being written by another process") from None
    return descriptor
