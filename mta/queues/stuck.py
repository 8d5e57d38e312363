"""Mail that is past its age, or due and not looked at: looks for what the loader should not leave.

A row that is `LATE` and is the first of its kind at two looks, `EVERY` apart, is stuck: however
much has become due at once, a loader that works takes the first rows first. What is in flight,
waits for its commit, or is forgiven for time that was missed is not late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mta.alarms import Trouble
from mta.spool import keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mta.queues.loader import Loader
    from mta.queues.manager import QueueManager

EVERY = 10.0  # seconds between two looks: each is some seeks
LATE = 60.0  # seconds behind its time
ROWS = 64  # that are looked at


class StuckRows:
    """A check (`mta.alarms`) over the rows of a worker's shards."""

    def __init__(self, manager: QueueManager, loaders: Iterable[Loader]) -> None:
        """`loaders`: those that there are at each look."""
        self._manager, self._loaders = manager, loaders
        self._next = 0.0
        self._before: set[bytes] = set()  # what was late at the last look
        self._troubles: list[Trouble] = []

    def __call__(self) -> list[Trouble]:
        """The alarms `overdue` and `not_looked_at`."""
        now = self._manager.ports.clock.monotonic()
        if now >= self._next:
            self._next = now + EVERY
            late = [row for loader in self._loaders for row in self._late(loader)]
            stuck = [row for row in late if row in self._before]
            self._before = set(late)
            self._troubles = list(self._told(stuck))
        return self._troubles

    def _late(self, loader: Loader) -> Iterator[bytes]:
        """The first late rows of a shard."""
        if loader.stopped or not loader.shard.readable:
            return
        clock, shard = self._manager.ports.clock, loader.shard
        until = clock.wall_us() - round(LATE * 1_000_000)
        missed = self._manager.missed_to
        starts = [b"d", loader.due_after or b"d", keys.expiry(missed, keys.END) if missed else b"e"]
        for start in starts:
            stop = start[:1] + keys.u64(max(0, until))
            for row in shard.late_rows(start, stop, ROWS) if start < stop else ():
                if not self._is_in_hand(row):
                    yield row
                    break

    def _is_in_hand(self, row: bytes) -> bool:
        id, number = keys.parse_recipient(row)
        if id in self._manager.arriving:
            return True
        known = self._manager.memory.get((id, number))
        return known is not None and (row[:1] == b"d" or known.flying)

    def _told(self, stuck: list[bytes]) -> Iterator[Trouble]:
        now = self._manager.ports.clock.wall_us()
        for row in stuck:
            name, what = "not_looked_at", "is due and was not looked at"
            if row[:1] == b"e":
                name, what = "overdue", "is past its max age and does not expire"
            id, number = keys.parse_recipient(row)
            behind = (now - keys.timed(row)) // 1_000_000
            text = (
                f"recipient {number} of {id.hex()} {what} for {behind} s; a restart reads all anew"
            )
            yield Trouble(name, text)
