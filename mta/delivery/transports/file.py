"""Delivery into files: appended to an mbox, or one file for each message."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mta.delivery.transports import disk, templates
from mta.model import Kind, Outcome, id_text

if TYPE_CHECKING:
    from mta.delivery.feeder import Attempt
    from mta.model import Recipient

LOCK_RETRY = 0.01  # seconds between tries for a file that is locked


class LockedError(Exception):
    """Another program held the file's lock for all of the time."""


class File(disk.Blocking):
    """Recipients whose path is the same share one entry or file."""

    def __init__(self, name: str, path: str, *, append: bool, timeout: float) -> None:
        """`path` is the mbox to append to, or the folder of files; `timeout` is for its lock."""
        super().__init__("file", name)
        self._path, self._append, self._timeout = path, append, timeout

    def __repr__(self) -> str:
        return f"<File {self._path}>"

    def handle(self, attempt: Attempt) -> list[Outcome]:
        """One entry or file for each path."""
        outcomes: dict[int, Outcome] = {}
        groups: dict[str, list[Recipient]] = {}
        for recipient in attempt.recipients:
            try:
                found = templates.values(attempt.message, recipient)
                groups.setdefault(templates.path(self._path, found), []).append(recipient)
            except templates.UnsafeError as error:
                outcomes[recipient.number] = error.outcome(self.kind)
        for path, recipients in groups.items():
            outcome = self._store(attempt, path, recipients)
            outcomes |= {recipient.number: outcome for recipient in recipients}
        return [outcomes[recipient.number] for recipient in attempt.recipients]

    def _store(self, attempt: Attempt, path: str, recipients: list[Recipient]) -> Outcome:
        message = attempt.message
        try:
            if self._append:
                date = time.strftime("%a %b %d %H:%M:%S %Y", time.gmtime())
                data = disk.mbox_entry(message, recipients, attempt.body, date)
                self._append_to(Path(path), data)
                return disk.stored(path, self.kind)
            name = f"{id_text(message.id)}-{recipients[0].number}.eml"
            data = disk.trace(message, recipients, b"\r\n") + attempt.body
            self._write(Path(path), name, data)
            return disk.stored(f"{path}/{name}", self.kind)
        except LockedError:
            text = f"{path}: locked by another program for {self._timeout:g} s"
            return Outcome(Kind.DEFERRED, 0, "4.2.0", text, self.kind)
        except OSError as error:
            return disk.failed(error, self.kind)

    def _append_to(self, path: Path, data: bytes) -> None:
        """Whole or not at all: what could not be written is cut off again."""
        made = not path.exists()
        if made:
            disk.make_folder(path.parent)
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._lock(fd)
            size = os.fstat(fd).st_size
            try:
                disk.write_all(fd, data)
                os.fsync(fd)
            except OSError as error:
                os.ftruncate(fd, size)
                error.filename = str(path)
                raise
        finally:
            os.close(fd)
        if made:
            disk.sync_folder(path.parent)

    def _lock(self, fd: int) -> None:
        """Against our other threads and workers, and whoever reads the mbox."""
        until = time.monotonic() + self._timeout
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise LockedError from None
                time.sleep(LOCK_RETRY)

    def _write(self, folder: Path, name: str, data: bytes) -> None:
        """Under another name until it is whole; a second attempt replaces the first one's."""
        disk.make_folder(folder)
        temporary = folder / f".{name}.{os.getpid()}-{time.monotonic_ns()}"
        disk.write_new(temporary, data)
        disk.move(temporary, folder / name)
