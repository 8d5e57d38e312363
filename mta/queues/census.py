"""How many recipients wait on disk, and the oldest: known without reading the queues again.

After a start the rows are counted as they were then, in slices; `QueueManager.waiting` is kept by
every change meanwhile, so that the sum is exact once the counting has ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mta.errors import SpoolError
from mta.model import Where

if TYPE_CHECKING:
    from collections.abc import Callable

    from mta.queues.manager import QueueManager
    from mta.spool.shard import Shard
    from mta.spool.store import Places

SLICE = 500  # rows between two turns of the loop
PAUSE = 0.001  # seconds between slices
AGAIN = 0.25  # seconds between looks for an instant when nothing is pending
LATE = 1000  # milliseconds that a DSN may be stored after mail with a larger id
PLACES = {b"f": Where.FRESH, b"d": Where.DUE, b"b": Where.BACKLOG, b"h": Where.HELD}


class Census:
    """One per worker, over all of its shards."""

    def __init__(
        self, manager: QueueManager, call_later: Callable[[float, Callable[[], None]], object]
    ) -> None:
        self._manager, self._call_later = manager, call_later
        self._left: list[tuple[Shard, Places]] = []
        self._marks: dict[int, int] = {}  # by shard: no message is older, milliseconds
        self._again = self._stopped = False
        self.complete = False

    def begin(self) -> None:
        """Count what is there at this instant; no shard may have pending changes."""
        self.complete = self._again = False
        self._manager.recount()
        self._marks.clear()
        try:
            self._left = [(shard, shard.places()) for shard in self._manager.shards.values()]
        except SpoolError:
            self._again = True
        self._call_later(0, self._tick)

    def stop(self) -> None:
        """Count no more: a database that is to be closed must have no iterator."""
        self._stopped = True
        self._left.clear()

    def recount(self) -> None:
        """Rows were changed past the manager: count again from an instant without pending ones."""
        if self.complete:
            self.complete = False
            self._call_later(AGAIN, self._tick)
        self._again = True

    def _tick(self) -> None:
        if self._stopped:
            return
        if self._again:
            self._restart()
        elif self._left:
            self._count(*self._left[-1])
            self._call_later(PAUSE, self._tick)
        else:
            self.complete = True

    def _restart(self) -> None:
        self._left.clear()
        shards = self._manager.shards.values()
        if any(shard.stats().pending or not shard.readable for shard in shards):
            self._call_later(AGAIN, self._tick)
        else:
            self.begin()

    def _count(self, shard: Shard, places: Places) -> None:
        """One slice; a database that failed or is damaged is counted anew later."""
        try:
            letter, count = places.step(SLICE) if shard.readable else (b"", 0)
        except SpoolError:
            self._again = True
            return
        if letter:
            self._manager.waiting[PLACES[letter]] += count
        elif shard.readable:
            self._left.pop()
        else:
            self._again = True

    def oldest_us(self) -> int:
        """When the oldest message that is queued was accepted, 0 if there is none."""
        found = 0
        for shard in self._manager.shards.values():
            # Ids begin with their millisecond and rise, so reading goes on where it last ended.
            oldest = _oldest(shard, self._marks.get(shard.number, 0).to_bytes(6, "big"))
            if oldest:
                ms = int.from_bytes(oldest[:6], "big")
                self._marks[shard.number] = max(0, ms - LATE)
                found = min(found or ms, ms)
        return found * 1000

    def figures(self, in_flight: int) -> dict[str, int]:
        """Recipients by state; those out of memory are short of the truth while counting."""
        fresh, due, backlog, held, _ = (max(0, count) for count in self._manager.waiting)
        return {
            "queued_fresh": fresh,
            "queued_ready": len(self._manager.memory) - in_flight,
            "queued_in_flight": in_flight,
            "queued_deferred": due,
            "queued_backlog": backlog,
            "queued_held": held,
            "counting": int(not self.complete),
        }


def _oldest(shard: Shard, after: bytes) -> bytes:
    """The oldest message of a shard, b"" if there is none or it cannot be read now."""
    try:
        return shard.oldest(after) if shard.readable else b""
    except SpoolError:
        return b""
