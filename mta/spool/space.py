"""Whether there is room for new mail, on every disk that its way to the end needs (compiled).

Room is what is free without what is kept (`disk.min_free`) and without what the mail that is there
will still take (`Uses`). The shards of a node share its disks: each takes the others for its like,
and has its part of what is left. The disks are looked at once a second; what is accepted in between
is counted, and a look comes sooner when that uses up what was left.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mta.clock import Clock
    from mta.spool.options import ShardOptions

INTERVAL = 1.0  # s between two looks
SOONER = 0.01  # s between two looks where what was left is used up
ROWS = 1024  # octets that a message takes beside its content
FILES = 100  # a disk on which no more files can be made is full
STATE = 16 << 20  # octets that are kept for the node's own state, on a disk without mail


class Uses(NamedTuple):
    """Octets that a shard will still take if no mail comes."""

    spool: int
    log: int


class Space:
    """The room of one shard; everything is called on the loop, but `spent`."""

    def __init__(
        self,
        folder: Path,
        options: ShardOptions,
        uses: Callable[[], Uses],
        clock: Clock,
        statvfs: Callable[[Path], os.statvfs_result] = os.statvfs,
    ) -> None:
        self._folder, self._minimum, self._shards = folder, options.min_free_bytes, options.shards
        self._uses, self._clock, self.statvfs = uses, clock, statvfs
        self._log = _elsewhere(options.log_folder, folder)
        self._home = _elsewhere(options.home_folder, folder)
        self._next = self._sooner = 0.0
        self._problem: str | None = None
        self._unwritten = 0  # octets taken that a look does not see yet
        self.left = -1  # octets that may be taken before the next look
        self.short = False  # nothing was left on the spool's disk at the last look
        self.loan = 0  # octets that may be used for a moment to win more

    def require(self, minimum: int) -> None:
        """Keep so many octets free from now on."""
        self._minimum, self._next = minimum, 0.0

    def spent(self) -> None:
        """Room that was counted on is gone: look before anything is taken. From any thread."""
        self.left, self._next = -1, 0.0

    def problem(self) -> str | None:
        """Why no new mail may be stored, or None."""
        if self._clock.monotonic() >= self._next:
            self.look()
        return self._problem

    def begin(self) -> None:
        """All that was taken before is written; look if it is time."""
        self._unwritten = 0
        if self._clock.monotonic() >= self._next:
            self.look()

    def take(self, octets: int) -> str | None:
        """Take room for a message with so much content; why there is none, or None."""
        # Content may go to the log of RocksDB and from there to a table before the log goes.
        octets = 2 * octets + ROWS
        self._unwritten += octets
        self.left -= octets
        if self.left >= 0:
            return None
        if self._problem is None and self._clock.monotonic() >= self._sooner:
            self.look()
        if self.left >= 0:
            return None
        return self._problem or f"{self._folder}: what was free is taken by mail that is coming"

    def look(self) -> None:
        """Ask the disks."""
        now = self._clock.monotonic()
        self._next, self._sooner = now + INTERVAL, now + SOONER
        uses, kept = self._uses(), self._minimum
        spool = uses.spool + (0 if self._log is not None else uses.log)
        room, self._problem = self._room(self._folder, kept, spool * self._shards)
        self.short = room < 0
        self.loan = max(0, room // self._shards + spool) // 2
        if self._log is not None and self._problem is None:
            _, self._problem = self._room(self._log, kept, uses.log * self._shards)
        if self._home is not None and self._problem is None:
            _, self._problem = self._room(self._home, min(kept, STATE), 0)
        self.left = -1 if self._problem else room // self._shards - self._unwritten

    def _room(self, folder: Path, kept: int, spoken_for: int) -> tuple[int, str | None]:
        """Octets of a disk that nobody has a claim on, and what is wrong if there are none."""
        try:
            found = self.statvfs(folder)
        except OSError as error:
            return -1, f"{folder}: {error.strerror}"
        if found.f_files and found.f_favail < FILES:  # some file systems have no fixed number
            return -1, f"{folder}: {found.f_favail} more files can be made, {FILES} are kept"
        free = found.f_bavail * found.f_frsize
        if free >= kept + spoken_for:
            return free - kept - spoken_for, None
        return free - kept - spoken_for, (
            f"{folder}: {free >> 20} MB free, {kept >> 20} MB are kept free (disk.min_free) "
            f"and {spoken_for >> 20} MB for the mail that is there"
        )


def _elsewhere(folder: Path | None, spool: Path) -> Path | None:
    """The folder, if it is there and on another disk than the spool."""
    if folder is None or not folder.exists() or folder.stat().st_dev == spool.stat().st_dev:
        return None
    return folder
