"""Delivery into maildirs: a file for each recipient, synced before the record is written."""

from __future__ import annotations

import itertools
import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mta.delivery.transports import disk, templates

if TYPE_CHECKING:
    from mta.delivery.feeder import Attempt
    from mta.model import Outcome, Recipient

_count = itertools.count()


class Maildir(disk.Blocking):
    """The folder of each recipient is `path` with its address filled in; it is made if missing."""

    def __init__(self, name: str, path: str) -> None:
        super().__init__("maildir", name)
        self._path = path
        self._host = socket.gethostname().replace("/", "\\057").replace(":", "\\072")

    def __repr__(self) -> str:
        return f"<Maildir {self._path}>"

    def handle(self, attempt: Attempt) -> list[Outcome]:
        """One file for each recipient."""
        content = disk.unix(attempt.body)
        return [self._store(attempt, recipient, content) for recipient in attempt.recipients]

    def _store(self, attempt: Attempt, recipient: Recipient, content: bytes) -> Outcome:
        message = attempt.message
        try:
            folder = templates.path(self._path, templates.values(message, recipient))
            self._write(Path(folder), disk.trace(message, [recipient], b"\n") + content)
        except templates.UnsafeError as error:
            return error.outcome(self.kind)
        except OSError as error:
            return disk.failed(error, self.kind)
        return disk.stored(folder, self.kind)

    def _write(self, folder: Path, data: bytes) -> None:
        """tmp, then new: readers never see a part (https://cr.yp.to/proto/maildir.html)."""
        name = self._name()
        temporary = folder / "tmp" / name
        try:
            disk.write_new(temporary, data)
        except FileNotFoundError:
            for part in ("tmp", "new", "cur"):
                disk.make_folder(folder / part)
            disk.write_new(temporary, data)
        disk.move(temporary, folder / "new" / name)

    def _name(self) -> str:
        """Never the same twice on this host."""
        now = time.time_ns()
        seconds, micros = now // 10**9, now // 1000 % 10**6
        return f"{seconds}.M{micros}P{os.getpid()}Q{next(_count)}.{self._host}"
