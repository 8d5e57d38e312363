"""Space that is kept for the moment when the disk is full.

A disk may fill up whatever we count: others use it, too. Then the ballast is given up, blocks
and names, so that outcomes can be written and the database be opened: mail goes on to leave, which
makes room. It is made anew when there is enough. Nothing is ever read from it.

On a file system that writes each block elsewhere (btrfs, ZFS) removing a file takes room, too; they
keep some for that.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from typing import TYPE_CHECKING

from mta.spool.segments import sync_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FOLDER = "ballast"
COUNT = 16  # files: the database needs about ten new ones to be opened
FULL = (errno.ENOSPC, errno.EDQUOT)


class Ballast:
    """The ballast of one shard; for any thread."""

    def __init__(self, shard: Path, octets: int) -> None:
        """Take up what is there; `octets` in all, 0 for none."""
        self._part = octets // COUNT
        self._paths = [shard / FOLDER / f"{number:02}" for number in range(COUNT)]
        self._lock = threading.Lock()
        self._had = self._count()
        self.given_up = False
        self.on_given_up: Callable[[], None] | None = None

    @property
    def missing(self) -> int:
        """Octets that it will take."""
        return (COUNT - self._had) * self._part

    def make(self) -> None:
        """Have all of it; OSError if there is no room."""
        with self._lock:
            try:
                self._paths[0].parent.mkdir(exist_ok=True, mode=0o700)
                for path in self._paths:
                    _allocate(path, self._part)
                self.given_up = False
            finally:
                self._had = self._count()

    def _count(self) -> int:
        return sum(_blocks(path) >= self._part for path in self._paths)

    def give_up(self) -> bool:
        """Give the space back; whether there was any."""
        with self._lock:
            had = sum(_removed(path) for path in self._paths)
            self._had = 0
            if had:
                self.given_up = True
                with contextlib.suppress(OSError):  # some reuse blocks when this is on the disk
                    sync_folder(self._paths[0].parent)
        if had and self.on_given_up is not None:
            self.on_given_up()
        return had > 0

    def relieve(self, error: BaseException) -> bool:
        """Give it up if a full disk was the error; whether that may help."""
        return is_full(error) and self.give_up()


def is_full(error: BaseException) -> bool:
    """Whether an error says that the disk is full; RocksDB's are text alone."""
    if isinstance(error, OSError):
        return error.errno in FULL
    return any(os.strerror(number) in str(error) for number in FULL)


def _blocks(path: Path) -> int:
    """Octets that a file has on the disk, -1 if there is none."""
    try:
        return path.stat().st_blocks * 512
    except OSError:
        return -1


def _removed(path: Path) -> bool:
    try:
        path.unlink()
    except OSError:
        return False
    return True


def _allocate(path: Path, octets: int) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(file, octets)
        os.posix_fallocate(file, 0, octets)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(file)
