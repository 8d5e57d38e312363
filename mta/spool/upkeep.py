"""A look once a second at the room of a shard, and what makes more where it is short.

What the database holds for mail that has left goes with a flush: the memory and the WAL behind it
at once, and the tables by the compactions that their tombstones call for.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

from mta.errors import SpoolError
from mta.spool.space import INTERVAL, Uses
from mta.spool.store import Held

if TYPE_CHECKING:
    from collections.abc import Callable

    from mta.spool.aside import Aside
    from mta.spool.cycle import CallLater, Timer
    from mta.spool.reclaim import Reclaim
    from mta.spool.segments import Segments
    from mta.spool.space import Space
    from mta.spool.store import Store

RECORD = 256  # octets of log for a recipient's end, compressed in small frames
WAL = 4 << 20  # octets that the WAL grows by until it is flushed on a short disk
COMPACTED = 256 << 20  # octets of tables that may be written before those they replace go
SMALL = 512 << 10  # octets in memory that are not worth a flush


class Upkeep:
    """Keeps a shard's room in view, from `start` to its end; flushes and reclaims what is short."""

    def __init__(
        self,
        store: Store,
        segments: Segments,
        files: Callable[[], Aside],
        call_later: CallLater,
    ) -> None:
        self._store, self._segments, self._files = store, segments, files
        self._call_later = call_later
        self._held = Held(0, 0, 0, 0)
        self._timer: Timer | None = None
        self._stopped = False
        self._at_work = False  # a job of ours is in the thread

    def start(self, space: Space, reclaim: Reclaim) -> None:
        """Look from now on."""
        self._space, self._reclaim = space, reclaim
        if not self._stopped:
            reclaim.start()
            self._timer = self._call_later(0, self._tick)

    def stop(self) -> None:
        """Look no more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def uses(self) -> Uses:
        """What the mail that is there will still take; as it was known last while it is closed."""
        try:
            held = self._held = self._store.held()
        except SpoolError:
            held = self._held
        database = held.memory + WAL + min(held.tables, COMPACTED)
        files = self._segments.wanted() + self._store.ballast.missing
        return Uses(database + files, held.recipients * RECORD)

    def _tick(self) -> None:
        self._timer = self._call_later(INTERVAL, self._tick)
        self._space.look()
        self._reclaim.trim()
        if self._space.short:
            self._reclaim.look()
        if not self._at_work:
            self._work()

    def _work(self) -> None:
        """Flush what is worth it, and have the ballast where there is room for it."""
        active = self._held.active
        if active > SMALL and (self._space.short or self._space.left < active > WAL):
            self._begin(self._store.begin_flush)
        elif self._store.ballast.missing and not self._space.short:
            self._begin(self._store.ballast.make)

    def _begin(self, work: Callable[[], None]) -> None:
        self._at_work = True
        self._files().work(partial(self._aside, work))

    def _aside(self, work: Callable[[], None]) -> Callable[[], None]:
        """In the thread for files; what fails is tried again at a later look."""
        with contextlib.suppress(Exception):  # the database may be closed meanwhile
            work()
        return self._done

    def _done(self) -> None:
        self._at_work = False
