"""The server's folder: its lock, and which shards it has."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
from pathlib import Path

from mta.errors import MailraceError

SHARD = re.compile(r"shard-(\d{4})$")
PASSING = frozenset((
    errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM
))  # fmt: skip


class HomeTroubleError(MailraceError):
    """The disk or the machine does not give a lock now: trying again may help."""


class Home:
    """Holds the lock of a spool while the server runs: one server per spool."""

    def __init__(self, home: Path, spool: Path, log: Path) -> None:
        self.path, self.spool, self.log = home, spool, log
        self._locks: list[int] = []

    def prepare(self) -> None:
        """Make the folders and take the locks; MailraceError names who holds one.

        HomeTroubleError: nothing was taken, and trying again may help.
        """
        options = {self.path: "--home", self.spool: "--spool", self.log: "--log-dir"}
        for folder in (self.path, self.spool, self.log):
            try:
                folder.mkdir(parents=True, exist_ok=True, mode=0o750)
            except OSError as error:
                raise MailraceError(
                    f"cannot make {folder}: {error.strerror}; "
                    f"choose another with {options[folder]} DIR"
                ) from None
        for folder in dict.fromkeys((self.path, self.spool, self.log)):
            try:
                self._lock(folder / "lock")
            except HomeTroubleError:
                self.release()
                raise

    def _lock(self, path: Path) -> None:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            # A new home that cannot be written is a wrong one.
            new = error.errno == errno.EROFS and not path.exists()
            kind = HomeTroubleError if error.errno in PASSING and not new else MailraceError
            raise kind(f"cannot open {path}: {error.strerror}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(descriptor, 32).decode().strip() or "unknown"
            os.close(descriptor)
            raise MailraceError(
                f"another server (pid {holder}) uses {path.parent};"
                " stop it, or give this one a --home, --spool and --log-dir of its own"
            ) from None
        self._locks.append(descriptor)
        with contextlib.suppress(OSError):  # a full disk: the lock holds, its number is a courtesy
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())

    def shards(self, least: int) -> list[int]:
        """The shards to open: those that exist or have a log, and at least `least`.

        A shard whose folder is gone is opened anew, so that its log tells what it has lost.
        """
        folders = (*self.spool.iterdir(), *self.log.iterdir())
        found = {int(match[1]) for path in folders if (match := SHARD.search(path.name))}
        return sorted(found | set(range(least)))

    def release(self) -> None:
        """Give the locks back."""
        while self._locks:
            os.close(self._locks.pop())
