"""Writing the log of one shard: frames are appended and synced, segments rotate and retire.

All methods but `applied` and `position` are called in the committer's thread.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

import zstandard

from mta.errors import SpoolLockedError
from mta.maillog import segments
from mta.maillog.records import decode

if TYPE_CHECKING:
    from pathlib import Path

    from mta.clock import Clock

Position = tuple[int, int]

LOCK_FILE = "log.lock"
RETENTION_INTERVAL = 60.0  # s between two looks at old segments


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
        """Open the last segment, or begin the first; a torn last frame is cut off.

        A segment is closed at `segment_bytes` or after `segment_age` seconds. Older segments go
        when they make more than `retain_bytes` or were last written `retain_age` seconds ago, but
        never one that recovery needs (see `applied`). SpoolLockedError if another writer has it:
        what looks torn may be a frame that is being written.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _lock(folder / LOCK_FILE)
        self._folder, self._clock = folder, clock
        self._segment_bytes, self._segment_age = segment_bytes, segment_age
        self._retain_bytes, self._retain_age = retain_bytes, retain_age
        self._compress = zstandard.ZstdCompressor(level=level, write_checksum=True).compress
        self._needed = 0  # segments from this one on are kept; 0: all
        self._next_look = 0.0
        self._dirty = False  # what is behind `_offset` could not be cut off yet
        self._file = -1
        existing = segments.numbers(folder)
        if existing:
            self._open_last(existing[-1])
        else:
            self._begin(1)

    @property
    def position(self) -> Position:
        """The end of the log: where the next frame begins."""
        return self._segment, self._offset

    def append(self, lines: list[bytes]) -> Position:
        """Write and sync one frame; the position after it. On an OSError nothing was added."""
        self._clean()
        if self._is_full():
            self._rotate()
        frame = self._compress(b"\n".join(lines) + b"\n")
        try:
            self._write(frame)
            os.fdatasync(self._file)
        except OSError:
            self._dirty = True
            self._clean()
            raise
        self._offset += len(frame)
        self._retire()
        return self.position

    def applied(self, position: Position) -> None:
        """Everything before `position` is in the spool: older segments may be removed."""
        self._needed = max(self._needed, position[0])

    def close(self) -> None:
        """Close the segment; what was torn by a failure is cut off at the next open."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _open_last(self, number: int) -> None:
        """Go on with a segment behind its last whole frame."""
        path = self._folder / segments.name(number)
        self._began_us = self._clock.wall_us()
        with open(path, "rb") as file:
            end = segments.end_of_last(file)
            for _, _, content in segments.frames(file, 0):
                first = decode(content.partition(b"\n")[0])
                self._began_us = first["time"] if first else self._began_us
                break
        self._file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        self._segment, self._offset = number, end
        if os.fstat(self._file).st_size > end:
            self._dirty = True
            self._clean()

    def _begin(self, number: int) -> None:
        """Begin a segment."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        file = os.open(self._folder / segments.name(number), flags, 0o600)
        try:
            self._sync_folder()
        except OSError:
            os.close(file)
            raise
        if self._file >= 0:
            os.close(self._file)
        self._file, self._segment, self._offset = file, number, 0
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

    def _rotate(self) -> None:
        following = segments.numbers(self._folder)[-1] + 1
        self._begin(following)

    def _write(self, data: bytes) -> None:
        view, at = memoryview(data), self._offset
        while view:
            written = os.pwrite(self._file, view, at)
            view, at = view[written:], at + written

    def _clean(self) -> None:
        """Cut off what a failed append left, so that trying again adds it once."""
        if self._dirty:
            os.ftruncate(self._file, self._offset)
            os.fdatasync(self._file)
            self._dirty = False

    def _retire(self) -> None:
        """Remove old segments, now and then."""
        now = self._clock.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + RETENTION_INTERVAL
        oldest_us = self._clock.wall_us() - self._retain_age * 1e6
        total = 0
        for number in reversed(segments.numbers(self._folder)):
            path = self._folder / segments.name(number)
            found = path.stat()
            total += found.st_size
            old = total > self._retain_bytes or found.st_mtime * 1e6 < oldest_us
            if old and number < min(self._needed, self._segment):
                path.unlink()


def _lock(path: Path) -> int:
    """A descriptor that holds the lock of a log's folder."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise SpoolLockedError(f"{path.parent} is being written by another process") from None
    return descriptor
