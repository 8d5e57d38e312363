"""A server's log while it is being written, and as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mta.loadgen.account import Log
from mta.maillog import reader

if TYPE_CHECKING:
    from pathlib import Path

    from mta.maillog.writer import Position


class LogView:
    """What the log in a folder says: growing by `update`, or read afresh by `whole`."""

    __slots__ = ("_folder", "_positions", "_log")

    def __init__(self, folder: Path) -> None:
        self._folder, self._log = folder, Log()
        self._positions: dict[str, Position] = {}

    def update(self) -> Log:
        """The log with what has been written since the last call."""
        for shard in reader.shard_folders(self._folder):
            position = self._positions.get(shard.name, reader.BEGINNING)
            for (_, after), records in reader.read_frames(shard, position):
                self._positions[shard.name] = after
                for record in records:
                    self._log.add(record)
        return self._log

    def whole(self) -> Log:
        """All of the log, from its beginning."""
        log = Log()
        for record in reader.read_all(self._folder):
            log.add(record)
        return log
